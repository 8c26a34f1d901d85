"""Course files: what is accepted, and how each mistake is told with its place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from courses.course import Course, library_names
from courses.model import json_schema
from drivers.documents import DocumentError

ROOT = Path(__file__).resolve().parents[2]
TEXT = Course.library("standard").text


def problems(text: str) -> list[str]:
    with pytest.raises(DocumentError) as caught:
        Course.of_text(text, "my.yaml")
    return [str(problem) for problem in caught.value.problems]


def place(text: str, needle: str) -> str:
    """file:line:column of the first character of `needle`."""
    before = text[: text.index(needle)]
    return f"my.yaml:{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}:"


def test_every_course_of_the_library_is_sound() -> None:
    assert "standard" in library_names()
    for name in library_names():
        assert Course.library(name).file.legs


def test_the_standard_course_leads_from_the_dock_round_to_the_dock_over_6_metres() -> None:
    course = Course.library("standard")
    assert course.file.start.docked
    assert [leg.name for leg in course.file.legs] == ["A-B", "B-C", "C-D", "D-E", "E-F"]
    assert course.file.docking is not None
    assert course.planned_distance_m > 6


def test_an_unknown_course_names_those_that_exist() -> None:
    with pytest.raises(ValueError, match="standard"):
        Course.library("nowhere")


def test_an_unknown_key_is_told_with_its_place_and_the_likely_one() -> None:
    text = TEXT.replace("settle_s:", "setle_s:")
    [problem] = problems(text)
    assert problem.startswith(place(text, "setle_s"))
    assert "did you mean 'settle_s'?" in problem


def test_a_margin_in_millimetres_is_told_in_metres() -> None:
    text = TEXT.replace("point: {distance_m: 0.05,", "point: {distance_m: 50,")
    [problem] = problems(text)
    assert problem.startswith(place(text, "distance_m: 50"))
    assert "50 metres is outside" in problem
    assert "did you mean 0.05?" in problem


def test_a_coordinate_in_millimetres_is_told_in_metres() -> None:
    [problem] = problems(TEXT.replace("x_m: 1.90", "x_m: 1900"))
    assert "did you mean 1.9?" in problem


@pytest.mark.parametrize("value", ["'0.5'", ".nan", ".inf", "true", "[1]"])
def test_what_is_no_number_is_refused(value: str) -> None:
    assert "legs[0].speed_m_s" in problems(TEXT.replace("speed_m_s: 0.35}", f"speed_m_s: {value}}}", 1))[0]


def test_a_point_outside_the_geofence_is_unreachable() -> None:
    found = problems(TEXT.replace("x_m: 1.90, y_m: 2.40", "x_m: 1.90, y_m: 0.10"))
    assert any(
        "point 'B'" in problem and "cannot be reached: it is outside the geofence" in problem for problem in found
    )


def test_a_point_too_near_to_furniture_is_unreachable() -> None:
    found = problems(TEXT.replace("x_m: 2.70, y_m: 1.40", "x_m: 5.20, y_m: 3.10"))
    assert any("point 'D'" in problem and "the robot needs 0.23 m" in problem for problem in found)


def test_a_leg_through_furniture_names_it() -> None:
    text = TEXT.replace("{label: C, x_m: 2.30, y_m: 3.80", "{label: C, x_m: 6.40, y_m: 3.70").replace(
        "{label: B, x_m: 1.90, y_m: 2.40", "{label: B, x_m: 4.70, y_m: 2.40"
    )
    found = problems(text)
    assert any("leg B-C leads through 'pillar'" in problem for problem in found)
    assert found[0].startswith("my.yaml:")


def test_unknown_and_repeated_labels_are_told() -> None:
    assert any("no point 'Q'" in problem for problem in problems(TEXT.replace("to: C", "to: Q")))
    assert any("label 'B' is given twice" in problem for problem in problems(TEXT.replace("label: C", "label: B")))


def test_legs_must_join() -> None:
    found = problems(TEXT.replace("{from: C, to: D", "{from: B, to: D"))
    assert any("begins at 'B', but the robot is at 'C'" in problem for problem in found)


def test_a_straight_leg_must_lie_ahead() -> None:
    found = problems(TEXT.replace("{from: B, to: C, how: turn-then-drive", "{from: B, to: C, how: straight"))
    assert any("is no straight leg" in problem and "turn-then-drive" in problem for problem in found)


def test_reversing_is_for_dock_zones_and_slow() -> None:
    found = problems(TEXT.replace("to: D, how: turn-then-drive", "to: D, how: turn-then-drive, direction: reverse"))
    assert any("in reverse outside a dock zone" in problem for problem in found)
    assert any("held to 0.1 m/s" in problem for problem in found)


def test_a_start_in_the_dock_needs_a_dock_there() -> None:
    assert any("no dock is at 'B'" in problem for problem in problems(TEXT.replace("point: A", "point: B")))


def test_an_unknown_dock_and_an_unknown_room_are_told() -> None:
    assert any("has no dock 'Z'" in problem for problem in problems(TEXT.replace("dock: A\n", "dock: Z\n")))
    text = TEXT.replace("room: standard", "room: attic")
    [problem] = problems(text)
    assert problem.startswith(place(text, "room: attic"))
    assert "no room named 'attic' ships with the program; there are: standard" in problem


def test_a_missing_file_and_an_empty_one_are_told(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match=r"cannot be read: No such file"):
        Course.load(tmp_path / "none.yaml")
    (tmp_path / "empty.yaml").write_text("")
    with pytest.raises(DocumentError, match="empty"):
        Course.load(tmp_path / "empty.yaml")


def test_the_schema_knows_the_keys_as_they_are_written() -> None:
    schema = json_schema()
    assert set(schema["$defs"]["Leg"]["properties"]) >= {"from", "to", "how", "direction", "speed_m_s", "margin"}
    written = json.loads((ROOT / "config" / "course.schema.json").read_text(encoding="utf-8"))
    assert written == schema, "python -m courses > config/course.schema.json"
