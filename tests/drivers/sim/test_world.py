"""The robot in its room: dock, docking runs, people, and the same again from the same seed."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.clock import ManualClock
from drivers.rooms import Room
from drivers.sim.beam_model import BeamModel
from drivers.sim.docking_run import DockingModel
from drivers.sim.person import Person
from drivers.sim.robot import BodyModel
from drivers.sim.world import World
from drivers.types import ChargingState

ROOM = Room.library("standard")
DOCKED = ROOM.dock("A").pose


def world(clock: ManualClock, seed: int = 1, body: BodyModel | None = None, beams: BeamModel | None = None) -> World:
    return World(ROOM, clock, "A", seed=seed, body=body, beams=beams)


def run(world: World, clock: ManualClock, seconds: float) -> None:
    """Let time pass as the wires do: a reading every 15 ms, a scan every 25 ms."""
    for step in range(round(seconds / 0.005)):
        clock.advance(0.005)
        if step % 3 == 0:
            world.reading()
        if step % 5 == 0:
            world.scan(clock.now())


def dock(world: World, clock: ManualClock, limit: float = 120.0) -> float:
    """Let a docking run go to its end; returns how long it took."""
    world.start_docking()
    begun = clock.now()
    while world.reading().docking and clock.now() - begun < limit:
        clock.advance(0.05)
    return clock.now() - begun


def test_robot_starts_docked_and_charging() -> None:
    reading = world(ManualClock(50.0)).reading()
    assert reading.on_dock
    assert reading.charging is ChargingState.FULL
    assert reading.current_a > 0.5
    assert (reading.left_ticks, reading.right_ticks) == (0, 0)
    assert reading.ir_omni == 173  # both buoys and the force field


def test_robot_drives_out_of_the_dock_and_stops() -> None:
    clock = ManualClock(50.0)
    robot = world(clock)
    robot.set_wheel_speeds(0.3, 0.3)
    run(robot, clock, 4.0)
    robot.set_wheel_speeds(0.0, 0.0)
    run(robot, clock, 0.5)
    truth = robot.truth()
    assert truth.x == pytest.approx(0.35 + 1.2, abs=0.02)
    assert (truth.linear, truth.angular) == (0.0, 0.0)
    reading = robot.reading()
    assert not reading.on_dock
    assert reading.charging is ChargingState.NOT_CHARGING


def test_same_seed_and_commands_give_the_same_run_whoever_asks_in_between() -> None:
    ends = []
    for often in (True, False):
        clock = ManualClock(50.0)
        robot = world(clock, seed=5)
        robot.set_wheel_speeds(0.3, 0.25)
        if often:
            run(robot, clock, 2.0)
        else:
            for _ in range(400):
                clock.advance(0.005)
        truth = robot.truth()
        ends.append((truth.x, truth.y, truth.heading))
    assert ends[0] == ends[1]


def test_other_seed_slips_otherwise() -> None:
    ends = []
    for seed in (1, 2):
        clock = ManualClock(50.0)
        robot = world(clock, seed=seed)
        robot.set_wheel_speeds(0.3, 0.3)
        clock.advance(2.0)
        ends.append(robot.truth().y)
    assert ends[0] != ends[1]


def test_scan_of_the_past_is_taken_from_where_the_robot_was() -> None:
    exact = BeamModel(range_sigma_m=0.0, dropout_ratio=0.0)
    clock = ManualClock(50.0)
    late, prompt = world(clock, beams=exact), world(clock, beams=exact)
    for robot in (late, prompt):
        robot.set_wheel_speeds(0.3, 0.3)
    clock.advance(1.0)
    then = clock.now()
    expected, _ = prompt.scan(then)
    clock.advance(0.2)
    late.reading()
    np.testing.assert_allclose(late.scan(then)[0], expected, rtol=0, atol=1e-9)


def test_idle_robot_lets_an_hour_pass_at_once_and_charges_meanwhile() -> None:
    clock = ManualClock(50.0)
    robot = world(clock)
    before = robot.reading().battery_charge_mah
    clock.advance(360.0)
    assert robot.reading().battery_charge_mah == pytest.approx(before + 125.0)


@pytest.mark.parametrize(
    ("ahead", "left", "turn_deg"), [(0.5, 0.0, 0.0), (0.5, 0.06, 8.0), (0.8, -0.1, -15.0), (1.5, 0.3, 160.0)]
)
def test_docking_run_ends_on_the_contacts(ahead: float, left: float, turn_deg: float) -> None:
    clock = ManualClock(50.0)
    robot = world(clock)
    robot.put_robot(DOCKED.x + ahead, DOCKED.y + left, math.radians(turn_deg))
    assert not robot.reading().on_dock
    dock(robot, clock)
    clock.advance(3.0)
    reading, truth = robot.reading(), robot.truth()
    assert reading.on_dock
    assert not reading.docking
    assert reading.charging is ChargingState.FULL
    assert math.hypot(truth.x - DOCKED.x, truth.y - DOCKED.y) < 0.016
    assert abs(truth.heading) < math.radians(5)
    assert (reading.bump_left, reading.bump_right) == (False, False)


def test_misses_on_demand_make_the_run_try_again() -> None:
    clock = ManualClock(50.0)
    robot = world(clock)
    times = []
    for misses in (0, 2):
        robot.docking = DockingModel(misses=misses)
        robot.put_robot(DOCKED.x + 0.5, DOCKED.y, 0.0)
        times.append(dock(robot, clock))
        assert robot.reading().on_dock
        assert robot.docking.misses == 0
    assert times[1] > times[0] + 10


def test_run_that_misses_every_time_gives_up_off_the_dock() -> None:
    clock = ManualClock(50.0)
    robot = world(clock)
    robot.docking = DockingModel(misses=10, attempts=2)
    robot.put_robot(DOCKED.x + 0.5, DOCKED.y, 0.0)
    dock(robot, clock)
    assert not robot.reading().docking
    assert not robot.reading().on_dock
    assert robot.docking.misses == 8


def test_run_out_of_reach_of_the_beams_gives_up() -> None:
    clock = ManualClock(50.0)
    robot = world(clock)
    robot.put_robot(6.5, 4.5, 1.0)
    assert robot.reading().ir_omni == 0
    assert dock(robot, clock) == pytest.approx(12.0, abs=0.2)
    assert not robot.reading().on_dock


def test_docking_run_stops_when_told() -> None:
    clock = ManualClock(50.0)
    robot = world(clock)
    robot.put_robot(DOCKED.x + 0.8, DOCKED.y, 0.0)
    robot.start_docking()
    clock.advance(2.0)
    assert robot.truth().linear < -0.05
    robot.stop_docking()
    clock.advance(0.5)
    assert robot.truth().linear == 0.0
    assert not robot.reading().docking


def test_charger_stops_a_robot_that_backs_into_it_without_a_bump() -> None:
    clock = ManualClock(50.0)
    robot = world(clock)
    robot.set_wheel_speeds(-0.1, -0.1)
    clock.advance(2.0)
    reading = robot.reading()
    assert robot.truth().x == pytest.approx(DOCKED.x, abs=0.002)
    assert reading.left_ticks < -300
    assert (reading.bump_left, reading.bump_right) == (False, False)


def test_robot_runs_into_a_person_and_feels_it() -> None:
    clock = ManualClock(50.0)
    robot = world(clock)
    robot.set_person("anna", Person(((1.5, 2.4),), start=clock.now()))
    robot.set_wheel_speeds(0.3, 0.3)
    run(robot, clock, 5.0)
    assert robot.truth().x == pytest.approx(1.5 - 0.2 - 0.18, abs=0.01)
    reading = robot.reading()
    assert reading.bump_left
    assert reading.bump_right
    robot.set_person("anna", None)
    run(robot, clock, 1.0)
    assert robot.truth().x > 1.3
    assert not robot.reading().bump_left


def test_lidar_sees_the_person_s_legs() -> None:
    clock = ManualClock(50.0)
    robot = world(clock, beams=BeamModel(range_sigma_m=0.0, dropout_ratio=0.0))
    empty, _ = robot.scan(clock.now())
    robot.set_person("anna", Person(((2.0, 2.4), (2.0, 3.4)), start=clock.now()))
    seen, _ = robot.scan(clock.now())
    nearer = np.flatnonzero(seen < empty - 0.05)
    assert nearer.size > 20
    assert seen[nearer].min() == pytest.approx(2.0 - 0.13 - 0.07 - 0.45, abs=0.01)


speed = st.floats(-0.5, 0.5)


@given(st.lists(st.tuples(speed, speed), min_size=1, max_size=6), st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_body_never_enters_a_wall_and_wheels_keep_counting(legs: list[tuple[float, float]], seed: int) -> None:
    clock = ManualClock(50.0)
    robot = world(clock, seed=seed)
    robot.put_robot(5.0, 2.0, 0.0)
    radius = robot.body.radius_m
    for left, right in legs:
        before = robot.reading()
        robot.set_wheel_speeds(left, right)
        for _ in range(30):
            clock.advance(0.1)
            truth = robot.truth()
            assert ROOM.clearance(truth.x, truth.y) > radius - 0.002
        turned = (robot.reading().left_ticks - before.left_ticks) * robot.body.metres_per_tick
        assert turned == pytest.approx(3.0 * left, abs=0.35)


@pytest.mark.parametrize(("x", "y"), [(6.3, 0.5), (0.1, 3.0), (-2.0, 3.0), (math.nan, 1.0)])
def test_robot_cannot_be_put_into_things(x: float, y: float) -> None:
    with pytest.raises(ValueError, match="cannot stand at"):
        world(ManualClock(50.0)).put_robot(x, y, 0.0)


def test_cliff_and_wheel_drop_show_on_command() -> None:
    clock = ManualClock(50.0)
    robot = world(clock)
    robot.body = BodyModel(cliff=True, wheel_drop=True)
    assert robot.reading().cliff
    assert robot.reading().wheel_drop


def test_a_robot_whose_board_gets_no_time_waits_for_it() -> None:
    clock = ManualClock(50.0)
    robot = World(ROOM, clock, "A", waits_for_board_s=0.05)
    robot.set_wheel_speeds(0.3, 0.3)
    run(robot, clock, 2.0)
    before = robot.truth()
    assert before.linear > 0.2
    clock.advance(3.0)  # nobody serves the board; the LiDAR and the experimenter look on
    robot.scan(clock.now())
    assert robot.truth().x == pytest.approx(before.x + 0.05 * before.linear, abs=0.01)
    robot.set_wheel_speeds(0.0, 0.0)  # what the board then hears takes effect as if nothing had been
    run(robot, clock, 2.0)
    assert robot.truth().linear == 0
    assert robot.truth().x < before.x + 0.25
