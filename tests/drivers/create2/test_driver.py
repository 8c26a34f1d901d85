"""The Create 2 driver against the simulated board, over a pseudo terminal and over TCP."""

import os
import subprocess
import sys
import threading
import time

import pytest

from drivers.clock import ScaledClock, SystemClock
from drivers.create2 import CANCEL_DOCKING_BYTES, NOMINAL_GEOMETRY, STOP_BYTES, Create2
from drivers.errors import DeviceSilentError, DeviceUnreachableError, MotionRefusedError
from drivers.protocols import Docking, MotionBase
from drivers.sim.board_server import BoardServer
from drivers.types import BaseMode, ChargingState

ZERO = bytes([145, 0, 0, 0, 0])


def test_offers_motion_and_docking(base):
    assert isinstance(base, MotionBase)
    assert isinstance(base, Docking)
    assert base.geometry is NOMINAL_GEOMETRY


def test_drives_and_reads_back_ticks_over_either_line(either_bench):
    with Create2.open(either_bench.server.url, either_bench.clock) as base:
        base.enter_safe_mode()
        base.drive(0.2, 0.4)
        deadline = time.monotonic() + 10
        while base.state().right_ticks < 60 and time.monotonic() < deadline:
            time.sleep(0.01)
        base.stop()
        # 0.4 rad/s on a 235 mm base: 47 mm/s off either side of 200.
        assert either_bench.body.left_m / either_bench.body.right_m == pytest.approx(0.153 / 0.247, abs=0.02)
        assert base.state().mode is BaseMode.SAFE
        assert base.damaged_frames == 0
    assert either_bench.board.mode is BaseMode.OFF
    assert either_bench.board.wheel_speeds_mm_s == (0, 0)


def test_right_wheel_goes_first_on_the_wire(bench, base):
    base.enter_safe_mode()
    base.drive(0.1, 0.4 / 0.235)
    base.close()
    assert bytes([145, 0x01, 0x2C, 0xFF, 0x9C]) in bench.received()  # right 300, left -100 mm/s


def test_opening_brings_a_base_to_rest_that_was_left_driving(bench, eventually):
    bench.board.feed(bytes([128, 131, 145, 0, 100, 0, 100]))
    assert bench.board.wheel_speeds_mm_s == (100, 100)
    with Create2.open(bench.server.url, bench.clock):
        assert bench.board.wheel_speeds_mm_s == (0, 0)


def test_opening_ends_a_docking_run_that_was_left_going(bench, eventually):
    bench.board.feed(bytes([128, 143]))
    with Create2.open(bench.server.url, bench.clock) as base:
        assert eventually(lambda: not bench.body.docking)
        assert eventually(lambda: base.state().mode is BaseMode.PASSIVE)


def test_opening_leaves_a_docked_base_charging(bench):
    bench.body.set(on_dock=True, charging=ChargingState.FULL, current_a=1.1)
    with Create2.open(bench.server.url, bench.clock) as base:
        state = base.state()
        assert (state.on_dock, state.charging, state.battery_current_a) == (True, ChargingState.FULL, 1.1)
    assert 131 not in bench.received()


def test_reads_the_switches_and_the_battery(bench, base):
    bench.body.set(bump_left=True, battery_charge_mah=1348.0, voltage_v=14.2, current_a=-0.35, ir_omni=161)
    state = base.wait_state(after=bench.clock.now() + 0.1, timeout=10)
    assert (state.bump_left, state.bump_right, state.bump) == (True, False, True)
    assert state.battery_ratio == pytest.approx(0.5)
    assert state.battery_voltage_v == pytest.approx(14.2)
    assert state.battery_current_a == pytest.approx(-0.35)
    assert base.sensors().infrared_omni == 161


def test_drive_is_refused_in_passive_mode_until_safe_mode_is_asked_for(base, eventually):
    with pytest.raises(MotionRefusedError, match="passive mode and ignores drive commands"):
        base.drive(0.1, 0.0)
    assert not base.status().allowed
    base.enter_safe_mode()
    base.drive(0.1, 0.0)
    assert eventually(lambda: base.status().allowed)


def test_a_wheel_drop_stops_the_base_and_safe_mode_must_be_asked_for_again(bench, base, eventually):
    base.enter_safe_mode()
    base.drive(0.1, 0.0)
    assert eventually(lambda: bench.board.wheel_speeds_mm_s == (100, 100))
    bench.body.set(wheel_drop=True)
    assert eventually(lambda: base.state().wheel_drop and base.state().mode is BaseMode.PASSIVE)
    assert bench.board.wheel_speeds_mm_s == (0, 0)
    bench.clock.sleep(0.3)
    with pytest.raises(MotionRefusedError, match="a wheel is dropped"):
        base.drive(0.1, 0.0)
    bench.body.set(wheel_drop=False)
    base.wait_state(after=bench.clock.now() + 0.1, timeout=10)
    with pytest.raises(MotionRefusedError, match="enter safe mode again"):
        base.drive(0.1, 0.0)
    base.enter_safe_mode()
    base.drive(0.1, 0.0)
    assert eventually(lambda: bench.board.wheel_speeds_mm_s == (100, 100))


def test_a_docking_run_takes_no_drive_and_ends_in_safe_mode_at_rest(bench, base, eventually):
    base.enter_safe_mode()
    assert eventually(lambda: base.state().mode is BaseMode.SAFE)
    base.seek_dock()
    assert eventually(lambda: bench.body.docking and base.state().mode is BaseMode.PASSIVE)
    assert base.status().docking
    with pytest.raises(MotionRefusedError, match="docking run"):
        base.drive(0.1, 0.0)
    base.cancel_docking()
    assert eventually(lambda: not bench.body.docking and base.state().mode is BaseMode.SAFE)
    assert bench.received().endswith(CANCEL_DOCKING_BYTES)
    base.drive(0.1, 0.0)


def test_works_with_a_board_that_is_deaf_for_20_ms_after_a_mode_command(bench, eventually):
    bench.faults.mode_change_dead_time_s = 0.02
    with Create2.open(bench.server.url, bench.clock) as base:

        def drives() -> bool:
            base.drive(0.1, 0.0)  # repeated, as whoever drives a base must
            return bench.body.left_m_s == 0.1

        base.enter_safe_mode()
        assert eventually(drives)
        base.seek_dock()
        assert eventually(lambda: bench.body.docking)
        bench.clock.sleep(0.03)
        base.cancel_docking()
        assert eventually(lambda: not bench.body.docking and base.state().mode is BaseMode.SAFE)
        assert eventually(drives)
    assert eventually(lambda: bench.board.mode is BaseMode.OFF)


def test_stop_ends_a_docking_run_too(bench, base, eventually):
    base.seek_dock()
    assert eventually(lambda: bench.body.docking)
    base.stop()
    assert eventually(lambda: not bench.body.docking)


def test_stop_ends_a_run_that_somebody_started_at_the_boards_button(bench, base, eventually):
    bench.body.set_wheel_speeds(0.2, 0.2)  # in passive mode, without a command of ours
    assert eventually(lambda: base.state().left_ticks > 300)
    base.stop()
    assert eventually(lambda: bench.body.left_m_s == 0.0)


def test_stop_does_not_bring_safe_mode_back_while_wheels_run_out_over_a_cliff(bench, base, eventually):
    base.enter_safe_mode()
    base.drive(0.3, 0.0)
    assert eventually(lambda: base.state().left_ticks > 10)
    bench.body.set(cliff=True)
    assert eventually(lambda: base.state().mode is BaseMode.PASSIVE)
    before = bench.received().count(131)
    base.stop()
    bench.clock.sleep(0.1)
    assert bench.received().count(131) == before
    assert bench.board.mode is BaseMode.PASSIVE


def test_stop_leaves_a_docked_base_charging(bench, base, eventually):
    base.seek_dock()
    bench.body.set(on_dock=True, charging=ChargingState.FULL)
    assert eventually(lambda: base.state().on_dock)
    assert not base.status().docking
    base.stop()
    bench.clock.sleep(0.1)
    assert eventually(lambda: base.state().charging is ChargingState.FULL)
    assert bench.board.mode is BaseMode.PASSIVE


def test_stop_is_idempotent_and_goes_out_each_time(bench, base, eventually):
    before = bench.received().count(ZERO)
    for _ in range(3):
        base.stop()
    assert eventually(lambda: bench.received().count(ZERO) == before + 6)
    assert base.status().stops == 3


def test_stop_gets_through_where_one_byte_of_the_command_before_was_lost(bench, base, eventually):
    base.enter_safe_mode()
    assert eventually(lambda: bench.board.mode is BaseMode.SAFE)
    bench.board.feed(bytes([145, 0, 200, 0]))  # the last byte never came
    base.stop()
    assert eventually(lambda: bench.received().endswith(STOP_BYTES))
    assert bench.board.wheel_speeds_mm_s == (0, 0)


class HangingLine:
    """A line that lets a stop through at once and hangs on anything else, as an adapter with a full buffer does."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.hanging = threading.Event()
        self.released = threading.Event()

    def write(self, data: bytes) -> None:
        if data != CANCEL_DOCKING_BYTES:
            self.hanging.set()
            self.released.wait(20)
        self.written.append(data)


def test_stop_does_not_wait_for_a_write_that_hangs_and_overtakes_it():
    line = HangingLine()
    base = Create2("somewhere", line, SystemClock(), NOMINAL_GEOMETRY)
    slow = threading.Thread(target=base.seek_dock)
    slow.start()
    assert line.hanging.wait(10)
    base.stop()
    assert line.written == [CANCEL_DOCKING_BYTES]
    line.released.set()
    slow.join(10)


def test_a_lost_stream_is_silence_and_its_return_ends_it(bench, base, eventually):
    bench.faults.silent = True
    bench.clock.sleep(0.7)
    with pytest.raises(DeviceSilentError, match=r"silent for .* switched on"):
        base.state()
    with pytest.raises(DeviceSilentError, match="no sensor record"):
        base.wait_state(after=bench.clock.now(), timeout=0.05)
    bench.faults.silent = False
    base.wait_state(after=bench.clock.now(), timeout=10)
    assert base.odometry_breaks == 0


def test_a_board_that_was_reset_is_an_odometry_break_and_starts_again(bench, base, eventually):
    bench.body.left_m = bench.body.right_m = 5.0  # carried there with turning wheels
    assert eventually(lambda: base.odometry_breaks == 1)
    bench.board.power_cycle()
    bench.clock.sleep(0.7)
    with pytest.raises(DeviceSilentError):
        base.state()
    base.restart()
    base.wait_state(after=bench.clock.now(), timeout=10)
    assert base.odometry_breaks == 2
    assert base.last_odometry_break is not None
    assert "counters jumped" in base.last_odometry_break.detail


def test_damaged_records_are_counted_and_dropped(bench, base, eventually):
    bench.faults.corrupt_checksums = 5
    assert eventually(lambda: base.damaged_frames >= 5)
    seen = base.frames
    assert eventually(lambda: base.frames > seen + 5)


def test_ticks_stay_right_on_a_line_that_loses_bytes(bench, base, eventually):
    base.enter_safe_mode()
    base.drive(0.5, 0.0)
    bench.faults.lose_sent = 0.01
    assert eventually(lambda: base.damaged_frames > 10)
    bench.faults.lose_sent = 0.0
    base.stop()
    assert eventually(lambda: base.state().left_ticks == bench.body.reading().left_ticks)
    assert base.odometry_breaks == 0


def test_ticks_unwrap_past_sixteen_bits_at_the_wheel(bench):
    bench.body.left_m = bench.body.right_m = 14.565  # 32761 ticks
    with Create2.open(bench.server.url, bench.clock) as base:
        base.enter_safe_mode()
        base.drive(0.3, 0.0)
        deadline = time.monotonic() + 10
        while base.state().left_ticks < 100 and time.monotonic() < deadline:
            time.sleep(0.01)
        base.stop()
        assert base.state().left_ticks >= 100
        assert base.odometry_breaks == 0


def test_a_pulled_cable_is_told_by_every_verb(either_bench):
    base = Create2.open(either_bench.server.url, either_bench.clock)
    either_bench.server.unplug()
    deadline = time.monotonic() + 10
    while base.connected and time.monotonic() < deadline:
        time.sleep(0.01)
    for verb in (base.state, base.stop, base.seek_dock, base.enter_safe_mode, lambda: base.drive(0.0, 0.0)):
        with pytest.raises(DeviceUnreachableError, match="not connected"):
            verb()
    base.close()


def test_a_cable_that_is_put_back_serves_a_new_opening_under_the_same_name(bench, tmp_path):
    link = tmp_path / "base"
    with BoardServer.on_pty(bench.board, bench.clock, link) as server:
        assert server.url == str(link)
        first = Create2.open(str(link), bench.clock)
        server.unplug()
        with pytest.raises(DeviceUnreachableError, match="no serial port"):
            Create2.open(str(link), bench.clock)
        server.plug_in()
        with Create2.open(str(link), bench.clock) as second:
            assert second.state().mode in (BaseMode.PASSIVE, BaseMode.SAFE)
        first.close()
    assert not link.is_symlink()


def test_a_board_that_says_nothing_on_opening_is_silent(bench):
    bench.faults.silent = True
    with pytest.raises(DeviceSilentError, match="no sensor record for 2 s; heard so far: 0 good"):
        Create2.open(bench.server.url, bench.clock)
    bench.faults.silent = False
    Create2.open(bench.server.url, bench.clock).close()  # the line was given back


def test_an_absent_port_says_so():
    with pytest.raises(DeviceUnreachableError, match=r"no serial port /dev/ttyNOT.*by-id"):
        Create2.open("serial:///dev/ttyNOT")


def test_a_host_that_does_not_listen_says_so():
    with pytest.raises(DeviceUnreachableError, match=r"cannot connect to socket://127\.0\.0\.1:1"):
        Create2.open("socket://127.0.0.1:1")


def test_a_second_driver_is_kept_off_the_line(bench, base):
    with pytest.raises(DeviceUnreachableError, match="in use"):
        Create2.open(bench.server.url, bench.clock)
    assert base.state()


def test_on_a_faster_clock_all_times_are_that_clocks(bench):
    clock = ScaledClock(5)
    bench.server.close()
    with BoardServer.on_pty(bench.board, clock) as server, Create2.open(server.url, clock) as base:
        assert clock.now() - base.state().time < 2.5
        before, frames = clock.now(), base.frames
        while base.frames < frames + 100:
            clock.sleep(0.05)
        assert clock.now() - before > 100 * 0.015 * 0.9


def test_all_descriptors_are_given_back(bench):
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - counting names is all that is wanted

    Create2.open(bench.server.url, bench.clock).close()
    before = descriptors()
    for _ in range(3):
        Create2.open(bench.server.url, bench.clock).close()
    assert descriptors() == before


DRIVE_AND_HANG = """
import sys, time
from drivers.create2 import Create2
base = Create2.open(sys.argv[1])
base.enter_safe_mode()
while True:
    base.drive(0.1, 0.0)
    time.sleep(0.02)
"""


def test_a_killed_driver_leaves_the_base_driving_and_the_next_one_stops_it(bench, eventually):
    other = subprocess.Popen([sys.executable, "-c", DRIVE_AND_HANG, bench.server.url])
    try:
        assert eventually(lambda: bench.board.wheel_speeds_mm_s == (100, 100))
    finally:
        other.kill()
        other.wait(10)
    seen = bench.body.reading().left_ticks
    assert eventually(lambda: bench.body.reading().left_ticks > seen + 20)
    with Create2.open(bench.server.url, bench.clock) as base:
        assert bench.board.wheel_speeds_mm_s == (0, 0)
        base.enter_safe_mode()
        base.drive(0.0, 0.0)
