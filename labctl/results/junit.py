"""Results as JUnit XML, in the form that Jenkins, GitLab and GitHub's test reporters agree on.

A test suite for each lane of a run, a test case for each of its steps and for each measurement with limits. A step that
failed is a failure, one that errored or was cancelled an error, one that was left out is skipped.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree

import sqlalchemy as sa

from labctl.store.tables import artifacts, jobs, lanes, measurements, runs, steps

_NOT_IN_XML = re.compile("[^\t\n -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ELEMENT = {"failed": "failure", "errored": "error", "cancelled": "error"}


def junit(connection: sa.Connection, job: sa.Row[Any]) -> bytes:
    """The document for a job, or for all jobs of a matrix: of each the last run, which gave it its verdict."""
    own = connection.execute(sa.select(jobs).where(jobs.c.parent_id == job.id).order_by(jobs.c.id)).all()
    suites = [suite for each in own or [job] for suite in _suites(connection, each)]
    root = ElementTree.Element("testsuites", {"name": _plain(job.name), **_totals(suites)})
    root.extend(suites)
    ElementTree.indent(root)
    document: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return document


def _suites(connection: sa.Connection, job: sa.Row[Any]) -> list[ElementTree.Element]:
    last = sa.select(runs).where(runs.c.job_id == job.id).order_by(runs.c.attempt.desc()).limit(1)
    run = connection.execute(last).one_or_none()
    if run is None:  # cancelled while it waited, or it still does
        case = _case(job.name, job.name, job.verdict or "skipped", job.reason or f"the job is {job.state}", 0.0)
        return [_suite(job.name, job.submitted_at, [case], {"job": job.id})]
    found = []
    kept = connection.execute(sa.select(artifacts).where(artifacts.c.run_id == run.id).order_by(artifacts.c.id))
    files = {f"artifact {each.name}": f"/api/v1/artifacts/{each.id}/content" for each in kept}
    own = connection.execute(sa.select(lanes).where(lanes.c.run_id == run.id).order_by(lanes.c.name)).all()
    for lane in own:
        about = {"job": job.id, "run": run.id, "attempt": str(run.attempt), "device": lane.device, **files}
        cases = _cases(connection, job, run, lane)
        found.append(_suite(f"{job.name}.{lane.name}", lane.started_at or run.started_at, cases, about))
        files = {}
    return found


def _cases(
    connection: sa.Connection, job: sa.Row[Any], run: sa.Row[Any], lane: sa.Row[Any]
) -> list[ElementTree.Element]:
    group = f"{job.name}.{lane.name}"
    cases = []
    done = sa.select(steps).where(steps.c.run_id == run.id, steps.c.lane == lane.name).order_by(steps.c.number)
    titles: dict[str, int] = {}
    for step in connection.execute(done):
        titles[step.title] = titles.get(step.title, 0) + 1  # a case's name is its identity over time
        name = step.title if titles[step.title] == 1 else f"{step.title} #{titles[step.title]}"
        seconds = max(0.0, (step.finished_at or step.started_at) - step.started_at)
        reason = step.reason + (f" (after {step.attempt} tries)" if step.attempt > 1 and step.reason else "")
        cases.append(_case(group, name, step.verdict, reason, seconds))
        taken = sa.select(measurements).where(
            measurements.c.run_id == run.id,
            measurements.c.lane == lane.name,
            measurements.c.number == step.number,
            measurements.c.attempt == step.attempt,
            measurements.c.verdict.is_not(None),
        )
        for each in connection.execute(taken.order_by(measurements.c.id)):
            told = f"{each.value} {each.unit}, limits {_limit(each.low)} .. {_limit(each.high)}"
            cases.append(_case(f"{group}.{name}", each.name, each.verdict, told, 0.0))
    kind = _ELEMENT.get(lane.verdict)
    if kind is not None and all(case.find(kind) is None for case in cases):  # lost before a step was
        cases.append(_case(group, "lane", lane.verdict, lane.reason, 0.0))
    return cases


def _suite(
    name: str, began: float, cases: Sequence[ElementTree.Element], properties: dict[str, str]
) -> ElementTree.Element:
    counts = _counts(cases)
    stamp = datetime.fromtimestamp(began, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    about = {"name": _plain(name), "timestamp": stamp, "hostname": "labctl", **counts}
    suite = ElementTree.Element("testsuite", about)
    listed = ElementTree.SubElement(suite, "properties")
    for key, value in properties.items():
        ElementTree.SubElement(listed, "property", name=_plain(key), value=_plain(value))
    suite.extend(cases)
    return suite


def _case(group: str, name: str, verdict: str, reason: str, seconds: float) -> ElementTree.Element:
    case = ElementTree.Element("testcase", classname=_plain(group), name=_plain(name), time=f"{seconds:.3f}")
    if verdict in _ELEMENT:
        broken = ElementTree.SubElement(case, _ELEMENT[verdict], message=_plain(reason), type=verdict)
        broken.text = _plain(reason)
    elif verdict in ("skipped", "running"):
        ElementTree.SubElement(case, "skipped", message=_plain(reason or verdict))
    return case


def _counts(cases: Sequence[ElementTree.Element]) -> dict[str, str]:
    found = {
        plural: sum(case.find(kind) is not None for case in cases)
        for plural, kind in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped"))
    }
    seconds = sum(float(case.get("time", "0")) for case in cases)
    return {"tests": str(len(cases)), **{key: str(value) for key, value in found.items()}, "time": f"{seconds:.3f}"}


def _totals(suites: Sequence[ElementTree.Element]) -> dict[str, str]:
    """The sums over all suites; `skipped` is no attribute of the outermost element in the strictest readers' schema."""
    counted = {key: str(sum(int(suite.get(key, "0")) for suite in suites)) for key in ("tests", "failures", "errors")}
    return {**counted, "time": f"{sum(float(suite.get('time', '0')) for suite in suites):.3f}"}


def _limit(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def _plain(text: str) -> str:
    """Without the characters that XML 1.0 cannot carry."""
    return _NOT_IN_XML.sub("?", text)
