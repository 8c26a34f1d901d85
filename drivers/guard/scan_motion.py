"""How far the base moved between two scans, as the LiDAR alone tells: small motions, no map, no wheels.

Point to line in one linear step, repeated with the points that fit: exact enough for some centimetres and degrees.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drivers.types import Array, Pose, Scan

_EVERY = 3  # beams; the rest adds little
_ROUNDS = 4
_INSIDE_M = 0.1
_LONGEST_GAP_M = 0.15  # between neighbours of one surface
_FEWEST = 40
_FEWEST_RATIO = 0.4


@dataclass(frozen=True, slots=True)
class Moved:
    """The base's motion in its own frame at the first scan: metres, radians. `seconds`: between the two scans.

    `residual_m`: what is left of the distances between the scans, as a standard deviation.
    """

    x: float
    y: float
    heading: float
    seconds: float
    residual_m: float

    @property
    def distance(self) -> float:
        return math.hypot(self.x, self.y)

    @property
    def rim(self) -> float:
        """Metres by which a point 0.2 m from the base's middle moved at most: one number for driving and turning."""
        return self.distance + 0.2 * abs(self.heading)


def moved(before: Scan, after: Scan, mount: Pose, guess: Moved | None = None) -> Moved | None:
    """The motion between two scans of one LiDAR, to be looked for within 0.1 m and some degrees of `guess` (rest).

    None where too little fits: people in front of it, an empty hall, or a motion that is larger.
    """
    lines, normals, usable = _surface(before, mount)
    points, seen = _points(after, mount)
    points = points[seen][::_EVERY]
    if usable.sum() < _FEWEST or len(points) < _FEWEST:
        return None
    lines, normals = lines[usable], normals[usable]
    x, y, heading = (0.0, 0.0, 0.0) if guess is None else (guess.x, guess.y, guess.heading)
    inside = _INSIDE_M
    residual = math.inf
    for _ in range(_ROUNDS):
        c, s = math.cos(heading), math.sin(heading)
        placed = np.column_stack((c * points[:, 0] - s * points[:, 1] + x, s * points[:, 0] + c * points[:, 1] + y))
        nearest = _nearest(placed, lines)
        offset = ((lines[nearest] - placed) * normals[nearest]).sum(axis=1)
        along = np.hypot(*(lines[nearest] - placed).T)
        fits = (np.abs(offset) < inside) & (along < 2 * _INSIDE_M)
        if fits.sum() < max(_FEWEST, _FEWEST_RATIO * len(points)):
            return None
        n, p = normals[nearest][fits], placed[fits]
        turn = n[:, 1] * (p[:, 0] - x) - n[:, 0] * (p[:, 1] - y)
        step, *_ = np.linalg.lstsq(np.column_stack((n, turn)), offset[fits], rcond=None)
        x, y, heading = x + float(step[0]), y + float(step[1]), heading + float(step[2])
        residual = float(np.sqrt(np.mean(offset[fits] ** 2)))
        inside = max(0.03, 3 * residual)
    return Moved(x, y, heading, after.time - before.time, residual)


def _points(scan: Scan, mount: Pose) -> tuple[Array, NDArray[np.bool_]]:
    """(N, 2) end points in the base's frame, and which of them are seen."""
    seen = (scan.error_codes == 0) & np.isfinite(scan.ranges) & (scan.ranges > 0)
    ranges, bearing = np.where(seen, scan.ranges, 0.0), scan.angles + mount.heading
    return np.column_stack((mount.x + ranges * np.cos(bearing), mount.y + ranges * np.sin(bearing))), seen


def _surface(scan: Scan, mount: Pose) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Points with the normals of the surfaces they lie on, from neighbours some beams away."""
    points, seen = _points(scan, mount)
    k = max(1, round(math.radians(2.0) / abs(float(np.median(np.diff(scan.angles))))))
    before, after = np.roll(points, k, axis=0), np.roll(points, -k, axis=0)
    tangent = after - before
    length = np.hypot(*tangent.T)
    bend = np.hypot(*(points - (before + after) / 2).T)
    usable = seen & np.roll(seen, k) & np.roll(seen, -k) & (length > 1e-6)
    usable &= (bend < 0.25 * length) & (length < 2 * k * _LONGEST_GAP_M)
    usable[:k] = usable[-k:] = False
    normals = np.column_stack((-tangent[:, 1], tangent[:, 0])) / np.maximum(length, 1e-6)[:, None]
    return points, normals, usable


def _nearest(points: Array, among: Array) -> NDArray[np.intp]:
    """For each point the index of the nearest of `among`; both run round the sensor in the order of their bearing."""
    bearing = np.arctan2(among[:, 1], among[:, 0])
    order = np.argsort(bearing)
    at = np.searchsorted(bearing[order], np.arctan2(points[:, 1], points[:, 0]))
    window = np.arange(-6, 7)
    candidates = order[(at[:, None] + window) % len(order)]
    gap = among[candidates] - points[:, None, :]
    return np.asarray(candidates[np.arange(len(points)), (gap**2).sum(axis=2).argmin(axis=1)])
