"""`labctl watch`: events as lines, and the progress of a job on the terminal."""

from __future__ import annotations

import json
import sys
from typing import Any

from labctl.cli.connecting import connected
from labctl.cli.output import note
from labctl.client import Lab


def watch_events(url: str | None, after: int | None, *, as_json: bool) -> int:
    """Print events until interrupted."""
    with connected(url) as lab:
        for event in lab.events(lab.latest_event() if after is None else after):
            print(json.dumps(event) if as_json else describe(event), flush=True)
    return 0


def describe(event: dict[str, Any]) -> str:
    """An event as one line."""
    about = event["device"] or event["run"] or event["job"] or event["lease"] or ""
    data = " ".join(f"{key}={_short(value)}" for key, value in event["data"].items() if value not in (None, "", []))
    return f"{event['time']} {event['sequence']:>6} {event['kind']:<16} {about} {data}".rstrip()


def follow_job(lab: Lab, job: str) -> None:
    """Show a job's progress on standard error until it is finished: a bar on a terminal, lines elsewhere."""
    if not sys.stderr.isatty():
        for event in lab.follow(job):
            if (line := progress_line(event)) is not None:
                note(line)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[where]}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("waiting for devices", total=None, where="")
        for event in lab.follow(job):
            data = event["data"]
            if data.get("what") == "started":
                progress.update(task, total=data["planned_distance_m"])
            if data.get("what") == "moving":
                where = "{distance_m:5.2f} m  x {x_m:5.2f}  y {y_m:5.2f}  {speed_m_s:.2f} m/s".format_map(data)
                progress.update(task, completed=data["distance_m"], where=where)
            elif (line := progress_line(event)) is not None:
                progress.console.print(line, markup=False, highlight=False)
                progress.update(task, description=line)


def progress_line(event: dict[str, Any]) -> str | None:  # noqa: PLR0911 - a line for each kind of event
    """What a person who waits for a job wants to read of an event, if anything."""
    data, kind = event["data"], event["kind"]
    match kind, data.get("what"):
        case "run.started", _:
            return "devices: " + ", ".join(f"{role} = {device}" for role, device in data["roles"].items())
        case "step.started", _:
            return f"{data['role']}: {data['step']}"
        case "step.progress", "started":
            return f"course {data['course']}: {' '.join(data['points'])}, {data['planned_distance_m']:.1f} m"
        case "step.progress", "leg":
            return f"leg {data['leg']} ({data['number']} of {data['of']})"
        case "step.progress", "point":
            return f"point {data['label']} measured from {data['scans']} scans"
        case "step.progress", "hindered":
            return f"{data['kind']}: {data['detail']}"
        case "step.progress", "docking":
            return f"docking at {data['dock']}"
        case "step.progress", "docking_ended":
            done = "docked" if data["docked"] else "not docked"
            return f"{done} after {data['seconds']:.0f} s, attempt {data['attempts']}"
        case "step.drawing", _:
            return "drawing the report"
        case "run.cancel_asked" | "job.cancelled", _:
            return f"cancelled: {data['reason']}"
        case "run.finished", _:
            return f"verdict: {data['verdict']}" + (f" ({data['reason']})" if data["reason"] else "")
    return None


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 120 else text[:117] + "..."
