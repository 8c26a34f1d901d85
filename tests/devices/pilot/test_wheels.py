"""The wheels' way as another maker's page shows it: taken as it is, but for steps that no wheel can have made."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.pilot.wheels import ShownWheels
from drivers.create2 import NOMINAL_GEOMETRY


def shown() -> ShownWheels:
    return ShownWheels(NOMINAL_GEOMETRY, 0.3, 1.0)


@given(st.lists(st.tuples(st.floats(-0.3, 0.3), st.floats(-0.3, 0.3), st.floats(0.01, 2.0)), max_size=30))
def test_what_wheels_can_do_is_taken_as_it_is(steps: list[tuple[float, float, float]]) -> None:
    """Each step: the wheels' speeds, and how long they were held."""
    wheels, left, right, time = shown(), 5.0, -3.0, 10.0
    wheels.update(left, right, time)
    for left_m_s, right_m_s, seconds in steps:
        left, right, time = left + left_m_s * seconds, right + right_m_s * seconds, time + seconds
        assert wheels.update(left, right, time) == pytest.approx((left - 5.0, right + 3.0))
    assert wheels.breaks == 0


def test_a_page_that_shows_half_a_second_of_motion_at_once_is_believed() -> None:
    wheels = shown()
    wheels.update(0.5, 0.5, 1.0)
    assert wheels.update(0.65, 0.65, 1.04) == pytest.approx((0.15, 0.15))
    assert wheels.breaks == 0


@pytest.mark.parametrize("anew", [(0.0, 0.0), (0.004, -0.003), (9.0, 9.0), (0.45, -4.0)])
def test_a_jump_is_left_out_and_told(anew: tuple[float, float]) -> None:
    wheels = shown()
    wheels.update(0.4, 0.5, 1.0)
    wheels.update(0.41, 0.51, 1.04)
    assert wheels.update(*anew, 1.1) == pytest.approx((0.01, 0.01))
    assert wheels.breaks == 1
    assert wheels.last_break.startswith("the wheels that the client's page shows jumped by ")
    assert wheels.last_break.endswith("its robot or the page began to count anew")
    assert wheels.update(anew[0] + 0.01, anew[1], 1.14) == pytest.approx((0.02, 0.01))
    assert wheels.breaks == 1


def test_a_robot_that_drives_back_to_where_it_began_to_count_is_believed() -> None:
    wheels = shown()
    for step in range(30):
        wheels.update(0.3 - 0.01 * step, 0.3 - 0.01 * step, 1.0 + 0.033 * step)
    assert wheels.breaks == 0


def test_a_robot_that_has_hardly_moved_yet_is_not_taken_to_count_anew() -> None:
    wheels = shown()
    wheels.update(0.01, 0.01, 1.0)
    assert wheels.update(0.0, 0.0, 1.1) == pytest.approx((-0.01, -0.01))
    assert wheels.breaks == 0
