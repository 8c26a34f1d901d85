"""The files that a judged course leaves: report, trajectories, result. Runs in a worker, or in the command line."""

from __future__ import annotations

import json
from pathlib import Path

from courses.replay import replay
from courses.report import write_report
from courses.result import CourseResult
from courses.trajectory import rows_of, write_tum

RECORDING = "recording.mcap"
REPORT = "report.html"
RESULT = "result.json"
MEDIA_TYPES = {
    ".mcap": "application/octet-stream",
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".tum": "text/plain; charset=utf-8",
}


def write_results(result: CourseResult, folder: Path) -> list[str]:
    """Write report.html, lidar.tum, odometry.tum, reference.tum (where there is one) and result.json; their names."""
    names = [REPORT, "lidar.tum", "odometry.tum"]
    write_report(result, folder / REPORT)
    write_tum(folder / "lidar.tum", rows_of(result.lidar))
    write_tum(folder / "odometry.tum", result.odometry)
    if result.reference is not None:
        names.append("reference.tum")
        write_tum(folder / "reference.tum", result.reference)
    (folder / RESULT).write_text(json.dumps(result.to_json(REPORT), indent=2) + "\n", encoding="utf-8")
    return [*names, RESULT]


def warm_up() -> None:
    """Have a worker import all this, so that it is ready when the course has ended."""


def write_results_of(recording: str, folder: str) -> list[str]:
    """The same from the recording of a course."""
    return write_results(replay(recording), Path(folder))
