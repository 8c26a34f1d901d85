"""Rooms, and a ray caster written apart from the one under test."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

Array = np.ndarray


def outline(*corners: tuple[float, float]) -> Array:
    points = np.array(corners, dtype=float)
    return np.stack((points, np.roll(points, -1, axis=0)), axis=1)


@pytest.fixture(scope="session")
def angles() -> Array:
    """A UTM-30LX at half its beams: 270 degrees, 0.5 degrees apart."""
    return np.radians(np.arange(-270, 271) * 0.5)


@pytest.fixture(scope="session")
def rectangle() -> Array:
    """An empty 6 x 8 m room: the same from both ends."""
    return outline((0, 0), (6, 0), (6, 8), (0, 8))


@pytest.fixture(scope="session")
def furnished() -> Array:
    """A 6 x 8 m room with a niche, a cut corner and two cupboards: no symmetry left."""
    return np.concatenate(
        (
            outline((0, 0), (6, 0), (6, 3), (6.4, 3), (6.4, 4.2), (6, 4.2), (6, 8), (2, 8), (2, 7.2), (0, 7.2)),
            outline((4.6, 6.9), (5.6, 6.9), (5.6, 7.6), (4.6, 7.6)),
            outline((0.2, 3.0), (0.8, 3.0), (0.8, 4.4), (0.2, 4.4)),
        )
    )


@pytest.fixture(scope="session")
def corridor() -> Array:
    """Two walls 2 m apart; the ends are out of reach."""
    return np.array([[(-100, 0), (100, 0)], [(-100, 2), (100, 2)]], dtype=float)


@pytest.fixture(scope="session")
def cast() -> Callable[[Array, tuple[float, float, float], Array], Array]:
    """Ranges by intersecting each beam with each segment in turn; inf where there is none within 30 m."""

    def ranges(room: Array, pose: tuple[float, float, float], angles: Array) -> Array:
        result = np.full(len(angles), np.inf)
        for index, angle in enumerate(angles):
            ux, uy = math.cos(angle + pose[2]), math.sin(angle + pose[2])
            for (ax, ay), (bx, by) in room:
                determinant = ux * (by - ay) - uy * (bx - ax)
                if abs(determinant) < 1e-12:
                    continue
                dx, dy = ax - pose[0], ay - pose[1]
                distance = (dx * (by - ay) - dy * (bx - ax)) / determinant
                position = (dx * uy - dy * ux) / determinant
                if distance > 0 and 0 <= position <= 1 and distance < min(result[index], 30.0):
                    result[index] = distance
        return result

    return ranges
