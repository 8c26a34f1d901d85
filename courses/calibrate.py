"""Calibration of a robot from runs: slip variance with its interval, wheels and LiDAR mount, in one estimate.

Each calibration run drives legs between standstills at which the LiDAR fits the base's pose to the room. Leg
differences depend linearly on six shared errors (left wheel, right wheel, wheel base; mount x, y, yaw), which get
generous normal priors, and scatter with slip, whose variance is found by maximum marginal likelihood. With wide
priors that is restricted maximum likelihood (Patterson and Thompson 1971), which pays for the fitted errors in degrees
of freedom. Runs must turn both ways and drive straight, as UMBmark does, or priors remain where data said nothing.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, stats

from courses.calibration import Calibration
from courses.consistency import CommonErrors, MeasuredLeg, StackedLegs, stack_legs
from courses.odometry import SlipModel, integrate
from courses.sensitivity import MapSensitivity
from drivers.types import Array, BaseGeometry, Pose

_ROUNDS = 4
_FEWEST_DEGREES_OF_FREEDOM = 5.0


@dataclass(frozen=True, slots=True, eq=False)
class CalibrationRun:
    """One run between standstills.

    `lidar`: n + 1 base poses in the map frame, found with the nominal mount, each with the covariance of its
    independent part. `ticks`: n arrays (N, 2) of cumulative left and right ticks, each from standstill to standstill.
    `sensitivities`: of each pose; needed where range bias or survey error are given.
    """

    lidar: Sequence[Pose]
    ticks: Sequence[ArrayLike]
    sensitivities: Sequence[MapSensitivity | None] = ()

    def __post_init__(self) -> None:
        if len(self.lidar) != len(self.ticks) + 1 or not self.ticks:
            raise ValueError(f"{len(self.ticks)} legs need {len(self.ticks) + 1} LiDAR poses, not {len(self.lidar)}")


@dataclass(frozen=True, slots=True)
class Tolerances:
    """Standard deviations of what is known before calibration: how well the robot was built and measured by hand."""

    wheel_ratio: float = 0.03
    wheel_base_ratio: float = 0.05
    mount_m: float = 0.02
    mount_yaw_rad: float = math.radians(2.0)


@dataclass(frozen=True, slots=True)
class Nominal:
    """A robot as drawn: wheels, LiDAR mount in the base frame, and what its makers and the survey leave open."""

    geometry: BaseGeometry
    mount: Pose
    tolerances: Tolerances = Tolerances()
    range_bias_sigma_m: float = 0.0
    survey_sigma_m: float = 0.0


def calibrate(
    runs: Sequence[CalibrationRun], nominal: Nominal, *, robot: str, date: datetime.date, confidence: float = 0.95
) -> Calibration:
    """Calibrate a robot.

    Raises ValueError when the runs hold too little to tell slip from everything else.
    """
    if not runs:
        raise ValueError("calibration needs at least one run")
    tolerances = nominal.tolerances
    prior = np.square([tolerances.wheel_ratio] * 2 + [tolerances.wheel_base_ratio])
    prior = np.append(prior, np.square([tolerances.mount_m] * 2 + [tolerances.mount_yaw_rad]))
    estimate, covariance, fit = np.zeros(6), np.diag(prior), None
    for _ in range(_ROUNDS):
        design, fixed, slip_unit, difference = _stack_runs(runs, nominal, estimate)
        # Differences are taken at the present estimate; adding design @ estimate refers them to the nominal robot.
        observed = difference + design @ estimate
        fit = _fit_variance(observed, fixed + (design * prior) @ design.T, slip_unit)
        gain = (design * prior).T @ np.linalg.inv(fit.covariance)
        estimate = gain @ observed
        covariance = np.diag(prior) - gain @ design * prior
    assert fit is not None
    if fit.degrees_of_freedom < _FEWEST_DEGREES_OF_FREEDOM:
        raise ValueError(
            f"{len(runs)} runs leave {fit.degrees_of_freedom:.1f} degrees of freedom for the slip variance, at least "
            f"{_FEWEST_DEGREES_OF_FREEDOM:g} are needed: drive more or longer calibration runs"
        )
    covariance = (covariance + covariance.T) / 2
    geometry, mount = _corrected(nominal, estimate)
    mount = Pose(mount.x, mount.y, mount.heading, covariance[3:, 3:], "base")
    interval = variance_interval(fit.variance, fit.degrees_of_freedom, confidence)
    return Calibration(
        robot=robot,
        date=date,
        slip=SlipModel(fit.variance, fit.degrees_of_freedom, interval, len(runs)),
        geometry=geometry,
        scale_covariance=covariance[:3, :3],
        mount=mount,
        range_bias_sigma_m=nominal.range_bias_sigma_m,
        survey_sigma_m=nominal.survey_sigma_m,
    )


def variance_interval(variance: float, degrees_of_freedom: float, confidence: float = 0.95) -> tuple[float, float]:
    """Chi-square confidence interval of an estimated variance."""
    tail = (1 - confidence) / 2
    high, low = stats.chi2.ppf([1 - tail, tail], degrees_of_freedom)
    return float(variance * degrees_of_freedom / high), float(variance * degrees_of_freedom / low)


@dataclass(frozen=True, slots=True)
class _VarianceFit:
    variance: float
    degrees_of_freedom: float
    covariance: Array


def _fit_variance(observed: Array, fixed: Array, slip_unit: Array) -> _VarianceFit:
    """Maximum marginal likelihood of v in observed ~ N(0, fixed + v slip_unit).

    The degrees of freedom are those of a chi-square variable with the estimate's relative variance (Satterthwaite),
    from the expected information.
    """
    # Against unit = slip + a little of everything, both matrices become diagonal and each v costs one pass.
    root = np.linalg.cholesky(fixed + slip_unit)
    scaled = np.linalg.solve(root, np.linalg.solve(root, slip_unit).T)
    values, vectors = np.linalg.eigh((scaled + scaled.T) / 2)
    values = np.clip(values, 0.0, 1.0)
    square = (vectors.T @ np.linalg.solve(root, observed)) ** 2

    def cost(log_variance: float) -> float:
        spread = (1 - values) + math.exp(log_variance) * values
        return float(np.sum(np.log(spread) + square / spread))

    grid = np.linspace(math.log(1e-12), math.log(1e-1), 56)
    best = int(np.argmin([cost(g) for g in grid]))
    bounds = (grid[max(0, best - 1)], grid[min(len(grid) - 1, best + 1)])
    found = optimize.minimize_scalar(cost, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    variance = math.exp(float(found.x))
    share = variance * values / ((1 - values) + variance * values)
    return _VarianceFit(variance, float(np.sum(share**2)), fixed + variance * slip_unit)


def _corrected(nominal: Nominal, estimate: Array) -> tuple[BaseGeometry, Pose]:
    drawn, mount = nominal.geometry, nominal.mount
    left, right, base, x, y, yaw = (float(v) for v in estimate)
    geometry = BaseGeometry(
        drawn.left_metres_per_tick * (1 + left),
        drawn.right_metres_per_tick * (1 + right),
        drawn.wheel_base_m * (1 + base),
    )
    return geometry, Pose(mount.x + x, mount.y + y, mount.heading + yaw, frame="base")


def _stack_runs(runs: Sequence[CalibrationRun], nominal: Nominal, estimate: Array) -> tuple[Array, Array, Array, Array]:
    """All runs at the present estimate: design (k, 6), fixed and slip covariance (k, k), differences (k,)."""
    geometry, mount = _corrected(nominal, estimate)
    common = CommonErrors(mount, np.zeros((3, 3)), np.zeros((3, 3)), nominal.range_bias_sigma_m, nominal.survey_sigma_m)
    move = nominal.mount.compose(mount.inverse())  # from the base pose under the nominal mount to the corrected one
    stacks = []
    for run in runs:
        poses = [_moved(pose, move) for pose in run.lidar]
        legs = [MeasuredLeg(integrate(geometry, ticks)[1]) for ticks in run.ticks]
        stacks.append(stack_legs(poses, legs, common, run.sensitivities))
    design = np.vstack([np.hstack((s.scale, s.mount)) for s in stacks])
    difference = np.concatenate([s.difference for s in stacks])
    fixed = _diagonal([s.lidar + s.resolution for s in stacks])
    fixed += _common_covariance(stacks, common)
    return design, fixed, _diagonal([s.slip for s in stacks]), difference


def _common_covariance(stacks: Sequence[StackedLegs], common: CommonErrors) -> Array:
    """Range bias and survey are the same in all runs of one room."""
    bias = common.range_bias_sigma_m * np.concatenate([s.range_bias for s in stacks])
    survey = common.survey_sigma_m * np.vstack([s.survey for s in stacks])
    return np.outer(bias, bias) + survey @ survey.T


def _moved(pose: Pose, move: Pose) -> Pose:
    moved = pose.compose(move)
    return Pose(moved.x, moved.y, moved.heading, pose.covariance, pose.frame, pose.time)


def _diagonal(blocks: Sequence[Array]) -> Array:
    size = sum(len(block) for block in blocks)
    matrix, at = np.zeros((size, size)), 0
    for block in blocks:
        matrix[at : at + len(block), at : at + len(block)] = block
        at += len(block)
    return matrix
