"""A daemon that drives a robot is stalled for a minute (SIGSTOP) and wakes up: nothing is its own any more."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from _postgresql import Cluster

from drivers.sim import Bench, BenchRobot
from labctl.cli.daemon_child import DaemonChild, daemon_child
from labctl.cli.demo import lab_file_text
from labctl.client import Lab, LabClientError

STALL_S = 60.0
JOB: dict[str, Any] = {
    "name": "a drive and a wait",
    "signals": ["never"],
    "roles": {"robot": {"device": "robot-1"}, "bob": {"device": "bob"}},
    "lanes": {
        "robot": {"steps": [{"uses": "drive.course", "with": {"course": "standard"}}]},
        "bob": {"steps": [{"wait": "never"}], "always": [{"uses": "endpoint.hang_up"}]},
    },
}
ENDPOINT = {"kind": "endpoint", "simulated": True}


@pytest.fixture
def robot() -> Iterator[BenchRobot]:
    with Bench(time_scale=1.0) as bench:
        yield bench.robots[0]


def at_rest(robot: BenchRobot) -> None:
    """Returns when the robot has come to rest; the test's time limit ends it otherwise."""
    while (truth := robot.truth()).linear or truth.angular:
        pass


def place(robot: BenchRobot) -> tuple[float, float, float]:
    truth = robot.truth()
    return (truth.x, truth.y, truth.heading)


def under_way(lab: Lab) -> str:
    """The job, once its robot moves."""
    after = lab.latest_event()
    job = str(lab.submit(json.dumps(JOB))["id"])
    for event in lab.events(after):
        assert event["kind"] != "job.finished", event["data"]
        if event["data"].get("speed_m_s", 0) > 0.1:
            return job
    raise AssertionError


@contextmanager
def stalled(child: DaemonChild) -> Iterator[None]:
    """The daemon does nothing for `STALL_S` from here on, however long what is done meanwhile takes."""
    begun = time.monotonic()
    os.kill(child.process.pid, signal.SIGSTOP)
    try:
        yield
        time.sleep(max(0.0, begun + STALL_S - time.monotonic()))
    finally:
        os.kill(child.process.pid, signal.SIGCONT)


def ended(lab: Lab, job: str) -> None:
    """Once it is errored; that was said once of the run, and of each of its lanes."""
    said = [each for each in lab.follow(job) if each["kind"] in ("run.finished", "lane.finished", "job.finished")]
    assert sorted(each["kind"] for each in said) == ["job.finished", "lane.finished", "lane.finished", "run.finished"]
    assert lab.job(job)["verdict"] == "errored"


def refused(lab: Lab, lease: dict[str, Any]) -> None:
    """What a holder still wants of a lease that is over."""
    for late in (lab.renew, lab.release):
        with pytest.raises(LabClientError, match="expired") as told:
            late(lease["id"])
        assert told.value.status == 409


def granted_again(lab: Lab, robot: BenchRobot, fencing: int) -> None:
    """The robot's course was broken off: somebody looks after it, then it is leased as ever."""
    ours = lab.robot("robot-1")
    while ours.health()["state"] != "quarantined":
        time.sleep(0.1)
    robot.put_robot(0.35, 2.4, 0.0)
    while not ours.preflight()["passed"]:
        pass
    ours.acknowledge("Ada", "carried to its dock")
    with lab.lease(["robot-1", "bob", "alice"], duration_s=30, wait_s=60) as lease:
        assert lease.fencing > fencing


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_daemon_alone_finds_its_leases_gone(robot: BenchRobot, tmp_path: Path) -> None:
    document = json.loads(lab_file_text(robot.base_url, robot.lidar_url, 1.0))
    document["devices"] |= {"alice": ENDPOINT, "bob": ENDPOINT}
    (tmp_path / "lab.yaml").write_text(json.dumps(document), encoding="utf-8")
    with daemon_child(tmp_path / "lab.yaml", tmp_path / "data", tmp_path / "log") as child, Lab(child.url) as lab:
        while lab.robot("robot-1").status()["health"] != "ready":
            time.sleep(0.02)
        mine = lab.request_lease(["alice"], duration_s=30)
        job = under_way(lab)
        with stalled(child):
            at_rest(robot)
            stands = place(robot)
        refused(lab, mine)
        ended(lab, job)
        assert lab.leases() == []
        assert place(robot) == pytest.approx(stands, abs=1e-3)
        granted_again(lab, robot, mine["fencing"])


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_other_daemons_end_its_run_meanwhile_and_take_what_is_theirs(
    robot: BenchRobot, tmp_path: Path, postgresql: Cluster, migrated: str
) -> None:
    database = postgresql.create(migrated)
    bench = json.loads(lab_file_text(robot.base_url, robot.lidar_url, 1.0))
    bench["devices"] |= {"alice": ENDPOINT}
    labs = {"bench": bench, "other": {"lab": "other", "devices": {"bob": ENDPOINT}}}
    with ExitStack() as stack:
        children = {}
        for name, document in labs.items():
            document["artifacts"] = f"file://{tmp_path}/artifacts"
            path, data = tmp_path / f"{name}.yaml", tmp_path / name
            path.write_text(json.dumps(document), encoding="utf-8")
            started = daemon_child(path, data, tmp_path / f"{name}.log", "--database", database)
            children[name] = stack.enter_context(started)
        lab, other = (stack.enter_context(Lab(children[name].url)) for name in labs)
        while lab.robot("robot-1").status()["health"] != "ready":
            time.sleep(0.02)
        mine = lab.request_lease(["alice"], duration_s=30)
        job = under_way(lab)
        with stalled(children["bench"]):
            at_rest(robot)
            stands = place(robot)
            ended(other, job)
            assert "is gone" in other.job(job)["reason"]
            with other.lease(["bob"], duration_s=30, wait_s=60) as taken:
                assert taken.fencing > mine["fencing"]
        refused(lab, mine)
        ended(lab, job)  # as before: it has not been said again
        assert lab.leases() == []
        assert place(robot) == pytest.approx(stands, abs=1e-3)
        granted_again(lab, robot, taken.fencing)
