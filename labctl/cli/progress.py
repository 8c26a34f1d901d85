"""The progress of a job on the terminal: a table of its lanes that changes, or plain lines where there is none."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from labctl.cli.output import note
from labctl.client import Lab

if TYPE_CHECKING:
    from rich.table import Table

_ENDED = {"passed": "green", "failed": "red", "errored": "red", "cancelled": "yellow"}


def follow_job(lab: Lab, job: str, check: Callable[[], None] = lambda: None) -> None:
    """Show a job's progress on standard error until it is finished. `check` is called at each event and may raise."""
    if not sys.stderr.isatty():
        for event in lab.follow(job, tell=note):
            check()
            if (line := progress_line(event)) is not None:
                note(line)
        return
    from rich.console import Console
    from rich.live import Live

    progress = JobProgress()
    console = Console(stderr=True)
    tell = partial(console.print, markup=False, highlight=False)
    with Live(console=console, transient=True, refresh_per_second=8, get_renderable=progress.table):
        for event in lab.follow(job, tell=tell):
            check()
            progress.hear(event)
            if (line := progress_line(event)) is not None and event["kind"] not in _IN_THE_TABLE:
                tell(line)


_IN_THE_TABLE = ("step.started", "step.finished", "step.skipped", "lane.ending", "run.signal", "run.arrival")


@dataclass(slots=True)
class LaneProgress:
    """Where a lane is. `where`: what its step says of itself, such as how far a robot has come."""

    step: str = ""
    done: int = 0
    where: str = ""
    verdict: str = ""


@dataclass(slots=True)
class JobProgress:
    """What events have told of a job so far; of a matrix the lanes of all its jobs."""

    state: str = "waiting for devices"
    lanes: dict[tuple[str, str], LaneProgress] = field(default_factory=dict)

    def hear(self, event: dict[str, Any]) -> None:
        """Take in one event."""
        kind, data, run = event["kind"], event["data"], event["run"] or ""
        if kind == "run.started":
            self.state = "running"
        elif kind == "job.queued_again":
            self.state = "waiting for devices again"
        name = data.get("lane") if isinstance(data, dict) else None
        if not name:
            return
        lane = self.lanes.setdefault((run, name), LaneProgress())
        if kind == "step.started":
            lane.step, lane.where = data["step"], "" if data["attempt"] == 1 else f"try {data['attempt']}"
        elif kind in ("step.finished", "step.skipped"):
            lane.done, lane.where = data["number"] + 1, ""
        elif kind == "lane.ending":
            lane.where = "teardown"
        elif kind == "lane.finished":
            lane.step, lane.where, lane.verdict = "", "", data["verdict"]
        elif data.get("what") == "moving":
            lane.where = "{distance_m:5.2f} m  x {x_m:5.2f}  y {y_m:5.2f}  {speed_m_s:.2f} m/s".format_map(data)

    def table(self) -> Table:
        """The lanes as they are."""
        from rich import box
        from rich.spinner import Spinner
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE, show_header=False, title=None if self.lanes else self.state)
        for (_, name), lane in self.lanes.items():
            ended = Text(lane.verdict, style=_ENDED.get(lane.verdict, ""))
            table.add_row(Text(name), ended if lane.verdict else Spinner("dots"), Text(lane.step), Text(lane.where))
        return table


def progress_line(event: dict[str, Any]) -> str | None:  # noqa: PLR0911, PLR0912 - a line for each kind of event
    """What a person who waits for a job wants to read of an event, if anything."""
    data, kind = event["data"], event["kind"]
    match kind, data.get("what"):
        case "run.started", _:
            return "devices: " + ", ".join(f"{role} = {device}" for role, device in data["roles"].items())
        case "step.started", _:
            again = f" (try {data['attempt']})" if data["attempt"] > 1 else ""
            return f"{data['lane']}: {data['step']}{again}"
        case "step.finished", _ if data["verdict"] != "passed":
            return f"{data['lane']}: {data['step']} {data['verdict']}" + _in_brackets(data["reason"])
        case "run.signal", _:
            return f"signal {data['name']} from {data['sender']}"
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
        case "job.queued_again", _:
            return f"waits for devices again: {data['reason']}"
        case "job.finished", _:
            return f"verdict: {data['verdict']}" + _in_brackets(data["reason"])
    return None


def _in_brackets(reason: str) -> str:
    return f" ({reason})" if reason else ""
