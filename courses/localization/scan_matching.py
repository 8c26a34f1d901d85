"""Pose of one scan in another: correlative search, then robust point-to-line iterative closest point, both ways.

Point to line after Censi, "An ICP variant using a point-to-line metric", ICRA 2008.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from courses.localization.match import Match, SearchWindow, as_pose, guess_triple
from courses.localization.room_map import DistanceGrid
from courses.localization.search import BEAMS, apart, correlate, field_score, slide, thinned
from drivers.types import Array, Pose

MIN_POINTS = 10
NEIGHBOURS = 3
GAP_M = 0.15
GAP_BEAMS = 6.0
CELL_M = 0.1
MAX_CELLS = 400_000
STAMP_CELLS = 4
MIN_SCALE_M = 0.005
REACH_M = 0.4
HYPOTHESES = 4
DISTINCT_M = 0.15
DISTINCT_RAD = math.radians(5.0)
SCORE_M = 0.1
STRAY_COST = 0.02
AMBIGUOUS_RATIO = 0.95
MIN_INLIER_RATIO = 0.3
TUKEY = 4.685


@dataclass(frozen=True, slots=True, eq=False)
class _Outline:
    """A scan as an ordered outline: points (N, 2), unit normals (N, 2), which normals rest on three or more points,
    and which neighbours in order belong to one surface (N - 1,)."""

    points: Array
    normals: Array
    smooth: NDArray[np.bool_]
    linked: NDArray[np.bool_]
    tree: cKDTree


def _outline(points: Array) -> _Outline:
    bearing = np.arctan2(points[:, 1], points[:, 0])
    order = np.argsort(bearing, kind="stable")
    ordered, bearing = points[order], bearing[order]
    count = len(ordered)
    step = np.diff(ordered, axis=0)
    distance = np.hypot(ordered[:, 0], ordered[:, 1])
    # The spacing to expect grows with range, and with the slant of the wall.
    beam = float(np.median(np.diff(bearing)))
    linked = np.hypot(step[:, 0], step[:, 1]) <= np.maximum(
        GAP_M, GAP_BEAMS * beam * np.minimum(distance[1:], distance[:-1])
    )
    run = np.concatenate(([0], np.cumsum(~linked)))
    window = np.arange(count)[:, None] + np.arange(-NEIGHBOURS, NEIGHBOURS + 1)
    inside = np.clip(window, 0, count - 1)
    member = (run[inside] == run[:, None]) & (window == inside)
    number = member.sum(axis=1)
    near = ordered[inside]
    centre = (near * member[..., None]).sum(axis=1) / number[:, None]
    spread = (near - centre[:, None]) * member[..., None]
    xx, yy = np.square(spread[..., 0]).sum(axis=1), np.square(spread[..., 1]).sum(axis=1)
    xy = (spread[..., 0] * spread[..., 1]).sum(axis=1)
    along = 0.5 * np.arctan2(2 * xy, xx - yy)
    normals = np.column_stack((-np.sin(along), np.cos(along)))
    return _Outline(ordered, normals, number >= 3, linked, cKDTree(ordered))


@dataclass(frozen=True, slots=True, eq=False)
class _StampedLines:
    """The reference as the search wants it: `NearestLines` within a few cells of its points."""

    grid: DistanceGrid
    normal: Array
    offset: Array


def _stamped(outline: _Outline) -> _StampedLines:
    # Half way points close the holes between beams on far or slanted walls.
    between = np.flatnonzero(outline.linked)
    points = np.concatenate((outline.points, 0.5 * (outline.points[between] + outline.points[between + 1])))
    owner = np.concatenate((np.arange(len(outline.points)), between))
    low, high = points.min(axis=0), points.max(axis=0)
    cell = max(CELL_M, math.sqrt(float(np.prod(high - low + 2)) / MAX_CELLS))
    origin = low - (STAMP_CELLS + 1) * cell
    columns, rows = (int(v) for v in np.ceil((high - origin) / cell) + STAMP_CELLS + 2)
    around = np.arange(-STAMP_CELLS, STAMP_CELLS + 1)
    dx, dy = np.tile(around, len(around)), np.repeat(around, len(around))
    length = np.hypot(dx, dy)
    # Far rings first: where stamps overlap, the nearest is written last and stays.
    ring = np.argsort(-length, kind="stable")
    ring = ring[length[ring] <= STAMP_CELLS]
    centre = ((points - origin) / cell).astype(np.intp)
    flat = centre[:, 1] * columns + centre[:, 0]
    index = ((dy * columns + dx)[ring][:, None] + flat).ravel()
    distance = np.full(rows * columns, np.inf, dtype=np.float32)
    distance[index] = np.repeat((length[ring] * cell).astype(np.float32), len(flat))
    nearest = np.full(rows * columns, len(outline.points), dtype=np.intp)
    nearest[index] = np.tile(owner, len(ring))
    normal = np.concatenate((np.where(outline.smooth[:, None], outline.normals, 0.0), np.zeros((1, 2))))
    offset = np.append((normal[:-1] * outline.points).sum(axis=1), 0.0)
    return _StampedLines(DistanceGrid(origin, cell, rows, columns, distance, nearest), normal, offset)


def match_scans(
    reference: Array,
    scan: Array,
    guess: Pose | Sequence[float] | Array,
    *,
    search_m: float = 0.5,
    search_rad: float = math.radians(25.0),
) -> Match:
    """Finds the pose of `scan` in the frame of `reference`.

    Both are (N, 2) points in metres, each in the frame of the sensor that saw it (their order does not matter; points
    that are not finite are left out); `guess` is a Pose or (x, y, heading), off by at most `search_m` along each axis
    and `search_rad`. Where the scans leave a direction open, the pose stays at the guess along it, the covariance
    there is as large as the search window, and the match says `degenerate`.

    Raises ValueError for wrong shapes, fewer than 10 points, or a guess that is not finite.
    """
    window = SearchWindow(guess_triple(guess), search_m, search_rad)
    target, source = _outline(_cloud(reference, "reference")), _outline(_cloud(scan, "scan"))
    lines = _stamped(target)
    sample = thinned(source.points, BEAMS)
    candidates = correlate(lines.grid, sample, window, HYPOTHESES)
    candidates = slide(lines, sample, np.concatenate((window.guess[None], candidates)), window)
    scores = field_score(lines.grid, source.points, candidates, SCORE_M)
    # Of poses that explain the scan alike, as along a corridor, the one nearest to the guess is taken.
    strayed = np.square(window.offset(candidates) / window.half_widths).sum(axis=1)
    order = np.argsort(STRAY_COST * strayed - scores)
    fit = _closest_points(target, source, candidates[order[0]], window)
    score = float(field_score(lines.grid, source.points, fit.pose[None], SCORE_M)[0])
    runner_up, runner_up_score = None, 0.0
    for index in order[1:]:
        if apart(candidates[index], fit.pose, DISTINCT_M, DISTINCT_RAD):
            runner_up = as_pose(candidates[index], np.zeros((3, 3)), "reference")
            runner_up_score = float(scores[index])
            break
    return Match(
        pose=as_pose(fit.pose, fit.covariance, "reference"),
        inlier_ratio=fit.inlier_ratio,
        residual_m=fit.residual_m,
        score=score,
        ambiguous=runner_up_score > AMBIGUOUS_RATIO * score
        or fit.inlier_ratio < MIN_INLIER_RATIO
        or window.left_by(fit.pose),
        degenerate=window.undetermined(fit.covariance),
        runner_up=runner_up,
        runner_up_score=runner_up_score,
        range_bias_sensitivity=fit.bias_sensitivity,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Fit:
    pose: Array
    covariance: Array
    inlier_ratio: float
    residual_m: float
    bias_sensitivity: Array


def _closest_points(target: _Outline, source: _Outline, pose: Array, window: SearchWindow) -> _Fit:
    prior = window.information
    for _ in range(20):
        error, jacobian, bias = _residuals(target, source, pose)
        scale = max(MIN_SCALE_M, 1.4826 * float(np.median(np.abs(error)))) if len(error) else REACH_M
        weight = np.square(np.maximum(0.0, 1 - np.square(error / (TUKEY * scale))))
        weighted = jacobian * (weight / scale**2)[:, None]
        information = weighted.T @ jacobian + prior
        step = np.linalg.solve(information, -prior @ window.offset(pose) - weighted.T @ error)
        pose = pose + step
        if np.abs(step).max() < 1e-4:
            break
    influence = jacobian * (weight * error / scale**2)[:, None]
    inverse = np.linalg.inv(information)
    # Both ways use each point twice, and neighbouring normals share points: fewer independent beams than residuals.
    covariance = inverse @ (2 * influence.T @ influence + prior) @ inverse
    explained = weight > 0.1
    return _Fit(
        pose=pose,
        covariance=covariance,
        inlier_ratio=float(explained.sum() / (len(target.points) + len(source.points))),
        residual_m=math.sqrt(float(np.square(error[explained]).mean())) if explained.any() else math.inf,
        bias_sensitivity=-inverse @ (weighted.T @ bias),
    )


def _residuals(target: _Outline, source: _Outline, pose: Array) -> tuple[Array, Array, Array]:
    """Distances of each scan's points from the other's lines (M,), their derivatives by pose (M, 3) and by a bias
    common to all ranges (M,)."""
    c, s = math.cos(pose[2]), math.sin(pose[2])
    turn = np.array(((c, -s), (s, c)))
    arm = source.points @ turn.T
    found, nearest = _nearest(target, arm + pose[:2])
    normal, arm, seen = target.normals[nearest], arm[found], target.points[nearest]
    forth = ((arm + pose[:2] - seen) * normal).sum(axis=1)
    forth_jacobian = np.column_stack((normal, normal[:, 1] * arm[:, 0] - normal[:, 0] * arm[:, 1]))
    forth_bias = ((_unit(arm) - _unit(seen)) * normal).sum(axis=1)

    back = (target.points - pose[:2]) @ turn
    found, nearest = _nearest(source, back)
    # Turned into the reference's frame, where n.(R p + t - q) is the residual.
    normal, arm, seen = source.normals[nearest] @ turn.T, source.points[nearest] @ turn.T, target.points[found]
    back_error = ((arm + pose[:2] - seen) * normal).sum(axis=1)
    lever = seen - pose[:2]
    back_jacobian = np.column_stack((normal, normal[:, 1] * lever[:, 0] - normal[:, 0] * lever[:, 1]))
    back_bias = ((_unit(arm) - _unit(seen)) * normal).sum(axis=1)
    return (
        np.concatenate((forth, back_error)),
        np.concatenate((forth_jacobian, back_jacobian)),
        np.concatenate((forth_bias, back_bias)),
    )


def _nearest(outline: _Outline, points: Array) -> tuple[NDArray[np.bool_], NDArray[np.intp]]:
    """Which points lie near a part of the outline with a normal, and its point nearest to each of those."""
    distance, nearest = outline.tree.query(points, distance_upper_bound=REACH_M)
    found = np.isfinite(distance)
    found[found] = outline.smooth[nearest[found]]
    return found, nearest[found]


def _unit(vectors: Array) -> Array:
    return vectors / np.maximum(np.hypot(vectors[:, 0], vectors[:, 1]), 1e-9)[:, None]


def _cloud(points: Array, name: str) -> Array:
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"the {name} must be points of shape (N, 2) in metres, got shape {points.shape}")
    points = points[np.isfinite(points).all(axis=1)]
    if len(points) < MIN_POINTS:
        raise ValueError(f"the {name} has {len(points)} finite points; at least {MIN_POINTS} are needed")
    return points
