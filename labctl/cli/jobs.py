"""`labctl run` and `labctl jobs`: submit, wait, show, cancel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from labctl.cli.connecting import connected
from labctl.cli.exits import CANCELLED, OF_VERDICT
from labctl.cli.output import note, print_json, print_table
from labctl.cli.watching import follow_job
from labctl.client import Lab


def run_job(url: str | None, file: Path, *, wait: bool, junit: Path | None, as_json: bool) -> int:
    """Submit a job file and, if wanted, wait for its verdict."""
    with connected(url) as lab:
        job = lab.submit(file)
        if not wait:
            if as_json:
                print_json(job)
            else:
                print(job["id"])
            return 0
        finished = wait_for(lab, job["id"])
        runs = [lab.run_result(each) for each in finished["runs"]]
    if junit is not None:
        from labctl.cli.junit import write_junit

        write_junit(junit, finished, runs)
    if as_json:
        print_json({**finished, "runs": runs})
    else:
        print_verdict(finished, runs)
    return OF_VERDICT[finished["verdict"]]


def wait_for(lab: Lab, job: str) -> dict[str, Any]:
    """Show progress until the job is finished; Ctrl-C cancels it and waits for its teardown."""
    try:
        follow_job(lab, job)
    except KeyboardInterrupt:
        note("cancelling; the robot is stopped and the teardown done")
        lab.cancel(job, "interrupted at the terminal")
        follow_job(lab, job)
    return lab.job(job)


def print_verdict(job: dict[str, Any], runs: list[dict[str, Any]]) -> None:
    """The verdict with the measurements that have limits."""
    rows = [
        (each["name"], _number(each["value"]), each["unit"], _limits(each), each["verdict"])
        for run in runs
        for each in run["measurements"]
    ]
    print_table(("measurement", "value", "unit", "limits", "verdict"), rows, "nothing was measured")
    print(f"{job['verdict'].upper()}: {job['name']}" + (f" ({job['reason']})" if job["reason"] else ""))


def show_job(url: str | None, job: str, *, as_json: bool) -> int:
    """Show one job."""
    with connected(url) as lab:
        shown = lab.job(job)
        runs = [lab.run_result(each) for each in shown["runs"]]
    if as_json:
        print_json({**shown, "runs": runs})
        return 0
    if shown["verdict"]:
        print_verdict(shown, runs)
    else:
        print(f"{shown['state']}: {shown['name']}")
    for each in shown["waits_for"]:
        held = f"is held by {each['holder']} until {each['expires_at']}" if "holder" in each else f"is {each['state']}"
        print(f"waits: {each['device']} {held}")
    for run in runs:
        for each in run["artifacts"]:
            print(f"artifact {each['id']} {each['name']} ({each['size']} bytes)")
    return 0


def cancel_job(url: str | None, job: str, reason: str) -> int:
    """Cancel a job."""
    with connected(url) as lab:
        shown = lab.cancel(job, reason)
    note(f"job {job}: {shown['verdict'] or 'being cancelled'}")
    return 0 if shown["verdict"] in (None, "cancelled") else CANCELLED


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _limits(measurement: dict[str, Any]) -> str:
    low, high = measurement["low"], measurement["high"]
    if low is None and high is None:
        return ""
    if low is None:
        return f"≤ {high:g}"
    return f"≥ {low:g}" if high is None else f"{low:g} .. {high:g}"
