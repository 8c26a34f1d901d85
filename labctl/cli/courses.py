"""`labctl course`: drive one on a robot of the lab, or judge a recorded one."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from labctl.cli.awaiting import run_to_the_end
from labctl.cli.connecting import connected
from labctl.cli.exits import OF_VERDICT, USAGE, ExpectedError
from labctl.cli.output import print_json, print_table
from labctl.client import Lab


def run_on_robot(url: str | None, course: str, robot: str | None, out: Path | None, *, as_json: bool) -> int:
    """Submit the course as a job of one lane and wait for its verdict."""
    document = course_job(course, robot)
    with connected(url) as lab:
        finished = run_to_the_end(lab, lambda: lab.submit(json.dumps(document), source=course))
        result = collect(lab, finished, out)
    report(finished, result, as_json=as_json)
    return OF_VERDICT[finished["verdict"]]


def course_job(course: str, robot: str | None) -> dict[str, Any]:
    """The job that drives a course: by name, or a file whose content goes with it."""
    with_: dict[str, Any] = {"course": course}
    if course.endswith((".yaml", ".yml", ".json")) or "/" in course or Path(course).is_file():
        with_ = {"text": _checked(Path(course)), "source": course}
    role = {"device": robot} if robot else {"kind": "robot"}
    steps = [{"uses": "drive.course", "with": with_}]
    return {"name": f"course {course}", "roles": {"robot": role}, "lanes": {"robot": {"steps": steps}}}


def collect(lab: Lab, job: dict[str, Any], out: Path | None) -> dict[str, Any] | None:
    """The course's result; with `out`, all files of the run are put there. None when it came to no result."""
    found = None
    for run in job["runs"]:
        for artifact in lab.run_result(run)["artifacts"]:
            href = artifact["href"]
            if out is not None:
                out.mkdir(parents=True, exist_ok=True)
                lab.download(artifact["id"], out / artifact["name"])
            if artifact["name"] == "result.json":
                found = lab.request("GET", href)
    if found is not None:
        found["report"] = str(out / "report.html") if out is not None else None
    return found


def report(job: dict[str, Any], result: dict[str, Any] | None, *, as_json: bool) -> None:
    """The verdict for people or as one JSON object, whose `verdict` is the job's."""
    document = result or {
        "course": job["name"].removeprefix("course "),
        "points": [],
        "distance_m": 0.0,
        "report": None,
    }
    document = {**document, "verdict": job["verdict"], "reason": job["reason"], "job": job["id"]}
    if as_json:
        print_json(document)
    else:
        print_result(document)


def print_result(result: dict[str, Any]) -> None:
    """The verdict table of a course."""
    rows = [_row(f"point {each['label']}", each["check"]) for each in result["points"]]
    rows += [_row(f"leg {each['from']}-{each['to']}", each["check"]) for each in result.get("legs", ())]
    judged = [row for row in rows if row is not None]
    columns = ("what", "off by, m", "margin, m", "off by, deg", "margin, deg", "judged")
    print_table(columns, judged, "no point or leg was judged")
    if consistency := result.get("consistency"):
        p = "" if consistency["p_value"] is None else f", p = {consistency['p_value']:.3f}"
        print(f"LiDAR against odometry: {consistency['outcome']}{p}" + _in_brackets(consistency["reason"]))
    if docking := result.get("docking"):
        contact = "" if docking["contact_error_mm"] is None else f", contact error {docking['contact_error_mm']:.1f} mm"
        print(f"docking: {'docked' if docking['docked'] else 'not docked'}, attempt {docking['attempts']}{contact}")
    reasons = "; ".join(result.get("reasons") or ()) or result.get("reason") or ""
    print(
        f"{result['verdict'].upper()}: course {result['course']}, {result['distance_m']:.2f} m" + _in_brackets(reasons)
    )
    if result["report"]:
        print(f"report: {result['report']}")


def replay_log(log: Path, out: Path, *, as_json: bool) -> int:
    """Judge a recording without a daemon."""
    from courses.replay import Replaying, replay
    from drivers.documents import DocumentError
    from labctl.actions.course_files import REPORT, write_results

    terminal = sys.stderr.isatty()

    def show(progress: Replaying) -> None:
        if terminal:
            end = "\n" if progress.done == progress.total else ""
            print(f"\rleg {progress.done} of {progress.total}", end=end, file=sys.stderr, flush=True)

    try:
        result = replay(log, watcher=show)
        out.mkdir(parents=True, exist_ok=True)
        write_results(result, out)
    except DocumentError as exc:
        raise ExpectedError(str(exc), USAGE) from None
    except OSError as exc:
        raise ExpectedError(f"cannot write to {out}: {exc.strerror or exc}") from None
    document = result.to_json(str(out / REPORT))
    if as_json:
        print_json(document)
    else:
        print_result(document)
        for remark in result.notes:
            print(f"note: {remark}")
    return OF_VERDICT[document["verdict"]]


def list_courses(*, as_json: bool) -> int:
    """Names of the library."""
    from courses.course import Course, library_names

    names = library_names()
    if as_json:
        print_json(names)
        return 0
    rows = []
    for name in names:
        course = Course.library(name)
        rows.append((name, course.room.name, f"{course.planned_distance_m:.1f} m", course.file.description))
    print_table(("course", "room", "length", "description"), rows, "no courses")
    return 0


def _checked(path: Path) -> str:
    """The text of a course file, after its own errors were told with line and column."""
    from courses.course import Course
    from drivers.documents import DocumentError

    try:
        Course.load(path)
        return path.read_text(encoding="utf-8")
    except (DocumentError, OSError) as exc:
        raise ExpectedError(str(exc), USAGE) from None


def _row(what: str, check: dict[str, Any] | None) -> tuple[object, ...] | None:
    if check is None:
        return None
    limit, turn_limit = check["margin_distance_m"], check["margin_heading_deg"]
    judged = {True: "inside", False: "OUTSIDE", None: "not judged"}[check["inside"]]
    return (
        what,
        f"{check['distance_m']:.3f}",
        None if limit is None else f"{limit:.3f}",
        f"{check['heading_deg']:.2f}",
        None if turn_limit is None else f"{turn_limit:.2f}",
        judged + (", near the limit" if check["near_limit"] else ""),
    )


def _in_brackets(text: str) -> str:
    return f" ({text})" if text else ""
