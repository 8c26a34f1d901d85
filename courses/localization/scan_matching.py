"""Pose of one scan in another: correlative search, then robust point-to-line iterative closest point, both ways.

Point to line after Censi, "An ICP variant using a point-to-line metric", ICRA 2008.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from courses.localization.match import Match, SearchWindow, as_pose, guess_triple
from courses.localization.outline import REACH_M, Outline, outline_of, stamped
from courses.localization.search import (
    BEAMS,
    apart,
    best_along_weakest,
    correlate,
    distinct,
    line_score,
    slide,
    thinned,
)
from drivers.types import Array, Pose

MIN_POINTS = 10
HYPOTHESES = 3
# Poses closer than this are one hypothesis: iterative closest point brings them together.
DISTINCT_M = 0.07
DISTINCT_RAD = math.radians(5.0)
# A point this far from a line is explained by it to 61 %.
SCORE_M = 0.05
# What the other scan could not see counts nearly as explained: scans of two places overlap in part only.
NEUTRAL = 0.7
VIEW_BEAMS = 1.5
# A hypothesis is fitted when its coarse score is at least this share of the best.
WORTH_FITTING = 0.85
MAX_FITS = 3
FIRST_ITERATIONS, ITERATIONS = 4, 20
CONVERGED = 3e-4
# 95 % efficient for Gaussian residuals; the scale is not let below what the lines themselves are good for.
TUKEY = 4.685
MIN_SCALE_M = 0.005
AMBIGUOUS_RATIO = 0.95
MIN_INLIER_RATIO = 0.3


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
    target, source = outline_of(_cloud(reference, "reference")), outline_of(_cloud(scan, "scan"))
    seeds = _seeds(target, source, window)
    iterations = FIRST_ITERATIONS if len(seeds) > 1 else ITERATIONS
    fits = [_closest_points(target, source, seed, window, iterations) for seed in seeds]
    fits.sort(key=lambda fit: float(window.cost(fit.pose)) - fit.score)
    fit = _closest_points(target, source, fits[0].pose, window, ITERATIONS) if len(fits) > 1 else fits[0]
    others = [other for other in fits[1:] if apart(other.pose, fit.pose, DISTINCT_M, DISTINCT_RAD)]
    runner_up = as_pose(others[0].pose, others[0].covariance, "reference") if others else None
    runner_up_score = others[0].score if others else 0.0
    return Match(
        pose=as_pose(fit.pose, fit.covariance, "reference"),
        inlier_ratio=fit.inlier_ratio,
        residual_m=fit.residual_m,
        score=fit.score,
        ambiguous=runner_up_score > AMBIGUOUS_RATIO * fit.score
        or fit.inlier_ratio < MIN_INLIER_RATIO
        or window.left_by(fit.pose),
        degenerate=window.undetermined(fit.covariance),
        runner_up=runner_up,
        runner_up_score=runner_up_score,
        range_bias_sensitivity=fit.bias_sensitivity,
        survey_sensitivity=np.empty((3, 0)),
    )


def _seeds(target: Outline, source: Outline, window: SearchWindow) -> list[Array]:
    """Poses (3,) to begin from: one where the search leaves no doubt, else the best few and the guess itself."""
    lines = stamped(target)
    sample = thinned(source.points, BEAMS)
    poses = np.concatenate((window.guess[None], correlate(lines.grid, sample, window, HYPOTHESES)))
    poses = slide(lines, sample, poses, window)
    scores = line_score(lines, source.points, poses, SCORE_M)
    order = np.argsort(window.cost(poses) - scores)
    worthy = poses[order[scores[order] >= WORTH_FITTING * scores[order[0]]]]
    profiled = thinned(source.points, 2 * BEAMS)
    seeds = []
    for pose in distinct(worthy, DISTINCT_M, DISTINCT_RAD)[:MAX_FITS]:
        seeds += [pose, best_along_weakest(lines, profiled, pose, window, SCORE_M)]
    seeds = distinct(np.array(seeds), DISTINCT_M, DISTINCT_RAD)[:MAX_FITS]
    return [*seeds, window.guess] if len(seeds) > 1 else seeds


@dataclass(frozen=True, slots=True, eq=False)
class _Fit:
    pose: Array
    covariance: Array
    inlier_ratio: float
    residual_m: float
    score: float
    bias_sensitivity: Array


def _closest_points(target: Outline, source: Outline, pose: Array, window: SearchWindow, iterations: int) -> _Fit:
    prior = window.information
    for _ in range(iterations):
        pairs = _paired(target, source, pose)
        error, jacobian = pairs.errors(pose), pairs.jacobian()
        scale = max(MIN_SCALE_M, 1.4826 * float(np.median(np.abs(error)))) if len(error) else REACH_M
        weight = np.square(np.maximum(0.0, 1 - np.square(error / (TUKEY * scale))))
        weighted = jacobian * (weight / scale**2)[:, None]
        information = weighted.T @ jacobian + prior
        step = np.linalg.solve(information, -prior @ window.offset(pose) - weighted.T @ error)
        pose = pose + step
        if np.abs(step).max() < CONVERGED:
            break
    # A line is fitted to its neighbours on either side and serves as many residuals, so these err together.
    shared = 1 + target.neighbours + source.neighbours
    influence = weighted * error[:, None]
    inverse = np.linalg.inv(information)
    covariance = inverse @ (shared * influence.T @ influence + prior) @ inverse
    explained = weight > 0.1
    return _Fit(
        pose=pose,
        covariance=covariance,
        inlier_ratio=float(explained.sum() / (len(target.points) + len(source.points))),
        residual_m=math.sqrt(float(np.square(error[explained]).mean())) if explained.any() else math.inf,
        score=_agreement(target, source, pose),
        bias_sensitivity=-inverse @ (weighted.T @ pairs.bias()),
    )


def _agreement(target: Outline, source: Outline, pose: Array) -> float:
    """How well each scan's points lie on the other's lines, 0 to 1; NEUTRAL for one that the other could not see."""
    c, s = math.cos(pose[2]), math.sin(pose[2])
    turn = np.array(((c, -s), (s, c)))
    total = 0.0
    for outline, points in ((target, source.points @ turn.T + pose[:2]), (source, (target.points - pose[:2]) @ turn)):
        bearing = np.arctan2(points[:, 1], points[:, 0])
        after = np.clip(np.searchsorted(outline.bearings, bearing), 1, len(outline.bearings) - 1)
        nearer = after - (bearing - outline.bearings[after - 1] < outline.bearings[after] - bearing)
        off_beam = np.abs(bearing - outline.bearings[nearer]) > VIEW_BEAMS * outline.beam
        behind = np.hypot(points[:, 0], points[:, 1]) > np.hypot(*outline.points[nearer].T) - SCORE_M
        likelihood = np.where(off_beam | behind, NEUTRAL, 0.0)
        found, nearest = outline.nearest(points)
        error = ((points[found] - outline.anchors[nearest]) * outline.normals[nearest]).sum(axis=1)
        likelihood[found] = np.maximum(likelihood[found], np.exp(-0.5 * np.square(error / SCORE_M)))
        total += float(likelihood.sum())
    return total / (len(target.points) + len(source.points))


@dataclass(frozen=True, slots=True, eq=False)
class _Pairs:
    """Points of one scan with the lines of the other, both ways, in the reference's frame turned about the scan.

    For each residual n.(arm + t - seen): `normal` n, `arm` a place of the scan turned but not shifted, `seen` one of
    the reference, `lever` whichever of the two keeps to the line's normal when the scan turns; all (M, 2).
    """

    normal: Array
    arm: Array
    seen: Array
    lever: Array

    def errors(self, pose: Array) -> Array:
        """(M,) distances from the lines."""
        distances: Array = ((self.arm + pose[:2] - self.seen) * self.normal).sum(axis=1)
        return distances

    def jacobian(self) -> Array:
        """(M, 3) derivatives of the errors by pose."""
        turning = self.normal[:, 1] * self.lever[:, 0] - self.normal[:, 0] * self.lever[:, 1]
        return np.column_stack((self.normal, turning))

    def bias(self) -> Array:
        """(M,) derivatives of the errors by a bias common to all ranges of both scans."""
        derivatives: Array = ((_unit(self.arm) - _unit(self.seen)) * self.normal).sum(axis=1)
        return derivatives


def _paired(target: Outline, source: Outline, pose: Array) -> _Pairs:
    c, s = math.cos(pose[2]), math.sin(pose[2])
    turn = np.array(((c, -s), (s, c)))
    arms = source.points @ turn.T
    forth, on_target = target.nearest(arms + pose[:2])
    back, on_source = source.nearest((target.points - pose[:2]) @ turn)
    arm, seen = arms[forth], target.points[back]
    return _Pairs(
        normal=np.concatenate((target.normals[on_target], source.normals[on_source] @ turn.T)),
        arm=np.concatenate((arm, source.anchors[on_source] @ turn.T)),
        seen=np.concatenate((target.anchors[on_target], seen)),
        lever=np.concatenate((arm, seen - pose[:2])),
    )


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
