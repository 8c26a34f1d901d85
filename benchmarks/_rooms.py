"""Rooms of line segments and a ray caster, written apart from the code under test."""

from __future__ import annotations

import math

import numpy as np


def walls(*corners: tuple[float, float]) -> np.ndarray:
    """(S, 2, 2) segments of a closed outline."""
    points = np.array(corners)
    return np.stack((points, np.roll(points, -1, axis=0)), axis=1)


EMPTY = walls((0, 0), (6, 0), (6, 8), (0, 8))
FURNISHED = np.concatenate(
    (
        walls((0, 0), (6, 0), (6, 3), (6.4, 3), (6.4, 4.2), (6, 4.2), (6, 8), (2, 8), (2, 7.2), (0, 7.2)),
        walls((4.6, 6.9), (5.6, 6.9), (5.6, 7.6), (4.6, 7.6)),
        walls((0.2, 3.0), (0.8, 3.0), (0.8, 4.4), (0.2, 4.4)),
    )
)


def cast(segments: np.ndarray, pose: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Ranges (N,) by solving p + r u = a + s (b - a) for each pair: written apart from the code under test."""
    ux, uy = np.cos(angles + pose[2])[:, None], np.sin(angles + pose[2])[:, None]
    ax, ay = segments[:, 0, 0] - pose[0], segments[:, 0, 1] - pose[1]
    ex, ey = (segments[:, 1] - segments[:, 0]).T
    with np.errstate(divide="ignore", invalid="ignore"):
        cross = ux * ey - uy * ex
        r = (ax * ey - ay * ex) / cross
        s = (ax * uy - ay * ux) / cross
    r[~((r > 0) & (s >= 0) & (s <= 1))] = np.inf
    return r.min(axis=1)


def inside(segments: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random pose with 0.35 m of room around it, not inside furniture."""
    low, high = segments.min(axis=(0, 1)), segments.max(axis=(0, 1))
    while True:
        pose = np.array([*rng.uniform(low, high), rng.uniform(-math.pi, math.pi)])
        turn = np.linspace(0, 2 * math.pi, 72, endpoint=False)
        ranges = cast(segments, pose, turn)
        # Every ray meets an odd number of walls from inside the outline and outside the furniture.
        up = segments[:, :, 1] > pose[1]
        crossing = up[:, 0] != up[:, 1]
        a, b = segments[crossing, 0], segments[crossing, 1]
        x = a[:, 0] + (pose[1] - a[:, 1]) / (b[:, 1] - a[:, 1]) * (b[:, 0] - a[:, 0])
        if (x > pose[0]).sum() % 2 == 1 and ranges.min() > 0.35:
            return pose


OFFICE = np.concatenate(
    [
        walls((0, 0), (14, 0), (14, 10), (0, 10)),
        np.array([((5, 0), (5, 3)), ((5, 4), (5, 10)), ((5, 6), (8, 6)), ((9, 6), (14, 6)), ((9.5, 0), (9.5, 2))]),
        *[walls((x, y), (x + w, y), (x + w, y + h), (x, y + h)) for x, y, w, h in
          ((0.4, 0.4, 1.6, 0.8), (2.6, 8.6, 1.6, 0.8), (0.5, 4.5, 0.8, 1.6), (6, 0.3, 1.2, 0.6), (12.2, 4.4, 1.4, 0.7),
           (11, 8.8, 1.6, 0.8), (6.1, 7.5, 0.5, 0.5), (10.5, 1.5, 0.4, 0.4))],
    ]
)  # fmt: skip
CORRIDOR = np.concatenate(
    [
        walls((0, 0), (24, 0), (24, 2), (0, 2)),
        *[np.array([((x, y), (x, y + d)), ((x, y + d), (x + 0.9, y + d)), ((x + 0.9, y + d), (x + 0.9, y))])
          for x, y, d in ((3, 2, -0.12), (7.5, 0, 0.12), (11, 2, -0.12), (15, 0, 0.12), (19, 2, -0.12))],
    ]
)  # fmt: skip
