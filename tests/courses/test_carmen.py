"""CARMEN logs: what is read, and how each kind of damage is told."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import numpy as np
import pytest

from courses.carmen import read_carmen
from drivers.documents import DocumentError

BEAMS = 180


def odom(time: float, x: float) -> str:
    return f"ODOM {x} 0 0.1 0 0 0 {time} host {time}\n"


def flaser(time: float, x: float, beams: int = BEAMS) -> str:
    ranges = " ".join("2.5" if i else "81.91" for i in range(beams))
    return f"FLASER {beams} {ranges} {x} 0 0.1 {x} 0 0.1 {time} host {time}\n"


GOOD = "# a log\nPARAM robot_frontlaser_offset 0.2\n" + "".join(
    odom(i, i * 0.5) + flaser(i + 0.5, i * 0.5) for i in range(6)
)


def write(tmp_path: Path, data: str | bytes, name: str = "robot.log") -> Path:
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


@pytest.mark.parametrize("packed", [False, True])
def test_scans_and_odometry_are_read(tmp_path: Path, packed: bool) -> None:
    log = read_carmen(write(tmp_path, gzip.compress(GOOD.encode()) if packed else GOOD))
    assert len(log.scans) == 6
    assert log.odometry.shape == (6, 4)
    assert log.front_laser_offset_m == 0.2
    assert log.damage == ()
    assert log.odometry_at(1.5) == pytest.approx((0.75, 0.0, 0.1))
    # The first beam saw nothing; the others begin one degree further, at -89 deg.
    assert log.scans[0].points.shape == (BEAMS - 1, 2)
    assert math.degrees(math.atan2(*log.scans[0].points[0][::-1])) == pytest.approx(-89)
    np.testing.assert_allclose(np.hypot(*log.scans[0].points.T), 2.5)


def test_a_scan_of_181_beams_reaches_from_side_to_side(tmp_path: Path) -> None:
    log = read_carmen(write(tmp_path, GOOD + flaser(9, 3, 181)))
    assert math.degrees(math.atan2(*log.scans[-1].points[-1][::-1])) == pytest.approx(90)


def test_a_heading_that_wraps_is_interpolated_the_short_way(tmp_path: Path) -> None:
    text = GOOD + "ODOM 9 0 3.1 0 0 0 10 host 10\nODOM 9 0 -3.1 0 0 0 11 host 11\n"
    heading = read_carmen(write(tmp_path, text)).odometry_at(10.5)[2]
    assert math.cos(heading) == pytest.approx(-1, abs=1e-3)


def test_an_empty_log_says_so(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match=r"robot\.log:1:1: the log is empty"):
        read_carmen(write(tmp_path, ""))


def test_a_missing_log_says_so(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="cannot be read: No such file"):
        read_carmen(tmp_path / "none.log")


@pytest.mark.parametrize("data", [b"hello world\nand more\n", bytes(range(256)) * 40])
def test_what_is_no_carmen_log_says_so(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(DocumentError, match="no CARMEN log: no line begins with ODOM or FLASER"):
        read_carmen(write(tmp_path, data))


def test_a_damaged_line_is_told_and_the_rest_is_used(tmp_path: Path) -> None:
    lines = GOOD.splitlines(keepends=True)
    lines[4] = "ODOM 1 2 x 0 0 0 1 host 1\n"
    lines[7] = lines[7][:60] + "\n"
    log = read_carmen(write(tmp_path, "".join(lines)))
    assert len(log.scans) == 5
    assert len(log.odometry) == 5
    assert "robot.log:5:" in log.damage[0]
    assert "robot.log:8:" in log.damage[1]


def test_a_truncated_gzip_is_used_as_far_as_it_goes(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    text = "".join(odom(i, rng.random()) + flaser(i + 0.5, rng.random()) for i in range(2000))
    data = gzip.compress(text.encode())
    log = read_carmen(write(tmp_path, data[: len(data) // 2], "robot.log.gz"))
    assert 100 < len(log.scans) < 2000
    assert any("the compressed file is damaged from here on" in damage for damage in log.damage)


def test_a_gzip_with_wrong_bytes_inside_is_told(tmp_path: Path) -> None:
    data = bytearray(gzip.compress(GOOD.encode()))
    data[15:40] = bytes(25)
    with pytest.raises(DocumentError, match=r"robot\.log\.gz:1:1: the compressed file is damaged"):
        read_carmen(write(tmp_path, bytes(data), "robot.log.gz"))


def test_odometry_without_scans_is_not_enough(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="only 0 scans and 6 odometry lines"):
        read_carmen(write(tmp_path, "".join(odom(i, i) for i in range(6))))
