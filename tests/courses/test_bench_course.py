"""The standard course on the bench: real sockets, a real serial line and the guard's own process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from courses.course import Course
from courses.evaluate import evaluate
from courses.playback import read_recording
from courses.progress import Moving, Progress
from courses.runner import run_course
from courses.verdict import Verdict
from drivers.clock import Clock, clock_for_scale
from drivers.guard import GuardClient, GuardProcess, GuardSettings, LidarRules
from drivers.sim import Bench
from drivers.sim.bench import BenchRobot

TIME_SCALE = 3.0


@pytest.fixture
def clock() -> Clock:
    return clock_for_scale(TIME_SCALE)


@pytest.fixture
def robot() -> Iterator[BenchRobot]:
    with Bench("standard", TIME_SCALE, seed=3, dock="A") as bench:
        yield bench.robots[0]


@pytest.fixture
def guarded(robot: BenchRobot, course: Course, clock: Clock, tmp_path: Path) -> Iterator[GuardClient]:
    room = course.room
    settings = GuardSettings(
        base_url=robot.base_url,
        lidar_url=robot.lidar_url,
        listen=(f"unix://{tmp_path}/guard.sock",),
        state_dir=str(tmp_path / "guard"),
        simulated=True,
        time_scale=TIME_SCALE,
        # On a loaded machine a scan is late by the machine's time, which counts three times here.
        lidar=LidarRules(mount_x_m=0.1, max_age_s=0.3),
        geofence=tuple((float(x), float(y)) for x, y in room.geofence),
        dock_zones=tuple(tuple((float(x), float(y)) for x, y in dock.zone) for dock in room.docks),
    )
    with GuardProcess.start(settings) as guard, guard.client(1, clock.now() + 600, clock) as client:
        client.scan(timeout=30.0)
        yield client


def test_the_standard_course_is_driven_docked_and_recorded(
    guarded: GuardClient, robot: BenchRobot, course: Course, clock: Clock, tmp_path: Path
) -> None:
    for _ in range(4):  # a machine too busy for the bench makes a course errored, never failed
        result = run_course(course, guarded, clock, robot="bench", recording=tmp_path / "run.mcap")
        if result.verdict is not Verdict.ERRORED:
            break
        robot.put_robot(*course.room.dock("A").pose.xyh)
    assert result.verdict is Verdict.PASSED, result.judged.reasons
    assert result.distance_m >= 6
    assert result.docking is not None
    assert result.docking.outcome.docked
    assert all(point.check is not None and point.check.distance_m < 0.03 for point in result.judged.points)
    assert robot.reading()["on_dock"]
    assert evaluate(read_recording(tmp_path / "run.mcap")).to_json() == result.to_json()


def test_somebody_standing_in_the_way_stops_the_robot_and_the_run_is_errored(
    guarded: GuardClient, robot: BenchRobot, course: Course, clock: Clock
) -> None:
    def walk_in(progress: Progress) -> None:
        if isinstance(progress, Moving) and progress.distance_m > 0.2:
            robot.set_person("visitor", [(1.6, 2.4)])

    result = run_course(course, guarded, clock, watcher=walk_in)
    assert result.verdict is Verdict.ERRORED
    assert any("obstacle" in error for error in result.lab_errors)
    truth = robot.truth()
    assert truth.x < 1.6
    assert truth.linear == pytest.approx(0.0, abs=0.01)
