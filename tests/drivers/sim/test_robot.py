"""The simulated body: what its wheels do, what they slip, and what its bumper feels."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.sim.robot import BodyModel, Robot

STEP = 0.002
EXACT = BodyModel(left_slip_variance=0.0, right_slip_variance=0.0)


class Nothing:
    """An empty plane."""

    def contact(self, x: float, y: float, radius: float) -> tuple[float, float] | None:
        return None

    def held(self, x: float, y: float) -> float:
        return 0.0


class WallAhead:
    """A wall along x = 1, to the east of everything."""

    def contact(self, x: float, y: float, radius: float) -> tuple[float, float] | None:
        gap = 1.0 - x - radius
        return (gap, 0.0) if gap < 0.01 else None

    def held(self, x: float, y: float) -> float:
        return 0.0


def drive(
    robot: Robot, left: float, right: float, seconds: float, surroundings: Nothing | WallAhead | None = None
) -> None:
    robot.ask(0.0, left, right)
    for step in range(round(seconds / STEP)):
        robot.step(1.0 + step * STEP, STEP, surroundings or Nothing())


def test_straight_drive_goes_as_far_as_the_ticks_say() -> None:
    robot = Robot(EXACT, (0.0, 0.0, 0.0), random.Random(0))
    drive(robot, 0.3, 0.3, 4.0)
    drive(robot, 0.0, 0.0, 1.0)
    assert robot.at_rest
    assert robot.x == pytest.approx(robot.left_ticks * EXACT.metres_per_tick, abs=EXACT.metres_per_tick)
    assert robot.x == pytest.approx(1.2, abs=0.01)
    assert robot.y == 0.0
    assert robot.left_ticks == robot.right_ticks


@given(st.floats(-0.4, 0.4), st.floats(-0.4, 0.4))
@settings(max_examples=25, deadline=None)
def test_steady_drive_stays_on_its_circle(left: float, right: float) -> None:
    # Without lag the body moves at once, so the whole way is one arc.
    model = BodyModel(left_slip_variance=0.0, right_slip_variance=0.0, lag_s=0.0, acceleration_m_s2=10.0)
    robot = Robot(model, (0.0, 0.0, 0.0), random.Random(0))
    robot.left_speed, robot.right_speed = left, right
    drive(robot, left, right, 1.0)
    turn = (right - left) / model.wheel_base_m
    way = (left + right) / 2
    curved = abs(turn) > 1e-6
    expected = (way / turn * math.sin(turn), way / turn * (1 - math.cos(turn))) if curved else (way, 0.0)
    assert (robot.x, robot.y) == pytest.approx(expected, abs=1e-6)
    assert math.remainder(robot.heading - turn, 2 * math.pi) == pytest.approx(0.0, abs=1e-9)


def test_larger_wheel_goes_farther_on_the_same_ticks() -> None:
    model = BodyModel(left_slip_variance=0.0, right_slip_variance=0.0, left_wheel_scale=1.01, right_wheel_scale=1.01)
    robot = Robot(model, (0.0, 0.0, 0.0), random.Random(0))
    drive(robot, 0.3, 0.3, 4.0)
    assert robot.x == pytest.approx(1.01 * robot.left_rim_m)


def test_one_wheel_larger_turns_the_body() -> None:
    model = BodyModel(left_slip_variance=0.0, right_slip_variance=0.0, right_wheel_scale=1.01)
    robot = Robot(model, (0.0, 0.0, 0.0), random.Random(0))
    drive(robot, 0.3, 0.3, 4.0)
    assert robot.heading == pytest.approx(0.01 * robot.left_rim_m / model.wheel_base_m)


def test_slip_has_the_variance_that_was_asked_for() -> None:
    variance = 1e-4
    model = BodyModel(left_slip_variance=variance, right_slip_variance=variance)
    chance = random.Random(7)
    errors = []
    for _ in range(400):
        robot = Robot(model, (0.0, 0.0, 0.0), chance)
        robot.left_speed = robot.right_speed = 0.4
        drive(robot, 0.4, 0.4, 0.5)
        errors.append((robot.heading * model.wheel_base_m) ** 2 / robot.left_rim_m)
    # Both wheels slip, so their difference has twice the variance; 400 runs leave it uncertain by 7 %.
    assert sum(errors) / len(errors) == pytest.approx(2 * variance, rel=0.25)


def test_command_takes_its_latency_and_the_motors_their_lag() -> None:
    robot = Robot(BodyModel(latency_s=0.02, lag_s=0.03), (0.0, 0.0, 0.0), random.Random(0))
    robot.ask(10.0, 0.03, 0.03)
    for step in range(10):
        robot.step(10.0 + step * STEP, STEP, Nothing())
    assert robot.left_speed == 0.0
    for step in range(10, 26):
        robot.step(10.0 + step * STEP, STEP, Nothing())
    assert robot.left_speed == pytest.approx(0.03 * (1 - math.exp(-1)), rel=0.1)


def test_acceleration_is_limited() -> None:
    robot = Robot(BodyModel(latency_s=0.0, acceleration_m_s2=1.0), (0.0, 0.0, 0.0), random.Random(0))
    drive(robot, 0.5, 0.5, 0.2)
    assert robot.left_speed == pytest.approx(0.2, abs=0.003)


def test_wall_stops_the_body_but_not_the_wheels_and_presses_the_bumper() -> None:
    robot = Robot(EXACT, (0.5, 0.0, 0.0), random.Random(0))
    drive(robot, 0.3, 0.3, 3.0, WallAhead())
    assert robot.x == pytest.approx(1.0 - EXACT.radius_m, abs=0.001)
    assert robot.left_rim_m > 0.8
    assert (robot.bump_left, robot.bump_right) == (True, True)
    assert robot.velocity.linear == 0.0
    drive(robot, -0.3, -0.3, 0.8, WallAhead())
    assert robot.x < 1.0 - EXACT.radius_m - 0.02
    assert (robot.bump_left, robot.bump_right) == (False, False)


@pytest.mark.parametrize(("heading_deg", "pressed"), [(40, (False, True)), (-40, (True, False))])
def test_oblique_wall_presses_the_side_that_touches(heading_deg: float, pressed: tuple[bool, bool]) -> None:
    robot = Robot(EXACT, (0.6, 0.0, math.radians(heading_deg)), random.Random(0))
    drive(robot, 0.3, 0.3, 2.0, WallAhead())
    assert (robot.bump_left, robot.bump_right) == pressed


def test_stalled_wheel_makes_the_body_turn_about_it() -> None:
    robot = Robot(
        BodyModel(left_slip_variance=0, right_slip_variance=0, left_stalled=True), (0, 0, 0), random.Random(0)
    )
    drive(robot, 0.1, 0.1, 1.0)
    assert robot.left_ticks == 0
    assert robot.heading == pytest.approx(robot.right_rim_m / EXACT.wheel_base_m)


def test_models_outside_reason_are_refused() -> None:
    with pytest.raises(ValueError, match="left_wheel_scale 3 is outside"):
        BodyModel(left_wheel_scale=3)
    with pytest.raises(ValueError, match="right_slip_variance -1 is outside"):
        BodyModel(right_slip_variance=-1)
