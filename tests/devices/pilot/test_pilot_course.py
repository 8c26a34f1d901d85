"""A course driven through the pilot's page in a real browser: its inputs, its odometry, the course's verdict."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from courses.course import Course
from courses.result import CourseResult
from courses.runner import run_course
from courses.verdict import Verdict
from devices.client import WebDriverSession
from devices.pilot import PagedBase, PilotPage, open_input
from drivers.clock import Clock, SystemClock
from drivers.guard import GuardClient, GuardProcess, GuardSettings, LidarRules
from drivers.sim import Bench
from drivers.sim.bench import BenchRobot
from drivers.sim.pilot import PilotServer

# Out of the dock, a turn, and back: every sort of motion but the autonomous docking.
SHORT = """
name: short
description: Out of the dock, a corner, and to rest
room: standard
start: {point: A, docked: true}
points:
  - {label: A, x_m: 0.35, y_m: 2.40, heading_deg: 0}
  - {label: B, x_m: 1.50, y_m: 2.40, heading_deg: 0}
  - {label: C, x_m: 1.80, y_m: 3.10, heading_deg: 90}
legs:
  - {from: A, to: B, how: straight, speed_m_s: 0.3}
  - {from: B, to: C, how: turn-then-drive, speed_m_s: 0.3}
margins:
  point: {distance_m: 0.05, heading_deg: 2.0}
  leg: {distance_m: 0.05, heading_deg: 2.0}
consistency_level: 0.001
"""


@pytest.fixture
def clock() -> Clock:
    return SystemClock()


@pytest.fixture
def robot() -> Iterator[BenchRobot]:
    with Bench("standard", 1.0, seed=5, dock="A") as bench:
        yield bench.robots[0]


@pytest.fixture
def guarded(robot: BenchRobot, clock: Clock, tmp_path: Path) -> Iterator[GuardClient]:
    room = Course.library("standard").room
    settings = GuardSettings(
        base_url=robot.base_url,
        lidar_url=robot.lidar_url,
        listen=(f"unix://{tmp_path}/guard.sock",),
        state_dir=str(tmp_path / "guard"),
        simulated=True,
        lidar=LidarRules(mount_x_m=0.1, max_age_s=0.3),
        geofence=tuple((float(x), float(y)) for x, y in room.geofence),
        dock_zones=tuple(tuple((float(x), float(y)) for x, y in dock.zone) for dock in room.docks),
    )
    with GuardProcess.start(settings) as guard, guard.client(1, clock.now() + 900, clock) as client:
        client.scan(timeout=30.0)
        yield client


@dataclass
class Seat:
    """A pilot's: the page in a browser, the robot behind it."""

    guarded: GuardClient
    robot: BenchRobot
    browser: WebDriverSession
    clock: Clock

    def drive(self, course: Course, name: str) -> CourseResult:
        """Run a course by an input of the page, odometry read back through the page.

        A machine too busy to stop the robot in time makes a course errored, never failed: then it is driven again.
        """
        page = PilotPage(self.browser)
        for _ in range(4):
            with PilotServer(self.guarded) as server:
                page.open(server.url)
                base = PagedBase(self.guarded, page, open_input(name, self.browser), self.clock)
                result = run_course(course, base, self.clock, driving_input=base)
            if result.verdict is not Verdict.ERRORED:
                break
            self.robot.put_robot(*course.room.dock("A").pose.xyh)
        return result


@pytest.fixture
def seat(guarded: GuardClient, robot: BenchRobot, browser: WebDriverSession, clock: Clock) -> Seat:
    return Seat(guarded, robot, browser, clock)


@pytest.mark.alone
def test_a_course_is_driven_by_the_keys_of_the_page_and_judged(seat: Seat) -> None:
    result = seat.drive(Course.of_text(SHORT, "short.yaml"), "keyboard")
    assert result.verdict is Verdict.PASSED, (result.judged.reasons, result.lab_errors)
    assert result.provenance["driving input"] == "keyboard"


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ["keyboard", "mouse", "gamepad"])
def test_the_standard_course_through_the_page(seat: Seat, name: str) -> None:
    result = seat.drive(Course.library("standard"), name)
    assert result.verdict is Verdict.PASSED, (result.judged.reasons, result.lab_errors)
    assert result.distance_m >= 6
    assert seat.robot.reading()["on_dock"]
