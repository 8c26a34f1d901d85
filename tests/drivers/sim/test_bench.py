"""The bench as a process: real sockets and ptys, verbs of its control socket, and its end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import serial

from drivers.clock import clock_for_scale
from drivers.create2 import Create2
from drivers.errors import DeviceUnreachableError
from drivers.scip import HokuyoLidar
from drivers.sim import Bench, BenchError, BenchRobot

SCALE = 3.0
CLOCK = clock_for_scale(SCALE)


def wait_until(happened: Callable[[], bool], wall_s: float = 20.0) -> bool:
    deadline = time.monotonic() + wall_s
    while not happened():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with Bench(time_scale=SCALE, seed=1, robots=2) as running:
        yield running


@pytest.fixture
def robot(bench: Bench) -> BenchRobot:
    first = bench.robots[0]
    first.put_robot(3.0, 2.4, 0.0)
    return first


def test_clients_drive_the_robot_and_see_it_move(robot: BenchRobot) -> None:
    with Create2.open(robot.base_url, clock=CLOCK) as base, HokuyoLidar.open(robot.lidar_url, clock=CLOCK) as lidar:
        before = lidar.scan()
        base.enter_safe_mode()
        assert wait_until(lambda: robot.board()["mode"] == "safe")
        base.drive(0.3, 0.0)
        assert wait_until(lambda: robot.truth().x > 3.4)
        base.stop()
        assert wait_until(lambda: robot.truth().linear == 0.0)
        gone = robot.truth().x - 3.0
        assert wait_until(lambda: lidar.scan().time > CLOCK.now() - 0.2)
        after = lidar.scan()
        seen = before.ranges[530:550] - after.ranges[530:550]
        assert np.nanmedian(seen) == pytest.approx(gone, abs=0.03)
        assert base.state().left_ticks * base.geometry.left_metres_per_tick == pytest.approx(gone, abs=0.02)
    spoken = b"".join(data for _, data in robot.received())
    assert b"\x91" in spoken  # drive direct


def test_robots_of_one_bench_are_apart(bench: Bench) -> None:
    first, second = bench.robots
    assert first.lidar_url != second.lidar_url
    assert first.base_url != second.base_url
    first.put_robot(3.0, 3.0, 0.0)
    second.put_robot(2.0, 2.0, 0.5)
    assert (first.truth().x, second.truth().x) == (3.0, 2.0)


def test_settings_of_body_beams_and_docking_change_by_name(robot: BenchRobot) -> None:
    robot.set_body(cliff=True, left_wheel_scale=1.01)
    assert robot.reading()["cliff"] is True
    robot.set_body(cliff=False, left_wheel_scale=1.0)
    robot.set_beams(covered_deg=(-10, 10), range_bias_m=0.03)
    robot.set_beams(covered_deg=None, range_bias_m=0.0)
    robot.set_docking(misses=1)
    robot.set_docking(misses=0)
    robot.set_battery(0.5)
    reading = robot.reading()
    assert reading["battery_charge_mah"] / reading["battery_capacity_mah"] == pytest.approx(0.5, abs=0.01)


def test_person_in_the_way_shows_in_the_scan_and_goes_again(robot: BenchRobot) -> None:
    with HokuyoLidar.open(robot.lidar_url, clock=CLOCK) as lidar:
        robot.set_person("anna", [(4.5, 2.4)])
        assert wait_until(lambda: float(np.nanmin(lidar.scan().ranges[500:581])) < 1.5)
        robot.remove_person("anna")
        assert wait_until(lambda: float(np.nanmin(lidar.scan().ranges[500:581])) > 1.8)


def test_faults_of_both_wires_are_armed_and_cleared(robot: BenchRobot) -> None:
    robot.set_board_faults(silent=True)
    robot.set_board_faults(silent=False)
    robot.set_lidar_faults(corrupt_frames=2, garbage=b"\x00\n", garbage_frames=1)
    with HokuyoLidar.open(robot.lidar_url, clock=CLOCK) as lidar:
        stream = lidar.stream()
        for _ in range(10):
            next(stream)
        assert lidar.checksum_errors == 2
    robot.clear_lidar_faults()


@pytest.mark.parametrize(
    ("refused", "told"),
    [
        (lambda robot: robot.set_body(colour="red"), "BodyModel has no setting 'colour'; there are: metres_per_tick"),
        (lambda robot: robot.set_body(left_wheel_scale=9), "left_wheel_scale 9.0 is outside"),
        (lambda robot: robot.set_body(latency_s="soon"), "latency_s: Input should be a valid number"),
        (lambda robot: robot.set_beams(dark=("piano",)), "nothing named piano"),
        (lambda robot: robot.set_lidar_faults(nonsense=1), "unknown LiDAR fault 'nonsense'"),
        (lambda robot: robot.set_battery(2.0), "outside 0 .. 1"),
        (lambda robot: robot.set_person("anna", []), "at least one place"),
        (lambda robot: robot.put_robot(6.3, 0.5, 0.0), "cannot stand at (6.3, 0.5)"),
    ],
)
def test_wrong_request_is_refused_with_the_reason(
    robot: BenchRobot, refused: Callable[[BenchRobot], None], told: str
) -> None:
    with pytest.raises(BenchError) as caught:
        refused(robot)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"{", "JSONDecodeError"),
        (b"[]", "a request is an object"),
        (b'{"do": "dance"}', "unknown verb 'dance'; there are: board,"),
        (b'{"do": "truth", "robot": -1}', "there is no robot -1; they count from 0 to 1"),
        (b'{"do": "put_robot", "with": {"x": 1}}', "y: Missing required argument"),
    ],
)
def test_line_that_makes_no_sense_is_answered_with_an_error(bench: Bench, line: bytes, told: str) -> None:
    host, _, port = bench.control_url.removeprefix("tcp://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection, connection.makefile("rb") as replies:
        connection.sendall(line + b"\n")
        assert told in json.loads(replies.readline())["error"]


def test_unplugged_board_comes_back_on_a_new_terminal(bench: Bench) -> None:
    robot = bench.robots[1]
    old = robot.base_url
    with serial.Serial(old, timeout=0.05) as line:
        robot.unplug_board()

        def line_is_dead() -> bool:
            try:
                line.write(b"\x80")
            except OSError:
                return True
            return False

        assert wait_until(line_is_dead)
    new = robot.plug_in_board()
    assert robot.base_url == new
    with Create2.open(new, clock=CLOCK) as base:
        assert base.state().battery_ratio > 0.1


def test_tcp_line_and_state_file(tmp_path: Path) -> None:
    state = tmp_path / "bench.json"
    command = [sys.executable, "-m", "drivers.sim", "--serial", "tcp", "--state-file", str(state)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        assert json.loads(state.read_text()) == ready
        assert ready["robots"][0]["base"].startswith("socket://127.0.0.1:")
        assert ready["pid"] == process.pid
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0
    assert not state.exists()


def test_bench_ends_with_its_parent() -> None:
    program = (
        "import time\nfrom drivers.sim import Bench\nb = Bench().start()\nprint(b.pid, flush=True)\ntime.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
        parent.wait()

    def gone() -> bool:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except FileNotFoundError:
            return True
        return state == "Z"

    assert wait_until(gone)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"room": "ballroom"}, "no room named 'ballroom'"),
        ({"room": "/nowhere/room.yaml"}, "cannot be read: No such file"),
        ({"time_scale": 1e6}, "time scale 1000000.0 is outside"),
        ({"dock": "Z"}, "has no dock 'Z'; it has: A"),
        ({"battery": 3.0}, "battery charge of 3.0"),
        ({"serial": "tcp:x"}, "is not pty, tcp or tcp:PORT"),
    ],
)
def test_bench_that_cannot_start_says_why(arguments: dict[str, object], told: str) -> None:
    with pytest.raises(BenchError) as caught:
        Bench(**arguments).start()  # type: ignore[arg-type]  # the keys and values of the table above
    assert told in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_closed_bench_is_gone() -> None:
    with Bench() as bench:
        robot, pid = bench.robots[0], bench.pid
    with pytest.raises(DeviceUnreachableError):
        robot.truth()
    with pytest.raises(BenchError, match="not running"):
        _ = bench.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_robot_starts_where_it_is_put() -> None:
    command = [sys.executable, "-m", "drivers.sim", "--at", "1.9", "2.4", "90", "--parent", str(os.getpid())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            host, _, port = json.loads(process.stdout.readline())["control"].removeprefix("tcp://").rpartition(":")
            with socket.create_connection((host, int(port))) as control, control.makefile("rb") as replies:
                control.sendall(json.dumps({"robot": 0, "do": "truth", "with": {}}).encode() + b"\n")
                truth = json.loads(replies.readline())["result"]
        finally:
            process.terminate()
    assert [truth[key] for key in ("x", "y", "heading")] == pytest.approx([1.9, 2.4, np.pi / 2])
