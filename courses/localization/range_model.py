"""Predicted ranges of a scan in a known room, their derivatives by pose, and the bound on what any estimator can do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from courses.localization.match import guess_triple
from courses.localization.room_map import RoomMap, prepared
from drivers.types import Array, Pose


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """What the room predicts for each beam: `ranges` (N,) metres, inf for none; `jacobian` (N, 3) by x, y, heading;
    `hit` (N,) the segment; `incidence` (N,) cosine between beam and wall normal, 0 to 1."""

    ranges: Array
    jacobian: Array
    hit: NDArray[np.intp]
    incidence: Array


def predict(room: RoomMap, pose: Array, angles: Array) -> Prediction:
    """Casts every beam of a sensor at `pose` (3,)."""
    bearing = angles + pose[2]
    directions = np.column_stack((np.cos(bearing), np.sin(bearing)))
    ranges, hit = room.cast(float(pose[0]), float(pose[1]), directions)
    return _linearise(room, directions, ranges, hit)


def predict_on(room: RoomMap, pose: Array, angles: Array, hit: NDArray[np.intp]) -> Prediction:
    """The same with the segment of each beam given, prolonged to a line: cheap, for steps that see the same walls."""
    bearing = angles + pose[2]
    directions = np.column_stack((np.cos(bearing), np.sin(bearing)))
    across = (directions * room.normal[hit]).sum(axis=1)
    across = np.where(np.abs(across) < 1e-6, 1e-6, across)
    ranges = (room.offset[hit] - room.normal[hit] @ pose[:2]) / across
    return _linearise(room, directions, ranges, hit)


def _linearise(room: RoomMap, directions: Array, ranges: Array, hit: NDArray[np.intp]) -> Prediction:
    # n.(t + r u) = c gives dr/dt = -n / (n.u) and dr/dheading = -r (n.u') / (n.u), u' = u turned by 90 degrees.
    normal = room.normal[hit]
    across = (directions * normal).sum(axis=1)
    across = np.where(np.abs(across) < 1e-6, 1e-6, across)
    turned = directions[:, 0] * normal[:, 1] - directions[:, 1] * normal[:, 0]
    jacobian = np.empty((len(ranges), 3))
    jacobian[:, 0] = -normal[:, 0] / across
    jacobian[:, 1] = -normal[:, 1] / across
    jacobian[:, 2] = -np.where(np.isfinite(ranges), ranges, 0.0) * turned / across
    return Prediction(ranges, jacobian, hit, np.abs(across))


def cramer_rao_bound(
    pose: Pose | Sequence[float] | Array,
    angles: Array,
    room: Array,
    sigma_m: float,
    visible: NDArray[np.bool_] | None = None,
) -> Array:
    """(3, 3) smallest covariance over x, y (m), heading (rad) that an unbiased estimator can have from one scan.

    Range noise is taken as independent and Gaussian with `sigma_m`; `angles` (N,) radians, `room` (S, 2, 2) metres;
    `visible` (N,) marks the beams that reach the mapped walls (default: all that the map lets hit). Source: Censi,
    "On achievable accuracy for range-finder localization", ICRA 2007. Raises ValueError where the beams leave a
    direction undetermined, so that no bound exists.
    """
    if not sigma_m > 0:
        raise ValueError(f"sigma_m is {sigma_m!r}; it must be positive")
    prediction = predict(prepared(room), guess_triple(pose), np.asarray(angles, dtype=np.float64))
    used = np.isfinite(prediction.ranges)
    if visible is not None:
        used &= visible
    jacobian = prediction.jacobian[used]
    information = jacobian.T @ jacobian / sigma_m**2
    if np.linalg.matrix_rank(information) < 3:
        raise ValueError("the visible beams leave a direction undetermined (a corridor, or too few walls in view)")
    return np.asarray(np.linalg.inv(information), dtype=np.float64)
