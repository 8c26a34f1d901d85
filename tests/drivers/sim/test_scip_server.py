"""The simulated LiDAR on its socket, judged by an independent client (hokuyolx) and by several at once."""

import logging
import socket
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from numpy.typing import NDArray

from drivers.clock import ScaledClock, SystemClock
from drivers.scip import HokuyoLidar
from drivers.sim.scip_server import ScipServer

with warnings.catch_warnings():  # written for an older numpy and Python
    warnings.simplefilter("ignore")
    from hokuyolx import HokuyoLX

LIVENESS_S = 20.0


class Recorder:
    """A source whose scans are told apart by their first range, and kept."""

    def __init__(self) -> None:
        self.scans: list[NDArray[np.uint32]] = []

    def __call__(self, time: float) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
        rng = np.random.default_rng(len(self.scans))
        millimetres = rng.integers(23, 30_000, 1081).astype(np.uint32)
        millimetres[0] = 1000 + len(self.scans)
        codes = np.zeros(1081, np.uint8)
        codes[1:][rng.random(1080) < 0.05] = rng.integers(1, 6)
        self.scans.append(np.where(codes > 0, codes, millimetres))
        ranges = millimetres / 1000
        ranges[codes > 0] = np.nan
        return ranges, codes

    def at(self, values: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """The scan as it left the source, found by its number."""
        return self.scans[int(values[0]) - 1000]


@pytest.fixture
def source() -> Recorder:
    return Recorder()


@pytest.fixture
def server(source: Recorder) -> Iterator[ScipServer]:
    with ScipServer(source, SystemClock()) as running:
        yield running


@contextmanager
def hokuyolx_on(server: ScipServer) -> Iterator[HokuyoLX]:
    # One byte a read: with larger reads hokuyolx merges two frames that arrive together, and gives up.
    # Its own time conversion is off: it synchronises anew in the middle of a stream whenever it reads late.
    logging.getLogger("hokuyo").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        laser = HokuyoLX(addr=(server.host, server.port), buf=1, tsync=False, convert_time=False)
        yield laser
        laser.close()


@pytest.fixture
def hokuyolx(server: ScipServer) -> Iterator[HokuyoLX]:
    with hokuyolx_on(server) as laser:
        yield laser


def test_hokuyolx_learns_who_it_is(hokuyolx: HokuyoLX) -> None:
    assert hokuyolx.version()["PROD"] == "SOKUIKI Sensor TOP-URG UTM-30LX-EW"
    assert (hokuyolx.amin, hokuyolx.amax, hokuyolx.aforw, hokuyolx.ares) == (0, 1080, 540, 1440)
    assert hokuyolx.scan_freq == 40
    assert hokuyolx.laser_state() == (3, "Single scan state")
    assert hokuyolx.sensor_state()["LASR"] == "ON"
    hokuyolx.standby()
    assert hokuyolx.laser_state() == (0, "Standby state")


def test_hokuyolx_sets_its_clock(hokuyolx: HokuyoLX, server: ScipServer) -> None:
    hokuyolx.time_sync(N=3, dt=0.0)
    shown = time.time() * 1000 - hokuyolx.tzero
    assert shown == pytest.approx(server.sensor_clock.read(SystemClock().now()) * 1000, abs=250)
    assert hokuyolx.laser_state() == (0, "Standby state")


def test_hokuyolx_reads_single_scans(hokuyolx: HokuyoLX, source: Recorder) -> None:
    for _ in range(3):
        _, values = hokuyolx.get_dist()
        np.testing.assert_array_equal(values, source.at(values))


def test_hokuyolx_reads_counted_scans(hokuyolx: HokuyoLX, source: Recorder) -> None:
    pending = []
    for values, _, left in hokuyolx.iter_dist(5):
        np.testing.assert_array_equal(values, source.at(values))
        pending.append(left)
    assert pending == [4, 3, 2, 1, 0]
    assert hokuyolx.laser_state() == (0, "Standby state")


def test_a_stalled_hokuyolx_loses_whole_scans_and_holds_up_nobody(source: Recorder) -> None:
    clock = ScaledClock(10.0)  # 400 scans a second on the wall: its buffers are soon full
    with ScipServer(source, clock) as server, hokuyolx_on(server) as laser:
        scans = laser.iter_dist()
        seen = [next(scans)[0]]
        # It stops reading; a second client must not notice.
        with HokuyoLidar.open(server.url, clock) as lidar, lidar.stream(depth=4) as others:
            deadline = time.monotonic() + LIVENESS_S
            while server.frames_dropped < 10 and time.monotonic() < deadline:
                scan = next(others)
                expected = source.scans[round(scan.ranges[0] * 1000) - 1000] / 1000
                valid = scan.error_codes == 0
                np.testing.assert_array_equal(scan.ranges[valid], expected[valid])
            assert server.frames_dropped >= 10
            assert lidar.damaged_frames == lidar.replayed == 0
        # It goes on: every scan is whole and equal to the source's, and some are missing.
        while int(seen[-1][0]) - int(seen[0][0]) < len(seen) + 5:
            seen.append(next(scans)[0])
        for values in seen:
            np.testing.assert_array_equal(values, source.at(values))
        assert (np.diff([int(values[0]) for values in seen]) > 0).all()


def test_a_client_that_never_reads_loses_whole_frames_only(source: Recorder) -> None:
    with ScipServer(source, ScaledClock(10.0)) as server, socket.socket() as stalled:
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stalled.settimeout(LIVENESS_S)
        stalled.connect((server.host, server.port))
        stalled.sendall(b"MD0000108000000\n")
        deadline = time.monotonic() + LIVENESS_S
        while server.frames_dropped < 20 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert server.frames_dropped >= 20
        # It wakes up and tells the sensor to stop: all that comes is whole frames, and then the reply.
        stalled.sendall(b"QT\n")
        received = b""
        while not received.endswith(b"\nQT\n00P\n\n"):
            received += stalled.recv(65_536)
    frames = received.split(b"\n\n")[1:-2]
    assert frames
    assert {len(frame) for frame in frames} == {len(frames[0])}
    assert all(frame.startswith(b"MD0000108000000\n99b\n") for frame in frames)


def test_several_clients_each_with_its_own_measurement(server: ScipServer, source: Recorder) -> None:
    with HokuyoLidar.open(server.url) as one, HokuyoLidar.open(server.url) as two:
        with one.stream(depth=50) as whole, two.stream(two.measurement(0, 99, cluster=2), depth=50) as part:
            a = [next(whole) for _ in range(5)]
            b = [next(part) for _ in range(5)]
        assert server.laser_on is False
    assert {scan.ranges.size for scan in a} == {1081}
    assert {scan.ranges.size for scan in b} == {50}
    common = {scan.sensor_time for scan in a} & {scan.sensor_time for scan in b}
    assert common  # the same scans of the same sensor


def test_the_source_is_asked_only_while_a_laser_is_on(server: ScipServer, source: Recorder) -> None:
    with HokuyoLidar.open(server.url) as lidar:
        lidar.status()
        assert source.scans == []
        lidar.scan()
        taken = len(source.scans)
        assert taken >= 1
        time.sleep(0.15)
        assert len(source.scans) <= taken + 1
