"""Recorded drives of other robots: cut into legs, matched scan to scan, judged against raw odometry."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import numpy as np
import pytest

from courses.carmen import read_carmen
from courses.localization.room_map import prepared
from courses.replay import Replaying, key_scans, replay
from courses.verdict import Consistency, LegMargin, Verdict
from drivers.documents import DocumentError
from drivers.rooms import Room
from drivers.types import Pose

BEAMS = 360
ANGLES = np.radians(-90 + 0.5 * np.arange(BEAMS))
RECORDED = Path(__file__).resolve().parents[3] / "shared" / "data" / "lidar"


def drive(steps: int = 60) -> list[Pose]:
    """A gentle bend through the standard room."""
    poses = [Pose(1.5, 2.0, 0.2)]
    for _ in range(steps):
        poses.append(poses[-1].compose(Pose(0.06, 0.0, 0.012)))
    return poses


def carmen_text(poses: list[Pose], wheel_error: float = 0.0) -> str:
    """A log of the drive whose odometry says `wheel_error` too much way."""
    room = prepared(Room.library("standard").segments)
    rng = np.random.default_rng(7)
    wheels = Pose(0.0, 0.0, 0.0)
    lines = ["# recorded in simulation\n"]
    for index, pose in enumerate(poses):
        if index:
            step = poses[index - 1].between(pose)
            wheels = wheels.compose(Pose(step.x * (1 + wheel_error), step.y, step.heading))
        time = 0.2 * index
        ways = pose.heading + ANGLES
        ranges = room.cast(pose.x, pose.y, np.column_stack((np.cos(ways), np.sin(ways))))[0] + rng.normal(
            0, 0.01, BEAMS
        )
        measured = " ".join(f"{r:.3f}" for r in ranges)
        triple = f"{pose.x} {pose.y} {pose.heading}"
        lines.append(f"ODOM {wheels.x} {wheels.y} {wheels.heading} 0 0 0 {time} host {time}\n")
        lines.append(f"FLASER {BEAMS} {measured} {triple} {triple} {time} host {time}\n")
    return "".join(lines)


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "robot.log"
    path.write_text(text)
    return path


def test_good_odometry_passes_and_consistency_is_not_judged(tmp_path: Path) -> None:
    told: list[Replaying] = []
    result = replay(write(tmp_path, carmen_text(drive())), watcher=told.append)
    assert result.verdict is Verdict.PASSED, result.judged.reasons
    assert result.judged.consistency.outcome is Consistency.NOT_JUDGED
    assert result.distance_m == pytest.approx(3.6, rel=0.01)
    assert len(result.judged.legs) >= 3
    assert max(leg.check.distance_m for leg in result.judged.legs) < 0.03
    assert told[-1].done == told[-1].total == len(result.judged.legs)
    # Scan matching follows the true way, though it was never told of it.
    last, truth = result.lidar[-1], drive()[-1]
    assert math.hypot(last.x - truth.x, last.y - truth.y) < 0.05


def test_wheels_that_say_too_much_are_outside_the_margin(tmp_path: Path) -> None:
    result = replay(write(tmp_path, carmen_text(drive(), wheel_error=0.2)), margin=LegMargin(0.1, math.radians(5)))
    assert result.verdict is Verdict.FAILED
    assert [leg.check.outside for leg in result.judged.legs[:3]] == [True, True, True]
    first = result.judged.legs[0]
    assert first.along_m == pytest.approx(0.2 * first.lidar_distance_m, abs=0.02)


def test_points_are_set_by_way_by_turn_and_at_pauses() -> None:
    straight = [Pose(0.25 * i, 0, 0, time=float(i)) for i in range(9)]
    assert key_scans(straight) == [0, 4, 8]
    turning = [Pose(0, 0, math.radians(11 * i), time=float(i)) for i in range(7)]
    assert key_scans(turning) == [0, 3, 6]
    paused = [Pose(0.1 * min(i, 4), 0, 0, time=0.5 * i) for i in range(9)]
    assert key_scans(paused) == [0, 6, 8]


def test_what_is_neither_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="no CARMEN log"):
        replay(write(tmp_path, "something else\n"))
    with pytest.raises(DocumentError, match="cannot be read"):
        replay(tmp_path / "none.log")


@pytest.mark.parametrize("name", ["intel", "freiburg-079"])
def test_a_real_robots_log_is_judged_leg_by_leg(name: str, tmp_path: Path) -> None:
    source = RECORDED / f"{name}-corrected.log.gz"
    if not source.exists():
        pytest.skip(f"no recorded data at {source}")
    log = read_carmen(source)
    assert log.damage == ()
    beginning = tmp_path / "beginning.log"
    beginning.write_text(_beginning(source, scans=150))
    result = replay(beginning)
    assert result.verdict in (Verdict.PASSED, Verdict.FAILED)
    judged = [leg for leg in result.judged.legs if leg.check.margin is not None]
    assert len(judged) >= 0.8 * len(result.judged.legs)
    assert any("against the corrected poses" in note for note in result.notes)


def _beginning(source: Path, scans: int) -> str:
    kept: list[str] = []
    with gzip.open(source, "rt", encoding="ascii") as file:
        for line in file:
            kept.append(line)
            scans -= line.startswith("FLASER")
            if scans == 0:
                break
    return "".join(kept)
