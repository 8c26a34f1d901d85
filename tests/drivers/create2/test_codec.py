"""Bytes of the Create 2 Open Interface as the driver writes and reads them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.create2 import CANCEL_DOCKING_BYTES, NOMINAL_GEOMETRY, STOP_BYTES
from drivers.create2.codec import drive_direct, twist_to_wheel_speeds
from drivers.errors import MotionRefusedError
from drivers.types import BaseGeometry


def test_nominal_geometry_is_the_datasheets():
    assert pytest.approx(0.4446e-3, abs=1e-7) == NOMINAL_GEOMETRY.left_metres_per_tick
    assert NOMINAL_GEOMETRY.wheel_base_m == 0.235


def test_drive_direct_puts_the_right_wheel_first_big_endian():
    assert drive_direct(left_mm_s=-200, right_mm_s=500) == bytes([145, 0x01, 0xF4, 0xFF, 0x38])


@pytest.mark.parametrize(("left", "right"), [(501, 0), (0, -501)])
def test_wheel_speed_beyond_the_boards_is_refused_not_clipped(left, right):
    with pytest.raises(MotionRefusedError, match=r"-500 \.\. 500"):
        drive_direct(left, right)


def test_too_fast_a_turn_while_driving_is_refused_with_both_wheel_speeds():
    with pytest.raises(MotionRefusedError, match=r"0\.283 and 0\.518"):
        twist_to_wheel_speeds(0.4, 1.0, NOMINAL_GEOMETRY)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_velocity_that_is_no_number_is_refused(bad):
    with pytest.raises(MotionRefusedError, match="not a number"):
        twist_to_wheel_speeds(bad, 0.0, NOMINAL_GEOMETRY)


def test_a_wheel_calibrated_one_percent_larger_is_asked_for_one_percent_less():
    larger = BaseGeometry(NOMINAL_GEOMETRY.left_metres_per_tick * 1.01, NOMINAL_GEOMETRY.right_metres_per_tick, 0.235)
    assert twist_to_wheel_speeds(0.303, 0.0, larger) == (300, 303)


@given(st.floats(-0.25, 0.25), st.floats(-2, 2))
def test_wheel_speeds_give_the_twist_back_within_their_resolution(linear, angular):
    left, right = twist_to_wheel_speeds(linear, angular, NOMINAL_GEOMETRY)
    assert (left + right) / 2000 == pytest.approx(linear, abs=0.0006)
    assert (right - left) / 1000 / 0.235 == pytest.approx(angular, abs=0.005)


def test_stop_bytes_survive_a_board_that_still_waits_for_arguments():
    zero = bytes([145, 0, 0, 0, 0])
    assert zero + zero == STOP_BYTES
    assert (bytes([131]) + zero) * 2 == CANCEL_DOCKING_BYTES
