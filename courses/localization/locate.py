"""Pose of a LiDAR in a room whose walls are known: correlative search, then maximum likelihood of the ranges."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from courses.localization.likelihood import refine
from courses.localization.match import Match, SearchWindow, as_pose, guess_triple
from courses.localization.range_model import predict
from courses.localization.room_map import RoomMap, prepared
from courses.localization.search import BEAMS, apart, correlate, distinct, field_score, slide, thinned
from drivers.types import Array, Pose

MIN_BEAMS = 20
HYPOTHESES = 8
# Poses closer than this are one hypothesis: the fit brings them together.
DISTINCT_M = 0.15
DISTINCT_RAD = math.radians(5.0)
# A range this far from the one predicted is explained by half; wide, since hypotheses are compared before the last fit.
EXPLAINED_M = 0.1
AMBIGUOUS_RATIO = 0.9
MIN_INLIER_RATIO = 0.5


def locate(
    ranges: Array,
    angles: Array,
    room: Array,
    guess: Pose | Sequence[float] | Array,
    *,
    search_m: float = 0.6,
    search_rad: float = math.radians(25.0),
    survey_sigma_m: float = 0.0,
) -> Match:
    """Finds the pose of the sensor in a room from one scan.

    `ranges` (N,) metres, NaN or inf where nothing was measured; `angles` (N,) radians in the sensor's frame; `room`
    (S, 2, 2) metres; `guess` a Pose or (x, y, heading) that is off by at most `search_m` along each axis and
    `search_rad`. `survey_sigma_m`: how far a wall may stand from where the map has it; it takes weight from grazing
    beams, and is not added to the covariance, since it does not average out over beams (`survey_sensitivity` does it).

    The range noise is estimated from the scan itself, and so is the share of beams on things not in the map: each
    beam's residual along the beam is a mixture of Gaussian noise and a uniform outlier.

    Raises ValueError for wrong shapes, fewer than 20 valid beams, a room without segments, or a guess that is not
    finite.
    """
    window = SearchWindow(guess_triple(guess), search_m, search_rad)
    ranges, angles = _valid_beams(ranges, angles)
    if not 0 <= survey_sigma_m < 1:
        raise ValueError(f"survey_sigma_m is {survey_sigma_m!r}; it must lie in [0, 1) metres")
    walls = prepared(room)
    candidates = _candidates(walls, ranges, angles, window)
    if len(candidates) == 0:
        x, y, heading = window.guess
        raise ValueError(
            f"no pose within {search_m:.2f} m and {math.degrees(search_rad):.0f} deg of the guess "
            f"({x:.2f}, {y:.2f}, {math.degrees(heading):.0f} deg) puts a beam on a wall of the room"
        )
    scores = [_explained(walls, pose, ranges, angles) for pose in candidates]
    order = np.argsort(scores)[::-1]
    fit = refine(walls, candidates[order[0]], ranges, angles, window, survey_sigma_m=survey_sigma_m)
    score = _explained(walls, fit.pose, ranges, angles)
    runner_up, runner_up_score = None, 0.0
    for index in order[1:]:
        if apart(candidates[index], fit.pose, DISTINCT_M, DISTINCT_RAD):
            runner_up, runner_up_score = as_pose(candidates[index], np.zeros((3, 3)), "map"), scores[index]
            break
    return Match(
        pose=as_pose(fit.pose, fit.covariance, "map"),
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
        survey_sensitivity=fit.survey_sensitivity,
    )


def _valid_beams(ranges: Array, angles: Array) -> tuple[Array, Array]:
    ranges, angles = np.asarray(ranges, dtype=np.float64), np.asarray(angles, dtype=np.float64)
    if ranges.ndim != 1 or ranges.shape != angles.shape:
        raise ValueError(f"ranges and angles must be of one shape (N,), got {ranges.shape} and {angles.shape}")
    valid = np.isfinite(ranges) & np.isfinite(angles) & (ranges > 0)
    if valid.sum() < MIN_BEAMS:
        raise ValueError(f"only {valid.sum()} of {len(ranges)} beams measured a range; at least {MIN_BEAMS} are needed")
    return ranges[valid], angles[valid]


def _candidates(walls: RoomMap, ranges: Array, angles: Array, window: SearchWindow) -> Array:
    """(K, 3) at most three distinct poses that put the scan on walls, best first by the distance field."""
    points = thinned(np.column_stack((ranges * np.cos(angles), ranges * np.sin(angles))), BEAMS)
    poses = correlate(walls.grid, points, window, HYPOTHESES)
    if len(poses) == 0:
        return poses
    poses = slide(walls, points, poses, window)
    scores = field_score(walls.grid, points, poses, EXPLAINED_M)
    return np.array(distinct(poses[np.argsort(scores)[::-1]], DISTINCT_M, DISTINCT_RAD)[:3])


def _explained(walls: RoomMap, pose: Array, ranges: Array, angles: Array) -> float:
    """How well the ranges predicted at `pose` agree with those measured, over a share of the beams, 0 to 1."""
    sample = np.linspace(0, len(ranges) - 1, min(len(ranges), 2 * BEAMS)).astype(np.intp)
    error = ranges[sample] - predict(walls, pose, angles[sample]).ranges
    return float((1 / (1 + np.square(error / EXPLAINED_M))).mean())


def locate_standstill(
    ranges: Array,
    angles: Array,
    room: Array,
    guess: Pose | Sequence[float] | Array,
    *,
    search_m: float = 0.6,
    search_rad: float = math.radians(25.0),
    survey_sigma_m: float = 0.0,
) -> Match:
    """Finds the pose of a sensor that stands still, from many scans: `ranges` (K, N), otherwise as `locate`.

    Each beam's ranges are averaged without those far from the beam's median (somebody walking by); a beam that
    measured in fewer than half of the scans is left out. Raises ValueError as `locate` does.
    """
    return locate(
        averaged_ranges(ranges),
        angles,
        room,
        guess,
        search_m=search_m,
        search_rad=search_rad,
        survey_sigma_m=survey_sigma_m,
    )


def averaged_ranges(ranges: Array) -> Array:
    """(N,) mean range of each beam over scans (K, N), outliers left out, NaN where under half of the scans measured."""
    ranges = np.asarray(ranges, dtype=np.float64)
    if ranges.ndim != 2 or 0 in ranges.shape:
        raise ValueError(f"the ranges of K scans of N beams must be of shape (K, N), got {ranges.shape}")
    measured = np.isfinite(ranges) & (ranges > 0)
    enough = measured.sum(axis=0) * 2 >= len(ranges)
    result = np.full(ranges.shape[1], np.nan)
    if not enough.any():
        return result
    kept = np.where(measured, ranges, np.nan)[:, enough]
    deviation = np.abs(kept - np.nanmedian(kept, axis=0))
    # The beams' common noise sets the gate: one beam's own spread over few scans is too rough an estimate.
    scale = np.maximum(1.4826 * np.nanmedian(deviation, axis=0), 1.4826 * np.nanmedian(deviation))
    near = deviation <= np.maximum(4 * scale, 1e-3)
    result[enough] = np.where(near, kept, 0.0).sum(axis=0) / near.sum(axis=0)
    return result
