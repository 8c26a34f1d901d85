"""A LiDAR that misbehaves: damaged frames are lost alone, old scans are never fresh, silence and noise are named."""

import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from drivers.clock import ScaledClock
from drivers.errors import DeviceError, DeviceSilentError, DeviceUnreachableError, ProtocolError
from drivers.scip import HokuyoLidar, ScanStream
from drivers.sim.scip_faults import ScipFaults
from drivers.sim.scip_sensor import SensorClock
from drivers.sim.scip_server import ScipServer

LIVENESS_S = 20.0


def wait_until(condition) -> None:
    deadline = time.monotonic() + LIVENESS_S
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.005)


def exhaust(scans: ScanStream) -> None:
    for _ in scans:
        pass


def test_wrong_check_characters_cost_their_frames_alone(lidar: HokuyoLidar, server: ScipServer, source) -> None:
    with lidar.stream(depth=500) as scans:
        first = next(scans)
        server.faults.update(corrupt_frames=3)
        wait_until(lambda: lidar.damaged_frames == 3)
        target = len(source.taken)
        numbers = [source.number(first.ranges)]
        while numbers[-1] < target:
            numbers.append(source.number(next(scans).ranges))
    assert lidar.checksum_errors == 3
    assert lidar.dropped == 0
    missing = set(range(numbers[0], numbers[-1])) - set(numbers)
    assert len(missing) == 3


def test_garbage_and_half_frames_are_survived_and_counted(lidar: HokuyoLidar, server: ScipServer, source) -> None:
    with lidar.stream(depth=500) as scans:
        first = next(scans)
        server.faults.update(garbage_frames=4, chunk_bytes=300)
        wait_until(lambda: lidar.garbage_bytes >= 4 * len(server.faults.garbage))
        server.faults.update(cut_frames=2)
        wait_until(lambda: server.faults.cut_frames == 0)
        target = len(source.taken) + 5
        numbers = [source.number(first.ranges)]
        while numbers[-1] < target:
            numbers.append(source.number(next(scans).ranges))
    missing = set(range(numbers[0], numbers[-1])) - set(numbers)
    assert len(missing) == 2  # the halves; garbage cost no scan


def test_writes_in_random_pieces_change_nothing(lidar: HokuyoLidar, server: ScipServer, source) -> None:
    server.faults.update(chunk_bytes=200)
    with lidar.stream(depth=500) as scans:
        numbers = [source.number(next(scans).ranges) for _ in range(30)]
    assert numbers == list(range(numbers[0], numbers[0] + 30))
    assert lidar.damaged_frames == 0


def test_scans_that_the_sensor_leaves_out_are_seen_in_their_times(lidar: HokuyoLidar, server: ScipServer) -> None:
    server.faults.update(drop_every=4)
    with lidar.stream(depth=500) as scans:
        times = [next(scans).sensor_time for _ in range(20)]
    assert max(np.diff(times)) > 0.045
    assert min(np.diff(times)) > 0.02


@pytest.mark.parametrize("fault", ["frozen", "replay"])
def test_old_scans_again_are_never_delivered_and_are_told(lidar: HokuyoLidar, server: ScipServer, fault: str) -> None:
    with lidar.stream(depth=500) as scans:
        times = [next(scans).sensor_time for _ in range(10)]
        server.faults.update(**{fault: True})
        with pytest.raises(DeviceSilentError, match="nothing but old scans again"):
            times.extend(scan.sensor_time for scan in scans)
    assert (np.diff(times) > 0.02).all()
    assert lidar.replayed > 5
    assert lidar.clock_jumps == 0
    assert not server.laser_on


@pytest.mark.parametrize("jump_s", [-3000.0, -1.0, 0.5, 9000.0])
def test_a_sensor_whose_clock_jumps_is_synchronised_anew(
    lidar: HokuyoLidar, server: ScipServer, source, jump_s: float
) -> None:
    with lidar.stream(depth=500, silence_s=10.0) as scans:
        next(scans)
        server.jump_clock(jump_s)
        wait_until(lambda: lidar.clock_jumps == 1)
        target = len(source.taken) + 5
        while source.number((scan := next(scans)).ranges) < target:
            pass
        true_time = source.time_ahead(scan.ranges)
        assert abs(scan.time - true_time) <= scan.time_error + 1e-6


def test_an_unstable_motor_is_waited_for(lidar: HokuyoLidar, server: ScipServer) -> None:
    with lidar.stream(depth=500) as scans:
        first = next(scans)
        server.faults.update(status_frames=5)
        wait_until(lambda: server.faults.status_frames == 0)
        later = [next(scans) for _ in range(10)]
    assert max(np.diff([scan.sensor_time for scan in [first, *later]])) > 0.1
    assert lidar.damaged_frames == 0


def test_hardware_trouble_is_told_by_its_meaning(lidar: HokuyoLidar, server: ScipServer) -> None:
    with lidar.stream() as scans:
        next(scans)
        server.faults.update(status_frames=1, status="55")
        with pytest.raises(DeviceError, match="status 55: hardware trouble"):
            exhaust(scans)
    assert not server.laser_on


def test_silence_is_told(lidar: HokuyoLidar, server: ScipServer) -> None:
    with lidar.stream() as scans:
        next(scans)
        server.faults.update(silent=True)
        with pytest.raises(DeviceSilentError, match="has been silent for"):
            exhaust(scans)
    server.faults.update(silent=False)


def test_half_a_line_and_then_silence_is_told(lidar: HokuyoLidar, server: ScipServer) -> None:
    with lidar.stream() as scans:
        next(scans)
        server.faults.update(cut_frames=1)
        wait_until(lambda: server.faults.cut_frames == 0)
        server.faults.update(silent=True)
        with pytest.raises((DeviceSilentError, ProtocolError), match=r"has been silent for|nothing the LiDAR sent"):
            exhaust(scans)


def test_noise_is_told(lidar: HokuyoLidar, server: ScipServer) -> None:
    with lidar.stream() as scans:
        next(scans)
        server.faults.update(babble=True)
        with pytest.raises(ProtocolError, match="nothing the LiDAR sent was a whole scan"):
            exhaust(scans)
    assert lidar.garbage_bytes > 1000


def test_a_lost_connection_is_told(lidar: HokuyoLidar, server: ScipServer) -> None:
    with lidar.stream() as scans:
        next(scans)
        server.faults.update(hang_ups=1, refuse=True)
        with pytest.raises(DeviceUnreachableError, match="was lost"):
            exhaust(scans)
    wait_until(lambda: "refused" in refusal(server.url))


def refusal(url: str) -> str:
    """What opening the LiDAR says. A server about to close its door may still take a connection, and then reset it."""
    with pytest.raises(DeviceUnreachableError) as told:
        HokuyoLidar.open(url)
    return str(told.value)


def test_a_server_that_refused_can_be_reached_again(server: ScipServer, clock: ScaledClock) -> None:
    server.faults.update(refuse=True)

    def reachable() -> bool:
        try:
            HokuyoLidar.open(server.url, clock).close()
        except DeviceUnreachableError:
            return False
        return True

    wait_until(lambda: not reachable())
    server.faults.clear()
    wait_until(reachable)


def test_latency_and_jitter_stay_out_of_the_mapped_time(source, clock: ScaledClock) -> None:
    faults = ScipFaults(jitter_s=0.02)
    with ScipServer(source, clock, faults=faults) as server, HokuyoLidar.open(server.url, clock) as lidar:
        with lidar.stream(depth=500) as scans:
            taken = [next(scans) for _ in range(60)]
        for scan in taken:
            true_time = source.time_ahead(scan.ranges)
            assert abs(scan.time - true_time) <= scan.time_error + 1e-6


def test_faults_are_set_by_name() -> None:
    faults = ScipFaults()
    faults.update(latency_s=1, frozen=True)
    assert (faults.latency_s, faults.frozen) == (1, True)
    with pytest.raises(ValueError, match="unknown LiDAR fault 'frosen'"):
        faults.update(frosen=True)
    with pytest.raises(ValueError, match="takes a int"):
        faults.update(corrupt_frames="many")
    with pytest.raises(ValueError, match="cannot be -1"):
        faults.update(latency_s=-1)
    faults.clear()
    assert faults == ScipFaults()


CONSUMER = """
import sys
from drivers.clock import ScaledClock
from drivers.scip import HokuyoLidar
with HokuyoLidar.open(sys.argv[1], ScaledClock(4.0)) as lidar, lidar.stream() as scans:
    for scan in scans:
        print(scan.sequence, flush=True)
"""


def test_a_process_that_was_stopped_does_not_blame_the_sensor(server: ScipServer) -> None:
    with subprocess.Popen([sys.executable, "-c", CONSUMER, server.url], stdout=subprocess.PIPE, text=True) as consumer:
        try:
            assert consumer.stdout is not None
            before = int(consumer.stdout.readline())
            consumer.send_signal(signal.SIGSTOP)
            time.sleep(2.5)  # ten seconds by the sensor's clock
            consumer.send_signal(signal.SIGCONT)
            numbers = [int(consumer.stdout.readline()) for _ in range(200)]
        finally:
            consumer.kill()
    assert numbers[-1] > before + 190


@pytest.mark.soak
@pytest.mark.timeout(400)
def test_half_an_hour_by_the_sensors_clock_stays_inside_the_stated_error() -> None:
    times: list[float] = []

    def numbered(time: float) -> tuple[np.ndarray, np.ndarray]:
        ranges = np.full(1081, 2.0)
        ranges[0] = 1.0 + 0.001 * (len(times) % 50_000)
        times.append(time)
        return ranges, np.zeros(1081, np.uint8)

    clock = ScaledClock(20.0)
    sensor_clock = SensorClock(clock.now(), reading_s=(1 << 24) / 1000 - 1200.0, drift_ppm=-80.0)
    with (
        ScipServer(numbered, clock, faults=ScipFaults(jitter_s=0.03), sensor_clock=sensor_clock) as server,
        HokuyoLidar.open(server.url, clock) as lidar,
        lidar.stream(silence_s=60.0) as scans,
    ):
        start = clock.now()
        for scan in scans:
            number = round(float(scan.ranges[0]) * 1000) - 1000
            number += (len(times) - 1 - number) // 50_000 * 50_000
            assert abs(scan.time - (times[number] + 0.0125)) <= scan.time_error + 1e-6
            if scan.time > start + 1800:
                break
    assert lidar.clock_jumps == lidar.replayed == lidar.damaged_frames == 0
