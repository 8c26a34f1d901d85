"""Wheel odometry of a differential drive: exact arcs, with the covariance that slip and wheel calibration leave."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from drivers.types import Array, BaseGeometry, Pose, wrap_angle

# Below this turn per step (rad) the closed forms of the arc lose digits to cancellation and their series are exact.
_SMALL_TURN = 1e-3


@dataclass(frozen=True, slots=True)
class SlipModel:
    """How much a wheel's travel over ground scatters about what its encoder says.

    The error of each wheel is a random walk: over a travel of `s` metres its variance is `variance_per_metre * s`
    (m^2 per metre and wheel; Chong and Kleeman 1997, "Accurate odometry and error modelling for a mobile robot").
    The variance was estimated with `degrees_of_freedom` from `runs` calibration runs; `interval` is its 95 %
    confidence interval. Infinite degrees of freedom mean that the variance is known.
    """

    variance_per_metre: float
    degrees_of_freedom: float
    interval: tuple[float, float]
    runs: int

    def __post_init__(self) -> None:
        if not 0 <= self.variance_per_metre < 1:
            raise ValueError(f"slip variance {self.variance_per_metre} m^2/m is outside 0 .. 1")
        if not self.degrees_of_freedom >= 1:
            raise ValueError(f"a slip variance needs at least 1 degree of freedom, not {self.degrees_of_freedom}")
        low, high = self.interval
        if not 0 <= low <= self.variance_per_metre <= high:
            raise ValueError(f"slip interval {low} .. {high} does not hold the variance {self.variance_per_metre}")
        if self.runs < 0:
            raise ValueError(f"number of calibration runs {self.runs} is negative")

    @classmethod
    def known(cls, variance_per_metre: float) -> SlipModel:
        """A variance taken as exact: for simulations."""
        return cls(variance_per_metre, math.inf, (variance_per_metre, variance_per_metre), 0)


@dataclass(frozen=True, slots=True, eq=False)
class LegMotion:
    """What the wheels did between two moments, seen from the pose at the first.

    `x`, `y` (m) and `turn` (rad, not wrapped) are the displacement, `path_m` the way of the base's centre.
    `slip`: (3, 3) covariance of (x, y, turn) for a slip variance of 1 m^2 per metre and wheel.
    `scale`: (3, 3) derivatives of (x, y, turn) by the relative errors of the left wheel's, the right wheel's travel per
    tick and of the wheel base (columns in this order).
    `resolution`: (2,) metres per tick of the left and right wheel, 0 where unknown, `wheel_base_m` 0 where unknown.
    """

    x: float
    y: float
    turn: float
    path_m: float
    slip: Array
    scale: Array
    resolution: tuple[float, float] = (0.0, 0.0)
    wheel_base_m: float = 0.0

    @classmethod
    def from_pose(cls, pose: Pose, path_m: float | None = None) -> LegMotion:
        """A displacement that came as a pose (a log without ticks): its slip and scale stay unknown (zeros)."""
        path = math.hypot(pose.x, pose.y) if path_m is None else path_m
        return cls(pose.x, pose.y, pose.heading, path, np.zeros((3, 3)), np.zeros((3, 3)))

    def pose(self, slip: SlipModel | None = None) -> Pose:
        """The displacement as a pose in the frame of its start, with the covariance that slip gives it."""
        variance = slip.variance_per_metre if slip else 0.0
        return Pose(self.x, self.y, wrap_angle(self.turn), variance * self.slip, "leg")


def arc(travel: Array, turn: Array) -> tuple[Array, Array]:
    """Exact displacement of steps of constant curvature, and its derivatives.

    `travel`, `turn`: (N,) metres and radians of each step. Returns (N, 2) displacements in the frame of each step's
    start and (N, 2, 2) derivatives by (travel, turn).
    """
    small = np.abs(turn) < _SMALL_TURN
    a = np.where(small, 1.0, turn)
    s, c = np.sin(a), np.cos(a)
    square = turn * turn
    along = np.where(small, 1 - square / 6, s / a)
    across = np.where(small, turn / 2 - turn * square / 24, (1 - c) / a)
    along_by_turn = np.where(small, -turn / 3 + turn * square / 30, (a * c - s) / (a * a))
    across_by_turn = np.where(small, 0.5 - square / 8, (a * s - 1 + c) / (a * a))
    displacement = np.stack((travel * along, travel * across), axis=-1)
    derivatives = np.empty((*travel.shape, 2, 2))
    derivatives[..., 0, 0] = along
    derivatives[..., 1, 0] = across
    derivatives[..., 0, 1] = travel * along_by_turn
    derivatives[..., 1, 1] = travel * across_by_turn
    return displacement, derivatives


def integrate(geometry: BaseGeometry, ticks: ArrayLike) -> tuple[Array, LegMotion]:
    """Replay cumulative wheel ticks at once.

    `ticks`: (N, 2) left and right, N >= 1, as `BaseState` has them. Returns the (N, 3) track (x, y, heading not
    wrapped), which starts at zero, and the motion from the first to the last row.
    Raises ValueError on another shape or values that are not finite.
    """
    steps = np.diff(_checked_ticks(ticks), axis=0) * [geometry.left_metres_per_tick, geometry.right_metres_per_tick]
    base = geometry.wheel_base_m
    travel, turn = steps.mean(axis=1), (steps[:, 1] - steps[:, 0]) / base
    local, by_motion = arc(travel, turn)
    track = np.zeros((len(steps) + 1, 3))
    np.cumsum(turn, out=track[1:, 2])
    c, s = np.cos(track[:-1, 2]), np.sin(track[:-1, 2])
    rotation = np.stack((np.stack((c, -s), -1), np.stack((s, c), -1)), -2)
    np.cumsum(np.einsum("nij,nj->ni", rotation, local), axis=0, out=track[1:, :2])

    # How an error of each step's (travel, turn) shows at the end: where it happens, and by turning all that follows.
    lever = track[-1, :2] - track[1:, :2]
    at_end = np.zeros((len(steps), 3, 2))
    at_end[:, :2, :] = rotation @ by_motion
    at_end[:, 0, 1] -= lever[:, 1]
    at_end[:, 1, 1] += lever[:, 0]
    at_end[:, 2, 1] = 1.0
    by_wheel = at_end @ np.array([[0.5, 0.5], [-1 / base, 1 / base]])
    slip = np.einsum("nij,nj,nkj->ik", by_wheel, np.abs(steps), by_wheel)
    scale = np.column_stack((np.einsum("nij,nj->ij", by_wheel, steps), -at_end[:, :, 1].T @ turn))
    x, y, heading = (float(v) for v in track[-1])
    path = float(np.abs(travel).sum())
    resolution = (geometry.left_metres_per_tick, geometry.right_metres_per_tick)
    return track, LegMotion(x, y, heading, path, slip, scale, resolution, base)


class DiffDriveOdometry:
    """Odometry of a differential drive from cumulative wheel ticks, one reading at a time.

    Each step is an exact arc. The covariance holds wheel slip, the start's covariance and, where given, the
    uncertainty of the wheel calibration (`scale_covariance`: (3, 3) of the relative errors of left wheel, right wheel
    and wheel base). Without a slip model the covariance says less than the truth: it holds the rest only.
    """

    def __init__(
        self,
        geometry: BaseGeometry,
        slip: SlipModel | None = None,
        start: Pose | None = None,
        scale_covariance: Array | None = None,
    ) -> None:
        self.geometry = geometry
        self.slip = slip
        self._start = start if start is not None else Pose(0.0, 0.0, 0.0)
        self._scale_covariance = np.zeros((3, 3)) if scale_covariance is None else scale_covariance
        self._ticks: tuple[int, int] | None = None
        self._time = self._start.time
        self._total = _Accumulator(geometry)
        self._leg = _Accumulator(geometry)

    @property
    def pose(self) -> Pose:
        """The present pose in the frame of the start pose."""
        motion = self._total.motion()
        variance = self.slip.variance_per_metre if self.slip else 0.0
        covariance = variance * motion.slip + motion.scale @ self._scale_covariance @ motion.scale.T
        return self._start.compose(Pose(motion.x, motion.y, motion.turn, covariance, time=self._time))

    @property
    def leg(self) -> LegMotion:
        """The motion since the last `begin_leg`, or since the first reading."""
        return self._leg.motion()

    def update(self, left_ticks: int, right_ticks: int, time: float) -> Pose:
        """Take the next reading (cumulative, unwrapped ticks). The first one only sets the reference.

        Raises ValueError when the time runs backwards.
        """
        if self._ticks is not None:
            if time < self._time:
                raise ValueError(f"wheel reading at {time} s is older than the one before it, at {self._time} s")
            left = (left_ticks - self._ticks[0]) * self.geometry.left_metres_per_tick
            right = (right_ticks - self._ticks[1]) * self.geometry.right_metres_per_tick
            if left or right:
                self._total.add(left, right)
                self._leg.add(left, right)
        self._ticks = (left_ticks, right_ticks)
        self._time = time
        return self.pose

    def begin_leg(self) -> LegMotion:
        """End the present leg and begin the next one here. Returns the motion of the leg that ended."""
        motion = self._leg.motion()
        self._leg = _Accumulator(self.geometry)
        return motion


class _Accumulator:
    """The sums of `integrate`, carried along step by step."""

    def __init__(self, geometry: BaseGeometry) -> None:
        self._geometry = geometry
        self._xyh = np.zeros(3)
        self._path = 0.0
        self._slip = np.zeros((3, 3))
        self._scale = np.zeros((3, 3))

    def add(self, left: float, right: float) -> None:
        """One step of the two wheels, metres."""
        base = self._geometry.wheel_base_m
        travel, turn = (left + right) / 2, (right - left) / base
        local, by_motion = arc(np.array([travel]), np.array([turn]))
        c, s = math.cos(self._xyh[2]), math.sin(self._xyh[2])
        rotation = np.array([[c, -s], [s, c]])
        dx, dy = rotation @ local[0]
        carry = np.array([[1.0, 0.0, -dy], [0.0, 1.0, dx], [0.0, 0.0, 1.0]])
        here = np.zeros((3, 2))
        here[:2] = rotation @ by_motion[0]
        here[2, 1] = 1.0
        by_wheel = here @ np.array([[0.5, 0.5], [-1 / base, 1 / base]])
        self._slip = carry @ self._slip @ carry.T + (by_wheel * [abs(left), abs(right)]) @ by_wheel.T
        self._scale = carry @ self._scale + np.column_stack((by_wheel * [left, right], -here[:, 1] * turn))
        self._xyh += (dx, dy, turn)
        self._path += abs(travel)

    def motion(self) -> LegMotion:
        """The sums so far."""
        x, y, turn = (float(v) for v in self._xyh)
        resolution = (self._geometry.left_metres_per_tick, self._geometry.right_metres_per_tick)
        base = self._geometry.wheel_base_m
        return LegMotion(x, y, turn, self._path, self._slip.copy(), self._scale.copy(), resolution, base)


def _checked_ticks(ticks: ArrayLike) -> NDArray[Any]:
    array = np.asarray(ticks, dtype=float)
    if array.ndim != 2 or array.shape[1] != 2 or len(array) < 1:
        raise ValueError(f"wheel ticks must be an (N, 2) array with N >= 1, not {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError("wheel ticks hold values that are not finite")
    return array
