"""A robot of the bench behind a daemon that is a process of its own: emergency stop, and `kill -9` in mid-course."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from drivers.guard import GuardProcess
from drivers.rooms import Room
from drivers.sim import Bench, BenchRobot
from labctl.cli.courses import course_job
from labctl.cli.daemon_child import DaemonChild, daemon_child
from labctl.cli.demo import lab_file_text
from labctl.client import Lab, LabClientError
from labctl.config import load_lab
from labctl.errors import UnavailableError
from labctl.robots import Robot
from labctl.robots.settings import guard_settings
from labctl.robots.supervisor import RobotHealth

SCALE = 2.0
DOCKING_ONLY = """
name: docking only
room: standard
start: {point: F, docked: false}
points:
  - {label: F, x_m: 0.90, y_m: 2.40, heading_deg: 0}
  - {label: G, x_m: 0.80, y_m: 2.40, heading_deg: 0}
legs: [{from: F, to: G, how: straight, direction: reverse, speed_m_s: 0.1}]
margins: {point: {distance_m: 0.05, heading_deg: 2.0}, leg: {distance_m: 0.05, heading_deg: 2.0}}
docking: {dock: A, attempts: 3, time_limit_s: 30, standoff_m: 0.5}
"""


@pytest.fixture(scope="module")
def robot() -> Iterator[BenchRobot]:
    with Bench(time_scale=SCALE) as bench:
        yield bench.robots[0]


@pytest.fixture(scope="module")
def folder(robot: BenchRobot, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lab")
    (folder / "lab.yaml").write_text(lab_file_text(robot.base_url, robot.lidar_url, SCALE), encoding="utf-8")
    return folder


@contextmanager
def daemon(folder: Path) -> Iterator[tuple[Lab, DaemonChild]]:
    with daemon_child(folder / "lab.yaml", folder / "data", folder / "daemon.log") as child, Lab(child.url) as lab:
        while lab.robot("robot-1").status()["health"] != "ready":
            time.sleep(0.02)
        yield lab, child


def looked_after(lab: Lab, robot: BenchRobot) -> None:
    """The robot is in quarantine after an aborted course: carry it to its dock, look at it, say that it is well."""
    ours = lab.robot("robot-1")
    found = ours.health()
    assert (found["state"], found["quarantine"]["cause"]) == ("quarantined", "aborted")
    robot.put_robot(0.35, 2.4, 0.0)
    while not ours.preflight()["passed"]:
        pass  # a LiDAR that was lost is tried again in some seconds
    assert ours.acknowledge("Ada", "it stands on its dock again")["state"] == "good"


def until(lab: Lab, wanted: Any, after: int = 0) -> dict[str, Any]:
    """The first event after `after` that is wanted."""
    return next(event for event in lab.events(after) if wanted(event))


def under_way(lab: Lab) -> str:
    """Start the standard course; the job, once the robot moves."""
    after = lab.latest_event()
    job = lab.submit(json.dumps(course_job("standard", "robot-1")))
    until(lab, lambda event: event["data"].get("speed_m_s", 0) > 0.1, after)
    return str(job["id"])


def at_rest(robot: BenchRobot) -> None:
    """Returns when the motor board asks no speed of the wheels; the test's time limit ends it otherwise."""
    while True:
        board = robot.board()
        if board["left_mm_s"] == board["right_mm_s"] == 0:
            return


def test_an_emergency_stop_ends_the_course_latches_and_is_reset_by_a_person(robot: BenchRobot, folder: Path) -> None:
    with daemon(folder) as (lab, _child):
        job = under_way(lab)
        assert lab.robot("robot-1").estop("a cat") == {"robot": "robot-1", "estop": True}
        at_rest(robot)
        assert lab.robot("robot-1").status()["estop"] is True
        for _ in lab.follow(job):
            pass
        finished = lab.job(job)
        assert finished["verdict"] == "errored"
        told = until(lab, lambda event: event["kind"] == "robot.estop")
        assert (told["data"]["reason"], told["data"]["principal"]) == ("a cat", "local")

        with pytest.raises(LabClientError, match="reason") as refused:
            lab.robot("robot-1").reset("Ada", " ")
        assert refused.value.status == 422
        latched = lab.robot("robot-1").preflight()
        assert latched["passed"] is False
        assert "emergency stop" in [each["name"] for each in latched["checks"] if not each["well"]]
        assert lab.robot("robot-1").reset("Ada", "the cat is gone")["estop"] is False
        looked_after(lab, robot)


def test_a_stop_that_comes_before_the_guard_answers_is_kept(robot: BenchRobot, tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text(lab_file_text(robot.base_url, robot.lidar_url, SCALE), encoding="utf-8")
    config = load_lab(tmp_path / "lab.yaml").robots()["robot-1"]
    answered = threading.Event()
    supervised = Robot(
        guard_settings("robot-1", config, Room.library("standard"), tmp_path / "guard"),
        lambda name, health, reason: answered.set(),
    )
    with pytest.raises(UnavailableError, match="NOT confirmed"):
        supervised.emergency_stop("a cat")
    supervised.start()
    assert answered.wait(60)
    status = supervised.readings()[1]
    supervised.close()
    assert status is not None
    assert status.latched


def test_the_latch_survives_the_daemon(robot: BenchRobot, folder: Path) -> None:
    with daemon(folder) as (lab, _child):
        lab.robot("robot-1").estop()
    with daemon(folder) as (lab, _child):
        assert lab.robot("robot-1").status()["estop"] is True
        lab.robot("robot-1").reset("Ada", "test")


def test_a_killed_daemon_stops_the_robot_and_leaves_one_verdict(robot: BenchRobot, folder: Path) -> None:
    with daemon(folder) as (lab, child):
        job = under_way(lab)
        told = lab.latest_event()
        child.process.kill()
        child.process.wait()
        at_rest(robot)
    with daemon(folder) as (lab, _child):
        finished = lab.job(job)
        assert (finished["state"], finished["verdict"]) == ("finished", "errored")
        assert "the daemon ended while this run was under way" in finished["reason"]
        assert lab.leases() == []
        assert lab.robot("robot-1").status()["health"] == "ready"
        ends = [event for event in lab.follow(job) if event["kind"] == "run.finished"]
        assert [event["sequence"] > told for event in ends] == [True]
        kept = {each["name"]: each["size"] for each in lab.run_result(finished["runs"][0])["artifacts"]}
        assert kept["recording.mcap"] > 10_000
        looked_after(lab, robot)
        with lab.lease(["robot-1"], duration_s=10) as lease:
            assert lease.devices == ["corridor", "robot-1"]
    with sqlite3.connect(folder / "data" / "lab.db") as database:
        numbers = [row[0] for row in database.execute("SELECT sequence FROM events ORDER BY sequence")]
    database.close()
    assert numbers == list(range(1, len(numbers) + 1))


def test_a_cancelled_course_stops_the_robot_and_keeps_its_recording(robot: BenchRobot, folder: Path) -> None:
    with daemon(folder) as (lab, _child):
        job = under_way(lab)
        lab.cancel(job, "changed my mind")
        for _ in lab.follow(job):
            pass
        at_rest(robot)
        finished = lab.job(job)
        assert finished["verdict"] == "cancelled"
        names = {each["name"] for each in lab.run_result(finished["runs"][0])["artifacts"]}
        assert names == {"recording.mcap", "report.html", "lidar.tum", "odometry.tum", "result.json"}
        looked_after(lab, robot)


def test_a_stalled_daemon_stops_the_robot(robot: BenchRobot, folder: Path) -> None:
    with daemon(folder) as (lab, child):
        job = under_way(lab)
        child.process.send_signal(signal.SIGSTOP)
        at_rest(robot)
        child.process.send_signal(signal.SIGCONT)
        lab.cancel(job, "enough")
        for _ in lab.follow(job):
            pass
        assert lab.job(job)["state"] == "finished"
        looked_after(lab, robot)


def test_a_driving_process_that_dies_stops_the_robot_and_keeps_the_recording(robot: BenchRobot, folder: Path) -> None:
    with daemon(folder) as (lab, child):
        job = under_way(lab)
        os.kill(driving_process(child), signal.SIGKILL)
        at_rest(robot)
        finished = ended(lab, job)
        assert finished["verdict"] == "errored"
        assert "died (signal 9); the guard has stopped the robot" in finished["reason"]
        (kept,) = lab.run_result(finished["runs"][0])["artifacts"]
        assert (kept["name"], kept["size"] > 10_000) == ("recording.mcap", True)
        looked_after(lab, robot)


def test_a_daemon_that_stalls_while_the_robot_docks_stops_the_docking_run(robot: BenchRobot, folder: Path) -> None:
    robot.put_robot(0.9, 2.4, 0.0)
    with daemon(folder) as (lab, child):
        after = lab.latest_event()
        (folder / "docking.yaml").write_text(DOCKING_ONLY, encoding="utf-8")
        job = str(lab.submit(json.dumps(course_job(str(folder / "docking.yaml"), "robot-1")))["id"])
        until(lab, lambda event: event["data"].get("what") == "docking", after)
        while not robot.reading()["docking"]:
            pass
        child.process.send_signal(signal.SIGSTOP)
        while robot.reading()["docking"]:
            pass
        at_rest(robot)
        assert not robot.reading()["on_dock"]
        child.process.send_signal(signal.SIGCONT)
        finished = ended(lab, job)  # a run that the lab stopped is made again
        assert finished["verdict"] == "passed" or "busy" in finished["reason"] or "cut short" in finished["reason"]
        if finished["verdict"] != "passed":
            looked_after(lab, robot)
    robot.put_robot(0.35, 2.4, 0.0)


def test_a_robot_is_looked_after_though_its_health_could_not_be_noted(tmp_path: Path) -> None:
    """As when the database was away, or its disk full, while the guard was started."""
    text = lab_file_text(str(tmp_path / "no-base"), "tcp://127.0.0.1:1", SCALE)
    (tmp_path / "lab.yaml").write_text(text, encoding="utf-8")
    config = load_lab(tmp_path / "lab.yaml").robots()["robot-1"]
    asked: SimpleQueue[RobotHealth] = SimpleQueue()

    def away_at_first(_name: str, health: RobotHealth, _reason: str) -> None:
        asked.put(health)
        if asked.qsize() == 1:
            raise OperationalError("UPDATE", {}, Exception("database or disk is full"))
        told.set()

    told = threading.Event()
    supervised = Robot(guard_settings("robot-1", config, Room.library("standard"), tmp_path / "guard"), away_at_first)
    supervised.start()
    try:
        assert told.wait(60)
    finally:
        supervised.close()
    assert [asked.get() for _ in range(2)] == [RobotHealth.OFFLINE] * 2


def test_a_robot_is_looked_after_whatever_kept_its_guard_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the machine had no thread left for the guard's client."""
    (tmp_path / "lab.yaml").write_text(lab_file_text("/nowhere", "tcp://127.0.0.1:1", SCALE), encoding="utf-8")
    config = load_lab(tmp_path / "lab.yaml").robots()["robot-1"]
    tries: SimpleQueue[None] = SimpleQueue()
    heard: SimpleQueue[tuple[RobotHealth, str]] = SimpleQueue()

    def without_threads(*_args: object, **_kwargs: object) -> None:
        tries.put(None)
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(GuardProcess, "start", without_threads)
    settings = guard_settings("robot-1", config, Room.library("standard"), tmp_path / "guard")
    supervised = Robot(settings, lambda _name, health, reason: heard.put((health, reason)))
    supervised.start()
    try:
        for _ in range(2):
            tries.get(timeout=20)
        health, reason = heard.get(timeout=20)
    finally:
        supervised.close()
    assert health is RobotHealth.OFFLINE
    assert "can't start new thread" in reason


def test_a_serial_port_that_another_program_holds_makes_the_robot_offline_and_says_who(
    robot: BenchRobot, folder: Path, tmp_path: Path
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", "import sys; open(sys.argv[1], 'rb', 0); f = open(sys.argv[1], 'rb', 0); print('held',"
         " flush=True); sys.stdin.read()", robot.base_url],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as other:  # fmt: skip
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        heard: SimpleQueue[tuple[RobotHealth, str]] = SimpleQueue()
        config = load_lab(folder / "lab.yaml").robots()["robot-1"]
        settings = guard_settings("robot-1", config, Room.library("standard"), tmp_path / "guard")
        supervised = Robot(settings, lambda _name, health, reason: heard.put((health, reason)))
        supervised.start()
        try:
            health, reason = heard.get(timeout=100)
            assert health is RobotHealth.OFFLINE
            assert f"(pid {other.pid})" in reason
            assert "stop that program" in reason
            other.communicate()
            while health is not RobotHealth.READY:
                health, reason = heard.get(timeout=100)
        finally:
            supervised.close()


@pytest.mark.parametrize(
    "fault",
    [
        {"silent": True},
        {"cut_frames": 1_000_000},
        pytest.param({"babble": True}, marks=pytest.mark.soak),
        pytest.param({"frozen": True}, marks=pytest.mark.soak),
        pytest.param({"replay": True}, marks=pytest.mark.soak),
    ],
    ids=lambda fault: next(iter(fault)),
)
def test_a_lidar_that_fails_makes_the_course_errored(robot: BenchRobot, folder: Path, fault: dict[str, object]) -> None:
    with daemon(folder) as (lab, _child):
        job = under_way(lab)
        robot.set_lidar_faults(**fault)
        try:
            at_rest(robot)
            finished = ended(lab, job)
        finally:
            robot.clear_lidar_faults()
        assert finished["verdict"] == "errored"
        assert "lidar" in finished["reason"].lower()
        names = {each["name"] for each in lab.run_result(finished["runs"][0])["artifacts"]}
        assert names >= {"recording.mcap", "report.html"}
        looked_after(lab, robot)


def test_a_robot_in_quarantine_is_granted_to_nobody_and_returns_to_its_dock_only_in_a_persons_hand(
    robot: BenchRobot, folder: Path
) -> None:
    with daemon(folder) as (lab, child):
        job = under_way(lab)
        lab.cancel(job, "enough")
        ended(lab, job)
        at_rest(robot)
        with pytest.raises(LabClientError, match="was broken off"):
            lab.lease(["robot-1"], duration_s=10)

        # Held for a moment, then let go: it stops where it is.
        session = lab.robot("robot-1").return_to_dock("Ada", "the course was aborted")
        while robot.truth().linear == robot.truth().angular == 0:
            lab.robot("robot-1").hold(session["id"])
        with pytest.raises(LabClientError, match="on its way to the dock"):
            lab.robot("robot-1").acknowledge("Ada", "too early")
        at_rest(robot)
        while (session := lab.robot("robot-1").returning(session["id"]))["state"] != "ended":
            time.sleep(0.02)
        assert session["verdict"] == "errored"
        assert "lease_ended" in session["reason"]
        assert not robot.reading()["on_dock"]

        # Held all the way, from the command line: it docks.
        with subprocess.Popen(
            [sys.executable, "-m", "labctl", "robots", "return", "robot-1", "--reason", "again", "--url", child.url],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        ) as held:  # fmt: skip
            assert held.stdin is not None
            while held.poll() is None:
                with contextlib.suppress(BrokenPipeError):
                    held.stdin.write(b" ")
                    held.stdin.flush()
                time.sleep(0.05)
            assert held.stdout is not None
            said = held.stdout.read().decode()
        assert held.returncode == 0, said
        assert "robot-1 is on its dock" in said
        assert robot.reading()["on_dock"]
        with pytest.raises(LabClientError, match="was broken off"):
            lab.lease(["robot-1"], duration_s=10)  # that it is on its dock is not yet that it is well
        looked_after(lab, robot)


def ended(lab: Lab, job: str) -> dict[str, Any]:
    """The job, once it is finished."""
    for _ in lab.follow(job):
        pass
    return dict(lab.job(job))


def driving_process(child: DaemonChild) -> int:
    """The child of the daemon that drives: of those it spawned the one that is not polite, as workers are."""
    children = Path(f"/proc/{child.process.pid}/task").glob("*/children")
    found = [int(each) for file in children for each in file.read_text().split()]
    spawned = [pid for pid in found if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    (driving,) = (pid for pid in spawned if os.getpriority(os.PRIO_PROCESS, pid) < 10)
    return driving
