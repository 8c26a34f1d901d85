"""First contact of a moving footprint: exact answers held against small steps in time."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.guard.sweep import arc, moved, signed_distance, times_to_contact
from drivers.types import Twist

DISC = np.array([[0.0, 0.0]])
BOX = np.array([[0.3, -0.2], [0.3, 0.2], [-0.2, 0.2], [-0.2, -0.2]])
metres = st.floats(-1.5, 1.5)
footprints = st.sampled_from([(DISC, 0.18), (np.array([[0.05, 0.02]]), 0.2), (BOX, 0.0), (BOX, 0.05)])


def test_a_disc_driving_straight_meets_a_point_ahead_after_the_gap() -> None:
    times = times_to_contact(np.array([[1.0, 0.0], [1.0, 0.18], [1.0, 0.19], [-1.0, 0.0]]), Twist(0.5, 0.0), DISC, 0.18)
    assert times == pytest.approx([0.82 / 0.5, 1.0 / 0.5, np.inf, np.inf])


def test_a_disc_turning_in_place_meets_nothing() -> None:
    points = np.array([[0.19, 0.0], [0.0, 0.1], [-0.5, 0.5]])
    assert np.isinf(times_to_contact(points, Twist(0.0, 1.0), DISC, 0.18)).all()


def test_a_box_turning_in_place_meets_with_its_corner() -> None:
    # The corner (0.3, 0.2) lies at 33.69 degrees and 0.3606 m.
    point = 0.3606 * np.array([[math.cos(math.radians(60)), math.sin(math.radians(60))]])
    (time,) = times_to_contact(0.999 * point, Twist(0.0, 0.5), BOX, 0.0)
    assert time * 0.5 == pytest.approx(math.radians(60 - 33.69), abs=0.05)


def test_a_point_inside_stops_only_the_motion_that_goes_deeper() -> None:
    point = np.array([[0.15, 0.0]])
    assert times_to_contact(point, Twist(0.3, 0.0), DISC, 0.18) == pytest.approx([0.0])
    assert np.isinf(times_to_contact(point, Twist(-0.3, 0.0), DISC, 0.18)).all()
    assert np.isinf(times_to_contact(point, Twist(0.0, 1.0), DISC, 0.18)).all()


def test_an_arc_of_a_quarter_turn_ends_where_geometry_says() -> None:
    x, y, heading = arc(Twist(0.5, 0.5), np.array([math.pi]))[0]
    assert (x, y, heading) == pytest.approx((1.0, 1.0, math.pi / 2))


@settings(max_examples=150, deadline=None)
@given(metres, metres, st.floats(-0.5, 0.5), st.floats(-2.0, 2.0), footprints)
def test_contact_is_where_small_steps_first_touch(
    x: float, y: float, linear: float, angular: float, footprint: tuple[np.ndarray, float]
) -> None:
    corners, radius = footprint
    twist = Twist(linear, angular)
    point = np.array([[x, y]])
    if signed_distance(point, corners, radius)[0] <= 0.002 or abs(linear) + abs(angular) < 0.01:
        return
    (exact,) = times_to_contact(point, twist, corners, radius)
    horizon, steps = 3.0, 1500
    path = np.concatenate([moved(point, twist, t) for t in np.linspace(0.0, horizon, steps)])
    depth = signed_distance(path, corners, radius)
    speed = abs(linear) + abs(angular) * 3.0
    tolerance = speed * horizon / steps + 1e-6
    if exact <= horizon:
        at = moved(point, twist, float(exact))
        assert signed_distance(at, corners, radius)[0] == pytest.approx(0.0, abs=1e-6)
    before = depth[np.linspace(0.0, horizon, steps) < min(exact, horizon) - horizon / steps]
    assert (before > -tolerance * 1e-3 - 1e-9).all()
