"""The guard's decisions, without any process: whatever is told to the core, the base only moves when it may."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.create2.codec import twist_to_wheel_speeds
from drivers.errors import MotionRefusedError
from drivers.guard import Footprint, GuardSettings, Limits, Stopping
from drivers.guard.core import Act, GuardCore
from drivers.guard.latch import Memory
from drivers.guard.rules import REST, stopping_distance
from drivers.types import Array, BaseGeometry, BaseMode, BaseState, ChargingState, Pose, Scan, StopReason, Twist

ANGLES = np.deg2rad(np.arange(-135.0, 135.01, 0.25))
PLAIN = GuardSettings(
    base_url="/dev/null", lidar_url="tcp://127.0.0.1:1", token="secret", stopping=Stopping(margin_m=0.05)
)
FENCED = replace(PLAIN, geofence=((0.0, 0.0), (4.0, 0.0), (4.0, 4.0), (0.0, 4.0)))
DOCK = replace(FENCED, dock_zones=(((0.0, 1.0), (1.5, 1.0), (1.5, 3.0), (0.0, 3.0)),))
FAR = 100.0


def scan_of(ranges: Array, time: float, sensor_time: float | None = None) -> Scan:
    codes = np.where(np.isfinite(ranges), 0, 1).astype(np.uint8)
    return Scan(ranges, ANGLES, codes, time, time if sensor_time is None else sensor_time)


def open_space(distance: float = 5.0) -> Array:
    return np.full(len(ANGLES), distance)


def wall_ahead(distance: float) -> Array:
    """Ranges to an endless wall across the way, and 5 m elsewhere."""
    with np.errstate(divide="ignore"):
        ranges = np.where(np.abs(ANGLES) < math.pi / 2, distance / np.cos(ANGLES), 5.0)
    return np.minimum(np.abs(ranges), 5.0)


def board(time: float, **changes: object) -> BaseState:
    state = BaseState(time, 0, 0, BaseMode.SAFE, False, ChargingState.NOT_CHARGING, 0.8, -0.2, 15.0)
    return replace(state, **changes)  # type: ignore[arg-type]  # fields of the state, by name


class Drive:
    """A core that is fed the same surroundings and command for some time."""

    def __init__(self, guard: GuardSettings = PLAIN, memory: Memory | None = None) -> None:
        self.core = GuardCore(guard, memory or Memory())
        self.now = 10.0
        self.acts: set[Act] = set()
        self.core.grant(7, FAR)

    def run(
        self, twist: Twist | None, seconds: float, ranges: Array | None = None, lidar: bool = True, **state: object
    ) -> Twist:
        """Tick on, with fresh scans, board readings and commands; what the wheels do at the end."""
        end = self.now + seconds
        while self.now < end:
            self.now += 0.02
            if lidar:
                self.core.take_scan(scan_of(open_space() if ranges is None else ranges, self.now - 0.01))
            self.core.take_board(board(self.now, **state))
            if twist is not None:
                self.core.command(twist, 7, self.now, self.now, 1)
            decision = self.core.tick(self.now)
            self.acts.add(decision.act)
        return decision.twist

    @property
    def reason(self) -> StopReason | None:
        return self.core.status(self.now, 7).reason

    def put(self, x: float, y: float, heading: float, sigma: float = 0.005) -> None:
        self.core.take_board(board(self.now))
        self.core.set_pose(Pose(x, y, heading, np.eye(3) * sigma**2, time=self.now))


def test_a_granted_command_in_open_space_is_carried_out() -> None:
    drive = Drive()
    assert drive.run(Twist(0.3, 0.2), 1.0) == Twist(0.3, 0.2)
    assert drive.core.status(drive.now).allowed
    assert drive.reason is None


def test_speeding_up_is_limited_and_braking_is_not() -> None:
    drive = Drive()
    drive.run(None, 0.1)
    speeds = [drive.run(Twist(0.4, 0.0), 0.015).linear for _ in range(20)]
    steps = np.diff(speeds)
    assert speeds[-1] <= 0.4
    assert (steps <= PLAIN.limits.linear_acceleration_m_s2 * 0.02 + 1e-9).all()
    drive.run(Twist(0.4, 0.0), 1.0)
    assert drive.run(Twist(0.1, 0.0), 0.015).linear == 0.1
    assert drive.run(Twist(0.0, 0.0), 0.015) == REST


def test_a_command_beyond_the_limits_becomes_the_same_arc_driven_slower() -> None:
    drive = Drive()
    twist = drive.run(Twist(4.0, 2.0), 2.0)
    assert twist.linear == pytest.approx(0.4)
    assert twist.angular == pytest.approx(0.2)


@pytest.mark.parametrize("actual", [0.97, 1.0])
def test_no_arc_needs_a_faster_wheel_than_the_board_has(actual: float) -> None:
    """A board that is asked for more refuses it whole: the base would stand, or jerk along."""
    nominal = PLAIN.geometry
    wheels = BaseGeometry(actual * nominal.left_metres_per_tick, nominal.right_metres_per_tick, nominal.wheel_base_m)
    drive = Drive(replace(PLAIN, geometry=wheels))
    for asked in (Twist(0.4, 1.5), Twist(0.4, -1.5)):
        twist = drive.run(asked, 1.0)
        assert twist.angular / twist.linear == pytest.approx(asked.angular / asked.linear)
        assert max(abs(speed) for speed in twist_to_wheel_speeds(twist.linear, twist.angular, wheels)) == 500


def test_what_is_slowed_down_stays_on_the_arc_that_is_asked_for() -> None:
    drive = Drive(DOCK)
    drive.put(1.2, 2.0, 0.0)
    applied = drive.run(Twist(-0.2, 0.1), 0.5)
    assert applied.linear == pytest.approx(-0.1)
    assert applied.angular == pytest.approx(0.05)
    free = drive.run(Twist(-0.08, 0.04), 0.02)
    assert (free.linear, free.angular) == pytest.approx((-0.08, 0.04))


def test_a_command_lapses_after_its_time_to_live() -> None:
    drive = Drive()
    drive.run(Twist(0.3, 0.0), 1.0)
    assert drive.run(None, 0.2) == Twist(0.3, 0.0)
    assert drive.run(None, 0.06) == REST
    assert drive.reason is StopReason.COMMAND_EXPIRED
    assert drive.core.stops == 1


def test_a_command_that_arrives_late_lives_from_when_it_was_sent() -> None:
    drive = Drive()
    drive.run(Twist(0.3, 0.0), 1.0)
    drive.run(None, 0.5)
    drive.core.command(Twist(0.3, 0.0), 7, issued=drive.now - 0.3, now=drive.now, connection=1)
    assert drive.run(None, 0.02) == REST


def test_an_older_command_from_another_connection_of_the_holder_does_not_displace_a_newer_one() -> None:
    drive = Drive()
    drive.run(Twist(0.3, 0.0), 1.0)
    drive.core.command(Twist(-0.3, 0.0), 7, issued=drive.now - 0.2, now=drive.now, connection=2)
    assert drive.run(None, 0.02) == Twist(0.3, 0.0)
    drive.core.command(REST, 7, issued=drive.now - 0.2, now=drive.now, connection=2)  # but rest is never too late
    assert drive.run(None, 0.02) == REST


def test_the_next_tick_is_due_when_the_command_or_the_lease_runs_out() -> None:
    core = GuardCore(PLAIN, Memory())
    assert core.next_change(10.0, 0.02) == pytest.approx(10.02)
    core.grant(7, 10.03)
    core.command(Twist(0.3, 0.0), 7, 9.765, 10.0, 1)
    assert core.next_change(10.0, 0.02) == pytest.approx(10.015)
    assert core.next_change(10.016, 0.02) == pytest.approx(10.03)
    assert core.next_change(10.04, 0.02) == pytest.approx(10.06)


def test_the_next_tick_is_due_when_the_scan_grows_too_old() -> None:
    drive = Drive()
    drive.run(Twist(0.3, 0.0), 0.5)
    drive.core.command(Twist(0.3, 0.0), 7, drive.now, drive.now, 1)
    due = drive.core.next_change(drive.now, 1.0)
    assert due == pytest.approx(drive.now - 0.01 + PLAIN.lidar.max_age_s, abs=2e-4)
    assert drive.core.tick(due).act is Act.REST
    assert drive.reason is StopReason.LIDAR_STALE


def test_a_scan_is_as_old_as_its_oldest_beam_may_be() -> None:
    core = GuardCore(PLAIN, Memory())
    core.grant(7, FAR)
    core.take_board(board(10.0))
    # A turn takes 25 ms, so the first beam, 135 degrees before the one ahead, was fired 9.4 ms before it.
    core.take_scan(replace(scan_of(open_space(), 10.0), turn_s=0.025, time_error=0.005))
    for now, allowed in ((10.08, True), (10.085, True), (10.0857, False)):
        core.command(Twist(0.3, 0.0), 7, now, now, 1)
        core.tick(now)
        assert core.status(now).allowed is allowed


def test_the_lease_ends_by_itself() -> None:
    drive = Drive()
    drive.core.grant(7, drive.now + 0.5)
    assert drive.run(Twist(0.3, 0.0), 0.4).linear > 0
    assert drive.run(Twist(0.3, 0.0), 0.2) == REST
    assert drive.reason is StopReason.LEASE_ENDED


def test_lower_fencing_numbers_are_refused_for_good() -> None:
    drive = Drive()
    drive.run(Twist(0.3, 0.0), 0.5)
    drive.core.grant(9, FAR)
    assert drive.run(Twist(0.3, 0.0), 0.1) == REST
    assert drive.reason is StopReason.FENCED
    with pytest.raises(MotionRefusedError, match="9 was granted already"):
        drive.core.grant(8, FAR)
    again = GuardCore(PLAIN, drive.core.memory)
    with pytest.raises(MotionRefusedError):
        again.grant(8, FAR)


def test_without_a_scan_nothing_moves() -> None:
    drive = Drive()
    assert drive.run(Twist(0.1, 0.0), 0.3, lidar=False) == REST
    assert drive.reason is StopReason.LIDAR_STALE


def test_a_scan_older_than_a_tenth_of_a_second_stops_the_base() -> None:
    drive = Drive()
    drive.run(Twist(0.3, 0.0), 1.0)
    assert drive.run(Twist(0.3, 0.0), 0.06, lidar=False) != REST
    assert drive.run(Twist(0.3, 0.0), 0.06, lidar=False) == REST
    assert drive.reason is StopReason.LIDAR_STALE


def test_a_frozen_sensor_clock_or_an_old_scan_again_does_not_count_as_fresh() -> None:
    drive = Drive()
    drive.run(Twist(0.3, 0.0), 1.0)
    now = drive.now
    assert not drive.core.take_scan(scan_of(open_space(), now + 0.1, sensor_time=now - 0.01))
    assert not drive.core.take_scan(scan_of(open_space(), now - 0.3, sensor_time=now - 0.3))


def test_a_scan_from_the_future_is_not_trusted() -> None:
    drive = Drive()
    drive.core.take_scan(scan_of(open_space(), drive.now + 5.0))
    assert drive.run(Twist(0.3, 0.0), 0.1, lidar=False) == REST
    assert drive.reason is StopReason.LIDAR_STALE


def test_error_codes_across_the_way_count_as_occupied() -> None:
    blind = open_space()
    blind[500:580] = np.nan
    drive = Drive()
    assert drive.run(Twist(0.3, 0.0), 0.5, ranges=blind) == REST
    assert drive.reason is StopReason.LIDAR_BLIND
    assert drive.run(Twist(0.0, 0.5), 0.5, ranges=blind) == Twist(0.0, 0.5)


def test_single_lost_beams_do_not_stop_the_base() -> None:
    speckled = open_space()
    speckled[::15] = np.nan
    assert Drive().run(Twist(0.3, 0.0), 1.0, ranges=speckled) == Twist(0.3, 0.0)


def test_too_many_lost_beams_blind_it_even_if_no_gap_is_wide() -> None:
    speckled = open_space()
    speckled[::3] = np.nan
    drive = Drive()
    assert drive.run(Twist(0.3, 0.0), 1.0, ranges=speckled) == REST
    assert drive.reason is StopReason.LIDAR_BLIND


def test_a_covered_sensor_allows_not_even_turning() -> None:
    drive = Drive()
    assert drive.run(Twist(0.0, 0.5), 0.5, ranges=np.full(len(ANGLES), np.nan)) == REST
    assert drive.reason is StopReason.LIDAR_BLIND


def test_the_base_slows_down_before_a_wall_and_rests_at_the_margin() -> None:
    drive = Drive()
    free = 0.15
    slow = drive.run(Twist(0.4, 0.0), 1.0, ranges=wall_ahead(0.18 + 0.02 + free)).linear
    assert 0 < slow < 0.4
    assert stopping_distance(slow, PLAIN.stopping, 0.01) <= free + 1e-6
    assert drive.reason is None
    assert "slowed" in drive.core.status(drive.now).detail
    assert drive.run(Twist(0.4, 0.0), 0.5, ranges=wall_ahead(0.25)) == REST
    assert drive.reason is StopReason.OBSTACLE


def test_beside_a_wall_it_may_turn_and_drive_along() -> None:
    beside = np.minimum(open_space(), np.abs(0.21 / np.minimum(np.sin(ANGLES), -1e-9)) + (ANGLES >= 0) * 9)
    drive = Drive()
    assert drive.run(Twist(0.2, 0.0), 1.0, ranges=beside) == Twist(0.2, 0.0)
    assert drive.run(Twist(0.0, 1.0), 1.0, ranges=beside) == Twist(0.0, 1.0)
    toward = drive.run(Twist(0.2, -0.8), 1.0, ranges=beside)
    assert toward.linear < 0.2


def test_somebody_who_steps_in_front_stops_the_base_at_once() -> None:
    drive = Drive()
    drive.run(Twist(0.4, 0.0), 1.0)
    leg = open_space()
    leg[530:550] = 0.3
    assert drive.run(Twist(0.4, 0.0), 0.015, ranges=leg) == REST
    assert drive.reason is StopReason.OBSTACLE
    assert drive.run(Twist(0.4, 0.0), 1.0).linear == pytest.approx(0.4)


def test_reversing_into_what_the_lidar_does_not_see_is_refused() -> None:
    drive = Drive()
    assert drive.run(Twist(-0.1, 0.0), 0.5) == REST
    assert drive.reason is StopReason.LIDAR_BLIND


def test_in_a_dock_zone_it_may_reverse_at_a_tenth_of_a_metre_a_second() -> None:
    drive = Drive(DOCK)
    drive.put(1.0, 2.0, 0.0)
    assert drive.run(Twist(-0.3, 0.0), 1.0) == Twist(-0.1, 0.0)
    drive.put(3.0, 2.0, 0.0)
    assert drive.run(Twist(-0.1, 0.0), 0.5) == REST
    assert drive.reason is StopReason.LIDAR_BLIND


def test_reversing_ends_where_the_dock_zone_ends() -> None:
    drive = Drive(DOCK)
    drive.put(1.489, 2.0, math.pi)
    assert drive.run(Twist(-0.1, 0.0), 0.5) == REST


def test_beams_without_a_range_still_block_reversing_in_a_dock_zone() -> None:
    hidden = open_space()
    hidden[:20] = np.nan  # at the edge of the field of view, half behind the base
    drive = Drive(DOCK)
    drive.put(1.0, 2.0, 0.0)
    assert drive.run(Twist(-0.1, 0.0), 0.5, ranges=hidden) == REST


def test_an_uncertain_or_old_pose_is_no_pose() -> None:
    drive = Drive(FENCED)
    assert drive.run(Twist(0.2, 0.0), 0.3) == REST
    assert drive.reason is StopReason.POSE_UNKNOWN
    drive.put(2.0, 2.0, 0.0, sigma=0.3)
    assert drive.run(Twist(0.2, 0.0), 0.3) == REST
    drive.put(2.0, 2.0, 0.0)
    assert drive.run(Twist(0.2, 0.0), 0.3).linear > 0
    drive.now += FENCED.pose.max_age_s
    drive.core.grant(7, drive.now + 10)
    assert drive.run(Twist(0.2, 0.0), 0.3) == REST
    assert drive.reason is StopReason.POSE_UNKNOWN


def test_the_geofence_stops_the_way_out_but_not_the_way_back() -> None:
    drive = Drive(FENCED)
    drive.put(3.95, 2.0, 0.0)
    assert drive.run(Twist(0.3, 0.0), 0.5).linear < 0.2
    drive.put(3.975, 2.0, 0.0)  # two standard deviations and the margin
    assert drive.run(Twist(0.3, 0.0), 0.5) == REST
    assert drive.reason is StopReason.GEOFENCE
    drive.put(4.1, 2.0, math.pi)
    assert drive.run(Twist(0.3, 0.0), 1.0).linear == pytest.approx(0.3)


def test_before_the_geofence_a_late_reading_of_the_wheels_counts_as_way_driven_since() -> None:
    drive = Drive(FENCED)
    drive.put(3.8, 2.0, 0.0)
    assert drive.run(Twist(0.3, 0.0), 1.0).linear == pytest.approx(0.3)
    for _ in range(20):  # the board says nothing for 0.4 s, too short to count as silent
        drive.now += 0.02
        drive.core.take_scan(scan_of(open_space(), drive.now - 0.01))
        drive.core.command(Twist(0.3, 0.0), 7, drive.now, drive.now, 1)
        last = drive.core.tick(drive.now).twist
    assert last.linear * (PLAIN.stopping.latency_s + 0.4) + last.linear**2 / (2 * PLAIN.stopping.braking_m_s2) < 0.2
    assert drive.run(Twist(0.3, 0.0), 0.5).linear == pytest.approx(0.3)


def test_outside_the_geofence_the_base_turns_and_comes_back_but_goes_not_along_it() -> None:
    drive = Drive(FENCED)
    drive.put(4.5, 2.0, math.pi / 2)
    assert drive.run(Twist(0.3, 0.0), 0.5) == REST
    assert drive.reason is StopReason.GEOFENCE
    assert drive.run(Twist(0.0, 1.0), 0.5).angular == pytest.approx(1.0)
    drive.put(4.5, 2.0, 2.5)
    assert drive.run(Twist(0.3, 0.0), 1.0).linear == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"bump_left": True}, StopReason.BUMPER),
        ({"wheel_drop": True}, StopReason.WHEEL_DROP),
        ({"cliff": True}, StopReason.CLIFF),
    ],
)
def test_a_fault_of_the_board_holds_the_base_until_the_holder_says_stop(
    fault: dict[str, object], reason: StopReason
) -> None:
    drive = Drive()
    drive.run(Twist(0.3, 0.0), 1.0)
    assert drive.run(Twist(0.3, 0.0), 0.02, **fault) == REST
    assert drive.reason is reason
    assert drive.run(Twist(0.3, 0.0), 0.5) == REST
    drive.core.stop(7, drive.now)
    assert drive.run(Twist(0.3, 0.0), 0.5).linear > 0


def test_a_base_that_was_lifted_is_nowhere_known_until_a_pose_measured_since_is_set() -> None:
    drive = Drive(FENCED)
    drive.put(2.0, 2.0, 0.0)
    before = drive.now
    assert drive.run(Twist(0.3, 0.0), 0.5).linear > 0
    drive.run(None, 0.3, wheel_drop=True)
    drive.core.stop(7, drive.now)
    assert drive.run(Twist(0.3, 0.0), 0.3) == REST
    assert drive.reason is StopReason.POSE_UNKNOWN
    with pytest.raises(MotionRefusedError, match="the wheels' way since then is not known"):
        drive.core.set_pose(Pose(2.0, 2.0, 0.0, np.eye(3) * 1e-6, time=before))
    drive.put(2.0, 2.0, 0.0)
    assert drive.run(Twist(0.3, 0.0), 0.3).linear > 0


@pytest.mark.parametrize(
    ("pose", "why"),
    [
        (Pose(2.0, 2.0, 0.0, frame="odometry"), "no place on a room's map"),
        (Pose(1e200, 2.0, 0.0), "no place on a room's map"),
        (Pose(2.0, 2.0, 0.0, -np.eye(3)), "negative variance"),
    ],
)
def test_what_cannot_be_a_pose_in_the_room_is_not_taken_for_one(pose: Pose, why: str) -> None:
    drive = Drive(FENCED)
    drive.run(None, 0.1)
    with pytest.raises(MotionRefusedError, match=why):
        drive.core.set_pose(replace(pose, time=drive.now))
    assert drive.run(Twist(0.3, 0.0), 0.3) == REST
    assert drive.reason is StopReason.POSE_UNKNOWN


def test_with_the_bumper_pressed_only_reversing_in_a_dock_zone_is_possible() -> None:
    drive = Drive(DOCK)
    drive.put(1.0, 2.0, 0.0)
    assert drive.run(Twist(0.2, 0.0), 0.3, bump_right=True) == REST
    assert drive.reason is StopReason.BUMPER
    assert drive.run(Twist(-0.1, 0.0), 0.3, bump_right=True).linear < 0


def test_a_bumper_that_is_pressed_while_reversing_stops_the_base() -> None:
    drive = Drive(DOCK)
    drive.put(1.2, 2.0, 0.0)
    assert drive.run(Twist(-0.1, 0.0), 0.3).linear < 0
    assert drive.run(Twist(-0.1, 0.0), 0.02, bump_left=True) == REST
    assert drive.reason is StopReason.BUMPER
    assert drive.run(Twist(-0.1, 0.0), 0.3, bump_left=True) == REST
    drive.core.stop(7, drive.now)
    assert drive.run(Twist(-0.1, 0.0), 0.3, bump_left=True).linear < 0


def test_no_corner_of_the_base_reverses_unseen_faster_than_a_tenth_of_a_metre_a_second() -> None:
    corners = ((-0.3, -0.15), (0.1, -0.15), (0.1, 0.15), (-0.3, 0.15))
    drive = Drive(replace(DOCK, footprint=Footprint(corners, 0.01)))
    drive.put(1.2, 2.0, 0.0)
    applied = drive.run(Twist(-0.05, 1.0), 1.0)
    assert applied.linear < 0
    assert abs(applied.linear) + abs(applied.angular) * math.hypot(0.3, 0.15) == pytest.approx(0.1)
    assert applied.angular / applied.linear == pytest.approx(1.0 / -0.05)


def test_what_is_no_number_changes_nothing() -> None:
    drive = Drive()
    drive.run(Twist(0.2, 0.0), 1.0)
    for twist in (Twist(math.nan, 0.0), Twist(0.0, math.inf), Twist(math.inf, -math.inf), Twist(1e308, 1e308)):
        drive.core.command(twist, 7, drive.now, drive.now, 1)
        assert drive.core.tick(drive.now).twist == Twist(0.2, 0.0)


def test_a_silent_board_is_stopped_and_held() -> None:
    drive = Drive()
    drive.run(Twist(0.3, 0.0), 1.0)
    drive.core.board_silent(StopReason.BOARD_SILENT, "silent for 0.5 s")
    assert drive.core.tick(drive.now).act is Act.REST
    assert drive.reason is StopReason.BOARD_SILENT
    assert drive.run(Twist(0.3, 0.0), 0.3) == REST


def test_a_passive_board_is_woken_and_given_up_when_it_does_not_obey() -> None:
    drive = Drive()
    drive.run(None, 0.1)
    drive.acts.clear()
    drive.run(Twist(0.3, 0.0), 1.0, mode=BaseMode.PASSIVE)
    assert drive.acts == {Act.WAKE}
    drive.run(Twist(0.3, 0.0), 1.0, mode=BaseMode.PASSIVE)
    assert drive.acts == {Act.WAKE, Act.REST}
    assert drive.reason is StopReason.BOARD_FAULT


def test_a_cut_connection_stops_what_it_drove_and_nothing_else() -> None:
    drive = Drive()
    drive.run(Twist(0.3, 0.0), 1.0)
    drive.core.link_lost(2)
    assert drive.core.tick(drive.now).twist.linear > 0
    drive.core.link_lost(1)
    assert drive.core.tick(drive.now).twist == REST
    assert drive.reason is StopReason.LINK_LOST


def test_the_emergency_stop_latches_until_a_person_with_a_reason_takes_it_off() -> None:
    drive = Drive()
    drive.run(Twist(0.3, 0.0), 1.0)
    drive.core.latch("smoke")
    assert drive.run(Twist(0.3, 0.0), 0.3) == REST
    assert drive.reason is StopReason.EMERGENCY_STOP
    for person, reason in (("", "checked"), ("Ada", " ")):
        with pytest.raises(MotionRefusedError, match="name of the person"):
            drive.core.reset(person, reason)
    assert Drive(memory=drive.core.memory).run(Twist(0.3, 0.0), 0.3) == REST
    drive.core.reset("Ada", "checked the robot")
    assert drive.run(Twist(0.3, 0.0), 0.3).linear > 0
    assert drive.core.memory.reset_by == "Ada"


def docking(guard: GuardSettings = DOCK) -> Drive:
    drive = Drive(guard)
    drive.run(None, 0.1)
    drive.put(1.0, 2.0, 0.0)
    drive.core.seek_dock(7, drive.now, 1)
    return drive


def heartbeat_run(drive: Drive, seconds: float, ranges: Array | None = None, **state: object) -> None:
    end = drive.now + seconds
    while drive.now < end:
        drive.core.heartbeat(1, drive.now)
        drive.run(None, 0.1, ranges=ranges, **state)


def test_docking_runs_until_the_contacts_hold() -> None:
    drive = docking()
    heartbeat_run(drive, 2.0, mode=BaseMode.PASSIVE)
    assert drive.core.tick(drive.now).act is Act.DOCKING
    heartbeat_run(drive, 0.2, mode=BaseMode.PASSIVE, on_dock=True)
    assert drive.core.docking is not None
    heartbeat_run(drive, 0.6, mode=BaseMode.PASSIVE, on_dock=True)
    assert drive.core.docking is None
    assert drive.core.tick(drive.now).act is Act.REST


def test_docking_is_refused_away_from_a_dock_without_a_pose_or_latched() -> None:
    drive = Drive(DOCK)
    drive.run(None, 0.1)
    with pytest.raises(MotionRefusedError, match="pose_unknown"):
        drive.core.seek_dock(7, drive.now, 1)
    drive.put(3.5, 2.0, 0.0)
    with pytest.raises(MotionRefusedError, match="not near a surveyed dock zone"):
        drive.core.seek_dock(7, drive.now, 1)
    drive.put(1.0, 2.0, 0.0)
    with pytest.raises(MotionRefusedError, match="fenced"):
        drive.core.seek_dock(6, drive.now, 1)
    drive.core.latch("x")
    with pytest.raises(MotionRefusedError, match="emergency_stop"):
        drive.core.seek_dock(7, drive.now, 1)


@pytest.mark.parametrize("cause", ["latch", "lease", "link", "silence", "stop", "lidar", "person", "grant"])
def test_docking_is_cancelled_and_the_cancel_is_repeated_until_the_board_obeys(cause: str) -> None:
    drive = docking()
    heartbeat_run(drive, 0.5, mode=BaseMode.PASSIVE)
    assert drive.core.tick(drive.now).act is Act.DOCKING
    ranges, seconds, lidar = open_space(), 0.05, True
    match cause:
        case "latch":
            drive.core.latch("x")
        case "lease":
            drive.core.grant(7, drive.now)
        case "link":
            drive.core.link_lost(1)
        case "silence":
            seconds = 1.1
        case "stop":
            drive.core.stop(7, drive.now)
        case "lidar":
            seconds, lidar = 0.2, False
        case "person":
            ranges[540:580] = 0.25
        case "grant":
            drive.core.grant(8, FAR)
    drive.run(None, seconds, ranges=ranges, lidar=lidar, mode=BaseMode.PASSIVE)
    assert drive.core.tick(drive.now).act is Act.CANCEL_DOCKING
    drive.run(None, 0.5, mode=BaseMode.PASSIVE)
    assert drive.core.tick(drive.now).act is Act.CANCEL_DOCKING
    drive.run(None, 0.05, mode=BaseMode.SAFE)
    assert drive.core.tick(drive.now).act is Act.REST


def test_who_stands_between_the_base_and_the_dock_zone_keeps_docking_from_beginning() -> None:
    """The zone ends at x = 1.5 m; the base stands outside of it and looks along it, or away from it."""
    somebody = open_space()
    somebody[:100] = 0.26  # on its right, 90 to 135 deg from ahead
    for heading, allowed in ((math.pi / 2, True), (-math.pi / 2, False)):
        drive = Drive(DOCK)
        drive.run(None, 0.1, ranges=somebody)
        drive.put(1.75, 2.0, heading)
        if allowed:
            drive.core.seek_dock(7, drive.now, 1)
        else:
            with pytest.raises(MotionRefusedError, match="stands in the dock zone or before it"):
                drive.core.seek_dock(7, drive.now, 1)


def test_a_run_that_the_board_did_not_take_is_ended_to_be_sure() -> None:
    drive = docking()
    drive.core.docking_not_begun("the line did not take 8f")
    assert drive.core.tick(drive.now).act is Act.CANCEL_DOCKING
    drive.run(None, 0.3, mode=BaseMode.SAFE)
    assert drive.core.tick(drive.now).act is Act.REST
    assert drive.reason is StopReason.BOARD_FAULT


def test_docking_has_a_time_limit() -> None:
    drive = docking()
    heartbeat_run(drive, DOCK.docking.time_limit_s + 0.3, mode=BaseMode.PASSIVE)
    assert drive.core.docking is None
    assert drive.reason is StopReason.DOCKING_TIMEOUT


events = st.lists(
    st.one_of(
        st.tuples(st.just("drive"), st.floats(-2, 2), st.floats(-5, 5), st.sampled_from([5, 6, 7])),
        st.tuples(st.just("scan"), st.floats(0.0, 0.3), st.floats(0.2, 3.0)),
        st.tuples(st.just("wait"), st.floats(0.0, 0.3)),
        st.tuples(st.just("board"), st.sampled_from(["", "bump_left", "cliff", "wheel_drop"])),
        st.sampled_from([("latch",), ("reset",), ("silent",), ("stop",), ("cut",)]),
        st.tuples(st.just("grant"), st.sampled_from([5, 6, 7]), st.floats(-0.1, 1.0)),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(events)
def test_whatever_happens_the_base_moves_only_when_it_may(  # noqa: PLR0912 - one branch each kind of event
    told: list[tuple[object, ...]],
) -> None:
    core = GuardCore(PLAIN, Memory())
    now, deadline, highest, scan_time, commanded, faulty = 1.0, -1.0, 0, -1.0, -1.0, False
    previous, ticked = REST, now
    core.take_board(board(now))
    for event in told:
        match event:
            case ("drive", float(linear), float(angular), int(fencing)):
                core.command(Twist(linear, angular), fencing, now, now, 1)
                commanded = now if fencing == highest else commanded
            case ("scan", float(age), float(distance)):
                if core.take_scan(scan_of(open_space(distance), now - age)):
                    scan_time = now - age
            case ("wait", float(seconds)):
                now += seconds
            case ("board", str(fault)):
                faulty = bool(fault)
                core.take_board(board(now, **({fault: True} if fault else {})))
            case ("latch",):
                core.latch("x")
            case ("reset",):
                core.reset("a", "b")
            case ("silent",):
                core.board_silent(StopReason.BOARD_SILENT, "x")
            case ("stop",):
                core.stop(highest, now)
            case ("cut",):
                core.link_lost(1)
            case ("grant", int(fencing), float(lease)):
                if fencing >= highest:
                    core.grant(fencing, now + lease)
                    highest, deadline = fencing, now + lease
        twist = core.tick(now).twist
        if twist != REST:
            assert core.memory.latched is None
            assert now < deadline
            assert now - commanded < PLAIN.command_ttl_s + 1e-9
            assert now - scan_time <= PLAIN.lidar.max_age_s + 1e-9
            assert not faulty
            assert twist.linear >= 0  # nothing sees what is behind, and there is no dock zone
        assert abs(twist.linear) <= PLAIN.limits.linear_m_s + 1e-9
        assert abs(twist.angular) <= PLAIN.limits.angular_rad_s + 1e-9
        gain = abs(twist.linear) - (abs(previous.linear) if previous.linear * twist.linear > 0 else 0.0)
        assert gain <= PLAIN.limits.linear_acceleration_m_s2 * min(0.1, now - ticked) + 1e-9
        previous, ticked = twist, now


def hundredths(low: int, high: int) -> st.SearchStrategy[float]:
    return st.integers(low, high).map(lambda number: number / 100)


ROOM = np.array(
    [
        [[-1.2, -1.2], [1.2, -1.2]], [[1.2, -1.2], [1.2, 1.2]], [[1.2, 1.2], [-1.2, 1.2]], [[-1.2, 1.2], [-1.2, -1.2]],
        [[0.5, 0.5], [0.6, 0.5]], [[0.6, 0.5], [0.6, 0.6]], [[0.6, 0.6], [0.5, 0.6]], [[0.5, 0.6], [0.5, 0.5]],
    ]
)  # fmt: skip


def ranges_from(x: float, y: float, heading: float) -> Array:
    """(1081,) exact distances to the walls of ROOM."""
    direction = np.column_stack((np.cos(ANGLES + heading), np.sin(ANGLES + heading)))
    best = np.full(len(ANGLES), np.inf)
    for a, b in ROOM:
        edge, offset = b - a, a - (x, y)
        with np.errstate(divide="ignore", invalid="ignore"):
            cross = direction[:, 0] * edge[1] - direction[:, 1] * edge[0]
            way = (offset[0] * edge[1] - offset[1] * edge[0]) / cross
            share = (offset[0] * direction[:, 1] - offset[1] * direction[:, 0]) / cross
        best = np.where((way > 0) & (share >= 0) & (share <= 1) & (way < best), way, best)
    return best


def distance_to_walls(x: float, y: float) -> float:
    a, edge = ROOM[:, 0], ROOM[:, 1] - ROOM[:, 0]
    share = np.clip((((x, y) - a) * edge).sum(1) / (edge**2).sum(1), 0, 1)
    return float(np.hypot(*((x, y) - a - share[:, None] * edge).T).min())


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.tuples(hundredths(-60, 60), hundredths(-200, 200), hundredths(10, 200)), min_size=2, max_size=6),
    hundredths(-314, 314),
    st.booleans(),
)
def test_a_base_that_brakes_as_measured_touches_nothing(
    commands: list[tuple[float, float, float]], heading: float, straight: bool
) -> None:
    """Perfect braking after exactly the measured latency; scans 40 times a second, 30 ms late; ticks every 20 ms."""
    guard = replace(PLAIN, limits=Limits(linear_m_s=0.6, linear_acceleration_m_s2=2.0))
    stopping = guard.stopping
    core = GuardCore(guard, Memory())
    core.grant(1, 1e9)
    step = 0.005
    x = y = v = w = 0.0
    asked: list[tuple[float, Twist]] = [(-1.0, REST)]
    scans: list[tuple[float, Array]] = []
    now, count, twist, until = 0.0, 0, REST, -1.0
    pending = list(commands)
    while pending or now < until:
        if now >= until:
            linear, angular, seconds = pending.pop(0)
            twist, until = Twist(abs(linear) if straight else linear, 0.0 if straight else angular), now + seconds
        if count % 5 == 0:
            scans.append((now, ranges_from(x, y, heading)))
        if scans and now >= scans[0][0] + 0.03:
            core.take_scan(scan_of(scans[0][1], scans[0][0]))
            scans.pop(0)
        if count % 4 == 0:
            core.take_board(board(now))
            core.command(twist, 1, now, now, 1)
            asked.append((now, core.tick(now).twist))
        target = next(each for at, each in reversed(asked) if at <= now - stopping.latency_s or at < 0)
        v += float(np.clip(target.linear - v, -stopping.braking_m_s2 * step, stopping.braking_m_s2 * step))
        turning = stopping.angular_braking_rad_s2 * step
        w += float(np.clip(target.angular - w, -turning, turning))
        heading += w * step
        x, y = x + v * math.cos(heading) * step, y + v * math.sin(heading) * step
        assert distance_to_walls(x, y) > guard.footprint.radius_m
        now, count = now + step, count + 1
