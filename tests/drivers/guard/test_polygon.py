"""Depth inside polygons, also concave ones."""

from __future__ import annotations

import numpy as np
import pytest

from drivers.guard.polygon import depth_inside

ELL = np.array([[0.0, 0.0], [4.0, 0.0], [4.0, 2.0], [2.0, 2.0], [2.0, 4.0], [0.0, 4.0]])


def test_depth_is_the_distance_to_the_outline_and_negative_outside() -> None:
    points = np.array([[1.0, 1.0], [3.0, 3.0], [1.9, 3.0], [-0.5, 1.0], [5.0, 1.0]])
    assert depth_inside(points, ELL) == pytest.approx([1.0, -1.0, 0.1, -0.5, -1.0])


def test_the_direction_of_the_outline_does_not_matter() -> None:
    points = np.array([[1.0, 1.0], [3.0, 3.0]])
    assert depth_inside(points, ELL[::-1]) == pytest.approx([1.0, -1.0])
