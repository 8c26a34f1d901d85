"""Writes a job's result as JUnit XML, which CI systems read."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from labctl.cli.exits import USAGE, ExpectedError

_ELEMENT = {"failed": "failure", "errored": "error", "cancelled": "skipped"}


def write_junit(path: Path, job: dict[str, Any], runs: list[dict[str, Any]]) -> None:
    """One test suite for the job: a case for each run, and one for each measurement with a verdict."""
    cases = []
    for run in runs:
        cases.append(_case(job["name"], job["name"], run["verdict"], run["reason"]))
        for each in run["measurements"]:
            if each["verdict"] is not None:
                told = f"{each['value']} {each['unit']}, limits {each['low']} .. {each['high']}"
                cases.append(_case(f"{job['name']}.{each['step']}", each["name"], each["verdict"], told))
    if not runs:
        cases.append(_case(job["name"], job["name"], job["verdict"], job["reason"]))
    counts = {kind: str(sum(case.find(kind) is not None for case in cases)) for kind in _ELEMENT.values()}
    suite = ElementTree.Element(
        "testsuite",
        name=job["name"],
        tests=str(len(cases)),
        failures=counts["failure"],
        errors=counts["error"],
        skipped=counts["skipped"],
        timestamp=job["submitted_at"],
    )
    suite.extend(cases)
    try:
        ElementTree.ElementTree(suite).write(path, encoding="utf-8", xml_declaration=True)
    except OSError as exc:
        raise ExpectedError(f"cannot write {path}: {exc.strerror}", USAGE) from None


def _case(group: str, name: str, verdict: str, reason: str) -> ElementTree.Element:
    case = ElementTree.Element("testcase", classname=_plain(group), name=_plain(name))
    if verdict in _ELEMENT:
        ElementTree.SubElement(case, _ELEMENT[verdict], message=_plain(reason))
    return case


def _plain(text: str) -> str:
    """Without the control characters that XML 1.0 cannot carry."""
    return "".join(each if each >= " " or each in "\t\n" else "?" for each in text)
