"""A robot and a browser in one job: the course is driven through the pilot's page, over the lab's own endpoint."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from drivers.sim import Bench, BenchRobot
from labctl.cli.daemon_child import daemon_child
from labctl.client import Lab, LabClientError

CHROME = {"goog:chromeOptions": {"args": ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage"]}}
SHORT = """
name: short
room: standard
start: {point: A, docked: true}
points:
  - {label: A, x_m: 0.35, y_m: 2.40, heading_deg: 0}
  - {label: B, x_m: 1.20, y_m: 2.40, heading_deg: 0}
legs: [{from: A, to: B, how: straight, speed_m_s: 0.3}]
margins: {point: {distance_m: 0.05, heading_deg: 2.0}, leg: {distance_m: 0.05, heading_deg: 2.0}}
consistency_level: 0.001
"""


@pytest.fixture(scope="module")
def robot() -> Iterator[BenchRobot]:
    with Bench("standard", 1.0, seed=5, dock="A") as bench:
        yield bench.robots[0]


@pytest.fixture(scope="module")
def lab(robot: BenchRobot, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("lab")
    devices = {
        "room": {"kind": "room"},
        "robot-1": {
            "kind": "robot",
            "room": "room",
            "simulated": True,
            "base": {"url": robot.base_url},
            "lidar": {"url": robot.lidar_url, "rules": {"mount_x_m": 0.1, "max_age_s": 0.3}},
        },
        "desk": {
            "kind": "browser",
            "labels": {"browser": "chrome"},
            "target": {"driver": "chromedriver"},
            "defaults": CHROME,
        },
    }
    (folder / "lab.json").write_text(json.dumps({"lab": "pilot", "devices": devices}), encoding="utf-8")
    with daemon_child(folder / "lab.json", folder / "data", folder / "daemon.log") as child, Lab(child.url) as client:
        for _ in client.events(0):
            if {each["state"] for each in client.devices()} == {"good"}:
                break
        yield client


def job(**with_: Any) -> str:
    drive = {"uses": "drive.course", "with": {"text": SHORT, "input": "keyboard", "browser": "pilot", **with_}}
    roles = {"robot": {"kind": "robot"}, "pilot": {"kind": "browser"}}
    return json.dumps({"name": "pilot", "roles": roles, "lanes": {"robot": {"steps": [drive]}}})


@pytest.mark.alone
def test_a_course_is_driven_through_the_page_of_a_leased_browser(lab: Lab, robot: BenchRobot) -> None:
    ended = lab.run(job())
    assert ended["verdict"] == "passed", ended["reason"]
    run = lab.run_result(ended["runs"][-1])
    assert {"recording.mcap", "report.html"} <= {each["name"] for each in run["artifacts"]}
    assert robot.truth().x == pytest.approx(1.20, abs=0.05)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", ["keyboard", "mouse", "gamepad"])
def test_the_job_of_the_library(lab: Lab, robot: BenchRobot, name: str) -> None:
    text = Path("labctl/jobs/library/pilot-course.yaml").read_text(encoding="utf-8")
    for _ in range(4):  # a machine too busy to stop the robot in time makes a course errored, never failed
        robot.put_robot(0.35, 2.40, 0.0)
        for each in lab.devices("robot"):
            if each["state"] == "quarantined" and lab.robot(each["name"]).preflight()["passed"]:
                lab.robot(each["name"]).acknowledge("Ada", "it stands in its dock")
        ended = lab.run(text.replace("[keyboard, mouse, gamepad]", f"[{name}]"))
        if ended["verdict"] != "errored":
            break
    assert ended["verdict"] == "passed", ended


@pytest.mark.parametrize(
    ("with_", "message"),
    [
        ({"browser": None}, "give browser, the role of a browser"),
        ({"input": "direct"}, "give browser, the role of a browser"),
        ({"input": "thoughts"}, "'direct', 'keyboard', 'mouse' or 'gamepad'"),
    ],
)
def test_an_input_that_makes_no_sense_is_refused(lab: Lab, with_: dict[str, Any], message: str) -> None:
    with pytest.raises(LabClientError, match=message):
        lab.submit(job(**with_))


def test_a_role_that_is_not_there_is_told(lab: Lab) -> None:
    ended = lab.run(job(browser="nobody"))
    assert ended["verdict"] == "errored"
    assert "no role is called 'nobody'; there are: " in ended["reason"]
