"""`kill -9` of the daemon at random moments of a job with a moving robot and two calling clients.

However it dies: no device is held for ever, none twice, no event that a client was told of is lost, each run ends in
exactly one verdict, and the base is stopped.
"""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from drivers.sim import Bench, BenchRobot
from labctl.cli.daemon_child import daemon_child
from labctl.cli.demo import lab_file_text
from labctl.client import Lab, LabClientError

SCALE = 4.0
START = (0.35, 2.4, 0.0)
DEVICES = ["alice", "bob", "corridor", "robot-1"]
# The robot drives while two clients call each other over and over; the lanes meet at every turn.
TURNS = 30


def job(requeue: bool) -> str:
    alice: list[dict[str, Any]] = [{"uses": "endpoint.connect"}, {"id": "bob", "wait": "bob"}]
    bob: list[dict[str, Any]] = [
        {"id": "me", "uses": "endpoint.connect"},
        {"notify": "bob", "payload": "${{ steps.me.outputs.address }}"},
    ]
    for turn in range(TURNS):
        alice += [
            {"uses": "endpoint.invite", "with": {"address": "${{ steps.bob.outputs.payload }}"}},
            {"notify": f"invited-{turn}"},
            {"uses": "endpoint.await_state", "with": {"state": "in_call"}},
            {"uses": "endpoint.connect"},  # hangs up
            {"barrier": f"turn-{turn}"},
        ]
        bob += [
            {"wait": f"invited-{turn}"},
            {"uses": "endpoint.await_state", "with": {"state": "ringing"}},
            {"uses": "endpoint.accept"},
            {"uses": "endpoint.await_state", "with": {"state": "idle"}},
            {"barrier": f"turn-{turn}"},
        ]
    robot = [{"uses": "drive.course", "with": {"course": "standard"}}]
    hang_up = [{"uses": "endpoint.hang_up"}]
    lanes = {
        "alice": {"steps": alice, "always": hang_up},
        "bob": {"steps": bob, "always": hang_up},
        "robot": {"steps": robot},
    }
    roles = {"alice": {"device": "alice"}, "bob": {"device": "bob"}, "robot": {"device": "robot-1"}}
    again = "requeue" if requeue else "errored"
    return json.dumps({"name": "kill me", "roles": roles, "lanes": lanes, "on_lab_failure": again})


@pytest.fixture(scope="module")
def robot() -> Iterator[BenchRobot]:
    with Bench(time_scale=SCALE) as bench:
        yield bench.robots[0]


@dataclass
class Told:
    """What a client was told of, before the daemon died."""

    events: list[dict[str, Any]] = field(default_factory=list)

    def follow(self, lab: Lab, after: int, count: int, enough: threading.Event) -> None:
        """Listen until the daemon is gone; say when `count` events were heard, or, for 0, when the robot moves."""
        try:
            for event in lab.events(after):
                self.events.append(event)
                moves = event["data"].get("distance_m", 0) > 0.05  # a starved machine's guard lets it creep, rightly
                if (count and len(self.events) >= count) or moves or event["kind"] == "job.finished":
                    enough.set()
        except LabClientError:
            return


def at_rest(robot: BenchRobot) -> None:
    """Returns when the motor board asks no speed of the wheels; the test's time limit ends it otherwise."""
    while True:
        board = robot.board()
        if board["left_mm_s"] == board["right_mm_s"] == 0:
            return


def robot_is_good(lab: Lab, robot: BenchRobot) -> None:
    """The robot can be granted; from a quarantine after a course that was broken off it is taken back."""
    after = 0
    ours = lab.robot("robot-1")
    while True:
        state = next(each for each in lab.devices() if each["name"] == "robot-1")
        if state["state"] in ("good", "suspect"):
            return
        if state["state"] == "quarantined":
            robot.put_robot(*START)
            if ours.preflight()["passed"]:
                ours.acknowledge("Ada", "carried to its dock")
            continue
        page = lab.request("GET", "/api/v1/events", params={"after": lab.latest_event(), "wait_s": 1})
        after = int(page["next"]) or after


def kill_in_mid_job(lab: Lab, child: Any, robot: BenchRobot, dice: random.Random) -> tuple[str, Told]:
    robot.put_robot(*START)
    robot_is_good(lab, robot)
    told, enough = Told(), threading.Event()
    after = lab.latest_event()
    submitted = str(lab.submit(job(requeue=dice.random() < 0.3))["id"])
    follower = threading.Thread(target=told.follow, args=(lab, after, dice.choice((0, dice.randrange(5, 100))), enough))
    follower.start()
    assert enough.wait(100), [each for each in told.events if each["data"].get("lane") == "robot"] + told.events[-5:]
    child.process.kill()
    child.process.wait()
    follower.join(60)
    return submitted, told


def all_events(lab: Lab) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while page := lab.request(
        "GET", "/api/v1/events", params={"after": found[-1]["sequence"] if found else 0, "limit": 1000}
    )["items"]:
        found += page
    return found


def check_what_is_left(lab: Lab, submitted: str, told: Told) -> None:
    events = all_events(lab)
    by_number = {each["sequence"]: each for each in events}
    assert [by_number.get(each["sequence"]) for each in told.events] == told.events
    verdicts: dict[str, list[str]] = {}
    for each in events:
        if each["kind"] == "run.started":
            verdicts[each["run"]] = []
        elif each["kind"] == "run.finished":
            verdicts[each["run"]].append(each["data"]["verdict"])
    assert {len(each) for each in verdicts.values()} == {1}, verdicts
    finished = lab.job(submitted)
    ends = [each for each in events if each["kind"] == "job.finished" and each["job"] == submitted]
    assert (finished["state"], len(ends)) == ("finished", 1)
    assert lab.leases() == []
    nobody_held_what_another_held(events)


def nobody_held_what_another_held(events: list[dict[str, Any]]) -> None:
    """By the order of the log, and with fencing numbers that only grow."""
    holder: dict[str, str] = {}
    fencing = 0
    for each in events:
        if each["kind"] == "lease.granted":
            assert each["data"]["fencing"] > fencing
            fencing = each["data"]["fencing"]
            for device in each["data"]["devices"]:
                assert device not in holder, each
                holder[device] = each["lease"]
        elif each["kind"] in ("lease.released", "lease.expired"):
            for device in each["data"]["devices"]:
                assert holder.pop(device) == each["lease"]
    assert holder == {}


def end_early(lab: Lab, job: str) -> None:
    try:
        lab.cancel(job)
    except LabClientError as exc:
        if exc.status != 409:  # it has ended already
            raise


def kill_again_and_again(robot: BenchRobot, tmp_path: Path, database_url: str, times: int, seed: int) -> None:
    text = json.loads(lab_file_text(robot.base_url, robot.lidar_url, SCALE))
    text["devices"] |= {name: {"kind": "endpoint", "simulated": True} for name in ("alice", "bob")}
    (tmp_path / "lab.yaml").write_text(json.dumps(text), encoding="utf-8")
    dice = random.Random(seed)
    left: tuple[str, Told] | None = None
    for turn in range(times + 1):
        with ExitStack() as stack:
            log = tmp_path / f"daemon-{turn}.log"
            child = stack.enter_context(
                daemon_child(tmp_path / "lab.yaml", tmp_path / "data", log, "--database", database_url)
            )
            lab = stack.enter_context(Lab(child.url))
            if left is not None:
                submitted, told = left
                end_early(lab, submitted)  # if it was queued again: to see that is enough
                for _ in lab.follow(submitted):
                    pass
                at_rest(robot)
                check_what_is_left(lab, submitted, told)
                robot_is_good(lab, robot)
                with lab.lease(DEVICES, duration_s=10) as lease:
                    assert lease.devices == DEVICES
            if turn < times:
                left = kill_in_mid_job(lab, child, robot, dice)
                at_rest(robot)


@pytest.mark.timeout(900)
def test_a_killed_daemon_leaves_nothing_held_and_one_verdict(
    robot: BenchRobot, tmp_path: Path, database_url: str
) -> None:
    kill_again_and_again(robot, tmp_path, database_url, 5, seed=3)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_a_daemon_killed_a_hundred_times_leaves_nothing_held(
    robot: BenchRobot, tmp_path: Path, database_url: str
) -> None:
    kill_again_and_again(robot, tmp_path, database_url, 100, seed=4)
