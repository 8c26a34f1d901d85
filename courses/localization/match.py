"""What a pose estimate by LiDAR says about itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from drivers.types import Array, Pose, wrap_angle

STRAY_COST = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class Match:
    """A pose found by fitting a scan to a room map or to another scan, with everything needed to doubt it.

    `pose`: of the sensor in the room, or of the scan in the reference; `pose.covariance` is the covariance of the
    fit alone (range noise and outliers); mount, survey and range bias are the caller's to add.
    `inlier_ratio`: share of the valid beams that the fit explains.
    `residual_m`: root mean square residual of those beams.
    `score`: how well the pose explains the scan, 0 to 1; `runner_up` and `runner_up_score` tell the same of the
    best *other* pose inside the search window, None and 0 where there is none.
    `ambiguous`: the runner-up explains the scan nearly as well, or the pose found explains too little of it.
    `degenerate`: the scan does not determine some direction (a corridor); the covariance there is as large as the
    search window, and the pose stays at the guess along it.
    `range_bias_sensitivity`: (3,) how far x, y (m) and heading (rad) move per metre of bias common to all ranges.
    `survey_sensitivity`: (3, 2 S) the same per metre by which the first and the second end of each of the room's S
    walls stand off the map along the wall's normal (its direction turned left); (3, 0) for scan to scan.
    """

    pose: Pose
    inlier_ratio: float
    residual_m: float
    score: float
    ambiguous: bool
    degenerate: bool
    runner_up: Pose | None
    runner_up_score: float
    range_bias_sensitivity: Array
    survey_sensitivity: Array

    @property
    def covariance(self) -> Array:
        """(3, 3) covariance over x, y (m) and heading (rad)."""
        return self.pose.covariance

    @property
    def trustworthy(self) -> bool:
        """Neither ambiguous nor degenerate."""
        return not (self.ambiguous or self.degenerate)


def guess_triple(guess: Pose | Sequence[float] | Array) -> Array:
    """A first guess as a (3,) array of x, y, heading. Raises ValueError unless it is three finite numbers."""
    triple = np.asarray(guess.xyh if isinstance(guess, Pose) else guess, dtype=np.float64)
    if triple.shape != (3,) or not np.isfinite(triple).all():
        raise ValueError(f"the guess must be three finite numbers (x, y in metres, heading in radians), got {guess!r}")
    return triple


def as_pose(triple: Array, covariance: Array, frame: str) -> Pose:
    """A (3,) pose as a `Pose`, heading wrapped."""
    x, y, heading = (float(value) for value in triple)
    return Pose(x, y, wrap_angle(heading), 0.5 * (covariance + covariance.T), frame)


@dataclass(frozen=True, slots=True, eq=False)
class SearchWindow:
    """Where the pose may be: within `metres` of the `guess` (3,) along each axis, and within `radians` of its heading.

    Raises ValueError unless the window is positive and of a size that can be searched.
    """

    guess: Array
    metres: float
    radians: float

    def __post_init__(self) -> None:
        if not 0 < self.metres <= 5:
            raise ValueError(f"search_m is {self.metres!r}; it must lie in (0, 5] metres")
        if not 0 < self.radians <= math.pi:
            raise ValueError(f"search_rad is {self.radians!r}; it must lie in (0, pi] radians")

    @property
    def half_widths(self) -> Array:
        """(3,) the window's half width in x, y and heading."""
        return np.array((self.metres, self.metres, self.radians))

    @property
    def information(self) -> Array:
        """(3, 3) inverse covariance of a guess whose standard deviations are the half widths.

        Weak beside any wall in view; it holds what the scan leaves open, and makes its variance the window's.
        """
        return np.diag(1 / np.square(self.half_widths))

    def offset(self, pose: Array) -> Array:
        """(..., 3) pose less guess, heading wrapped."""
        difference = pose - self.guess
        difference[..., 2] = np.remainder(difference[..., 2] + math.pi, 2 * math.pi) - math.pi
        return difference

    def cost(self, poses: Array) -> Array:
        """(...) what a score in [0, 1] must gain to be preferred to the guess itself, by distance from it: of poses
        that explain a scan alike, as along a corridor, the one nearest to the guess is taken."""
        cost: Array = STRAY_COST * np.square(self.offset(poses) / self.half_widths).sum(axis=-1)
        return cost

    def left_by(self, pose: Array) -> bool:
        """Whether a pose has run out of the window by more than a quarter of it."""
        return bool((np.abs(self.offset(pose)) > 1.25 * self.half_widths).any())

    def undetermined(self, covariance: Array) -> bool:
        """Whether some direction is known hardly better than by the window itself (a tenth of it)."""
        scaled = covariance / np.outer(self.half_widths, self.half_widths)
        return bool(np.linalg.eigvalsh(scaled).max() > 0.1**2)
