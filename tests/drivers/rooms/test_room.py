"""What a room tells: its segments, where a base may be, what is near and what is in the way."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.rooms import Room
from drivers.rooms.geometry import crossing, distances_to_segments, inside_polygon

STANDARD = Room.library("standard")
coordinate = st.floats(-10, 10, allow_nan=False).map(lambda v: round(v, 3))
point = st.tuples(coordinate, coordinate)


def test_standard_room_has_walls_furniture_and_one_dock() -> None:
    assert STANDARD.segments.shape == (24, 2, 2)
    assert STANDARD.segment_names[0] == "outer"
    assert STANDARD.segment_names[-1] == "sofa"
    assert [dock.name for dock in STANDARD.docks] == ["A"]
    assert STANDARD.dock("A").pose.xyh == (0.35, 2.4, 0.0)


def test_segments_of_walls_form_a_closed_ring() -> None:
    outer = STANDARD.segments[:12]
    np.testing.assert_array_equal(outer[:, 1], np.roll(outer[:, 0], -1, axis=0))


def test_segments_cannot_be_written_to() -> None:
    with pytest.raises(ValueError, match="read-only"):
        STANDARD.segments[0, 0, 0] = 1.0


@pytest.mark.parametrize("half_turns", [1, 2])
def test_standard_room_looks_different_after_a_turn_or_a_reflection(half_turns: int) -> None:
    corners = STANDARD.segments.reshape(-1, 2)
    middle = (corners.max(axis=0) + corners.min(axis=0)) / 2
    turned = (
        2 * middle - corners if half_turns == 1 else np.column_stack((corners[:, 0], 2 * middle[1] - corners[:, 1]))
    )
    farthest = max(float(distances_to_segments(x, y, STANDARD.segments).min()) for x, y in turned)
    assert farthest > 0.5


def test_a_base_may_be_in_the_open_but_not_in_furniture_nor_behind_the_geofence() -> None:
    assert STANDARD.contains(3.0, 3.0)
    assert not STANDARD.contains(5.5, 3.1)  # the pillar
    assert not STANDARD.contains(7.9, 3.0)  # between geofence and wall
    assert not STANDARD.contains(5.0, 6.5)  # the alcove


def test_docked_base_is_inside_geofence_and_dock_zone() -> None:
    dock = STANDARD.dock("A")
    assert STANDARD.contains(dock.pose.x, dock.pose.y)
    assert dock.in_zone(dock.pose.x, dock.pose.y)
    assert not dock.in_zone(3.0, 2.4)


def test_clearance_is_the_distance_to_the_nearest_wall_or_furniture() -> None:
    assert STANDARD.clearance(1.0, 2.0) == pytest.approx(1.0)
    assert STANDARD.clearance(5.15, 3.1) == pytest.approx(0.2)


def test_way_through_the_pillar_crosses() -> None:
    assert STANDARD.crosses((4.0, 3.1), (7.0, 3.1))
    assert STANDARD.clearance_along((4.0, 3.1), (7.0, 3.1)) == 0.0


def test_way_past_the_pillar_has_its_least_clearance_beside_it() -> None:
    assert not STANDARD.crosses((4.0, 3.8), (7.0, 3.8))
    assert STANDARD.clearance_along((4.0, 3.8), (7.0, 3.8)) == pytest.approx(0.5)


def test_standing_still_has_the_clearance_of_the_place() -> None:
    assert STANDARD.clearance_along((1.0, 2.0), (1.0, 2.0)) == pytest.approx(1.0)


def test_unknown_names_tell_the_known_ones() -> None:
    with pytest.raises(ValueError, match="there are: standard"):
        Room.library("ballroom")
    with pytest.raises(KeyError, match="it has: A"):
        STANDARD.dock("Z")


@given(point, point, point, point)
def test_crossing_does_not_depend_on_the_order_of_anything(
    a: tuple[float, float], b: tuple[float, float], p: tuple[float, float], q: tuple[float, float]
) -> None:
    def met(a: tuple[float, float], b: tuple[float, float], p: tuple[float, float], q: tuple[float, float]) -> bool:
        return bool(crossing(np.array(p), np.array(q), np.array([[a, b]]))[0])

    # A touch that is only rounding apart may go either way.
    ends = [
        float(distances_to_segments(*end, np.array([side]))[0])
        for end, side in ((a, (p, q)), (b, (p, q)), (p, (a, b)), (q, (a, b)))
        if side[0] != side[1]
    ]
    if a == b or p == q or min(ends) < 1e-9:
        return
    assert met(a, b, p, q) == met(b, a, p, q) == met(a, b, q, p) == met(p, q, a, b)


@given(st.floats(0.01, 2 * math.pi), st.floats(0, 0.99), st.integers(3, 12))
def test_points_within_the_inner_circle_are_inside_a_regular_polygon(
    bearing: float, share: float, corners: int
) -> None:
    angles = np.arange(corners) * 2 * math.pi / corners
    polygon = np.column_stack((np.cos(angles), np.sin(angles)))
    inner = math.cos(math.pi / corners)
    assert inside_polygon(share * inner * math.cos(bearing), share * inner * math.sin(bearing), polygon)
    assert not inside_polygon(1.01 * math.cos(bearing), 1.01 * math.sin(bearing), polygon)
