"""The verdict on a course: margins of error leg by leg and point by point, and one consistency test over all legs.

How it is decided, first match wins:

1. the run was cancelled: cancelled;
2. a cause on the lab's side was reported, or nothing was measured: errored;
3. a leg or point lies outside its margin, or the device under test failed otherwise (did not dock): failed;
4. inside the margins, but LiDAR and odometry contradict each other beyond their uncertainty: failed, inconsistent;
5. a margin is finer than the measurement resolves: errored, for the lab cannot tell;
6. passed.

The margins are applied by simple acceptance: the measured value itself is compared with the limit (JCGM 106:2012,
8.2), which is fair only while the measurement is much better than the margin. So its expanded uncertainty U (95 %) is
compared with the margin too. Where U exceeds the margin, acceptance would be chance: the check is "not resolved", and
it fails only when the value less U is still outside, as ISO 14253-1 asks for proving non-conformity. A value within U
of its limit is marked "near the limit", so that a reader may see it; it does not alter the verdict.
For a leg the measurand is the odometry's error, so U is that of the LiDAR's relative pose; wheel slip belongs to the
robot and is judged, not excused.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from courses.calibration import Calibration
from courses.consistency import (
    LEVEL,
    CommonErrors,
    Consistency,
    ConsistencyTest,
    MeasuredLeg,
    StackedLegs,
    check_consistency,
    point_covariance,
    relative_lidar_pose,
    stack_legs,
)
from courses.odometry import LegMotion
from courses.sensitivity import MapSensitivity
from drivers.types import Array, Pose, wrap_angle

_COVERAGE = 1.96  # of a normal distribution, 95 %, two-sided


class Verdict(StrEnum):
    """What a run says of the thing under test."""

    PASSED = "passed"
    FAILED = "failed"
    ERRORED = "errored"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Margin:
    """A margin of error: a distance (m) and, unless None, a heading (rad). Both limits themselves are inside."""

    distance_m: float
    heading_rad: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.distance_m < math.inf:
            raise ValueError(f"margin of {self.distance_m} m is not above 0")
        if self.heading_rad is not None and not 0 < self.heading_rad <= math.pi:
            raise ValueError(f"margin of {self.heading_rad} rad is outside 0 .. pi")


class LegMargin(Margin):
    """How far odometry may lie from the LiDAR at the end of a leg, both starting from the leg's first point."""


class PointMargin(Margin):
    """How far the robot may stand from the course's planned point."""


@dataclass(frozen=True, slots=True)
class PointMeasurement:
    """A labelled point as it was measured at standstill.

    `lidar`: the base's pose in the map, its covariance that of the `scans` at this point alone (independent of other
    points). `odometry`: the pose by wheels alone since the start. `planned` and `margin` are None where the course
    plans nothing (a recorded log). `sensitivity` is needed with a calibration that has range bias or survey error.
    """

    label: str
    lidar: Pose
    odometry: Pose
    planned: Pose | None = None
    margin: PointMargin | None = None
    scans: int = 1
    inlier_ratio: float = 1.0
    residual_m: float = 0.0
    sensitivity: MapSensitivity | None = None


@dataclass(frozen=True, slots=True)
class LegMeasurement:
    """A leg between two successive points.

    `lidar`: the leg's relative pose when scans were matched to each other; None when its end points say it.
    """

    motion: LegMotion
    margin: LegMargin | None = None
    lidar: Pose | None = None


@dataclass(frozen=True, slots=True)
class MarginCheck:
    """A measured deviation against its margin, with its expanded uncertainty (95 %).

    `inside`: None where there is no margin. `resolved`: the uncertainty does not exceed the margin. `near_limit`: the
    deviation is within its uncertainty of the limit. `outside`: what counts as a failure (see the rules above).
    """

    distance_m: float
    distance_uncertainty_m: float
    heading_rad: float
    heading_uncertainty_rad: float
    margin: Margin | None
    inside: bool | None
    resolved: bool
    near_limit: bool
    outside: bool


@dataclass(frozen=True, slots=True)
class LegVerdict:
    """One leg, ready to be shown.

    Distances are straight from point to point, `path_m` is the way driven. Differences are odometry less LiDAR, `along`
    and `across` (to the left) the LiDAR's line from start to end. `sigma_*`: what they may scatter by for a good robot,
    slip and common errors included; None without calibration, like the p-values.
    """

    start: str
    end: str
    lidar_distance_m: float
    lidar_turn_rad: float
    odometry_distance_m: float
    odometry_turn_rad: float
    path_m: float
    along_m: float
    across_m: float
    heading_rad: float
    sigma_along_m: float | None
    sigma_across_m: float | None
    sigma_heading_rad: float | None
    p_value: float | None
    p_holm: float | None
    check: MarginCheck


@dataclass(frozen=True, slots=True)
class PointVerdict:
    """One point, ready to be shown. Deviations (LiDAR less planned) are None where the course plans nothing.

    `along` and `across` (to the left) are the planned heading's. `sigma_*`: standard uncertainties of the LiDAR pose in
    the map frame, common errors included where calibrated.
    """

    measurement: PointMeasurement
    along_m: float | None
    across_m: float | None
    heading_rad: float | None
    sigma_x_m: float
    sigma_y_m: float
    sigma_heading_rad: float
    check: MarginCheck | None


@dataclass(frozen=True, slots=True)
class CourseVerdict:
    """The verdict on a course with everything a report shows. `reasons` are sentences, the decisive ones first."""

    verdict: Verdict
    reasons: tuple[str, ...]
    points: tuple[PointVerdict, ...]
    legs: tuple[LegVerdict, ...]
    consistency: ConsistencyTest
    calibration: Calibration | None

    @property
    def inconsistent(self) -> bool:
        """Whether LiDAR and odometry contradict each other, whatever the margins say."""
        return self.consistency.outcome is Consistency.INCONSISTENT

    @property
    def distance_m(self) -> float:
        """The way driven, by the wheels."""
        return sum(leg.path_m for leg in self.legs)


def judge(
    points: Sequence[PointMeasurement],
    legs: Sequence[LegMeasurement],
    *,
    calibration: Calibration | None,
    lab_errors: Sequence[str] = (),
    device_failures: Sequence[str] = (),
    cancelled: str | None = None,
    level: float = LEVEL,
) -> CourseVerdict:
    """Judge a course, or as much of it as was driven.

    `points` and the `legs` between them (one fewer). `lab_errors`: causes on the lab's side that spoil the
    measurement. `device_failures`: what else the thing under test did wrong. `cancelled`: who ended the run, if anyone.
    Raises ValueError when points and legs do not fit together or covariances make no sense.
    """
    if len(legs) != max(0, len(points) - 1):
        raise ValueError(f"{len(points)} points need {max(0, len(points) - 1)} legs between them, not {len(legs)}")
    if not 0 < level < 1:
        raise ValueError(f"level {level} is outside 0 .. 1")
    for point in points:
        _check_pose(point)
    common = calibration.common_errors if calibration is not None else CommonErrors.none()
    stacked = _stack(points, legs, common) if legs else None
    consistency = _consistency(stacked, calibration, common, level)
    leg_verdicts = _judge_legs(points, legs, stacked, calibration, consistency) if stacked is not None else ()
    point_verdicts = tuple(_judge_point(point, common) for point in points)
    verdict, reasons = _decide(
        point_verdicts,
        leg_verdicts,
        consistency,
        lab_errors=list(lab_errors),
        device_failures=list(device_failures),
        cancelled=cancelled,
    )
    return CourseVerdict(verdict, tuple(reasons), point_verdicts, leg_verdicts, consistency, calibration)


def _decide(
    points: Sequence[PointVerdict],
    legs: Sequence[LegVerdict],
    consistency: ConsistencyTest,
    *,
    lab_errors: list[str],
    device_failures: list[str],
    cancelled: str | None,
) -> tuple[Verdict, list[str]]:
    checks = [(f"leg {leg.start}-{leg.end}", leg.check) for leg in legs]
    checks += [(f"point {point.measurement.label}", point.check) for point in points if point.check is not None]
    outside = [f"{name} is outside its margin: {_describe(check)}" for name, check in checks if check.outside]
    unresolved = [
        f"{name}: the measurement does not resolve its margin: {_describe(check)}"
        for name, check in checks
        if check.margin is not None and not check.resolved and not check.outside
    ]
    inconsistent = [consistency.reason] if consistency.outcome is Consistency.INCONSISTENT else []
    if cancelled is not None:
        return Verdict.CANCELLED, [cancelled, *lab_errors]
    if not points:
        lab_errors = [*lab_errors, "nothing was measured"]
    everything = lab_errors + outside + device_failures + inconsistent + unresolved
    if lab_errors:
        return Verdict.ERRORED, everything
    if outside or device_failures or inconsistent:
        return Verdict.FAILED, everything
    if unresolved:
        return Verdict.ERRORED, everything
    return Verdict.PASSED, [f"every leg and point is inside its margin; {consistency.reason}"]


def _consistency(
    stacked: StackedLegs | None, calibration: Calibration | None, common: CommonErrors, level: float
) -> ConsistencyTest:
    if calibration is None:
        return ConsistencyTest(Consistency.NOT_JUDGED, "consistency not judged: no calibration", level)
    if stacked is None:
        return ConsistencyTest(Consistency.NOT_JUDGED, "consistency not judged: no leg was driven", level)
    return check_consistency(stacked, common, calibration.slip, level)


def _stack(points: Sequence[PointMeasurement], legs: Sequence[LegMeasurement], common: CommonErrors) -> StackedLegs:
    poses, measured = [point.lidar for point in points], [MeasuredLeg(leg.motion, leg.lidar) for leg in legs]
    return stack_legs(poses, measured, common, [point.sensitivity for point in points])


def _judge_legs(
    points: Sequence[PointMeasurement],
    legs: Sequence[LegMeasurement],
    stacked: StackedLegs,
    calibration: Calibration | None,
    consistency: ConsistencyTest,
) -> tuple[LegVerdict, ...]:
    common = calibration.common_errors if calibration is not None else CommonErrors.none()
    measurement = stacked.lidar_covariance(common)
    expected = None
    if calibration is not None:
        expected = stacked.covariance_without_slip(common) + calibration.slip.variance_per_metre * stacked.slip
    poses, measured = [point.lidar for point in points], [MeasuredLeg(leg.motion, leg.lidar) for leg in legs]
    verdicts = []
    for i, leg in enumerate(legs):
        rows = slice(3 * i, 3 * i + 3)
        seen, motion = relative_lidar_pose(poses, measured, i), leg.motion
        distance = math.hypot(seen.x, seen.y)
        # Where the robot only turned there is no line; the start's own axes stand in for it.
        bearing = math.atan2(seen.y, seen.x) if distance > 0.05 else 0.0
        along, across, heading = _rotated(stacked.difference[rows], bearing)
        sigma = (None, None, None) if expected is None else _sigmas(expected[rows, rows], bearing)
        raw, corrected = consistency.leg_p_values, consistency.leg_p_holm
        verdicts.append(
            LegVerdict(
                start=points[i].label,
                end=points[i + 1].label,
                lidar_distance_m=distance,
                lidar_turn_rad=motion.turn - heading,
                odometry_distance_m=math.hypot(motion.x, motion.y),
                odometry_turn_rad=motion.turn,
                path_m=motion.path_m,
                along_m=along,
                across_m=across,
                heading_rad=heading,
                sigma_along_m=sigma[0],
                sigma_across_m=sigma[1],
                sigma_heading_rad=sigma[2],
                p_value=raw[i] if raw is not None else None,
                p_holm=corrected[i] if corrected is not None else None,
                check=check_margin(along, across, heading, measurement[rows, rows], leg.margin),
            )
        )
    return tuple(verdicts)


def _judge_point(point: PointMeasurement, common: CommonErrors) -> PointVerdict:
    covariance = point_covariance(point.lidar, common, point.sensitivity)
    sigma_x, sigma_y, sigma_heading = (float(s) for s in np.sqrt(np.diag(covariance)))
    if point.planned is None:
        return PointVerdict(point, None, None, None, sigma_x, sigma_y, sigma_heading, None)
    planned, lidar = point.planned, point.lidar
    offset = np.array([lidar.x - planned.x, lidar.y - planned.y, wrap_angle(lidar.heading - planned.heading)])
    along, across, heading = _rotated(offset, planned.heading)
    check = check_margin(along, across, heading, covariance, point.margin)
    return PointVerdict(point, along, across, heading, sigma_x, sigma_y, sigma_heading, check)


def check_margin(along: float, across: float, heading: float, covariance: Array, margin: Margin | None) -> MarginCheck:
    """Compare a deviation (m, m, rad), whose measurement has a (3, 3) covariance, with its margin.

    The uncertainty of the distance is that of the worst direction.
    """
    distance = math.hypot(along, across)
    of_distance = _COVERAGE * math.sqrt(max(0.0, float(np.linalg.eigvalsh(covariance[:2, :2])[-1])))
    of_heading = _COVERAGE * math.sqrt(max(0.0, float(covariance[2, 2])))
    if margin is None:
        return MarginCheck(distance, of_distance, heading, of_heading, None, None, True, False, False)
    rules = [(distance, of_distance, margin.distance_m)]
    if margin.heading_rad is not None:
        rules.append((abs(heading), of_heading, margin.heading_rad))
    inside = all(value <= limit for value, _, limit in rules)
    resolved = all(uncertainty <= limit for _, uncertainty, limit in rules)
    near = any(abs(value - limit) <= uncertainty for value, uncertainty, limit in rules)
    outside = any(value > limit + (uncertainty if uncertainty > limit else 0.0) for value, uncertainty, limit in rules)
    return MarginCheck(distance, of_distance, heading, of_heading, margin, inside, resolved, near, outside)


def _describe(check: MarginCheck) -> str:
    text = f"{check.distance_m * 1e3:.1f} mm (U {check.distance_uncertainty_m * 1e3:.1f} mm"
    text += f", margin {check.margin.distance_m * 1e3:.1f} mm)" if check.margin else ")"
    if check.margin is None or check.margin.heading_rad is None:
        return text
    heading, of_heading = math.degrees(check.heading_rad), math.degrees(check.heading_uncertainty_rad)
    return (
        f"{text}, {heading:.2f} deg (U {of_heading:.2f} deg, margin {math.degrees(check.margin.heading_rad):.2f} deg)"
    )


def _check_pose(point: PointMeasurement) -> None:
    covariance = np.asarray(point.lidar.covariance)
    numbers_ok = all(math.isfinite(value) for value in point.lidar.xyh + point.odometry.xyh)
    if not numbers_ok or covariance.shape != (3, 3) or not np.isfinite(covariance).all():
        raise ValueError(f"point {point.label}: pose or covariance holds values that are not finite")
    if (np.diag(covariance) < 0).any() or not np.allclose(covariance, covariance.T, rtol=1e-6, atol=1e-15):
        raise ValueError(
            f"point {point.label}: the covariance of the LiDAR pose is not symmetric or has negative variances"
        )


def _rotated(difference: Array, bearing: float) -> tuple[float, float, float]:
    c, s = math.cos(bearing), math.sin(bearing)
    x, y, heading = (float(v) for v in difference)
    return c * x + s * y, -s * x + c * y, heading


def _sigmas(covariance: Array, bearing: float) -> tuple[float, float, float]:
    c, s = math.cos(bearing), math.sin(bearing)
    rotation = np.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]])
    along, across, heading = (float(v) for v in np.sqrt(np.diag(rotation @ covariance @ rotation.T)))
    return along, across, heading
