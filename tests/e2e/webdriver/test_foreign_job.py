"""Robots that their maker's client drives, in jobs: refused without a stop channel, driven and judged with one."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import junitparser
import pytest

from drivers.sim import Bench, BenchRobot
from drivers.sim.power_outlet import PowerOutlet
from drivers.sim.vendor import VendorRobot
from labctl.cli.daemon_child import daemon_child
from labctl.client import Lab

CHROME = {"goog:chromeOptions": {"args": ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage"]}}
pytestmark = [pytest.mark.soak, pytest.mark.timeout(2400)]
MIDDLE, DOCKED = (1.9, 2.4, 0.0), (0.35, 2.4, 0.0)


@dataclass
class Parts:
    """The lab, and two robots of the vendor: one with the vendor's stop, one with a relay."""

    lab: Lab
    own: BenchRobot
    visitor: BenchRobot
    vendor: VendorRobot
    relayed: BenchRobot
    second: VendorRobot
    relay: PowerOutlet


def client_section(url: str) -> dict[str, Any]:
    """What a lab file says of the vendor's client."""
    return {
        "url": url,
        "wheels": "return window.robovisit.wheels",
        "alive": "return window.robovisit.connected",
        "battery": "return window.robovisit.battery",
        "keyboard": {
            "ahead": "w", "back": "s", "left": "a", "right": "d", "slow": "Space", "speed_m_s": 0.2, "turn_rad_s": 0.6,
        },
        "mouse": {"css": "#joystick", "full_m_s": 0.3, "full_rad_s": 1.0},
        "gamepad": {"full_m_s": 0.3, "full_rad_s": 1.0},
    }  # fmt: skip


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory, geckodriver: str) -> Iterator[Parts]:
    folder = tmp_path_factory.mktemp("lab")
    with (
        Bench("standard", 1.0, seed=5, dock="A", robots=4) as bench,
        VendorRobot(bench.robots[1].base_url) as vendor,
        VendorRobot(bench.robots[2].base_url) as second,
        PowerOutlet(on_switch=lambda _number, on: bench.robots[2].set_board_power(on)) as relay,
    ):
        own, visitor, relayed, bare = bench.robots
        rules = {"rules": {"mount_x_m": 0.1, "max_age_s": 0.4}}

        def foreign(robot: BenchRobot, url: str, model: str, stop: dict[str, Any]) -> dict[str, Any]:
            return {
                "kind": "robot",
                "room": "room",
                "simulated": True,
                "labels": {"model": model},
                "client": client_section(url),
                "base": {"driver": "foreign", "stop": stop},
                "lidar": {"url": robot.lidar_url, **rules},
                "guard": {"command_ttl_s": 1.0, "stopping": {"latency_s": 0.5}},
            }

        halt, resume = ({"url": f"{vendor.url}api/{what}"} for what in ("halt", "resume"))
        by_vendor = {"vendor": {"stop_request": halt, "release_request": resume}}
        by_relay = {"power": {"outlet": {"url": relay.url, "dialect": "tasmota"}}}
        devices = {
            "room": {"kind": "room"},
            "own": {
                "kind": "robot",
                "room": "room",
                "simulated": True,
                "labels": {"model": "create2"},
                "base": {"url": own.base_url},
                "lidar": {"url": own.lidar_url, **rules},
            },
            "visitor": foreign(visitor, vendor.url, "robovisit", by_vendor),
            "relayed": foreign(relayed, second.url, "relayed", by_relay),
            "bare": {**foreign(bare, vendor.url, "bare", {}), "checks": {"before_use": False}},
            "chrome": {
                "kind": "browser",
                "labels": {"platform": "chrome"},
                "target": {"driver": "chromedriver"},
                "defaults": CHROME,
            },
            "firefox": {
                "kind": "browser",
                "labels": {"platform": "firefox"},
                "target": {"driver": "geckodriver", "program": geckodriver},
                "defaults": {"moz:firefoxOptions": {"args": ["-headless"]}},
            },
        }
        (folder / "lab.json").write_text(json.dumps({"lab": "visit", "devices": devices}), encoding="utf-8")
        with daemon_child(folder / "lab.json", folder / "data", folder / "d.log") as child, Lab(child.url) as lab:
            for _ in lab.events(0):
                if {each["state"] for each in lab.devices()} == {"good"}:
                    break
            yield Parts(lab, own, visitor, vendor, relayed, second, relay)


def job(robot: str, **with_: Any) -> str:
    parameters = {"course": "lap", "input": "keyboard", "browser": "pilot", **with_}
    steps = [{"uses": "drive.course", "with": {key: value for key, value in parameters.items() if value is not None}}]
    roles = {"robot": {"device": robot}, "pilot": {"device": "chrome"}}
    return json.dumps({"name": "visit", "roles": roles, "lanes": {"robot": {"steps": steps}}})


@pytest.mark.parametrize(
    ("robot", "with_", "reason"),
    [
        ("bare", {}, "nothing but its own client can stop bare, so no course is driven"),
        ("visitor", {"course": "standard"}, "the course standard begins or ends in a dock"),
        (
            "visitor",
            {"input": "direct", "browser": None},
            "visitor is driven by its own client: give input",
        ),
    ],
)
def test_what_cannot_be_stopped_or_tried_is_refused_before_anything_moves(
    parts: Parts, robot: str, with_: dict[str, Any], reason: str
) -> None:
    before = parts.visitor.reading()
    ended = parts.lab.run(job(robot, **with_))
    assert ended["verdict"] == "errored"
    assert reason in ended["reason"]
    after = parts.visitor.reading()
    assert (after["left_ticks"], after["right_ticks"]) == (before["left_ticks"], before["right_ticks"])


def test_the_emergency_stop_of_such_a_robot_uses_its_stop_channel(parts: Parts) -> None:
    halts = parts.vendor.halts
    parts.lab.robot("visitor").estop("a test")
    assert parts.vendor.halts > halts
    parts.lab.robot("visitor").reset("Ada", "a test")


@pytest.mark.parametrize("robot", ["visitor", "relayed"])
def test_a_lap_is_driven_through_the_vendors_client_and_judged(parts: Parts, robot: str) -> None:
    ended = drive(parts, job(robot))
    assert ended["verdict"] == "passed", ended["reason"]
    driven = parts.visitor if robot == "visitor" else parts.relayed
    assert driven.truth().linear == pytest.approx(0.0, abs=1e-3)


def test_a_client_that_is_cut_off_from_its_robot_ends_the_course_with_the_robot_stopped(parts: Parts) -> None:
    look_after(parts)
    stand(parts)
    under_way = threading.Event()
    after = parts.lab.latest_event()

    def cut() -> None:
        for event in parts.lab.events(after):
            if event["kind"] == "step.progress" and event["data"].get("what") == "leg":
                break
        while abs(parts.visitor.truth().linear) < 0.05:
            time.sleep(0.02)
        under_way.set()
        parts.vendor.cut_off()

    threading.Thread(target=cut, daemon=True).start()
    ended = parts.lab.run(job("visitor"))
    assert under_way.is_set()
    assert ended["verdict"] == "errored"
    assert "the page is cut off from its robot" in ended["reason"]
    assert parts.visitor.truth().linear == pytest.approx(0.0, abs=1e-3)


def test_the_matrix_of_the_library(parts: Parts) -> None:
    """Every pair of browser, robot and input; what a busy machine broke off is made again once somebody looked."""
    stand(parts)
    job = str(parts.lab.submit(Path("labctl/jobs/library/pilot-matrix.yaml").read_text(encoding="utf-8"))["id"])
    while parts.lab.job(job)["state"] != "finished":
        look_after(parts)
        time.sleep(0.5)
    ended = parts.lab.job(job)
    assert ended["verdict"] == "passed", ended
    driven = {
        case.name
        for suite in junitparser.JUnitXml.fromstring(parts.lab.junit(job))
        for case in suite
        if " by " in str(case.name)
    }
    assert len(driven) == 6
    for words in (("chrome", "firefox"), ("create2", "robovisit"), ("keyboard", "mouse", "gamepad")):
        assert all(any(word in name for name in driven) for word in words)


def stand(parts: Parts, *names: str) -> None:
    """Carry robots, all unless named, to where their courses begin; nothing is wrong with them."""
    for name, robot, vendor in (("visitor", parts.visitor, parts.vendor), ("relayed", parts.relayed, parts.second)):
        if name in names or not names:
            parts.relay.switch(0, True)
            vendor.restart()
            robot.put_robot(*MIDDLE)
    if "own" in names or not names:
        parts.own.put_robot(*DOCKED)


def look_after(parts: Parts) -> None:
    """Return the robots that a broken-off course, or checks on a busy machine, put out of use."""
    for each in parts.lab.devices("robot"):
        if each["state"] == "quarantined":
            stand(parts, each["name"])
            if parts.lab.robot(each["name"]).preflight()["passed"]:
                parts.lab.robot(each["name"]).acknowledge("Ada", "it stands where the test put it")


def drive(parts: Parts, text: str) -> dict[str, Any]:
    """Run it; again where this machine was too busy to stop the robot in time, which says nothing about the robot."""
    for _ in range(4):
        look_after(parts)
        stand(parts)
        ended = parts.lab.run(text)
        if ended["verdict"] != "errored":
            break
    return ended
