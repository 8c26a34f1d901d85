"""The lab file: what it may say, and how it complains."""

from __future__ import annotations

import json
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Literal

import pytest

from drivers.documents import DocumentError
from labctl.config import DeviceConfig, RobotConfig, json_schema, load_lab
from labctl.config import load as load_module

ROOT = Path(__file__).resolve().parents[2]
ROBOT = """
  corridor: {kind: room}
  r1:
    kind: robot
    room: corridor
    base: {url: /dev/ttyUSB0}
    lidar: {url: "tcp://192.0.2.7:10940"}
"""


class DroneConfig(DeviceConfig):
    kind: Literal["drone"] = "drone"
    serial: str


def write(folder: Path, text: str) -> Path:
    path = folder / "lab.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(DocumentError) as caught:
        load_lab(write(folder, text))
    return [str(each).removeprefix(str(folder / "lab.yaml")) for each in caught.value.problems]


def test_the_files_to_start_from_are_valid_and_their_schema_is_current() -> None:
    assert set(load_lab(ROOT / "config" / "bench.yaml").robots()) == {"robot-1"}
    assert set(load_lab(ROOT / "config" / "pilots.yaml").robots()) == {"create2", "robovisit"}
    written = json.loads((ROOT / "config" / "lab.schema.json").read_text(encoding="utf-8"))
    assert written == json.loads(json.dumps(json_schema())), "python -m labctl.config > config/lab.schema.json"


def test_a_robot_has_the_guards_own_defaults(tmp_path: Path) -> None:
    robot = load_lab(write(tmp_path, "lab: a\ndevices:" + ROBOT)).robots()["r1"]
    assert (robot.guard.command_ttl_s, robot.lidar.rules.max_age_s, robot.time_scale) == (0.25, 0.1, 1.0)


def test_every_problem_is_told_at_once_with_its_place_and_a_suggestion(tmp_path: Path) -> None:
    told = problems(
        tmp_path,
        """lab: a
devices:
  r1:
    kind: robot
    rom: corridor
    room: corridor
    base: {url: a, geomtry: 3}
    lidar: {url: b, rules: {mount_xm: 1}}
    guard: {limits: {linear_m_s: 99}}
  corridor: {kind: room}
""",
    )
    assert sorted(told) == [
        ":5:5: at devices.r1.rom unknown key; did you mean 'room'?",
        ":7:20: at devices.r1.base.geomtry unknown key; did you mean 'geometry'?",
        ":8:29: at devices.r1.lidar.rules.mount_xm unknown key; did you mean 'mount_x_m'?",
        ":9:13: at devices.r1.guard.limits linear_m_s is 99.0, must lie in 0.02 .. 3.0",
    ]


def test_an_unknown_key_that_resembles_none_is_told_with_those_of_its_own_section(tmp_path: Path) -> None:
    told = problems(
        tmp_path,
        "lab: a\ndevices:\n  c: {kind: room}\n"
        "  r: {kind: robot, room: c, base: {url: a}, lidar: {url: b, colour: red}}\n",
    )
    assert told == [":4:61: at devices.r.lidar.colour unknown key; known are driver, rules, url"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", ":1:1: the document is empty"),
        ("lab: a\n", ":1:1: at devices is required"),
        ("lab: a\ndevices: {x: {kind: robt}}", "no driver offers the kind 'robt'; did you mean 'robot'?"),
        ("lab: a\ndevices:" + ROBOT.replace("room: corridor", "room: coridor"), "did you mean 'corridor'?"),
        ("lab: a\ndevices:\n  r: {kind: room, map: nowhere}", "no room named 'nowhere'"),
        ("lab: a\ndevices:\n  r: {kind: room, map: gone.yaml}", "cannot be read"),
        ("lab: a\ndevices:" + ROBOT + "    calibration: gone.yaml\n", "there is no file"),
        ("lab: a\ndevices:" + ROBOT + "    time_scale: 3\n", "set simulated: true"),
        ("lab: a\ndevices:" + ROBOT + ROBOT.split("\n", 2)[2].replace("r1:", "r2:"), "is that of r1 already"),
        ("lab: a\ndevices:\n  r: {kind: room}\n  r: {kind: room}", "given twice"),
    ],
)
def test_what_cannot_be_used_is_refused_with_what_to_do(tmp_path: Path, text: str, told: str) -> None:
    assert any(told in each for each in problems(tmp_path, text))


def test_paths_count_from_the_lab_file(tmp_path: Path) -> None:
    (tmp_path / "r1.yaml").write_text("x", encoding="utf-8")
    lab = load_lab(write(tmp_path, "lab: a\ndevices:" + ROBOT + "    calibration: r1.yaml\n"))
    robot = lab.devices["r1"]
    assert isinstance(robot, RobotConfig)
    assert robot.calibration == tmp_path / "r1.yaml"


def test_a_kind_of_another_package_is_loaded_only_when_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = [
        EntryPoint("drone", f"{__name__}:DroneConfig", load_module.GROUP),
        EntryPoint("broken", "no.such.module:Thing", load_module.GROUP),
    ]
    monkeypatch.setattr(EntryPoint, "load", lambda self: DroneConfig if self.name == "drone" else 1 / 0)
    monkeypatch.setattr(load_module, "entry_points", lambda group: points)
    lab = load_lab(write(tmp_path, "lab: a\ndevices:\n  p: {kind: drone, serial: X1}\n  r: {kind: room}"))
    assert lab.devices["p"].serial == "X1"
    told = problems(tmp_path, "lab: a\ndevices:\n  p: {kind: broken}")
    assert told == [":3:7: at devices.p.kind the driver no.such.module:Thing cannot be loaded: division by zero"]
