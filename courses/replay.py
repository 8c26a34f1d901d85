"""Judges recorded drives: recordings of our own courses, and CARMEN logs of any robot."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from courses.carmen import CarmenLog, CarmenScan, read_carmen
from courses.evaluate import evaluate
from courses.localization import match_scans
from courses.odometry import LegMotion
from courses.playback import MAGIC, read_recording
from courses.result import CourseResult
from courses.verdict import LegMargin, LegMeasurement, PointMeasurement, judge
from drivers.types import Array, Pose, wrap_angle

# A point of a recorded drive: at the latest after this way or turn by the wheels, or where the robot paused.
POINT_EVERY_M = 1.0
POINT_EVERY_RAD = math.radians(30)
PAUSE_S = 1.0
PAUSE_AFTER_M = 0.25
PAUSE_AFTER_RAD = math.radians(10)
_STILL_M = 0.01
_STILL_RAD = math.radians(0.5)
# Scans between points that the matching steps on.
_LINK_M = 0.3
_LINK_RAD = math.radians(12)
_MIN_INLIER_RATIO = 0.4
_MAX_UNJUDGED_SHARE = 0.2
DEFAULT_MARGIN = LegMargin(0.1, math.radians(5))


@dataclass(frozen=True, slots=True)
class Replaying:
    """Progress of a replay: `done` of `total` legs."""

    done: int
    total: int


def replay(
    path: str | Path,
    *,
    margin: LegMargin = DEFAULT_MARGIN,
    watcher: Callable[[Replaying], None] = lambda progress: None,  # noqa: ARG005 - nobody watches
) -> CourseResult:
    """Judge a recorded drive.

    A recording of a course gives the result of that run again; `margin` is not used, its course file has margins.
    A CARMEN log is cut into legs and judged leg by leg with `margin`: raw odometry against matching of scans.
    Raises DocumentError when the file cannot be read, or is neither.
    """
    try:
        with Path(path).open("rb") as file:
            ours = file.read(len(MAGIC)) == MAGIC
    except OSError:
        ours = False  # the reader of logs says why it cannot be read
    if ours:
        return evaluate(read_recording(path))
    return replay_carmen(read_carmen(path), margin, watcher)


def replay_carmen(log: CarmenLog, margin: LegMargin, watcher: Callable[[Replaying], None]) -> CourseResult:
    """Cut a log into legs at its points and judge them.

    Points are set where the robot stood still for 1 s, and at the latest every 1 m or 30 deg of raw odometry, for
    odometry is a matter of metres while scans must still overlap.
    """
    odometry = [Pose(*log.odometry_at(scan.time), time=scan.time) for scan in log.scans]
    ends = key_scans(odometry)
    mount = Pose(log.front_laser_offset_m, 0.0, 0.0)
    start = Pose(*log.scans[0].corrected)
    points = [PointMeasurement("P0", start, start)]
    legs: list[LegMeasurement] = []
    path: list[Pose] = [Pose(*start.xyh, time=log.scans[0].time)]
    unjudged: list[str] = []
    for number, (first, last) in enumerate(pairwise(ends), start=1):
        watcher(Replaying(number - 1, len(ends) - 1))
        driven = odometry[first].between(odometry[last])
        way = _way(log, odometry[first].time, odometry[last].time)
        links = _links(odometry, first, last)
        chain, sure = _match_leg(log.scans, odometry, links, mount)
        seen = chain[-1]
        if not sure:
            unjudged.append(f"P{number - 1}-P{number}")
        begin = points[-1]
        for step, index in zip(chain, links[1:], strict=True):
            path.append(Pose(*begin.lidar.compose(step).xyh, time=log.scans[index].time))
        here, by_wheels = begin.lidar.compose(seen), begin.odometry.compose(driven)
        here = Pose(*here.xyh, here.covariance, "map", odometry[last].time)
        points.append(PointMeasurement(f"P{number}", here, by_wheels))
        legs.append(LegMeasurement(LegMotion.from_pose(driven, way), margin if sure else None, seen))
    watcher(Replaying(len(ends) - 1, len(ends) - 1))

    notes = list(log.damage)
    if unjudged:
        notes.append(f"{len(unjudged)} of {len(legs)} legs not judged, their scans do not match: {_some(unjudged)}")
    errors = []
    if len(unjudged) > _MAX_UNJUDGED_SHARE * len(legs):
        errors.append(f"the scans of {len(unjudged)} of {len(legs)} legs do not match: too few to judge the drive by")
    reference = np.array([(scan.time, *scan.corrected) for scan in log.scans])
    notes += _against_reference(log, ends, legs, mount)
    judged = judge(points, legs, calibration=None, lab_errors=errors)
    return CourseResult(
        course=Path(log.source).name,
        robot="recorded robot",
        judged=judged,
        distance_m=_way(log, odometry[0].time, odometry[-1].time),
        duration_s=log.scans[-1].time - log.scans[0].time,
        clock_start=log.scans[0].time,
        docking=None,
        events=(),
        lab_errors=tuple(errors),
        odometry=_placed(odometry, start),
        lidar=tuple(path),
        speeds=_speeds(log),
        segments=np.zeros((0, 2, 2)),
        provenance={
            "log": log.source,
            "scans": str(len(log.scans)),
            "odometry lines": str(len(log.odometry)),
            "path by LiDAR": "chained from scan to scan; small errors add up along the way",
            "points": "at pauses of 1 s, and at least every 1 m or 30 deg of raw odometry",
            "calibration": "none: consistency is not judged",
        },
        notes=tuple(notes),
        reference=reference,
        cloud=_cloud(log, path, mount),
    )


def key_scans(odometry: list[Pose]) -> list[int]:
    """Indices of the scans that become points, the first and the last included."""
    keys = [0]
    way = turn = 0.0
    still_since = odometry[0].time
    for index in range(1, len(odometry)):
        step = odometry[index - 1].between(odometry[index])
        way += math.hypot(step.x, step.y)
        turn += abs(step.heading)
        if math.hypot(step.x, step.y) > _STILL_M or abs(step.heading) > _STILL_RAD:
            still_since = odometry[index].time
        paused = odometry[index].time - still_since >= PAUSE_S and (way >= PAUSE_AFTER_M or turn >= PAUSE_AFTER_RAD)
        if way >= POINT_EVERY_M or turn >= POINT_EVERY_RAD or paused:
            keys.append(index)
            way = turn = 0.0
    if keys[-1] != len(odometry) - 1:
        keys.append(len(odometry) - 1)
    return keys


def _links(odometry: list[Pose], first: int, last: int) -> list[int]:
    """The scans from `first` to `last` that matching steps on."""
    links = [first]
    for index in range(first + 1, last):
        step = odometry[links[-1]].between(odometry[index])
        if math.hypot(step.x, step.y) >= _LINK_M or abs(step.heading) >= _LINK_RAD:
            links.append(index)
    return [*links, last]


def _match_leg(
    scans: tuple[CarmenScan, ...], odometry: list[Pose], links: list[int], mount: Pose
) -> tuple[list[Pose], bool]:
    """Poses of the base at each link after the first, in the frame of the first; the last one with its covariance.

    Each scan is matched to the one before it; the last one also to the first, directly, since errors of a chain add up.
    Returns as well whether every link matched beyond doubt. A link whose scans do not match at all is bridged by
    odometry.
    """
    chain: list[Pose] = []
    here = Pose(0.0, 0.0, 0.0)
    sure = True
    for before, after in pairwise(links):
        driven = odometry[before].between(odometry[after])
        step, certain = _matched(scans[before], scans[after], driven, mount)
        sure = sure and certain
        here = here.compose(step)
        chain.append(here)
    if len(links) > 2:
        direct, certain = _matched(scans[links[0]], scans[links[-1]], here, mount)
        off = here.between(direct)
        if certain and math.hypot(off.x, off.y) < 0.1 and abs(off.heading) < 0.1:
            chain[-1] = direct
    return chain, sure


def _matched(before: CarmenScan, after: CarmenScan, guess: Pose, mount: Pose) -> tuple[Pose, bool]:
    """Motion of the base between two scans, and whether they match beyond doubt; the guess where they do not match."""
    try:
        match = match_scans(before.points, after.points, mount.inverse().compose(guess).compose(mount))
    except ValueError:
        return guess, False
    if match.inlier_ratio < _MIN_INLIER_RATIO:
        return guess, False
    return mount.compose(match.pose).compose(mount.inverse()), not match.ambiguous


def _against_reference(log: CarmenLog, ends: list[int], legs: list[LegMeasurement], mount: Pose) -> list[str]:
    """How the legs by LiDAR and by odometry compare with the poses in the log, as a remark."""
    by_lidar: list[tuple[float, float]] = []
    by_wheels: list[tuple[float, float]] = []
    for leg, first, last in zip(legs, ends, ends[1:], strict=False):
        if leg.margin is None or leg.lidar is None:
            continue
        # The log's poses are the laser's; what is compared is the base's motion.
        a, b = (Pose(*log.scans[index].corrected).compose(mount.inverse()) for index in (first, last))
        said = a.between(b)
        for found, into in ((leg.lidar, by_lidar), (leg.motion.pose(), by_wheels)):
            off = said.between(found)
            into.append((math.hypot(off.x, off.y), abs(math.degrees(off.heading))))
    if not by_lidar:
        return []
    lidar, wheels = np.median(by_lidar, axis=0), np.median(by_wheels, axis=0)
    return [
        f"against the corrected poses in the log, median over {len(by_lidar)} legs: scan matching "
        f"{lidar[0] * 1000:.0f} mm and {lidar[1]:.2f} deg, raw odometry {wheels[0] * 1000:.0f} mm and "
        f"{wheels[1]:.2f} deg (the corrected poses themselves are good to about 20 mm and 0.35 deg)"
    ]


def _way(log: CarmenLog, begin: float, end: float) -> float:
    """Metres that the wheels drove between two moments."""
    inside = log.odometry[(log.odometry[:, 0] > begin) & (log.odometry[:, 0] < end), 1:3]
    ends = [np.array([log.odometry_at(time)[:2]]) for time in (begin, end)]
    steps = np.diff(np.concatenate((ends[0], inside, ends[1])), axis=0)
    return float(np.hypot(steps[:, 0], steps[:, 1]).sum())


def _placed(odometry: list[Pose], start: Pose) -> Array:
    """(N, 4) raw odometry moved so that it begins at `start`."""
    rows = [(pose.time, *start.compose(odometry[0].between(pose)).xyh) for pose in odometry]
    return np.array(rows)


def _speeds(log: CarmenLog) -> Array:
    """(N, 3) time, m/s and rad/s by the wheels."""
    elapsed = np.diff(log.odometry[:, 0])
    moved = elapsed > 0.02
    steps = np.diff(log.odometry, axis=0)[moved]
    elapsed = elapsed[moved]
    linear = np.hypot(steps[:, 1], steps[:, 2]) / elapsed
    angular = np.array([wrap_angle(turn) for turn in steps[:, 3]]) / elapsed
    return np.column_stack((log.odometry[1:, 0][moved], linear, angular))


def _cloud(log: CarmenLog, path: list[Pose], mount: Pose) -> Array:
    """(K, 2) what the LiDAR saw from the poses of `path`, thinned to what a picture can show."""
    at = {scan.time: scan for scan in log.scans}
    clouds = []
    for pose in path[:: max(1, len(path) // 400)]:
        sensor = pose.compose(mount)
        c, s = math.cos(sensor.heading), math.sin(sensor.heading)
        points = at[pose.time].points[::3]
        clouds.append(points @ np.array([[c, s], [-s, c]]) + (sensor.x, sensor.y))
    return np.concatenate(clouds)


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
