"""Clients that others wrote drive the simulated board: what they read and cause is what the specification says."""

import gc
import time
from collections.abc import Iterator

import create_serial
import pycreate2
import pytest

from drivers.types import BaseMode, ChargingState


class ClosedByHand(pycreate2.Create2):
    """Its destructor writes to the port whenever that may be; here the port is closed at a known moment instead."""

    def __del__(self) -> None:
        pass


@pytest.fixture
def pycreate(bench) -> Iterator[pycreate2.Create2]:
    client = ClosedByHand(bench.server.url)
    client.start()
    yield client
    client.close()


@pytest.fixture
def serial_client(bench) -> Iterator[create_serial.Create]:
    client = create_serial.Create(bench.server.url)
    yield client
    client.close()


def wait_for_travel(bench, metres: float) -> None:
    deadline = time.monotonic() + 10
    while abs(bench.body.right_m) < metres and time.monotonic() < deadline:
        bench.body.reading()
        time.sleep(0.005)


def test_pycreate2_reads_all_sensors_in_one_packet(bench, pycreate):
    bench.body.set(
        on_dock=True, charging=ChargingState.TRICKLE, voltage_v=16.1, current_a=0.25, bump_right=True, ir_left=164
    )
    sensors = pycreate.get_sensors()
    assert sensors.open_interface_mode == 1
    assert sensors.charger_state == 3
    assert (sensors.charger_available.internal_charger, sensors.charger_available.home_base) == (False, True)
    assert (sensors.voltage, sensors.current, sensors.battery_capacity) == (16100, 250, 2696)
    assert sensors.ir_opcode_left == 164
    # pycreate2 0.8.0 hands the right bumper's bit to its field bump_left.
    assert (sensors.bumps_wheeldrops.bump_left, sensors.bumps_wheeldrops.bump_right) == (True, False)


def test_pycreate2_drives_in_safe_mode_and_not_in_passive(bench, pycreate):
    pycreate.drive_direct(100, 100)
    assert pycreate.get_sensors().velocity_right == 0
    pycreate.safe()
    pycreate.drive_direct(200, 100)
    wait_for_travel(bench, 0.02)
    sensors = pycreate.get_sensors()
    assert sensors.open_interface_mode == 2
    assert (sensors.velocity_right, sensors.velocity_left) == (200, 100)
    assert sensors.encoder_counts_right > sensors.encoder_counts_left > 0
    pycreate.drive_pwm(255, -255)
    assert pycreate.get_sensors().velocity_left == -500
    pycreate.drive_direct(0, 0)


def test_pycreate2_gone_leaves_the_board_off_and_at_rest(bench):
    client = pycreate2.Create2(bench.server.url)
    client.start()
    client.full()
    client.drive_direct(300, 300)
    client.get_sensors()
    assert bench.board.mode is BaseMode.FULL
    del client
    gc.collect()
    assert bench.board.mode is BaseMode.OFF
    assert bench.board.wheel_speeds_mm_s == (0, 0)


def test_create_serial_queries_single_packets(bench, serial_client):
    bench.body.set(charging=ChargingState.RECONDITIONING, ir_omni=172, cliff=False, bump_left=True)
    wanted = [create_serial.OI_MODE, create_serial.VOLTAGE, create_serial.INFRARED_BYTE, create_serial.LEFT_BUMP]
    read = serial_client.sensors(wanted)
    assert read[create_serial.OI_MODE] == create_serial.SAFE_MODE
    assert read[create_serial.VOLTAGE] == 15000
    assert read[create_serial.INFRARED_BYTE] == 172
    assert read[create_serial.LEFT_BUMP] == 1
    assert read[create_serial.RIGHT_BUMP] == 0


def test_create_serial_reads_a_group_and_follows_the_pose(bench, serial_client):
    serial_client.setWheelVelocities(-10, 10)
    wait_for_travel(bench, 0.03)
    serial_client.setWheelVelocities(0, 0)
    bench.clock.sleep(0.05)
    group = serial_client.sensors(6)
    assert group[create_serial.REQUESTED_RIGHT_VELOCITY] == 0
    assert group[create_serial.BATTERY_CAPACITY] == 2696
    expected_deg = (bench.body.right_m - bench.body.left_m) / 0.235 * 57.2958
    assert group[create_serial.ANGLE] == pytest.approx(expected_deg, abs=1)
    assert group[create_serial.DISTANCE] == pytest.approx(0, abs=1)
