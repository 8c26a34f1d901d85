"""The LiDAR driver against the simulated sensor: what it reads, when it says it was, and what it leaves behind."""

import os
import socket
import subprocess
import sys
import threading
import time
import tty
from collections.abc import Iterator

import numpy as np
import pytest

from drivers.clock import ScaledClock
from drivers.errors import (
    DeviceAddressError,
    DeviceError,
    DeviceSilentError,
    DeviceUnreachableError,
    ProtocolError,
)
from drivers.scip import HokuyoLidar
from drivers.sim.scip_sensor import SensorClock
from drivers.sim.scip_server import ScipServer
from drivers.types import Scan

LIVENESS_S = 20.0


def assert_equals_source(scan: Scan, source, width: int = 3) -> None:
    _, ranges, _ = source.taken[source.number(scan.ranges)]
    reach = 60.0 if width == 3 else 4.094
    valid = np.isfinite(ranges) & (ranges >= 0.023) & (np.nan_to_num(ranges) <= reach)
    np.testing.assert_allclose(scan.ranges[valid], ranges[valid], atol=0.00051)
    assert np.isnan(scan.ranges[~valid]).all()
    assert (scan.error_codes[valid] == 0).all()
    assert scan.error_codes[100:106].tolist() == [1, 2, 3, 4, 5, 1]
    assert scan.error_codes[200:202].tolist() == [255, 255]


def test_the_sensor_tells_who_it_is(lidar: HokuyoLidar) -> None:
    info = lidar.info
    assert (info.model, info.first_step, info.last_step, info.front_step) == ("UTM-30LX-EW", 0, 1080, 540)
    assert (info.steps_per_turn, info.min_range_m, info.max_range_m) == (1440, 0.023, 60.0)
    assert info.scan_period_s == pytest.approx(0.025)
    assert info.sweep_s == pytest.approx(0.01875)
    status = lidar.status()
    assert (status.laser_on, status.status) == (False, "Stable 000 no error.")
    assert lidar.state() == "standby"


@pytest.mark.parametrize("width", [2, 3])
def test_one_scan_is_what_the_sensor_measured(lidar: HokuyoLidar, source, width: int) -> None:
    scan = lidar.scan(lidar.measurement(width=width))
    assert_equals_source(scan, source, width)
    assert scan.angles[0] == pytest.approx(-np.radians(135))
    assert scan.angles[540] == 0.0
    assert scan.angles[1080] == pytest.approx(np.radians(135))
    assert lidar.state() == "standby"


def test_the_latest_scan_leaves_the_laser_lit_until_told(lidar: HokuyoLidar, server: ScipServer, source) -> None:
    first = lidar.latest_scan()
    assert_equals_source(first, source)
    assert lidar.state() == "single scans"
    assert lidar.latest_scan().sensor_time >= first.sensor_time
    assert server.laser_on
    lidar.laser_off()
    assert not server.laser_on


def test_a_stream_gives_successive_scans_with_their_times(lidar: HokuyoLidar, source, clock: ScaledClock) -> None:
    with lidar.stream(depth=100) as scans:
        taken = [next(scans) for _ in range(40)]
        assert lidar.dropped == 0
    for scan in taken:
        assert_equals_source(scan, source)
        true_time = source.time_ahead(scan.ranges)
        assert abs(scan.time - true_time) <= scan.time_error + 1e-6
    numbers = [source.number(scan.ranges) for scan in taken]
    assert numbers == list(range(numbers[0], numbers[0] + 40))
    assert [scan.sequence for scan in taken] == list(range(taken[0].sequence, taken[0].sequence + 40))
    assert lidar.checksum_errors == lidar.replayed == lidar.garbage_bytes == 0


def test_the_time_of_a_scan_is_that_of_its_beam_ahead_and_tells_those_of_the_others(lidar: HokuyoLidar, source) -> None:
    scan = lidar.scan()
    stamped = source.taken[source.number(scan.ranges)][0]
    since_rear = scan.beam_times() - stamped
    # 40 turns a second; the view is 270 degrees, so the beam needs an eighth of a turn from the rear to its edge.
    assert since_rear[[0, 540, 1080]] == pytest.approx([0.003125, 0.0125, 0.021875], abs=scan.time_error + 1e-6)


def test_part_of_the_field_of_view_in_clusters_with_scans_left_out(lidar: HokuyoLidar, source) -> None:
    measurement = lidar.measurement(90, 311, cluster=4, skip=1)
    with lidar.stream(measurement, depth=50) as scans:
        first, second = next(scans), next(scans)
    periods = (second.sensor_time - first.sensor_time) / 0.025
    assert periods == pytest.approx(round(periods), abs=0.05)
    assert round(periods) >= 2
    assert first.ranges.shape == (56,)
    # The cluster of steps 90 to 93 stands at 91.5; the last holds two steps, 310 and 311.
    assert first.angles[0] == pytest.approx(np.radians((91.5 - 540) / 4))
    assert first.angles[-1] == pytest.approx(np.radians((310.5 - 540) / 4))
    _, ranges, _ = next(shot for shot in source.taken if abs(shot[0] + 0.0125 - first.time) < 0.01)
    assert first.ranges[0] == pytest.approx(ranges[90], abs=0.00051)
    assert np.isnan(first.ranges[3])  # steps 102 to 105: errors 3, 4, 5 and 1
    assert first.error_codes[3] == 1
    assert first.ranges[2] == pytest.approx(ranges[98], abs=0.00051)  # steps 98 to 101: errors left out


def test_time_stamps_go_on_past_24_bits(source, clock: ScaledClock) -> None:
    sensor_clock = SensorClock(clock.now(), reading_s=(1 << 24) / 1000 - 1.0, drift_ppm=90.0)
    with (
        ScipServer(source, clock, sensor_clock=sensor_clock) as server,
        HokuyoLidar.open(server.url, clock) as lidar,
        lidar.stream(depth=200) as scans,
    ):
        taken = [next(scans) for _ in range(80)]
    steps = np.diff([scan.sensor_time for scan in taken])
    assert ((steps > 0.02) & (steps < 10.0)).all()
    for scan in taken:
        true_time = source.time_ahead(scan.ranges)
        assert abs(scan.time - true_time) <= scan.time_error + 1e-6


def test_a_slow_consumer_loses_whole_old_scans_and_they_are_counted(lidar: HokuyoLidar, source) -> None:
    with lidar.stream(depth=2) as scans:
        first = next(scans)
        deadline = time.monotonic() + LIVENESS_S
        while lidar.dropped < 10 and time.monotonic() < deadline:
            time.sleep(0.01)
        later = [next(scans), next(scans)]
    assert lidar.dropped >= 10
    assert later[0].sequence - first.sequence > 10
    assert later[1].sequence > later[0].sequence
    for scan in later:
        assert_equals_source(scan, source)


def test_leaving_the_stream_turns_the_laser_off(lidar: HokuyoLidar, server: ScipServer) -> None:
    with lidar.stream() as scans:
        next(scans)
        assert server.laser_on
    assert not server.laser_on
    assert lidar.state() == "standby"
    with pytest.raises(StopIteration):
        next(scans)
    assert lidar.scan().sequence > 0  # and the sensor is ready for more


def test_closing_the_lidar_ends_its_stream_and_the_laser(lidar: HokuyoLidar, server: ScipServer) -> None:
    scans = lidar.stream()
    next(scans)
    lidar.close()
    lidar.close()
    assert not server.laser_on
    with pytest.raises(DeviceError, match="was closed"):
        lidar.scan()


def test_a_fault_of_the_reading_thread_reaches_the_consumer(
    lidar: HokuyoLidar, server: ScipServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object) -> None:
        raise ZeroDivisionError("on purpose")

    monkeypatch.setattr("drivers.scip.reading.separate_errors", broken)
    with lidar.stream() as scans, pytest.raises(DeviceError, match="fault of this program: ZeroDivisionError"):
        next(scans)
    assert not server.laser_on


def test_one_thing_at_a_time(lidar: HokuyoLidar) -> None:
    with lidar.stream(), pytest.raises(DeviceError, match="close the stream first"):
        lidar.scan()


def test_what_the_sensor_cannot_measure_is_refused_before_it_is_asked(lidar: HokuyoLidar) -> None:
    with pytest.raises(ValueError, match="outside what UTM-30LX-EW measures"):
        lidar.measurement(0, 1081)
    with pytest.raises(ValueError, match="2 or 3 characters"):
        lidar.measurement(width=4)


def test_a_reset_starts_the_sensors_clock_anew(lidar: HokuyoLidar, source) -> None:
    before = lidar.scan()
    lidar.reset()
    after = lidar.scan()
    assert after.sensor_time < before.sensor_time + 1e6
    true_time = source.time_ahead(after.ranges)
    assert abs(after.time - true_time) <= after.time_error + 1e-6


def test_a_sensor_left_measuring_or_adjusting_is_taken_over(server: ScipServer, clock: ScaledClock) -> None:
    for leftover in (b"MD0000108000000\n", b"TM0\n", b"BM\nMD00"):
        with socket.create_connection((server.host, server.port)) as other:
            other.sendall(leftover)
            time.sleep(0.05)
            with HokuyoLidar.open(server.url, clock) as lidar:
                assert lidar.scan().ranges.size == 1081


# --- what goes wrong at the door


def test_nothing_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(DeviceUnreachableError, match=f"127.0.0.1:{port} refused the connection"):
        HokuyoLidar.open(f"tcp://127.0.0.1:{port}")
    with pytest.raises(DeviceUnreachableError, match="/dev/no-such-lidar cannot be opened"):
        HokuyoLidar.open("serial:///dev/no-such-lidar")


@pytest.mark.parametrize(
    "url", ["192.0.2.1", "tcp://", "http://192.0.2.1", "tcp://192.0.2.1:x", "serial://ttyACM0", ""]
)
def test_an_address_that_makes_no_sense(url: str) -> None:
    with pytest.raises(DeviceAddressError, match="is no address of a LiDAR"):
        HokuyoLidar.open(url)


def peer(answer: bytes) -> socket.socket:
    """A listener whose first client is told `answer` for whatever it sends."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            while connection.recv(100):
                if answer:
                    connection.sendall(answer)

    threading.Thread(target=serve, daemon=True).start()
    return listener


def test_something_that_says_nothing() -> None:
    with peer(b"") as listener, pytest.raises(DeviceSilentError, match="did not answer QT"):
        HokuyoLidar.open(f"tcp://127.0.0.1:{listener.getsockname()[1]}", timeout_s=0.2)


@pytest.mark.parametrize("answer", [b"220 mail ready\r\n", b"\x00\xff" * 300, b"QT\n00Q\n\n", b"\n\n\n"])
def test_something_that_is_no_lidar(answer: bytes) -> None:
    with peer(answer) as listener, pytest.raises(ProtocolError, match="no answer to QT among the"):
        HokuyoLidar.open(f"tcp://127.0.0.1:{listener.getsockname()[1]}", timeout_s=0.2)


# --- a serial line


@pytest.fixture
def serial_line(server: ScipServer) -> Iterator[str]:
    """A pty that leads to the simulated sensor."""
    controller, terminal = os.openpty()
    tty.setraw(terminal)
    upstream = socket.create_connection((server.host, server.port))

    def pump_in() -> None:
        while data := upstream.recv(4096):
            os.write(controller, data)

    def pump_out() -> None:
        try:
            while data := os.read(controller, 4096):
                upstream.sendall(data)
        except OSError:
            return  # the terminal is closed

    threads = [threading.Thread(target=pump, daemon=True) for pump in (pump_in, pump_out)]
    for thread in threads:
        thread.start()
    yield os.ttyname(terminal)
    os.close(terminal)
    threads[1].join(LIVENESS_S)
    upstream.shutdown(socket.SHUT_RDWR)
    threads[0].join(LIVENESS_S)
    upstream.close()
    os.close(controller)


def test_the_same_over_a_serial_line(serial_line: str, clock: ScaledClock, source) -> None:
    with HokuyoLidar.open(f"serial://{serial_line}", clock) as lidar:
        assert_equals_source(lidar.scan(), source)
        with lidar.stream(depth=50) as scans:
            for scan in [next(scans) for _ in range(5)]:
                assert_equals_source(scan, source)


def test_a_serial_port_that_somebody_else_has(serial_line: str, clock: ScaledClock) -> None:
    with (
        HokuyoLidar.open(f"serial://{serial_line}", clock),
        pytest.raises(DeviceUnreachableError, match="no other program has it"),
    ):
        HokuyoLidar.open(f"serial://{serial_line}", clock)


def test_a_serial_port_that_another_program_has_is_refused_with_its_name(serial_line: str, clock: ScaledClock) -> None:
    code = "import os, sys; os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, serial_line], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(DeviceUnreachableError, match=rf"held by .*pid {other.pid}"):
            HokuyoLidar.open(f"serial://{serial_line}", clock)
        other.stdin.close()
