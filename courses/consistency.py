"""One question per course: do LiDAR and odometry differ by no more than their joint uncertainty explains?

At each point the robot stands still, so a LiDAR pose ends one leg and begins the next: neighbouring leg differences are
correlated, and the mount, the wheels' calibration, the range bias and the survey of the room are common to all legs.
Testing each leg by itself therefore rejects far more good runs than its level says. Here all leg differences are
stacked and tested once with their joint covariance; single legs are shown with p-values corrected by Holm (1979).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from scipy import stats

from courses.odometry import LegMotion, SlipModel
from courses.sensitivity import MapSensitivity
from drivers.types import Array, Pose, wrap_angle

LEVEL = 0.05


class Consistency(StrEnum):
    """What the test of a whole course says."""

    CONSISTENT = "consistent"
    INCONSISTENT = "inconsistent"
    NOT_JUDGED = "not judged"


@dataclass(frozen=True, slots=True, eq=False)
class CommonErrors:
    """Uncertainties that all points and legs of a course share.

    `mount_covariance`: (3, 3) of the sensor's pose in the base frame. `scale_covariance`: (3, 3) of the relative errors
    of left wheel, right wheel and wheel base. `range_bias_sigma_m`: of all ranges alike. `survey_sigma_m`: of each wall
    end along the wall's normal.
    """

    mount: Pose
    mount_covariance: Array
    scale_covariance: Array
    range_bias_sigma_m: float
    survey_sigma_m: float

    @classmethod
    def none(cls) -> CommonErrors:
        """Nothing in common: mount, wheels, ranges and map are exact."""
        return cls(Pose(0.0, 0.0, 0.0), np.zeros((3, 3)), np.zeros((3, 3)), 0.0, 0.0)

    @property
    def needs_map_sensitivity(self) -> bool:
        return self.range_bias_sigma_m > 0 or self.survey_sigma_m > 0


@dataclass(frozen=True, slots=True)
class MeasuredLeg:
    """A leg as wheels and LiDAR saw it.

    `lidar` is the relative pose of the leg when scans were matched to each other (a recorded log); None when the
    LiDAR poses of its two end points, fitted to the map, say it.
    """

    motion: LegMotion
    lidar: Pose | None = None


@dataclass(frozen=True, slots=True, eq=False)
class StackedLegs:
    """Leg differences (odometry less LiDAR) of n legs, one below the other, and what they depend on.

    `difference`: (3 n,) of (x, y, heading), in the frame of each leg's start. `lidar`: (3 n, 3 n) covariance of the
    independent part of the LiDAR poses. `resolution`: (3 n, 3 n) covariance of the encoders' resolution. `slip`:
    (3 n, 3 n) covariance at a slip variance of 1 m^2/m. `mount`, `scale`: (3 n, 3) derivatives by the errors of mount
    and wheel calibration; `range_bias`: (3 n,), `survey`: (3 n, 2 S) by those of ranges and walls.
    """

    difference: Array
    lidar: Array
    resolution: Array
    slip: Array
    mount: Array
    scale: Array
    range_bias: Array
    survey: Array

    def lidar_covariance(self, common: CommonErrors) -> Array:
        """(3 n, 3 n) covariance of what the LiDAR says of the legs: the uncertainty of the measurement."""
        return (
            self.lidar
            + self.mount @ common.mount_covariance @ self.mount.T
            + common.range_bias_sigma_m**2 * np.outer(self.range_bias, self.range_bias)
            + common.survey_sigma_m**2 * self.survey @ self.survey.T
        )

    def covariance_without_slip(self, common: CommonErrors) -> Array:
        """(3 n, 3 n) covariance of the differences, all but slip."""
        wheels = self.resolution + self.scale @ common.scale_covariance @ self.scale.T
        return self.lidar_covariance(common) + wheels


@dataclass(frozen=True, slots=True, eq=False)
class ConsistencyTest:
    """The test of one course.

    `statistic` is the squared Mahalanobis length of the stacked leg differences at the estimated slip, chi-square with
    `degrees_of_freedom` for a good robot if the slip were known; `p_value` also allows for slip having been estimated.
    `leg_p_values` are those of single legs, raw, `leg_p_holm` corrected for their number; None when not judged.
    """

    outcome: Consistency
    reason: str
    level: float
    statistic: float | None = None
    degrees_of_freedom: int | None = None
    p_value: float | None = None
    leg_p_values: tuple[float, ...] | None = None
    leg_p_holm: tuple[float, ...] | None = None


def relative_lidar_pose(points: Sequence[Pose], legs: Sequence[MeasuredLeg], leg: int) -> Pose:
    """What the LiDAR says of a leg, without common errors."""
    direct = legs[leg].lidar
    return direct if direct is not None else points[leg].between(points[leg + 1])


def stack_legs(
    points: Sequence[Pose],
    legs: Sequence[MeasuredLeg],
    common: CommonErrors,
    sensitivities: Sequence[MapSensitivity | None] = (),
) -> StackedLegs:
    """Differences of n legs between n + 1 LiDAR poses, with everything their joint covariance needs.

    `points`: base poses in the map frame, each with the covariance of its independent part. `sensitivities`: of each
    point; required where `common` has a range bias or survey error.
    Raises ValueError when the numbers do not fit or a sensitivity is missing.
    """
    n = len(legs)
    if len(points) != n + 1 or n < 1:
        raise ValueError(f"{n} legs need {n + 1} points and at least one leg, not {len(points)} points")
    sensitivities = sensitivities or [None] * len(points)
    if len(sensitivities) != len(points):
        raise ValueError(f"{len(sensitivities)} map sensitivities for {len(points)} points")

    difference = np.zeros(3 * n)
    slip, direct = np.zeros((3 * n, 3 * n)), np.zeros((3 * n, 3 * n))
    by_point = np.zeros((3 * n, 3 * len(points)))  # LiDAR errors, in each point's own frame
    by_wheel = np.zeros((3 * n, 3 * len(points)))  # the same for errors of the wheel readings at each point
    mount, scale = np.zeros((3 * n, 3)), np.zeros((3 * n, 3))
    for i, leg in enumerate(legs):
        rows = slice(3 * i, 3 * i + 3)
        seen = relative_lidar_pose(points, legs, i)
        motion = leg.motion
        difference[rows] = motion.x - seen.x, motion.y - seen.y, wrap_angle(motion.turn - seen.heading)
        slip[rows, rows] = motion.slip
        scale[rows] = -motion.scale
        at_start = np.array([[1.0, 0.0, -seen.y], [0.0, 1.0, seen.x], [0.0, 0.0, 1.0]])
        at_end = -_turned(seen.heading)
        mount[rows] = -(at_start + at_end) @ _base_by_mount(common.mount)
        here, there = slice(3 * i, 3 * i + 3), slice(3 * i + 3, 3 * i + 6)
        by_wheel[rows, here], by_wheel[rows, there] = at_start, at_end
        if leg.lidar is None:
            by_point[rows, here], by_point[rows, there] = at_start, at_end
        else:
            direct[rows, rows] = leg.lidar.covariance

    of_points, of_wheels = np.zeros((2, 3 * len(points), 3 * len(points)))
    for i, point in enumerate(points):
        block = slice(3 * i, 3 * i + 3)
        to_own_frame = _turned(-point.heading)
        of_points[block, block] = to_own_frame @ point.covariance @ to_own_frame.T
        of_wheels[block, block] = _reading_covariance(legs[min(i, n - 1)].motion)
    range_bias, survey = _map_errors(points, by_point, common, sensitivities)
    lidar = by_point @ of_points @ by_point.T + direct
    return StackedLegs(difference, lidar, by_wheel @ of_wheels @ by_wheel.T, slip, mount, scale, range_bias, survey)


def point_covariance(point: Pose, common: CommonErrors, sensitivity: MapSensitivity | None) -> Array:
    """(3, 3) covariance of one LiDAR pose in the map frame, common errors included."""
    to_map = _turned(point.heading) @ _base_by_mount(common.mount)
    covariance: Array = point.covariance + to_map @ common.mount_covariance @ to_map.T
    if sensitivity is not None:
        covariance = covariance + common.range_bias_sigma_m**2 * np.outer(
            sensitivity.range_bias, sensitivity.range_bias
        )
        covariance = covariance + common.survey_sigma_m**2 * sensitivity.survey @ sensitivity.survey.T
    return covariance


def check_consistency(
    stacked: StackedLegs, common: CommonErrors, slip: SlipModel, level: float = LEVEL
) -> ConsistencyTest:
    """Test the stacked leg differences once, and each leg for the reader.

    Raises ValueError when the joint covariance is not positive definite.
    """
    fixed = stacked.covariance_without_slip(common)
    statistic, p_value = predictive_p_value(stacked.difference, fixed, stacked.slip, slip)
    raw = []
    for start in range(0, len(stacked.difference), 3):
        rows = slice(start, start + 3)
        block = (stacked.difference[rows], fixed[rows, rows], stacked.slip[rows, rows])
        raw.append(predictive_p_value(*block, slip)[1])
    outcome = Consistency.CONSISTENT if p_value >= level else Consistency.INCONSISTENT
    verb = "agree" if outcome is Consistency.CONSISTENT else "disagree"
    reason = f"LiDAR and odometry {verb}: p = {p_value:.3g}, level {level:g}"
    dof = len(stacked.difference)
    return ConsistencyTest(outcome, reason, level, statistic, dof, p_value, tuple(raw), tuple(holm(raw)))


def predictive_p_value(difference: Array, fixed: Array, slip_unit: Array, slip: SlipModel) -> tuple[float, float]:
    """Squared Mahalanobis length at the estimated slip, and the probability of one as large for a good robot.

    The covariance is `fixed + v * slip_unit`. The slip variance v is known from calibration as v_hat * nu / chi2(nu);
    the p-value is the mean over that distribution. Where slip is all, that is exactly the F test with (k, nu) degrees
    of freedom; where it is nothing, or nu is infinite, the chi-square test with k.
    Raises ValueError when the covariance is not positive definite.
    """
    v_hat, nu = slip.variance_per_metre, slip.degrees_of_freedom
    try:
        root = np.linalg.cholesky(fixed + v_hat * slip_unit)
    except np.linalg.LinAlgError:
        raise ValueError("the joint covariance of the leg differences is not positive definite") from None
    scaled = np.linalg.solve(root, np.linalg.solve(root, slip_unit).T)
    values, vectors = np.linalg.eigh((scaled + scaled.T) / 2)
    square = (vectors.T @ np.linalg.solve(root, difference)) ** 2
    statistic = float(square.sum())
    dof = len(difference)
    if math.isinf(nu) or v_hat == 0:
        return statistic, float(stats.chi2.sf(statistic, dof))
    # Gauss-Legendre over the quantiles of chi2(nu), crowded towards 0, where small p-values come from.
    nodes, weights = np.polynomial.legendre.leggauss(96)
    t = (nodes + 1) / 2
    variance = v_hat * nu / stats.chi2.ppf(t**6, nu)
    lengths = (square / np.maximum(1 + np.outer(variance - v_hat, values), 1e-12)).sum(axis=1)
    p_value = np.sum(weights / 2 * 6 * t**5 * stats.chi2.sf(lengths, dof))
    return statistic, float(min(1.0, p_value))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for their number (Holm 1979, "A simple sequentially rejective multiple test procedure")."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    corrected = [1.0] * len(p_values)
    highest = 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = highest
    return corrected


def _turned(angle: float) -> Array:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def _base_by_mount(mount: Pose) -> Array:
    """How the base pose found by the LiDAR is wrong, in its own frame, per error of the mount's (x, y, yaw)."""
    return -np.array([[1.0, 0.0, mount.y], [0.0, 1.0, -mount.x], [0.0, 0.0, 1.0]])


def _reading_covariance(motion: LegMotion) -> Array:
    """(3, 3) of the base's own motion that the last tick of each wheel leaves open (uniform within one tick)."""
    if not motion.wheel_base_m:
        return np.zeros((3, 3))
    by_wheel = np.array([[0.5, 0.5], [0.0, 0.0], [-1 / motion.wheel_base_m, 1 / motion.wheel_base_m]])
    covariance: Array = (by_wheel * (np.square(motion.resolution) / 12)) @ by_wheel.T
    return covariance


def _map_errors(
    points: Sequence[Pose], by_point: Array, common: CommonErrors, sensitivities: Sequence[MapSensitivity | None]
) -> tuple[Array, Array]:
    """Derivatives of the differences by the range bias (3 n,) and by the offsets of the wall ends (3 n, 2 S)."""
    widths = {each.survey.shape[1] for each in sensitivities if each is not None}
    if len(widths) > 1:
        raise ValueError(f"map sensitivities speak of different rooms ({sorted(widths)} wall ends)")
    range_bias, survey = np.zeros(len(by_point)), np.zeros((len(by_point), widths.pop() if widths else 0))
    for i, (point, sensitivity) in enumerate(zip(points, sensitivities, strict=True)):
        columns = by_point[:, 3 * i : 3 * i + 3]
        if sensitivity is None:
            if common.needs_map_sensitivity and columns.any():
                raise ValueError(f"point {i} needs a map sensitivity, since range bias and survey error are given")
            continue
        own = columns @ _turned(-point.heading)
        range_bias += own @ sensitivity.range_bias
        survey += own @ sensitivity.survey
    return range_bias, survey
