"""Room files with mistakes are refused with file, line and column, and with what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from drivers.documents import DocumentError
from drivers.rooms import Room

GOOD = """\
name: cell
survey_sigma_m: 0.003
walls:
  - name: outer
    points: [[0, 0], [4, 0], [4, 3], [0, 3], [0, 0]]
  - name: screen
    points: [[2, 0], [2, 1]]
furniture:
  - name: table
    outline: [[3, 1], [3.5, 1], [3.5, 2]]
geofence: [[0.3, 0.3], [3.7, 0.3], [3.7, 2.7], [0.3, 2.7]]
docks:
  - {name: A, x_m: 0.5, y_m: 1.5, heading_deg: 90, zone: [[0.3, 1], [1, 1], [1, 2], [0.3, 2]]}
"""


def load(tmp_path: Path, text: str) -> Room:
    path = tmp_path / "cell.yaml"
    path.write_text(text, encoding="utf-8")
    return Room.load(path)


def test_good_room_is_read(tmp_path: Path) -> None:
    room = load(tmp_path, GOOD)
    assert room.name == "cell"
    assert room.survey_sigma_m == 0.003
    assert room.segments.shape == (4 + 1 + 3, 2, 2)
    assert room.segment_names == ("outer",) * 4 + ("screen",) + ("table",) * 3
    assert room.docks[0].pose.heading == pytest.approx(1.5707963)


@pytest.mark.parametrize(
    ("right", "wrong", "told"),
    [
        ("survey_sigma_m", "survey_sigma", r"cell\.yaml:2:1: .*did you mean 'survey_sigma_m'"),
        ("[4, 3], [0, 3]", "[4000, 3000], [0, 3]", r"cell\.yaml:5:31: .*in metres: did you mean 4\?"),
        ("[4, 3], [0, 3]", "[.nan, 3], [0, 3]", r"cell\.yaml:5:31: .*number of metres"),
        (", [0, 3], [0, 0]]", ", [0, 3], [0, 0.2]]", r"cell\.yaml:3:1: .*no wall is closed \('outer' ends 0\.2 m from"),
        ("[3.7, 0.3], [3.7, 2.7]", "[3.7, 2.7], [3.7, 0.3]", r"cell\.yaml:11:\d+: at geofence\[\d\] .*cross itself"),
        (
            "[3.7, 2.7], [0.3, 2.7]]",
            "[5, 2.7], [0.3, 2.7]]",
            r"cell\.yaml:11:.*\(5, 2\.7\) lies outside the wall 'outer'",
        ),
        ("x_m: 0.5", "x_m: 0.1", r"cell\.yaml:13:5: at docks\[0\] .*\(0\.1, 1\.5\) is outside the geofence"),
        (
            "[1, 1], [1, 2], [0.3, 2]]",
            "[1, 1], [1, 1.2]]",
            r"docks\[0\]\.zone does not contain the docked base's place",
        ),
        ("[[3, 1], [3.5, 1], [3.5, 2]]", "[[3, 1], [3.5, 1]]", r"cell\.yaml:10:\d+: .*at least 3"),
        (
            "[[3, 1], [3.5, 1], [3.5, 2]]",
            "[[3, 1], [3, 1], [3.5, 2]]",
            r"outline\[0\] \(3, 1\) and the next corner are",
        ),
        ("name: screen", "name: outer", r"cell\.yaml:6:5: .*'outer' already names something in walls"),
        ("heading_deg: 90", "heading_deg: 900", r"docks\[0\]\.heading_deg .*less than or equal to 360"),
        ("name: cell\n", "", r"name is required"),
    ],
)
def test_mistake_is_told_with_its_place(tmp_path: Path, right: str, wrong: str, told: str) -> None:
    assert right in GOOD
    with pytest.raises(DocumentError, match=told):
        load(tmp_path, GOOD.replace(right, wrong))


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(DocumentError) as caught:
        load(tmp_path, GOOD.replace("x_m: 0.5", "x_m: 900").replace("survey_sigma_m", "sigma"))
    assert len(caught.value.problems) == 2


def test_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="cannot be read: No such file"):
        Room.load(tmp_path / "none.yaml")
