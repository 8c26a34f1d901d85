"""`labctl run` and `labctl jobs`: submit, wait, show, explain, cancel, run again."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labctl.cli.awaiting import run_to_the_end
from labctl.cli.connecting import connected
from labctl.cli.exits import CANCELLED, OF_VERDICT, USAGE, ExpectedError
from labctl.cli.output import note, print_json, print_table
from labctl.cli.progress import follow_job
from labctl.client import Lab

_MARKS = {"passed": "ok", "failed": "FAILED", "errored": "ERRORED", "cancelled": "cancelled", "skipped": "left out"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was given on the command line: a file or library:NAME, values of its vars, an idempotency key."""

    job: str
    variables: tuple[str, ...]
    key: str | None

    def text(self) -> tuple[str, str]:
        """The job's text, and what to call it in errors."""
        from labctl.jobs import shipped

        if self.job.startswith(shipped.PREFIX):
            try:
                return shipped.text(self.job.removeprefix(shipped.PREFIX)), self.job
            except LookupError as exc:
                raise ExpectedError(str(exc), USAGE) from None
        try:
            return Path(self.job).read_text(encoding="utf-8"), self.job
        except (OSError, UnicodeDecodeError) as exc:
            raise ExpectedError(f"{self.job}: cannot be read: {exc}", USAGE) from None

    def values(self) -> dict[str, str]:
        pairs = [each.partition("=") for each in self.variables]
        if wrong := [name for name, sign, _ in pairs if not sign]:
            raise ExpectedError(f"--var is NAME=VALUE, not {wrong[0]!r}", USAGE)
        return {name: value for name, _, value in pairs}


def run_job(url: str | None, wanted: Wanted, *, wait: bool, junit: Path | None, as_json: bool) -> int:
    """Submit a job and, if wanted, wait for its verdict."""
    (text, source), values = wanted.text(), wanted.values()
    with connected(url) as lab:

        def submit() -> dict[str, Any]:
            job = lab.submit(text, source, variables=values, key=wanted.key)
            for each in job["warnings"]:
                note(f"warning: {each}")
            return job

        return _submitted(lab, submit, wait=wait, junit=junit, as_json=as_json)


def rerun_job(url: str | None, job: str, *, wait: bool, junit: Path | None, as_json: bool) -> int:
    """Queue a finished job anew and, if wanted, wait for its verdict."""
    with connected(url) as lab:
        return _submitted(lab, lambda: lab.rerun(job), wait=wait, junit=junit, as_json=as_json)


def await_job(url: str | None, job: str, junit: Path | None, *, as_json: bool) -> int:
    """Follow a job that somebody submitted."""
    with connected(url) as lab:
        lab.job(job)
        follow_job(lab, job)
        return _finished(lab, lab.job(job), junit, as_json=as_json)


def check_job(url: str | None, wanted: Wanted, *, as_json: bool) -> int:
    """Have the daemon check a job."""
    text, source = wanted.text()
    pairs = [f"{name}={value}" for name, value in wanted.values().items()]
    with connected(url) as lab:
        found = lab.request(
            "POST",
            "/api/v1/jobs/check",
            params={"source": source, "var": pairs},
            content=text.encode(),
            headers={"content-type": "application/yaml"},
        )
    for each in found["warnings"]:
        note(f"warning: {each}")
    if as_json:
        print_json(found)
    else:
        print(f"{source} is right: {len(found['jobs'])} job{'s' * (len(found['jobs']) != 1)}")
        for name in found["jobs"]:
            print(f"  {name}")
    return 0


def print_verdict(job: dict[str, Any], runs: list[dict[str, Any]]) -> None:
    """The verdict with all that was measured: of which job of several, in which step."""
    parts = {part["id"]: part["name"] for part in job["jobs"]}
    rows = [
        (
            *([parts.get(run["job"], "")] if parts else []),
            each["lane"],
            each["step"],
            each["name"],
            _number(each["value"]),
            each["unit"],
            _limits(each),
            each["verdict"],
        )
        for run in runs
        for each in run["measurements"]
    ]
    if rows:
        columns = ("lane", "step", "measurement", "value", "unit", "limits", "verdict")
        print_table(("job", *columns) if parts else columns, rows, "")
    for run in runs:
        for name, value in (run["outputs"] or {}).items():
            print(f"{name}: {value if isinstance(value, str) else json.dumps(value)}")
    for part in job["jobs"]:
        print(f"{(part['verdict'] or part['state']).upper()}: {part['name']}{_in_brackets(part['reason'])}")
    print(f"{job['verdict'].upper()}: {job['name']}{_in_brackets(job['reason'])}")


def show_job(url: str | None, job: str, *, as_json: bool) -> int:
    """Show one job."""
    with connected(url) as lab:
        shown = lab.job(job)
        runs = [lab.run_result(each) for each in shown["runs"]]
    if as_json:
        print_json({**shown, "runs": runs})
        return 0
    for run in runs:
        print(
            f"run {run['id']}, attempt {run['attempt']}: {run['verdict'] or run['state']}{_in_brackets(run['reason'])}"
        )
        for name, lane in run["lanes"].items():
            print(f"  {name} on {lane['device']}: {lane['verdict'] or lane['state']}")
            for step in lane["steps"]:
                print(
                    f"    {_MARKS.get(step['verdict'], step['verdict'])}: {step['title']}{_in_brackets(step['reason'])}"
                )
    if shown["verdict"]:
        print_verdict(shown, runs)
    else:
        print(f"{shown['state']}: {shown['name']}")
    _print_obstacles(shown)
    for run in runs:
        for each in run["artifacts"]:
            print(f"artifact {each['id']} {each['name']} ({each['size']} bytes)")
    return 0


def explain_job(url: str | None, job: str, *, as_json: bool) -> int:
    """Say why a job is not further than it is."""
    with connected(url) as lab:
        shown = lab.job(job)
        runs = [lab.run_result(each) for each in shown["runs"]]
    if as_json:
        keys = ("id", "name", "state", "verdict", "reason", "queue")
        print_json({**{key: shown[key] for key in keys}, "lanes": runs[-1]["lanes"] if runs else {}})
        return 0
    if shown["state"] == "finished":
        print(f"it {shown['verdict']}{_in_brackets(shown['reason'])}")
    elif shown["state"] == "running" and runs:
        for name, lane in runs[-1]["lanes"].items():
            print(f"{name} on {lane['device']}: {lane['step'] or lane['verdict'] or lane['state']}")
    elif shown["queue"]:
        _print_queue(shown["queue"])
    return 0


def cancel_job(url: str | None, job: str, reason: str) -> int:
    """Cancel a job."""
    with connected(url) as lab:
        shown = lab.cancel(job, reason)
    note(f"job {job}: {shown['verdict'] or 'being cancelled'}")
    return 0 if shown["verdict"] in (None, "cancelled") else CANCELLED


def show_library(name: str | None, *, as_json: bool) -> int:
    """List the jobs that ship with the program, or print one."""
    from drivers import documents
    from labctl.jobs import shipped

    if name is not None:
        print(Wanted(f"{shipped.PREFIX}{name}", (), None).text()[0], end="")
        return 0
    found = {each: documents.parse(shipped.text(each), each).value for each in shipped.names()}
    if as_json:
        print_json([{"name": each, "description": value.get("description", "")} for each, value in found.items()])
        return 0
    rows = [(f"{shipped.PREFIX}{each}", value.get("description", "")) for each, value in found.items()]
    print_table(("job", "description"), rows, "no jobs")
    return 0


def notify_run(url: str | None, run: str, signal: str, payload: str | None) -> int:
    """Send a signal to a run."""
    try:
        value = None if payload is None else json.loads(payload)
    except ValueError as exc:
        raise ExpectedError(f"the payload is no JSON: {exc}; a text needs double quotes inside", USAGE) from None
    with connected(url) as lab:
        runs = [each["id"] for each in lab.request("GET", "/api/v1/runs", params={"job": run, "limit": 1})["items"]]
        lab.notify(runs[0] if runs else run, signal, value)
    return 0


def _submitted(lab: Lab, submit: Callable[[], dict[str, Any]], *, wait: bool, junit: Path | None, as_json: bool) -> int:
    if not wait:
        job = submit()
        if as_json:
            print_json(job)
        else:
            print(job["id"])
        return 0
    return _finished(lab, run_to_the_end(lab, submit), junit, as_json=as_json)


def _finished(lab: Lab, job: dict[str, Any], junit: Path | None, *, as_json: bool) -> int:
    runs = [lab.run_result(each) for each in job["runs"]]
    if junit is not None:
        try:
            junit.write_bytes(lab.junit(job["id"]))
        except OSError as exc:
            raise ExpectedError(f"cannot write {junit}: {exc.strerror}", USAGE) from None
    if as_json:
        print_json({**job, "runs": runs})
    else:
        print_verdict(job, runs)
    return OF_VERDICT[job["verdict"]]


def _print_queue(queue: dict[str, Any]) -> None:
    """Why a job waits: for each role what keeps every device that would do from it."""
    for role in queue["roles"]:
        if role["free"]:
            print(f"{role['role']}: {role['wants']} is free: {', '.join(role['free'])}")
        for each in role["obstacles"]:
            held = f"is held by {each['holder']} until {each['until']}" if each["holder"] else each["reason"] or ""
            job = f" for job {each['job']}" if each["job"] else ""
            state = "" if each["holder"] or not each["state"] else f"is {each['state']}: "
            print(f"{role['role']}: {each['device']} {state}{held}{job}")
    print(f"{queue['ahead']} before it" + (f"; {queue['why']}" if queue["why"] else ""))
    print(f"expected to start: {queue['expected_start'] or 'not known'}")


def _print_obstacles(job: dict[str, Any]) -> None:
    for each in job["waits_for"]:
        held = f"is held by {each['holder']} until {each['expires_at']}" if "holder" in each else f"is {each['state']}"
        print(f"waits: {each['device']} {held}")


def _in_brackets(reason: str) -> str:
    return f" ({reason})" if reason else ""


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _limits(measurement: dict[str, Any]) -> str:
    low, high = measurement["low"], measurement["high"]
    if low is None and high is None:
        return ""
    if low is None:
        return f"≤ {high:g}"
    return f"≥ {low:g}" if high is None else f"{low:g} .. {high:g}"
