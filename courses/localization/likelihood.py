"""Maximum likelihood pose from ranges, where a beam saw either a wall of the map, with noise, or something else."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from courses.localization.match import SearchWindow
from courses.localization.range_model import Prediction, predict, predict_on
from courses.localization.room_map import RoomMap
from drivers.types import Array

MIN_SIGMA_M = 5e-4
MAX_FIRST_SIGMA_M = 0.2
MIN_OUTLIERS, MAX_OUTLIERS = 0.005, 0.7
MAX_SQUARED = 60.0
RUN_BEAMS = 9
RUN_LIMIT = 3.5
ITERATIONS = 15
SETTLING_ITERATIONS = 3
CONVERGED = 2e-6


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """A pose (3,), its covariance (3, 3), how the beams took part, and the sensitivities of `Match`."""

    pose: Array
    covariance: Array
    inlier_ratio: float
    residual_m: float
    bias_sensitivity: Array
    survey_sensitivity: Array


def refine(
    walls: RoomMap, pose: Array, ranges: Array, angles: Array, window: SearchWindow, *, survey_sigma_m: float
) -> Fit:
    """Expectation maximisation over "this beam saw the map" with Gauss-Newton steps on the pose, from near the answer.

    The standard deviation of the inliers and the share of outliers are estimated along with the pose. The covariance
    is the sandwich of the M-estimator (Huber 1967) with each residual corrected for its leverage (HC3, MacKinnon and
    White 1985), so that it holds for any distribution of independent residuals.
    """
    prior = window.information
    prediction = predict(walls, pose, angles)
    error = ranges - prediction.ranges
    sigma = min(MAX_FIRST_SIGMA_M, max(MIN_SIGMA_M, 1.4826 * float(np.median(np.abs(error)))))
    outliers = 0.1
    current, size = True, math.inf
    step: Array = np.zeros(3)
    for iteration in range(ITERATIONS):
        if iteration:
            # The same walls stay in view for small steps; they are looked up while the pose moves, and at the end.
            pose = pose + step
            current = size > 1e-3 or size < 2e-5 or iteration % 3 == 1 or iteration == ITERATIONS - 1
            prediction = predict(walls, pose, angles) if current else predict_on(walls, pose, angles, prediction.hit)
            error = ranges - prediction.ranges
        variance = sigma**2 + np.square(survey_sigma_m / np.maximum(prediction.incidence, 1e-3))
        weight = _inlier_probability(error, variance, prediction, outliers)
        if iteration >= SETTLING_ITERATIONS:
            weight *= _run_probability(error, weight, variance)
        outliers = float(np.clip(1 - weight.mean(), MIN_OUTLIERS, MAX_OUTLIERS))
        used = weight > 0
        jacobian, residual, share = prediction.jacobian[used], error[used], weight[used]
        precision = share / variance[used]
        weighted = jacobian * precision[:, None]
        information = weighted.T @ jacobian + prior
        gradient = weighted.T @ residual - prior @ window.offset(pose)
        step = np.asarray(np.linalg.solve(information, gradient), dtype=np.float64)
        size = float(np.abs(step).max())
        if size < CONVERGED and current and iteration > SETTLING_ITERATIONS:
            break
        if share.sum() > 3:
            # What the survey adds is known; the rest of the spread is the sensor's.
            excess = share * (np.square(residual) - (variance[used] - sigma**2))
            sigma = math.sqrt(max(MIN_SIGMA_M**2, float(excess.sum() / share.sum())))

    # Derivative of the estimating equation: an outlier being doubted weakens it (Louis 1982).
    curvature = precision * (1 - (1 - share) * np.square(residual) / variance[used])
    bread = (jacobian * curvature[:, None]).T @ jacobian + prior
    least = 0.5 * information
    if np.linalg.eigvalsh(bread - least).min() < 0:
        bread = least
    leverage = ((jacobian @ np.linalg.inv(information)) * jacobian).sum(axis=1) * precision
    influence = weighted * (residual / (1 - np.minimum(leverage, 0.5)))[:, None]
    inverse = np.linalg.inv(bread)
    explained = weight > 0.5
    return Fit(
        pose=pose,
        covariance=inverse @ (influence.T @ influence + prior) @ inverse,
        inlier_ratio=float(explained.mean()),
        residual_m=math.sqrt(float(np.square(error[explained]).mean())) if explained.any() else math.inf,
        bias_sensitivity=np.linalg.solve(information, weighted.sum(axis=0)),
        survey_sensitivity=np.asarray(
            np.linalg.solve(information, weighted.T @ _by_wall_ends(walls, pose, angles, prediction, used)),
            dtype=np.float64,
        ),
    )


def _by_wall_ends(walls: RoomMap, pose: Array, angles: Array, prediction: Prediction, used: NDArray[np.bool_]) -> Array:
    """(N, 2 S) derivatives of the used beams' ranges by shifts of each wall's two ends along its normal."""
    hit, ranges, bearings = prediction.hit[used], prediction.ranges[used], angles[used] + pose[2]
    # n.(t + r u) = c gives dr/dc = 1 / (n.u), which is -n.(dr/dt).
    by_shift = -(prediction.jacobian[used, :2] * walls.normal[hit]).sum(axis=1)
    place = pose[:2] + ranges[:, None] * np.column_stack((np.cos(bearings), np.sin(bearings)))
    share = np.clip(((place - walls.start[hit]) * walls.direction[hit]).sum(axis=1) / walls.length[hit], 0.0, 1.0)
    derivatives = np.zeros((len(hit), 2 * len(walls.start)))
    beam = np.arange(len(hit))
    derivatives[beam, 2 * hit] = by_shift * (1 - share)
    derivatives[beam, 2 * hit + 1] = by_shift * share
    return derivatives


def _inlier_probability(error: Array, variance: Array, prediction: Prediction, outliers: float) -> Array:
    """(N,) by Bayes: Gaussian about the predicted range, against an outlier anywhere up to the mean of those."""
    seen = prediction.ranges[np.isfinite(prediction.ranges)]
    farthest = float(seen.mean()) if len(seen) else 1.0
    odds = outliers / (1 - outliers) * np.sqrt(2 * math.pi * variance) / farthest
    squared = np.square(error) / variance
    probability = 1 / (1 + odds * np.exp(0.5 * np.minimum(squared, MAX_SQUARED)))
    probability[squared >= MAX_SQUARED] = 0.0
    return np.asarray(probability, dtype=np.float64)


def _run_probability(error: Array, weight: Array, variance: Array) -> Array:
    """(N,) lower where neighbouring beams are off together: a box just before a wall hides in the noise of one beam,
    not in that of a run of beams. Measured against the spread of all runs, so that a map a little off stays usable."""
    deviation = np.where(weight > 0, error, 0.0) / np.sqrt(variance)
    window = np.ones(RUN_BEAMS)
    total = np.convolve(weight * deviation, window, mode="same")
    mean = total / np.sqrt(np.maximum(np.convolve(np.square(weight), window, mode="same"), 1.0))
    scale = max(1.0, 1.4826 * float(np.median(np.abs(mean))))
    odds = np.exp(np.clip(0.5 * (np.square(mean / scale) - RUN_LIMIT**2), -50, 50))
    return np.asarray(1 / (1 + odds), dtype=np.float64)
