"""Depth inside polygons, also concave ones, and hulls round points."""

from __future__ import annotations

import numpy as np
import pytest

from drivers.guard.polygon import convex_hull, depth_inside

ELL = np.array([[0.0, 0.0], [4.0, 0.0], [4.0, 2.0], [2.0, 2.0], [2.0, 4.0], [0.0, 4.0]])


def test_depth_is_the_distance_to_the_outline_and_negative_outside() -> None:
    points = np.array([[1.0, 1.0], [3.0, 3.0], [1.9, 3.0], [-0.5, 1.0], [5.0, 1.0]])
    assert depth_inside(points, ELL) == pytest.approx([1.0, -1.0, 0.1, -0.5, -1.0])


def test_the_direction_of_the_outline_does_not_matter() -> None:
    points = np.array([[1.0, 1.0], [3.0, 3.0]])
    assert depth_inside(points, ELL[::-1]) == pytest.approx([1.0, -1.0])


def test_the_hull_leaves_out_what_lies_inside_or_on_an_edge_and_goes_counter_clockwise() -> None:
    points = np.vstack((ELL, [[1.0, 1.0], [2.0, 0.0]]))
    assert convex_hull(points).tolist() == [[0.0, 0.0], [4.0, 0.0], [4.0, 2.0], [2.0, 4.0], [0.0, 4.0]]
