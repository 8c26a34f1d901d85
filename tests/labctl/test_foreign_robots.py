"""Robots that their maker's client drives, in the lab file and before a course."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from courses.course import Course
from drivers.documents import DocumentError
from drivers.guard import GuardSettings
from drivers.rooms import Room
from drivers.stop_channel import StopSettings, VendorStop
from labctl.actions.course import check_client, stopped_if_lost
from labctl.config import Lab, RobotConfig, load_lab
from labctl.errors import LabFailureError
from labctl.jobs.parsing import parse_job_file
from labctl.robots.settings import guard_settings

CLIENT = {
    "url": "http://127.0.0.1:8090/",
    "wheels": "return window.robovisit.wheels",
    "keyboard": {"speed_m_s": 0.2, "turn_rad_s": 0.6},
}
HALT = {"vendor": {"stop_request": {"url": "http://127.0.0.1:8090/api/halt"}}}
RELAY = {"power": {"outlet": {"url": "http://127.0.0.1:8091", "dialect": "shelly2"}}}


def lab(folder: Path, **changes: Any) -> Lab:
    robot = {
        "kind": "robot",
        "room": "hall",
        "base": {"driver": "foreign", "stop": HALT},
        "client": CLIENT,
        "lidar": {"url": "tcp://127.0.0.1:10940"},
        **changes,
    }
    file = folder / "lab.json"
    devices = {"hall": {"kind": "room"}, "visitor": {key: value for key, value in robot.items() if value is not None}}
    file.write_text(json.dumps({"lab": "visit", "devices": devices}), encoding="utf-8")
    return load_lab(file)


def visitor(folder: Path, **changes: Any) -> RobotConfig:
    return lab(folder, **changes).robots()["visitor"]


@pytest.mark.parametrize("stop", [HALT, RELAY, {}, {"vendor": {"stop_command": ["ssh", "robot", "halt"]}}])
def test_its_guard_gets_the_stop_channel_and_no_motor_board(tmp_path: Path, stop: dict[str, Any]) -> None:
    robot = visitor(tmp_path, base={"driver": "foreign", "stop": stop})
    settings = guard_settings("visitor", robot, Room.library("standard"), tmp_path)
    assert settings.base_url == ""
    assert settings.stop is not None
    assert (settings.stop.vendor is not None, settings.stop.power is not None) == ("vendor" in stop, "power" in stop)
    assert GuardSettings.from_json(settings.to_json()) == settings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"client": None}, "a base of driver foreign is driven by its client: describe it under client"),
        (
            {"client": {**CLIENT, "url": "http://127.0.0.1/?to={socket}"}},
            "where it drives through the lab's own socket",
        ),
        ({"base": {"url": "/dev/ttyUSB0"}}, "where it drives through the lab's own socket"),
        ({"base": {"driver": "foreign", "stop": {**HALT, **RELAY}}}, "give either vendor or power"),
        ({"base": {"driver": "foreign", "stop": {"vendor": {}}}}, "give either stop_request or stop_command"),
        ({"base": {"driver": "foreign", "url": "/dev/ttyUSB0"}}, "url"),
        ({"base": {"driver": "roomba"}}, "roomba"),
        (
            {"client": {**CLIENT, "keyboard": {"speed_m_s": 9.0, "turn_rad_s": 0.6}}},
            "speed_m_s is 9.0, must be",
        ),
        ({"client": {**CLIENT, "keybord": {}}}, "keybord"),
    ],
)
def test_a_lab_file_that_makes_no_sense_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DocumentError, match=message):
        lab(tmp_path, **changes)


LAP, STANDARD = Course.library("lap"), Course.library("standard")


def test_a_course_that_its_client_can_drive_is_let_through(tmp_path: Path) -> None:
    check_client("visitor", visitor(tmp_path), LAP, "keyboard")
    check_client("visitor", visitor(tmp_path, base={"driver": "foreign", "stop": RELAY}), LAP, "keyboard")
    ours = visitor(tmp_path, base={"url": "/dev/ttyUSB0"}, client=None)
    check_client("visitor", ours, STANDARD, "keyboard")


@pytest.mark.parametrize(
    ("changes", "course", "how", "message"),
    [
        (
            {"base": {"driver": "foreign"}},
            LAP,
            "keyboard",
            "nothing but its own client can stop visitor",
        ),
        ({}, LAP, "direct", "visitor is driven by its own client: give input, and browser"),
        ({}, LAP, "gamepad", "the client of visitor is driven by keyboard, not by gamepad"),
        ({}, STANDARD, "keyboard", "the course standard begins or ends in a dock"),
    ],
)
def test_what_cannot_be_stopped_or_tried_is_refused(
    tmp_path: Path, changes: dict[str, Any], course: Course, how: str, message: str
) -> None:
    with pytest.raises(LabFailureError, match=message):
        check_client("visitor", visitor(tmp_path, **changes), course, how)


def test_the_stop_channel_is_used_by_the_daemon_too_where_a_course_ends_without_a_result(tmp_path: Path) -> None:
    def channel(name: str) -> StopSettings:
        return StopSettings(vendor=VendorStop(stop_command=("touch", str(tmp_path / name))))

    with stopped_if_lost(channel("well")):
        pass
    with (
        pytest.raises(LabFailureError, match="the process that drove the robot died"),
        stopped_if_lost(channel("lost")),
    ):
        raise LabFailureError("the process that drove the robot died")
    broken = StopSettings(vendor=VendorStop(stop_command=("false",)))
    for stop in (None, StopSettings(), broken):
        with pytest.raises(LabFailureError, match="the reason"), stopped_if_lost(stop):
            raise LabFailureError("the reason")
    assert [each.name for each in tmp_path.iterdir()] == ["lost"]


def test_the_librarys_matrix_drives_every_pair_of_platform_robot_and_input() -> None:
    text = Path("labctl/jobs/library/pilot-matrix.yaml").read_text(encoding="utf-8")
    parsed = parse_job_file(text, "pilot-matrix.yaml", lambda *_: [])
    jobs = [each.combination for each in parsed.jobs]
    axes = {
        "platform": ["chrome", "firefox"],
        "robot": ["create2", "robovisit"],
        "input": ["keyboard", "mouse", "gamepad"],
    }
    for first, second in (("platform", "robot"), ("platform", "input"), ("robot", "input")):
        wanted = {(one, other) for one in axes[first] for other in axes[second]}
        assert {(each[first], each[second]) for each in jobs} == wanted
    assert len(jobs) < 12
    assert {(each["robot"], each["course"]) for each in jobs} == {("create2", "standard"), ("robovisit", "lap")}
