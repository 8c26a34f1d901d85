"""The report on a course: one HTML file that needs nothing else, for the screen and for paper."""

from __future__ import annotations

import base64
import html
import math
import os
from pathlib import Path

from courses.plots import map_svg, residuals_svg, timeline_svg
from courses.result import CourseResult, DockingResult
from courses.verdict import LegVerdict, MarginCheck, PointVerdict, Verdict

_SHOWN_LEGS = 30

_WORDS = {
    Verdict.PASSED: ("passed", "Every leg and point is inside its margin."),
    Verdict.FAILED: ("failed", "The robot is outside what the course allows."),
    Verdict.ERRORED: ("errored", "The lab got in the way: this says nothing about the robot."),
    Verdict.CANCELLED: ("cancelled", "Somebody ended the course early."),
}

_STYLE = """
:root { --ink: #1c2733; --muted: #66727f; --line: #dfe4ea; --good: #1a7f37; --bad: #cf222e; --warn: #9a6700; }
* { box-sizing: border-box; }
body { margin: 0; background: #f4f6f8; color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
main { max-width: 1040px; margin: 0 auto; padding: 32px 24px 64px; }
header { background: white; border: 1px solid var(--line); border-left: 8px solid var(--tone); border-radius: 10px;
  padding: 22px 26px; }
header h1 { margin: 0 0 2px; font-size: 26px; }
header .sub { color: var(--muted); }
.verdict { color: var(--tone); }
.reasons { margin: 12px 0 0; padding-left: 20px; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin: 16px 0 0; }
.fact { background: white; border: 1px solid var(--line); border-radius: 10px; padding: 12px 16px; }
.fact b { display: block; font-size: 22px; font-weight: 600; font-variant-numeric: tabular-nums; }
.fact span { color: var(--muted); font-size: 13px; }
section { background: white; border: 1px solid var(--line); border-radius: 10px; padding: 18px 26px; margin-top: 16px; }
h2 { font-size: 17px; margin: 0 0 10px; }
section p { margin: 6px 0; }
p.note, .note { color: var(--muted); font-size: 13px; }
img { display: block; width: 100%; height: auto; }
table { border-collapse: collapse; width: 100%; font-size: 13.5px; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; }
th { text-align: right; color: var(--muted); font-weight: 500; border-bottom: 1.5px solid var(--line); padding: 6px 8px;
  vertical-align: bottom; }
td { text-align: right; border-bottom: 1px solid var(--line); padding: 6px 8px; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; font-weight: 600; }
tr:last-child td { border-bottom: none; }
.chip { display: inline-block; border-radius: 99px; padding: 1px 10px; font-size: 12.5px; font-weight: 600;
  border: 1px solid currentColor; }
.good { color: var(--good); } .bad { color: var(--bad); } .warn { color: var(--warn); } .none { color: var(--muted); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 20px; margin: 0; font-size: 13.5px; }
dt { color: var(--muted); } dd { margin: 0; overflow-wrap: anywhere; }
details summary { cursor: pointer; color: var(--muted); padding: 8px 0; }
@media print {
  body { background: white; font-size: 11pt; } main { max-width: none; padding: 0; }
  section, header, .fact { break-inside: avoid; } section.long { break-inside: auto; }
}
"""

_TONES = {Verdict.PASSED: "--good", Verdict.FAILED: "--bad", Verdict.ERRORED: "--warn", Verdict.CANCELLED: "--muted"}


def write_report(result: CourseResult, path: str | Path) -> Path:
    """Write the report, whole or not at all. Returns its path. Raises OSError when it cannot be written."""
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text(report_html(result), encoding="utf-8")
    partial.replace(path)
    return path


def report_html(result: CourseResult) -> str:
    """The report as an HTML document without any reference to other files."""
    parts = [
        _header(result),
        _facts(result),
        _picture("Map", map_svg(result), "The room with the way driven; + marks where the course plans a point."),
        _points(result),
        _legs(result),
        _picture(
            "Residuals and margins",
            residuals_svg(result),
            "Bars: measured deviation. Whiskers: expanded uncertainty (95 %). Black marks: the margin.",
        ),
        _picture("Time line", timeline_svg(result), "What the guard let through to the wheels."),
        _docking(result.docking),
        _events(result),
        _provenance(result),
    ]
    title = f"{_text(result.course)}: {result.verdict.value}"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f'<body style="--tone: var({_TONES[result.verdict]})">\n<main>\n'
        + "\n".join(part for part in parts if part)
        + "\n</main>\n</body>\n</html>\n"
    )


def _header(result: CourseResult) -> str:
    word, meaning = _WORDS[result.verdict]
    consistency = result.judged.consistency
    if result.judged.inconsistent:
        meaning = "LiDAR and odometry contradict each other beyond their uncertainty."
    shown = [reason for reason in result.judged.reasons if result.verdict is not Verdict.PASSED][:8]
    left = len(result.judged.reasons) - len(shown) if shown else 0
    reasons = "".join(f"<li>{_text(reason)}</li>" for reason in shown)
    if left > 0:
        reasons += f"<li>and {left} more, see the tables below</li>"
    return (
        f'<header><h1>Course “{_text(result.course)}”: <span class="verdict">{word}</span></h1>'
        f'<div class="sub">{_text(meaning)} {_text(_sentence(consistency.reason))}</div>'
        + (f'<ul class="reasons">{reasons}</ul>' if reasons else "")
        + "</header>"
    )


def _facts(result: CourseResult) -> str:
    facts = [
        (f"{result.distance_m:.2f} m", "driven"),
        (_duration(result.duration_s), "on the way"),
        (str(len(result.judged.points)), "points measured"),
    ]
    if result.judged.legs:
        worst = max(leg.check.distance_m for leg in result.judged.legs)
        facts.append((f"{1000 * worst:.1f} mm", "largest leg error"))
    if result.docking is not None:
        outcome = result.docking.outcome
        word = "docked" if outcome.docked else "not docked"
        facts.append((word, f"attempt {outcome.attempts}, {outcome.seconds:.1f} s"))
    cells = "".join(f'<div class="fact"><b>{_text(value)}</b><span>{_text(name)}</span></div>' for value, name in facts)
    return f'<div class="facts">{cells}</div>'


def _picture(title: str, svg: str, caption: str) -> str:
    if not svg:
        return ""
    data = base64.b64encode(svg.encode()).decode()
    return (
        f'<section><h2>{title}</h2><img alt="{title}" src="data:image/svg+xml;base64,{data}">'
        f'<p class="note">{caption}</p></section>'
    )


def _points(result: CourseResult) -> str:
    planned = [point for point in result.judged.points if point.check is not None]
    if not planned:
        return ""
    head = ["point", "x / m", "y / m", "heading / °", "off / mm", "along / mm", "across / mm", "heading off / °"]
    head += ["U / mm", "margin", "scans", "beams used", ""]
    rows = [_point_row(point) for point in planned]
    return _table("Points: where the robot stood, by LiDAR, against the plan", head, rows)


def _point_row(point: PointVerdict) -> list[str]:
    measured, check = point.measurement, point.check
    assert check is not None  # the caller chose those with a plan
    return [
        _text(measured.label),
        f"{measured.lidar.x:.3f}",
        f"{measured.lidar.y:.3f}",
        f"{math.degrees(measured.lidar.heading):.2f}",
        f"{1000 * check.distance_m:.1f}",
        _millimetres(point.along_m),
        _millimetres(point.across_m),
        f"{math.degrees(check.heading_rad):+.2f}",
        f"{1000 * check.distance_uncertainty_m:.1f}",
        _margin(check),
        str(measured.scans),
        f"{measured.inlier_ratio:.0%}",
        _chip(check),
    ]


def _legs(result: CourseResult) -> str:
    legs = result.judged.legs
    if not legs:
        return ""
    head = [
        "leg",
        "way / m",
        "turn / °",
        "off / mm",
        "along / mm",
        "across / mm",
        "heading off / °",
        "U / mm",
        "margin",
    ]
    tested = any(leg.p_holm is not None for leg in legs)
    head += (["p (Holm)"] if tested else []) + [""]
    shown = list(legs)
    title = "Legs: odometry against LiDAR"
    rest = ""
    if len(legs) > _SHOWN_LEGS:
        shown = sorted(legs, key=lambda leg: -leg.check.distance_m)[:_SHOWN_LEGS]
        title += f" (the {_SHOWN_LEGS} worst of {len(legs)})"
        body = _rows(head, [_leg_row(leg, tested) for leg in legs])
        rest = f'<details><summary>All {len(legs)} legs in order</summary><div class="wide">{body}</div></details>'
    return _table(title, head, [_leg_row(leg, tested) for leg in shown], rest)


def _leg_row(leg: LegVerdict, tested: bool) -> list[str]:
    return [
        f"{_text(leg.start)}–{_text(leg.end)}",
        f"{leg.path_m:.2f}",
        f"{math.degrees(leg.lidar_turn_rad):.1f}",
        f"{1000 * leg.check.distance_m:.1f}",
        _millimetres(leg.along_m),
        _millimetres(leg.across_m),
        f"{math.degrees(leg.heading_rad):+.2f}",
        f"{1000 * leg.check.distance_uncertainty_m:.1f}",
        _margin(leg.check),
        *(["–" if leg.p_holm is None else f"{leg.p_holm:.3f}"] if tested else []),
        _chip(leg.check),
    ]


def _docking(docking: DockingResult | None) -> str:
    if docking is None:
        return ""
    outcome, contact = docking.outcome, docking.contact
    rows = [
        ("result", "docked and charging" if outcome.docked else "not docked"),
        ("attempts", f"{outcome.attempts} ({outcome.retries} retries)"),
        ("time to contact" if outcome.docked else "time spent", f"{outcome.seconds:.1f} s"),
    ]
    if contact is not None:
        rows.append(
            (
                "contact error",
                f"{contact.distance_mm:.1f} mm (along {contact.along_mm:+.1f}, across {contact.across_mm:+.1f}), "
                f"{contact.heading_deg:+.2f}°",
            )
        )
    rows += [(f"attempt {number}", fault) for number, fault in enumerate(outcome.faults, start=1)]
    return _list("Docking", rows)


def _events(result: CourseResult) -> str:
    events = [event for event in result.events if event.kind in ("stopped", "resumed")]
    if not events:
        return ""
    rows = [(f"{event.time - result.clock_start:.1f} s", f"{event.kind} – {event.detail}") for event in events]
    return _list("What the guard did", rows)


def _provenance(result: CourseResult) -> str:
    notes = "".join(f'<p class="note">{_text(note)}</p>' for note in result.notes)
    return _list("What this rests on", list(result.provenance.items()), notes)


def _list(title: str, rows: list[tuple[str, str]], rest: str = "") -> str:
    items = "".join(f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>" for name, value in rows)
    return f"<section><h2>{_text(title)}</h2><dl>{items}</dl>{rest}</section>"


def _table(title: str, head: list[str], rows: list[list[str]], rest: str = "") -> str:
    long = ' class="long"' if len(rows) > 12 else ""
    return f'<section{long}><h2>{_text(title)}</h2><div class="wide">{_rows(head, rows)}</div>{rest}</section>'


def _rows(head: list[str], rows: list[list[str]]) -> str:
    """A table; the cells of `rows` are HTML already."""
    top = "".join(f"<th>{_text(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _chip(check: MarginCheck) -> str:
    if check.margin is None:
        return '<span class="chip none">not judged</span>'
    if check.outside:
        return '<span class="chip bad">outside</span>'
    if not check.resolved:
        return '<span class="chip warn">not resolved</span>'
    if check.near_limit:
        return '<span class="chip warn">inside, near the limit</span>'
    return '<span class="chip good">inside</span>'


def _margin(check: MarginCheck) -> str:
    if check.margin is None:
        return "–"
    distance = f"{1000 * check.margin.distance_m:g} mm"
    heading = check.margin.heading_rad
    return distance if heading is None else f"{distance}, {math.degrees(heading):g}°"


def _millimetres(metres: float | None) -> str:
    return "–" if metres is None else f"{1000 * metres:+.1f}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def _text(value: str) -> str:
    return html.escape(value, quote=True)
