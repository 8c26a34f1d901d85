"""The report and the trajectories: complete, in one file, and readable by others."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from evo.tools import file_interface

from courses.course import Course
from courses.report import report_html, write_report
from courses.result import CourseResult
from courses.runner import run_course
from courses.trajectory import rows_of, write_tum
from drivers.types import StopReason


@pytest.fixture(scope="module")
def result(new_base, course: Course) -> CourseResult:
    base = new_base()
    base.refusal = lambda now: StopReason.OBSTACLE if 103.0 < now < 104.0 else None
    return run_course(course, base, base.clock, robot="<b>Robbie & Co</b>")


def test_the_report_needs_no_other_file(result: CourseResult, tmp_path: Path) -> None:
    path = write_report(result, tmp_path / "report.html")
    text = path.read_text(encoding="utf-8")
    assert re.findall(r'(?:src|href)="(?!data:image/svg\+xml;base64,)', text) == []
    assert text.count("data:image/svg+xml;base64,") == 3
    assert "url(" not in text
    assert "<script" not in text
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_the_report_is_well_formed_and_escapes_names(result: CourseResult) -> None:
    text = report_html(result)
    assert "<b>Robbie" not in text
    assert "&lt;b&gt;Robbie &amp; Co&lt;/b&gt;" in text
    balance = _Balance()
    balance.feed(text)
    assert balance.open == []


def test_the_report_shows_verdict_points_legs_docking_and_stops(result: CourseResult) -> None:
    text = report_html(result)
    assert '<span class="verdict">passed</span>' in text
    for leg in ("A–B", "B–C", "C–D", "D–E", "E–F"):
        assert leg in text
    assert "docked and charging" in text
    assert "contact error" in text
    assert "What the guard did" in text
    assert "obstacle" in text


def test_evo_reads_the_trajectories(result: CourseResult, tmp_path: Path) -> None:
    count = write_tum(tmp_path / "odometry.tum", result.odometry)
    trajectory = file_interface.read_tum_trajectory_file(tmp_path / "odometry.tum")
    assert trajectory.num_poses == count > 100
    assert trajectory.check()[0]
    assert trajectory.path_length == pytest.approx(result.distance_m, rel=0.01)
    write_tum(tmp_path / "lidar.tum", rows_of(result.lidar))
    lidar = file_interface.read_tum_trajectory_file(tmp_path / "lidar.tum")
    assert lidar.check()[0]
    assert lidar.positions_xyz[0][:2] == pytest.approx([result.lidar[0].x, result.lidar[0].y], abs=1e-5)


class _Balance(HTMLParser):
    """Elements that were opened and not closed."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
