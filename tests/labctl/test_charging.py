"""A robot of the bench is charged on its dock before a lease is its holder's, and charges after it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from drivers.sim import Bench, BenchRobot
from labctl.cli.daemon_child import daemon_child
from labctl.cli.demo import lab_file_text
from labctl.client import Lab

SCALE = 2.0
DRIVING_SCALE = 1.0
DOCK = {"uses": "robot.return_to_dock"}
HOOKS = {
    "before": [{"uses": "robot.charge", "with": {"battery_ratio": 0.6}}],
    "after": [{"uses": "robot.charge"}],
}


@pytest.fixture
def robot() -> Iterator[BenchRobot]:
    with Bench(time_scale=SCALE, battery=0.5) as bench:
        yield bench.robots[0]


@pytest.fixture
def driven() -> Iterator[BenchRobot]:
    """A robot that drives, for which there is less time to see a scan the faster the bench is."""
    with Bench(time_scale=DRIVING_SCALE, battery=0.5) as bench:
        yield bench.robots[0]


@contextmanager
def bench_lab(robot: BenchRobot, folder: Path, scale: float, *, ready: bool = True) -> Iterator[Lab]:
    """A daemon whose robot has `HOOKS`."""
    document = json.loads(lab_file_text(robot.base_url, robot.lidar_url, scale))
    document["devices"]["robot-1"]["hooks"] = HOOKS
    (folder / "lab.yaml").write_text(json.dumps(document), encoding="utf-8")
    with daemon_child(folder / "lab.yaml", folder / "data", folder / "log") as child, Lab(child.url) as lab:
        if ready:
            await_ready(lab)
        yield lab


def await_ready(lab: Lab) -> None:
    """Returns when the robot's guard is up."""
    while lab.robot("robot-1").status()["health"] != "ready":
        time.sleep(0.02)


def until(lab: Lab, kind: str, after: int = 0, **data: object) -> dict[str, Any]:
    """The first event after `after` of that kind, with that data."""
    return next(each for each in lab.events(after) if each["kind"] == kind and data.items() <= each["data"].items())


def test_a_robot_is_charged_before_a_lease_and_charges_after_it(robot: BenchRobot, tmp_path: Path) -> None:
    with bench_lab(robot, tmp_path, SCALE, ready=False) as lab:

        def charge() -> None:
            """As if an hour went by."""
            told = until(lab, "hook.progress", uses="robot.charge")
            assert told["data"]["detail"].endswith("% of 60%")
            robot.set_battery(0.7)

        charger = threading.Thread(target=charge)
        charger.start()
        await_ready(lab)
        lease = lab.request_lease(["robot-1"], duration_s=60)
        charger.join()
        assert lease["ready"]

        after = lab.latest_event()
        robot.set_battery(0.3)
        lab.release(lease["id"])
        charged = until(lab, "hook.finished", after)
        assert (charged["data"]["uses"], charged["data"]["verdict"]) == ("robot.charge", "passed")
        until(lab, "device.state", charged["sequence"], state="good")
        reading = robot.reading()
        assert reading["on_dock"]
        assert reading["battery_charge_mah"] < 0.6 * reading["battery_capacity_mah"]  # nobody waited for more


def in_the_room(robot: BenchRobot, *, battery_ratio: float) -> None:
    """Somebody pushed it away from its dock and round the corner."""
    robot.put_robot(3.0, 1.5, 2.0)
    robot.set_battery(battery_ratio)


def charge_when_docked(lab: Lab, robot: BenchRobot, kind: str, after: int) -> None:
    """As if an hour went by once it stands on its dock."""
    for event in lab.events(after):
        assert event["kind"] not in ("hook.finished", "job.finished"), event["data"]
        if event["kind"] == kind and event["data"].get("detail") == "50% of 60%":
            assert robot.reading()["on_dock"]
            robot.set_battery(0.7)
            return


@pytest.mark.soak
def test_hooks_of_a_lease_drive_the_robot_to_its_dock(driven: BenchRobot, tmp_path: Path) -> None:
    with bench_lab(driven, tmp_path, DRIVING_SCALE) as lab:
        in_the_room(driven, battery_ratio=0.5)
        after = lab.latest_event()
        with ThreadPoolExecutor() as pool:
            asked = pool.submit(lab.request_lease, ["robot-1"], duration_s=60)
            charge_when_docked(lab, driven, "hook.progress", after)
            lease = asked.result()
        assert lease["ready"]

        in_the_room(driven, battery_ratio=0.5)
        after = lab.latest_event()
        lab.release(lease["id"])
        charged = until(lab, "hook.finished", after)
        assert (charged["data"]["uses"], charged["data"]["verdict"]) == ("robot.charge", "passed")
        until(lab, "device.state", charged["sequence"], state="good")
        assert driven.reading()["on_dock"]


@pytest.mark.soak
def test_hooks_of_a_job_drive_the_robot_to_its_dock(driven: BenchRobot, tmp_path: Path) -> None:
    job = {"name": "drive home", "roles": {"robot": {"device": "robot-1"}}, "lanes": {"robot": {"steps": [DOCK]}}}
    with bench_lab(driven, tmp_path, DRIVING_SCALE) as lab:
        in_the_room(driven, battery_ratio=0.5)
        after = lab.latest_event()
        submitted = lab.submit(json.dumps(job))["id"]
        charge_when_docked(lab, driven, "step.progress", after)
        for _ in lab.follow(submitted):
            pass
        finished = lab.job(submitted)
        assert (finished["verdict"], finished["reason"]) == ("passed", "")
        steps = lab.run_result(finished["runs"][0])["lanes"]["robot"]["steps"]
        assert [(each["title"], each["verdict"]) for each in steps] == [
            ("check the device", "passed"),
            ("before: robot.charge", "passed"),
            ("robot.return_to_dock", "passed"),
            ("after: robot.charge", "passed"),
        ]
        assert driven.reading()["on_dock"]
