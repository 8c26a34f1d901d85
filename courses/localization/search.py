"""Correlative search: which poses within a window put the scan onto obstacles, best first, each pulled onto the lines.

After Olson, "Real-time correlative scan matching", ICRA 2009: score every pose of a grid by a blurred map, keep the
separate maxima, then let all of them slide onto the nearest walls together.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np

from courses.localization.match import SearchWindow
from courses.localization.room_map import DistanceGrid
from drivers.types import Array

# The grid of poses, and a blur of the map wide enough that none falls between: 1.5 deg is 13 cm at 5 m.
STEP_M = 0.1
STEP_RAD = math.radians(3.0)
KERNEL_M = 0.12
BEAMS = 90
# A pose that puts fewer of the beams than this near an obstacle is no hypothesis.
LEAST_SHARE = 0.02
SEPARATION_M = 0.3
SEPARATION_RAD = math.radians(9.0)
PROFILE_STEP_M, PROFILE_STEPS = 0.025, 14
# Residuals above the scale are left out: wide first, so that walls a grid step off still pull.
SLIDE_SCALES_M = (0.4, 0.4, 0.3, 0.3, 0.2, 0.15, 0.1, 0.1)


class NearestLines(Protocol):
    """Lines n.p = c of which a raster knows the nearest: normals (S, 2), offsets (S,). A zero normal never pulls."""

    @property
    def grid(self) -> DistanceGrid: ...
    @property
    def normal(self) -> Array: ...
    @property
    def offset(self) -> Array: ...


def turned(poses: Array, points: Array) -> Array:
    """(K, B, 2): points (B, 2) as seen from each pose (K, 3)."""
    c, s = np.cos(poses[:, 2, None]), np.sin(poses[:, 2, None])
    x = c * points[:, 0] - s * points[:, 1] + poses[:, 0, None]
    y = s * points[:, 0] + c * points[:, 1] + poses[:, 1, None]
    return np.stack((x, y), axis=-1)


def thinned(points: Array, count: int) -> Array:
    """At most `count` of the points, evenly spread over their order."""
    if len(points) <= count:
        return points
    return points[np.linspace(0, len(points) - 1, count).astype(np.intp)]


def correlate(grid: DistanceGrid, points: Array, window: SearchWindow, hypotheses: int) -> Array:
    """The best separate maxima (K <= hypotheses, 3) within the window, best first; points (B, 2)."""
    guess = window.guess
    step = max(1, round(STEP_M / grid.cell_m))
    reach = math.ceil(window.metres / (step * grid.cell_m))
    pad = reach * step
    # Beams that leave the raster are clipped into an empty rim, so that no shift brings them back onto a wall.
    likelihood = np.pad(grid.likelihood(KERNEL_M), 2 * pad)
    rows, columns = likelihood.shape
    likelihood = likelihood.ravel()
    shifts = np.arange(-reach, reach + 1) * step
    offsets = (shifts[:, None] * columns + shifts[None, :]).ravel()

    turns = math.ceil(window.radians / STEP_RAD)
    headings = np.arange(-turns, turns + 1) * (window.radians / turns)
    poses = np.column_stack((np.full((len(headings), 2), guess[:2]), guess[2] + headings))
    cells = np.floor((turned(poses, points) - grid.origin) / grid.cell_m).astype(np.intp) + 2 * pad
    column = np.clip(cells[..., 0], pad, columns - pad - 1)
    row = np.clip(cells[..., 1], pad, rows - pad - 1)
    base = row * columns + column
    volume = np.empty((len(headings), len(offsets)), dtype=np.float32)
    for index in range(len(headings)):
        volume[index] = likelihood[base[index][:, None] + offsets].sum(axis=0)

    shift_m = shifts * grid.cell_m
    dx, dy = np.tile(shift_m, len(shifts)), np.repeat(shift_m, len(shifts))
    found = []
    for _ in range(hypotheses):
        best = int(volume.argmax())
        turn, shift = divmod(best, len(offsets))
        if volume[turn, shift] < LEAST_SHARE * len(points):
            break
        found.append((guess[0] + dx[shift], guess[1] + dy[shift], guess[2] + headings[turn]))
        apart = np.abs(np.angle(np.exp(1j * (headings - headings[turn]))))
        near = np.hypot(dx - dx[shift], dy - dy[shift]) < SEPARATION_M
        volume[np.ix_(apart < SEPARATION_RAD, near)] = 0
    return np.array(found).reshape(-1, 3)


def slide(lines: NearestLines, points: Array, poses: Array, window: SearchWindow) -> Array:
    """All poses (K, 3) pulled onto the nearest walls by a few robust point-to-line steps, together; points (B, 2)."""
    poses = poses.copy()
    # A weak pull keeps what the scan does not determine where the search put it.
    damping = window.information * 1e-4
    for scale in SLIDE_SCALES_M:
        seen = turned(poses, points)
        owner = lines.grid.nearest[lines.grid.cells(seen)]
        normal = lines.normal[owner]
        error = (normal * seen).sum(axis=-1) - lines.offset[owner]
        weight = np.square(np.maximum(0.0, 1 - np.square(error / scale)))
        arm = seen - poses[:, None, :2]
        jacobian = np.concatenate(
            (normal, (normal[..., 1] * arm[..., 0] - normal[..., 0] * arm[..., 1])[..., None]), axis=-1
        )
        weighted = jacobian * weight[..., None]
        information = np.swapaxes(weighted, 1, 2) @ jacobian + damping
        gradient = (weighted * error[..., None]).sum(axis=1)
        poses -= np.linalg.solve(information, gradient[..., None])[..., 0]
    return poses


def field_score(grid: DistanceGrid, points: Array, poses: Array, scale_m: float) -> Array:
    """(K,) mean likelihood of the points (B, 2) at each pose (K, 3), 0 to 1."""
    distance = grid.distance[grid.cells(turned(poses, points))]
    score: Array = np.exp(-0.5 * np.square(distance / scale_m)).mean(axis=1).astype(np.float64)
    return score


def line_score(lines: NearestLines, points: Array, poses: Array, scale_m: float) -> Array:
    """(K,) mean likelihood of the distances of points (B, 2) from the lines nearest to them at each pose, 0 to 1."""
    seen = turned(poses, points)
    cells = lines.grid.cells(seen)
    owner = lines.grid.nearest[cells]
    error = (lines.normal[owner] * seen).sum(axis=-1) - lines.offset[owner]
    likelihood = np.exp(-0.5 * np.square(error / scale_m)) * np.isfinite(lines.grid.distance[cells])
    score: Array = likelihood.mean(axis=1)
    return score


def best_along_weakest(lines: NearestLines, points: Array, pose: Array, window: SearchWindow, scale_m: float) -> Array:
    """The pose (3,) of best `line_score` among those shifted along the direction that the lines determine least.

    In a corridor nearest-line steps stall some centimetres off: a doorway is too little to pull, but enough to see.
    """
    half = window.half_widths
    seen = turned(pose[None], points)[0]
    cells = lines.grid.cells(seen)
    owner = lines.grid.nearest[cells]
    normal = lines.normal[owner]
    error = (normal * seen).sum(axis=-1) - lines.offset[owner]
    arm = seen - pose[:2]
    jacobian = np.column_stack((normal, normal[:, 1] * arm[:, 0] - normal[:, 0] * arm[:, 1])) * half
    jacobian *= np.exp(-0.5 * np.square(error / scale_m))[:, None]
    weakest = np.linalg.eigh(jacobian.T @ jacobian)[1][:, 0] * half
    per_step = PROFILE_STEP_M / max(math.hypot(weakest[0], weakest[1]), 1e-9)
    steps = np.arange(-PROFILE_STEPS, PROFILE_STEPS + 1)
    poses = pose + (steps * per_step)[:, None] * weakest
    best: Array = poses[(line_score(lines, points, poses, scale_m) - window.cost(poses)).argmax()]
    return best


def apart(one: Array, other: Array, metres: float, radians: float) -> bool:
    """Whether two poses (3,) differ by more than a distance or by more than an angle."""
    turn = abs(math.remainder(float(one[2] - other[2]), 2 * math.pi))
    return turn > radians or math.hypot(*(one[:2] - other[:2])) > metres


def distinct(poses: Array, metres: float, radians: float) -> list[Array]:
    """The poses (K, 3) in their order, without those close to an earlier one."""
    kept: list[Array] = []
    for pose in poses:
        if all(apart(pose, other, metres, radians) for other in kept):
            kept.append(pose)
    return kept
