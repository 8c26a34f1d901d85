"""A tiny simulation for the benchmarks of odometry and consistency: wheels that slip over a course of standstills."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from courses.odometry import integrate
from drivers.types import BaseGeometry, Pose

# Create 2: 72 mm wheels, 508.8 counts a turn, 235 mm base (iRobot Create 2 Open Interface specification).
CREATE2 = BaseGeometry(math.pi * 0.072 / 508.8, math.pi * 0.072 / 508.8, 0.235)
# (m, rad): drive that far on an arc of that turn. Six legs between standstills, 7.7 m in all.
COURSE = (
    ((1.6, 0.0),),
    ((0.0, math.pi / 2), (1.2, 0.0)),
    ((0.0, -math.pi), (1.4, 0.3)),
    ((0.9, -0.9), (0.6, 0.0)),
    ((0.0, math.pi), (1.2, 0.2)),
    ((0.8, 0.4),),
)
# LiDAR poses from 20 scans of 10 mm noise in a 6 x 8 m room: the Cramer-Rao bound and a fifth more.
LIDAR_SIGMA = np.array([0.1e-3, 0.12e-3, math.radians(0.0018)])

EXACT = Pose(0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Truth:
    """What a simulated robot really is: `slip` is m^2 per metre and wheel."""

    slip: float
    geometry: BaseGeometry = CREATE2
    mount_error: Pose = EXACT


@dataclass(frozen=True)
class SimulatedRun:
    """LiDAR poses (n + 1) and ticks of n legs, as a course records them."""

    lidar: list[Pose]
    ticks: list[NDArray[np.float64]]


def wheel_paths(legs: Sequence[Sequence[tuple[float, float]]], rate_hz: float) -> list[NDArray[np.float64]]:
    """(N, 2) metres per sample and leg that the encoders see; 0.3 m/s, 1 rad/s."""
    paths = []
    for leg in legs:
        parts = []
        for travel, turn in leg:
            count = max(1, math.ceil(max(abs(travel) / 0.3, abs(turn) / 1.0) * rate_hz))
            half = turn * CREATE2.wheel_base_m / 2
            parts.append(np.tile([(travel - half) / count, (travel + half) / count], (count, 1)))
        paths.append(np.vstack(parts))
    return paths


def simulate(truth: Truth, rng: np.random.Generator, legs: Sequence[NDArray[np.float64]]) -> SimulatedRun:
    """One run over `legs` (from `wheel_paths`)."""
    wheels = np.array([truth.geometry.left_metres_per_tick, truth.geometry.right_metres_per_tick])
    nominal = np.array([CREATE2.left_metres_per_tick, CREATE2.right_metres_per_tick])
    steps = np.vstack(legs)
    # The encoders' own turn is what was commanded; the ground sees the true wheels, and slip.
    travelled = steps / nominal * wheels + rng.normal(size=steps.shape) * np.sqrt(truth.slip * np.abs(steps))
    as_ticks = BaseGeometry(1e-3, 1e-3, truth.geometry.wheel_base_m)
    ground = np.vstack((np.zeros(2), np.cumsum(travelled, axis=0))) / 1e-3
    track, _ = integrate(as_ticks, ground)
    ends = np.concatenate(([0], np.cumsum([len(leg) for leg in legs])))
    covariance = np.diag(LIDAR_SIGMA**2)
    lidar = []
    for x, y, heading in track[ends]:
        seen = Pose(x, y, heading).compose(truth.mount_error)
        dx, dy, turned = rng.normal(size=3) * LIDAR_SIGMA
        lidar.append(Pose(seen.x + dx, seen.y + dy, seen.heading + turned, covariance))
    counted = np.vstack((np.zeros(2), np.cumsum(steps, axis=0))) / nominal
    ticks = np.floor(counted + rng.uniform(size=2))
    return SimulatedRun(lidar, [ticks[a : b + 1] for a, b in pairwise(ends)])
