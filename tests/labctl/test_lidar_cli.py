"""`labctl lidar scan` on a simulated sensor, well and unwell: scans or a sentence, never a traceback, never a hang."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from drivers.clock import SystemClock
from drivers.rooms import Room
from drivers.sim.scip_server import ScipServer
from drivers.sim.world import World


@pytest.fixture
def sensor() -> Iterator[ScipServer]:
    clock = SystemClock()
    with ScipServer(World(Room.library("standard"), clock, "A").scan, clock) as server:
        yield server


def scan(sensor: ScipServer, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "labctl", "lidar", "scan", sensor.url, *options],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip


def test_scans_come_as_a_line_each_or_as_one_document(sensor: ScipServer) -> None:
    lines = scan(sensor, "--count", "3")
    assert lines.returncode == 0, lines.stderr
    assert sum(" beams  nearest " in line for line in lines.stdout.splitlines()) == 3
    document = json.loads(scan(sensor, "--count", "2", "--json").stdout)
    assert [len(each["ranges_m"]) for each in document["scans"]] == [1081, 1081]
    assert document["checksum_errors"] == 0


@pytest.mark.parametrize(
    "fault",
    [
        {"corrupt_frames": 2},
        {"garbage_frames": 2},
        {"cut_frames": 2},
        {"chunk_bytes": 7},
        {"drop_every": 2},
        {"latency_s": 0.2, "jitter_s": 0.1},
    ],
)
def test_a_wire_that_does_harm_now_and_then_costs_scans_only(sensor: ScipServer, fault: dict[str, object]) -> None:
    sensor.faults.update(**fault)
    told = scan(sensor, "--count", "3", "--json")
    assert told.returncode == 0, told.stderr
    assert len(json.loads(told.stdout)["scans"]) == 3


@pytest.mark.parametrize("fault", ["silent", "babble", "refuse"])
def test_a_sensor_that_says_nothing_of_use_is_told_plainly(sensor: ScipServer, fault: str) -> None:
    sensor.faults.update(**{fault: True})
    if fault == "refuse":
        wait_until_refused(sensor)
    told = scan(sensor)
    assert told.returncode == 3
    assert "LiDAR" in told.stderr or "Hokuyo" in told.stderr
    assert "Traceback" not in told.stderr
    assert not told.stdout


def wait_until_refused(sensor: ScipServer) -> None:
    """The sensor closes its door a moment after it was told to."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            socket.create_connection((sensor.host, sensor.port), timeout=1).close()
        except ConnectionRefusedError:
            return
        time.sleep(0.02)
    raise AssertionError("the sensor still takes connections")
