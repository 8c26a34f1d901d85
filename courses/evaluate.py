"""From what was captured to the result: a pure function, so that a recording gives the result of the run again."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from courses.docking import contact_error
from courses.localization import averaged_ranges, locate
from courses.log import LATE, CourseLog, Setup
from courses.measuring import Visit
from courses.model import Margin
from courses.odometry import integrate
from courses.result import CourseResult, DockingResult
from courses.sensitivity import MapSensitivity
from courses.verdict import LegMargin, LegMeasurement, PointMargin, PointMeasurement, PointVerdict, judge
from drivers.types import Array, Pose, wrap_angle

MIN_INLIER_RATIO = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """A visit's pose by LiDAR, or why there is none."""

    visit: Visit
    measurement: PointMeasurement | None
    fault: str


def evaluate(log: CourseLog) -> CourseResult:
    """Judge what was captured, be it whole or broken off."""
    setup, ending = log.setup, log.ending
    fits = [fit_visit(visit, setup) for visit in log.visits]
    lab_errors = list(log.damage)
    if ending is None:
        lab_errors.append("the recording ends before the course did: the program that drove it was ended")
    else:
        lab_errors += ending.lab_errors
    lab_errors += [fit.fault for fit in fits if fit.fault]
    lab_errors += odometry_breaks(log.visits)

    docking = None
    if log.docking is not None:
        contact = None
        if log.docked_visit is not None and setup.course.file.docking is not None:
            in_dock = fit_visit(log.docked_visit, setup)
            if in_dock.measurement is not None:
                dock = setup.course.room.dock(setup.course.file.docking.dock)
                contact = contact_error(dock.pose, in_dock.measurement.lidar)
        docking = DockingResult(log.docking, contact)

    failures = list(ending.device_failures) if ending else []
    good = [fit for fit in fits if fit.measurement is not None]
    points, legs = _measurements(log, good)
    decide = functools.partial(
        judge,
        points,
        legs,
        calibration=setup.calibration,
        device_failures=failures,
        cancelled=ending.cancelled if ending else None,
        level=setup.course.file.consistency_level,
    )
    judged = decide(lab_errors=lab_errors)
    if late := arrived_late(judged.points, [fit.visit for fit in good], log):
        lab_errors += late
        judged = decide(lab_errors=lab_errors)
    track, whole = _odometry_track(log, points[0].lidar if points else setup.course.file.points[0].pose)
    last = max((s.state.time for s in log.samples), default=setup.clock_start)
    return CourseResult(
        course=setup.course.name,
        robot=setup.robot,
        judged=judged,
        distance_m=whole,
        duration_s=last - setup.clock_start,
        clock_start=setup.clock_start,
        docking=docking,
        events=tuple(log.events),
        lab_errors=tuple(lab_errors),
        odometry=track,
        lidar=tuple(sorted([*log.fixes, *(p.lidar for p in points)], key=lambda pose: pose.time)),
        speeds=np.array([(s.state.time, s.applied.linear, s.applied.angular) for s in log.samples]).reshape(-1, 3),
        segments=setup.course.room.segments,
        provenance=_provenance(setup),
    )


def fit_visit(visit: Visit, setup: Setup) -> Fit:
    """Fit a visit's scans to the room; what stands in the way of a pose is told in `fault`."""
    room, mount = setup.course.room, setup.used_mount
    averaged = averaged_ranges(np.stack([scan.ranges for scan in visit.scans]))
    angles = visit.scans[0].angles
    try:
        match = locate(averaged, angles, room.segments, visit.guess.compose(mount), survey_sigma_m=room.survey_sigma_m)
    except ValueError as exc:
        return Fit(visit, None, f"point {visit.label}: no pose from the LiDAR: {exc}")
    if not match.trustworthy:
        why = "is ambiguous" if match.ambiguous else "is not determined by what the LiDAR sees"
        other = match.runner_up
        if match.ambiguous and other is not None:
            why += f": ({match.pose.x:.2f}, {match.pose.y:.2f}) or ({other.x:.2f}, {other.y:.2f})"
        return Fit(visit, None, f"point {visit.label}: the pose {why}; {match.inlier_ratio:.0%} of the beams agree")
    if match.inlier_ratio < MIN_INLIER_RATIO:
        return Fit(
            visit,
            None,
            f"point {visit.label}: only {match.inlier_ratio:.0%} of the beams see the room as surveyed; "
            "is somebody in the way, or furniture moved?",
        )
    # The mount's own uncertainty is common to all points: the calibration brings it in, not each pose.
    exact_mount = Pose(*mount.xyh)
    pose = match.pose.compose(exact_mount.inverse())
    time = visit.scans[-1].time
    base = Pose(pose.x, pose.y, pose.heading, pose.covariance, "map", time)
    point = setup.course.file.point(visit.label)
    measurement = PointMeasurement(
        label=visit.label,
        lidar=base,
        odometry=base,
        planned=point.pose,
        margin=_point_margin(setup.course.file.point_margin(visit.label)),
        scans=len(visit.scans),
        inlier_ratio=match.inlier_ratio,
        residual_m=match.residual_m,
        sensitivity=MapSensitivity.of_base(match, base),
    )
    return Fit(visit, measurement, "")


def _measurements(log: CourseLog, fits: list[Fit]) -> tuple[list[PointMeasurement], list[LegMeasurement]]:
    """Points with their pose by odometry since the first one, and the legs between them."""
    points: list[PointMeasurement] = []
    legs: list[LegMeasurement] = []
    file = log.setup.course.file
    odometry = None
    for index, fit in enumerate(fits):
        assert fit.measurement is not None  # the caller left the others out
        measured = fit.measurement
        if odometry is None:
            odometry = Pose(*measured.lidar.xyh)
        else:
            before = fits[index - 1].visit
            motion = integrate(log.setup.used_geometry, leg_ticks(log, before, fit.visit))[1]
            odometry = odometry.compose(motion.pose(log.setup.calibration.slip if log.setup.calibration else None))
            planned = [leg for leg in file.legs if (leg.start, leg.end) == (before.label, fit.visit.label)]
            margin = _leg_margin(file.leg_margin(planned[0])) if planned else None
            legs.append(LegMeasurement(motion, margin))
        points.append(
            PointMeasurement(
                label=measured.label,
                lidar=measured.lidar,
                odometry=odometry,
                planned=measured.planned,
                margin=measured.margin,
                scans=measured.scans,
                inlier_ratio=measured.inlier_ratio,
                residual_m=measured.residual_m,
                sensitivity=measured.sensitivity,
            )
        )
    return points, legs


def leg_ticks(log: CourseLog, before: Visit, after: Visit) -> list[tuple[int, int]]:
    """Cumulative (left, right) ticks from the standstill of one visit to that of the next."""
    start, end = before.after, after.before
    ticks = [(start.left_ticks, start.right_ticks)]
    ticks += [
        (sample.state.left_ticks, sample.state.right_ticks)
        for sample in log.samples
        if start.time < sample.state.time < end.time
    ]
    ticks.append((end.left_ticks, end.right_ticks))
    return ticks


def odometry_breaks(visits: Sequence[Visit]) -> list[str]:
    """Legs whose wheel ticks cannot be trusted: the motor board's counts broke off on the way."""
    return [
        f"leg {before.label}-{after.label}: the motor board's tick counts broke off on the way (silence, a reset "
        "or a line opened anew), so there is no odometry to compare with; see the guard's log"
        for before, after in pairwise(visits)
        if after.before.odometry_breaks != before.after.odometry_breaks
    ]


def arrived_late(points: Sequence[PointVerdict], visits: Sequence[Visit], log: CourseLog) -> list[str]:
    """Points outside their margin on whose way the driving program, or the guard, came too late to stop in time.

    Where the base stands then says nothing of the robot.
    """
    found = []
    left = log.setup.clock_start
    for point, visit in zip(points, visits, strict=True):
        late = [e for e in log.events if e.kind == LATE and left <= e.time <= visit.after.time]
        if late and point.check is not None and point.check.outside:
            found.append(
                f"point {visit.label} is outside its margin, but on the way there {late[-1].detail}: "
                "this computer was too busy to stop the base in time"
            )
        left = visit.after.time
    return found


def _odometry_track(log: CourseLog, start: Pose) -> tuple[Array, float]:
    """(N, 4) time and pose by the wheels alone, and the length of the way in metres."""
    if not log.samples:
        return np.zeros((0, 4)), 0.0
    ticks = [(s.state.left_ticks, s.state.right_ticks) for s in log.samples]
    local, motion = integrate(log.setup.used_geometry, ticks)
    c, s = math.cos(start.heading), math.sin(start.heading)
    track = np.empty((len(local), 4))
    track[:, 0] = [sample.state.time for sample in log.samples]
    track[:, 1] = start.x + c * local[:, 0] - s * local[:, 1]
    track[:, 2] = start.y + s * local[:, 0] + c * local[:, 1]
    track[:, 3] = [wrap_angle(start.heading + turn) for turn in local[:, 2]]
    return track, motion.path_m


def _point_margin(margin: Margin) -> PointMargin:
    return PointMargin(margin.distance_m, math.radians(margin.heading_deg))


def _leg_margin(margin: Margin) -> LegMargin:
    return LegMargin(margin.distance_m, math.radians(margin.heading_deg))


def _provenance(setup: Setup) -> dict[str, str]:
    calibration = "none"
    if setup.calibration:
        slip = setup.calibration.slip
        calibration = (
            f"{setup.calibration.robot} of {setup.calibration.date.isoformat()}, slip variance "
            f"{slip.variance_per_metre:.2e} m²/m ({slip.interval[0]:.1e} to {slip.interval[1]:.1e}, {slip.runs} runs)"
        )
    return {
        "robot": setup.robot,
        "started": setup.started_at.isoformat(timespec="seconds"),
        "course file": f"{setup.course.source}, sha256 {setup.course.sha256[:16]}",
        "room": setup.course.room.name,
        "driving input": setup.driving_input,
        "calibration": calibration,
        "versions": ", ".join(f"{name} {version}" for name, version in setup.versions.items()),
    }
