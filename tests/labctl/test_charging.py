"""A robot of the bench is charged on its dock before a lease is its holder's, and charges after it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from drivers.sim import Bench, BenchRobot
from labctl.cli.daemon_child import daemon_child
from labctl.cli.demo import lab_file_text
from labctl.client import Lab

SCALE = 2.0
HOOKS = {
    "before": [{"uses": "robot.charge", "with": {"battery_ratio": 0.6}}],
    "after": [{"uses": "robot.charge"}],
}


@pytest.fixture
def robot() -> Iterator[BenchRobot]:
    with Bench(time_scale=SCALE, battery=0.5) as bench:
        yield bench.robots[0]


def until(lab: Lab, kind: str, after: int = 0, **data: object) -> dict[str, Any]:
    """The first event after `after` of that kind, with that data."""
    return next(each for each in lab.events(after) if each["kind"] == kind and data.items() <= each["data"].items())


def test_a_robot_is_charged_before_a_lease_and_charges_after_it(robot: BenchRobot, tmp_path: Path) -> None:
    document = json.loads(lab_file_text(robot.base_url, robot.lidar_url, SCALE))
    document["devices"]["robot-1"]["hooks"] = HOOKS
    (tmp_path / "lab.yaml").write_text(json.dumps(document), encoding="utf-8")
    with daemon_child(tmp_path / "lab.yaml", tmp_path / "data", tmp_path / "log") as child, Lab(child.url) as lab:

        def charge() -> None:
            """As if an hour went by."""
            told = until(lab, "hook.progress", uses="robot.charge")
            assert told["data"]["detail"].endswith("% of 60%")
            robot.set_battery(0.7)

        charger = threading.Thread(target=charge)
        charger.start()
        while lab.robot("robot-1").status()["health"] != "ready":
            time.sleep(0.02)
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
