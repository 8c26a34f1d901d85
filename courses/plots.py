"""Pictures of a course's result, as SVG: the map, the residuals against their margins, and the time line."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse

from courses.result import CourseResult
from courses.verdict import MarginCheck
from drivers.types import Pose

INK, MUTED, FAINT = "#1c2733", "#66727f", "#dfe4ea"
LIDAR, WHEELS, GOOD, BAD, NEUTRAL = "#1f6feb", "#e07b00", "#1a7f37", "#cf222e", "#8c959f"
_MANY = 24
_ELLIPSE_95 = math.sqrt(5.991)  # chi-square, two degrees of freedom


def map_svg(result: CourseResult) -> str:
    """The room with the path by LiDAR, the path by odometry, and the points with their error ellipses."""
    figure = Figure(figsize=(9.2, 6.9), layout="constrained")
    axes = figure.add_subplot()
    axes.set_aspect("equal")
    _bare(axes)
    axes.grid(color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    if len(result.segments):
        axes.add_collection(LineCollection(list(result.segments), colors=INK, linewidths=2.2, capstyle="round"))
    if result.cloud is not None and len(result.cloud):
        axes.plot(*result.cloud.T, ",", color=NEUTRAL, alpha=0.5, rasterized=True, label="seen by the LiDAR")
    if result.reference is not None:
        axes.plot(result.reference[:, 1], result.reference[:, 2], color=GOOD, linewidth=1, label="poses in the log")
    wide = 4.0 if result.cloud is None else 1.6
    if result.lidar:
        track = np.array([(pose.x, pose.y) for pose in result.lidar])
        axes.plot(*track.T, "-", color=LIDAR, linewidth=wide, alpha=0.45, solid_capstyle="round", label="by LiDAR")
    if len(result.odometry):
        axes.plot(
            result.odometry[:, 1],
            result.odometry[:, 2],
            color=WHEELS,
            linewidth=1.2,
            linestyle=(0, (5, 2)),
            label="by odometry alone",
        )
    _points(axes, result)
    axes.autoscale_view()
    axes.margins(0.04)
    axes.set_xlabel("x / m")
    axes.set_ylabel("y / m")
    figure.legend(loc="outside upper left", ncols=4, frameon=False, fontsize=9)
    return _svg(figure)


def _points(axes: Axes, result: CourseResult) -> None:
    points = result.judged.points
    many = len(points) > _MANY
    magnified = _magnification([p.measurement.lidar for p in points] + [p.measurement.odometry for p in points])
    named: set[str] = set()
    for point in points:
        measured = point.measurement
        bad = point.check is not None and point.check.outside
        if not many:
            if magnified:
                for pose, colour in ((measured.lidar, LIDAR), (measured.odometry, WHEELS)):
                    _ellipse(axes, pose, magnified, colour)
            _arrow(axes, measured.lidar, BAD if bad else LIDAR)
            if measured.planned is not None:
                axes.plot(
                    measured.planned.x, measured.planned.y, "+", color=INK, markersize=11, markeredgewidth=1, zorder=4
                )
            axes.plot(measured.lidar.x, measured.lidar.y, "o", color=BAD if bad else LIDAR, markersize=6, zorder=5)
        if measured.label in named or (many and point is not points[0] and point is not points[-1]):
            continue
        named.add(measured.label)
        axes.annotate(
            measured.label,
            (measured.lidar.x, measured.lidar.y),
            xytext=(9, 9),
            textcoords="offset points",
            fontsize=12,
            fontweight="bold",
            color=INK,
            zorder=6,
            bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.8},
        )
    if magnified and not many:
        text = f"ellipses: 95 %, {magnified:g} times as large" if magnified != 1 else "ellipses: 95 %"
        axes.text(0.995, 0.005, text, transform=axes.transAxes, ha="right", va="bottom", fontsize=9, color=MUTED)


def _magnification(poses: Sequence[Pose]) -> float:
    """How many times ellipses are enlarged to be seen: 1, 2 or 5 times a power of ten; 0 where there are none."""
    largest = max((math.sqrt(max(0.0, np.linalg.eigvalsh(p.covariance[:2, :2])[-1])) for p in poses), default=0.0)
    if largest < 1e-7:
        return 0.0
    wanted = max(1.0, 0.25 / (largest * _ELLIPSE_95))
    power = 10.0 ** math.floor(math.log10(wanted))
    return max(step * power for step in (1, 2, 5) if step * power <= wanted * 1.001)


def _ellipse(axes: Axes, pose: Pose, magnified: float, colour: str) -> None:
    values, vectors = np.linalg.eigh(pose.covariance[:2, :2])
    width, height = 2 * _ELLIPSE_95 * magnified * np.sqrt(np.maximum(values[::-1], 0.0))
    angle = math.degrees(math.atan2(vectors[1, 1], vectors[0, 1]))
    axes.add_patch(
        Ellipse((pose.x, pose.y), width, height, angle=angle, facecolor=colour, edgecolor=colour, alpha=0.25, zorder=3)
    )


def _arrow(axes: Axes, pose: Pose, colour: str) -> None:
    tip = (pose.x + 0.28 * math.cos(pose.heading), pose.y + 0.28 * math.sin(pose.heading))
    style = {"arrowstyle": "-|>", "color": colour, "linewidth": 1.6, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", xy=tip, xytext=(pose.x, pose.y), arrowprops=style, zorder=5)


@dataclass(frozen=True, slots=True)
class _Residual:
    name: str
    check: MarginCheck


def residuals_svg(result: CourseResult) -> str:
    """How far off each point and leg is, with its uncertainty, against its margin."""
    points = [_Residual(p.measurement.label, p.check) for p in result.judged.points if p.check is not None]
    legs = [_Residual(f"{leg.start}–{leg.end}", leg.check) for leg in result.judged.legs]
    groups = [(title, each) for title, each in (("Points", points), ("Legs", legs)) if each]
    if not groups:
        return ""
    rows = [max(1.5, 0.75 + 0.3 * min(len(each), 6)) for _, each in groups]
    figure = Figure(figsize=(9.2, sum(rows)), layout="constrained")
    grid = figure.subplots(len(groups), 2, squeeze=False, gridspec_kw={"height_ratios": rows})
    for row, (title, each) in enumerate(groups):
        what = "LiDAR against plan" if title == "Points" else "odometry against LiDAR"
        _residual_panel(grid[row][0], each, f"{title}: {what}, distance / mm", heading=False)
        _residual_panel(grid[row][1], each, f"{title}: heading / deg", heading=True)
    return _svg(figure)


def _residual_panel(axes: Axes, residuals: list[_Residual], title: str, heading: bool) -> None:
    checks = [residual.check for residual in residuals]
    if heading:
        values = np.array([math.degrees(abs(check.heading_rad)) for check in checks])
        uncertain = np.array([math.degrees(check.heading_uncertainty_rad) for check in checks])
    else:
        values = np.array([1000 * check.distance_m for check in checks])
        uncertain = np.array([1000 * check.distance_uncertainty_m for check in checks])
    limits = np.array([_limit(check, heading) for check in checks])
    within = [not math.isfinite(limit) or value <= limit for value, limit in zip(values, limits, strict=True)]
    judged = np.isfinite(limits)
    colours = np.where(judged, np.where(within, GOOD, BAD), NEUTRAL)
    _bare(axes)
    axes.set_title(title, loc="left", fontsize=10, color=INK)
    index = np.arange(len(values))
    if len(values) > _MANY:
        axes.scatter(index, values, s=5, c=colours, linewidths=0)
        axes.plot(index, np.where(judged, limits, np.nan), color=INK, linewidth=1, linestyle="--")
        axes.set_xlabel("leg number", fontsize=9)
        axes.set_ylim(bottom=0)
        axes.grid(axis="y", color=FAINT, linewidth=0.6)
        return
    axes.barh(index, values, height=0.5, color=colours, alpha=0.85)
    axes.errorbar(
        values, index, xerr=uncertain, fmt="none", ecolor=INK, elinewidth=1, capsize=2.5, errorevery=1, zorder=3
    )
    for at, limit in zip(index, limits, strict=True):
        if math.isfinite(limit):
            axes.plot([limit, limit], [at - 0.42, at + 0.42], color=INK, linewidth=2, solid_capstyle="butt")
    axes.set_yticks(index, [residual.name for residual in residuals])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.08 * max([*limits[judged], *(values + uncertain), 1e-3]))
    axes.grid(axis="x", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)


def _limit(check: MarginCheck, heading: bool) -> float:
    if check.margin is None:
        return math.nan
    if not heading:
        return 1000 * check.margin.distance_m
    return math.nan if check.margin.heading_rad is None else math.degrees(check.margin.heading_rad)


def timeline_svg(result: CourseResult) -> str:
    """Speed over time, with the guard's stops shaded and the measured points marked."""
    if not len(result.speeds):
        return ""
    figure = Figure(figsize=(9.2, 2.9), layout="constrained")
    axes = figure.add_subplot()
    _bare(axes)
    times = result.speeds[:, 0] - result.clock_start
    axes.plot(times, result.speeds[:, 1], color=LIDAR, linewidth=1.2, label="speed / (m/s)")
    axes.plot(times, result.speeds[:, 2], color=WHEELS, linewidth=0.8, alpha=0.8, label="turning / (rad/s)")
    axes.axhline(0, color=FAINT, linewidth=0.8, zorder=0)
    for begin, end in _spans(result, "stopped", ("resumed", "ended")):
        axes.axvspan(begin, end, color=BAD, alpha=0.18, linewidth=0, label="stopped by the guard")
    for begin, end in _spans(result, "docking", ("docked", "not docked", "ended")):
        axes.axvspan(begin, end, color=GOOD, alpha=0.12, linewidth=0, label="docking and charging")
    for event in result.events:
        if event.kind != "measured":
            continue
        at = event.time - result.clock_start
        axes.axvline(at, color=MUTED, linewidth=0.7, linestyle=":")
        axes.annotate(
            event.detail.removeprefix("point ").removesuffix(" in the dock"),
            (at, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 2),
            textcoords="offset points",
            ha="center",
            fontweight="bold",
            color=INK,
        )
    axes.set_xlabel("time / s")
    axes.margins(x=0.01)
    # A few readings with wrong time stamps, as logs have them, must not flatten the rest.
    low, high = np.percentile(result.speeds[:, 1:], (0.2, 99.8))
    axes.set_ylim(min(-0.1, 1.3 * low), max(0.1, 1.3 * high))
    axes.grid(axis="y", color=FAINT, linewidth=0.6)
    handles, labels = axes.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    figure.legend(once.values(), once.keys(), loc="outside lower right", ncols=4, frameon=False, fontsize=9)
    return _svg(figure)


def _spans(result: CourseResult, opening: str, closing: tuple[str, ...]) -> list[tuple[float, float]]:
    """Stretches of time between an event of kind `opening` and the next of one of `closing`, seconds from the start."""
    spans: list[tuple[float, float]] = []
    begun: float | None = None
    for event in result.events:
        at = event.time - result.clock_start
        if event.kind == opening and begun is None:
            begun = at
        elif event.kind in closing and begun is not None:
            spans.append((begun, at))
            begun = None
    return spans


def _bare(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(NEUTRAL)
    axes.tick_params(colors=MUTED, labelsize=9)
    axes.xaxis.label.set_color(MUTED)
    axes.yaxis.label.set_color(MUTED)


def _svg(figure: Figure) -> str:
    """The figure as an SVG document whose text stays text."""
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "course", "font.family": "sans-serif"}):
        out = io.StringIO()
        canvas = FigureCanvasSVG(figure)
        canvas.print_svg(out, metadata={"Date": None, "Creator": None})  # type: ignore[no-untyped-call]  # matplotlib left it out
    return out.getvalue()
