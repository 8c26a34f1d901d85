"""A course is driven, measured, recorded and judged, and ends at rest whatever happens."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from courses.cancelling import CancelToken
from courses.course import Course
from courses.driving import Driver
from courses.errors import RobotFaultError
from courses.evaluate import evaluate
from courses.playback import read_recording
from courses.progress import CourseEnded, DockingStarted, Hindered, LegStarted, Moving, PointMeasured, Progress
from courses.runner import run_course
from courses.verdict import Consistency, Verdict
from drivers.documents import DocumentError
from drivers.types import BaseState, StopReason, Twist

AT_REST = Twist(0.0, 0.0)


def test_the_standard_course_is_driven_to_its_end(base, course: Course, tmp_path: Path) -> None:
    told: list[Progress] = []
    result = run_course(course, base, base.clock, recording=tmp_path / "run.mcap", watcher=told.append)

    assert result.verdict is Verdict.PASSED, result.judged.reasons
    assert [point.measurement.label for point in result.judged.points] == ["A", "B", "C", "D", "E", "F"]
    assert all(point.check is not None and point.check.distance_m < 0.02 for point in result.judged.points)
    assert result.distance_m >= 6
    assert result.judged.consistency.outcome is Consistency.NOT_JUDGED
    assert result.docking is not None
    assert result.docking.outcome.docked
    assert result.docking.contact is not None
    assert result.docking.contact.distance_mm < 15
    assert [step.leg for step in told if isinstance(step, LegStarted)] == ["A-B", "B-C", "C-D", "D-E", "E-F"]
    assert len([step for step in told if isinstance(step, PointMeasured)]) == 7
    assert len([step for step in told if isinstance(step, Moving)]) > 100
    assert isinstance(told[-1], CourseEnded)
    assert base.applied == AT_REST
    assert base.told_poses

    # The recording gives the very same result again.
    again = evaluate(read_recording(tmp_path / "run.mcap"))
    assert again.to_json() == result.to_json()


def test_the_measured_points_are_where_the_robot_really_was(base, short_course: Course) -> None:
    truths = []

    def watch(progress: Progress) -> None:
        if isinstance(progress, PointMeasured):
            truths.append(base.world.truth())

    result = run_course(short_course, base, base.clock, watcher=watch)
    for point, truth in zip(result.judged.points, truths, strict=True):
        pose = point.measurement.lidar
        assert math.hypot(pose.x - truth.x, pose.y - truth.y) < 0.005
        assert abs(pose.heading - truth.heading) < math.radians(0.1)
        assert point.measurement.scans == 20


def test_a_brief_stall_is_noted_and_driven_through(base, short_course: Course) -> None:
    base.refusal = lambda now: StopReason.LIDAR_STALE if 103.0 < now < 103.3 else None
    result = run_course(short_course, base, base.clock)
    assert result.verdict is Verdict.PASSED
    assert [event.kind for event in result.events if event.kind in ("stopped", "resumed")] == ["stopped", "resumed"]


def test_a_board_that_was_silent_for_a_moment_is_acknowledged_and_driven_on(base, short_course: Course) -> None:
    base.refusal = lambda now: StopReason.BOARD_SILENT if 106 < now < 106.6 else None
    result = run_course(short_course, base, base.clock)
    assert result.verdict is Verdict.PASSED, result.judged.reasons
    assert [event.kind for event in result.events if event.kind in ("stopped", "resumed")] == ["stopped", "resumed"]


def test_somebody_who_steps_aside_is_waited_for(base, short_course: Course) -> None:
    base.refusal = lambda now: StopReason.OBSTACLE if 103.0 < now < 106.0 else None
    told: list[Progress] = []
    result = run_course(short_course, base, base.clock, watcher=told.append)
    assert result.verdict is Verdict.PASSED
    assert [step.kind for step in told if isinstance(step, Hindered)] == ["stopped", "resumed"]


def test_somebody_who_stays_makes_the_run_errored(base, short_course: Course) -> None:
    base.refusal = lambda now: StopReason.OBSTACLE if now > 103.0 else None
    result = run_course(short_course, base, base.clock)
    assert result.verdict is Verdict.ERRORED
    assert "driving leg A-B" in result.lab_errors[0]
    assert "obstacle" in result.lab_errors[0]
    assert [point.measurement.label for point in result.judged.points] == ["A"]
    assert base.applied == AT_REST


@pytest.mark.parametrize(
    "reason", [StopReason.FENCED, StopReason.LEASE_ENDED, StopReason.GEOFENCE, StopReason.BUMPER, StopReason.CLIFF]
)
def test_what_no_waiting_mends_ends_the_run_at_once(base, short_course: Course, reason: StopReason) -> None:
    base.refusal = lambda now: reason if now > 103.0 else None
    result = run_course(short_course, base, base.clock)
    assert result.verdict is Verdict.ERRORED
    assert reason.value in result.lab_errors[0]
    assert base.clock.now() < 104.0


def test_an_emergency_stop_ends_the_run_at_once(base, short_course: Course) -> None:
    def press(progress: Progress) -> None:
        if isinstance(progress, Moving) and progress.distance_m > 0.5 and not base.latched:
            base.emergency_stop("button")

    result = run_course(short_course, base, base.clock, watcher=press)
    assert result.verdict is Verdict.ERRORED
    assert "emergency_stop" in result.lab_errors[0]
    assert base.applied == AT_REST


def test_a_cancelled_course_stops_and_says_by_whom(base, short_course: Course) -> None:
    cancel = CancelToken()

    def watch(progress: Progress) -> None:
        if isinstance(progress, Moving) and progress.distance_m > 0.3:
            cancel.cancel("Ada wants the robot")

    result = run_course(short_course, base, base.clock, watcher=watch, cancel=cancel)
    assert result.verdict is Verdict.CANCELLED
    assert "Ada wants the robot" in result.judged.reasons[0]
    assert base.applied == AT_REST


def test_a_robot_that_is_free_to_move_and_does_not_failed(base, short_course: Course) -> None:
    base.stuck = True
    result = run_course(short_course, base, base.clock)
    assert result.verdict is Verdict.FAILED
    assert any("did not arrive in time" in reason for reason in result.judged.reasons)


def test_a_silent_lidar_is_the_labs_fault(base, short_course: Course) -> None:
    base.silent_lidar = True
    result = run_course(short_course, base, base.clock)
    assert result.verdict is Verdict.ERRORED
    assert "no fresh scan" in result.lab_errors[0]


def test_a_lidar_that_repeats_old_scans_is_the_labs_fault(base, short_course: Course) -> None:
    def watch(progress: Progress) -> None:
        base.old_scans = base.old_scans or isinstance(progress, PointMeasured)

    result = run_course(short_course, base, base.clock, watcher=watch)
    assert result.verdict is Verdict.ERRORED
    assert "repeats old scans" in result.lab_errors[0]


def test_a_robot_that_is_not_where_the_course_begins_is_the_labs_fault(base, short_course: Course) -> None:
    base.world.put_robot(4.5, 4.2, 2.0)
    result = run_course(short_course, base, base.clock)
    assert result.verdict is Verdict.ERRORED


def test_a_watcher_that_fails_leaves_the_robot_at_rest_and_the_recording_readable(
    base, short_course: Course, tmp_path: Path
) -> None:
    def watch(progress: Progress) -> None:
        if isinstance(progress, Moving) and progress.distance_m > 0.5:
            raise RuntimeError("the terminal is gone")

    with pytest.raises(RuntimeError, match="terminal"):
        run_course(short_course, base, base.clock, recording=tmp_path / "run.mcap", watcher=watch)
    assert base.applied == AT_REST
    result = evaluate(read_recording(tmp_path / "run.mcap"))
    assert result.verdict is Verdict.ERRORED
    assert [point.measurement.label for point in result.judged.points] == ["A"]


def test_a_torn_recording_is_used_up_to_the_tear(base, short_course: Course, tmp_path: Path) -> None:
    whole = tmp_path / "run.mcap"
    run_course(short_course, base, base.clock, recording=whole)
    data = whole.read_bytes()
    torn = tmp_path / "torn.mcap"
    torn.write_bytes(data[: int(len(data) * 0.7)])
    log = read_recording(torn)
    assert log.damage
    result = evaluate(log)
    assert result.verdict is Verdict.ERRORED
    assert [point.measurement.label for point in result.judged.points][:1] == ["A"]
    torn.write_bytes(data[:200])
    with pytest.raises(DocumentError, match="no recording of a course"):
        read_recording(torn)


def test_docking_is_tried_again_and_counted(base, course: Course) -> None:
    base.world.docking = replace(base.world.docking, misses=1)
    file = course.file
    assert file.docking is not None
    impatient = file.model_copy(update={"docking": file.docking.model_copy(update={"time_limit_s": 12.0})})
    result = run_course(replace(course, file=impatient), base, base.clock)
    assert result.docking is not None
    assert result.docking.outcome.docked
    assert result.docking.outcome.attempts == 2
    assert len(result.docking.outcome.faults) == 1


def test_a_robot_that_never_docks_failed(base, course: Course) -> None:
    base.world.docking = replace(base.world.docking, misses=99)
    result = run_course(course, base, base.clock)
    assert result.verdict is Verdict.FAILED
    assert result.docking is not None
    assert not result.docking.outcome.docked
    assert result.docking.outcome.attempts == 3
    assert any("did not dock in 3 attempts" in reason for reason in result.judged.reasons)


def test_a_docking_run_that_stale_scans_ended_does_not_count_as_an_attempt(base, course: Course) -> None:
    def watch(progress: Progress) -> None:
        if isinstance(progress, DockingStarted):
            until = base.clock.now() + 1.0
            base.refusal = lambda now: StopReason.LIDAR_STALE if now < until else None

    result = run_course(course, base, base.clock, watcher=watch)
    assert result.verdict is Verdict.PASSED
    assert result.docking is not None
    assert result.docking.outcome.attempts == 1
    assert [event.detail for event in result.events if event.kind == "docking ended"] == ["lidar_stale: "]


def test_a_docking_run_that_was_told_to_stop_is_made_again(base, course: Course) -> None:
    told = iter([True])

    def watch(progress: Progress) -> None:
        if isinstance(progress, Moving) and base.status().docking and next(told, False):
            base.stop()

    result = run_course(course, base, base.clock, watcher=watch)
    assert next(told, None) is None
    assert result.verdict is Verdict.PASSED
    assert result.docking is not None
    assert result.docking.outcome.attempts == 1


def test_somebody_who_keeps_standing_before_the_dock_makes_the_run_errored(base, course: Course) -> None:
    def watch(progress: Progress) -> None:
        if isinstance(progress, DockingStarted):
            base.refusal = lambda now: StopReason.OBSTACLE

    result = run_course(course, base, base.clock, watcher=watch)
    assert result.verdict is Verdict.ERRORED
    assert any("obstacle" in reason for reason in result.lab_errors)


def test_a_base_that_was_stopped_too_late_by_a_busy_computer_says_nothing_of_the_robot(
    base, short_course: Course
) -> None:
    stalls = iter([0.8])

    def watch(progress: Progress) -> None:
        if isinstance(progress, Moving) and progress.pose.x > 1.7:
            base.clock.sleep(next(stalls, 0.0))

    result = run_course(short_course, base, base.clock, watcher=watch)
    assert result.verdict is Verdict.ERRORED
    assert "point B is outside its margin, but on the way there" in result.lab_errors[0]
    assert "too busy" in result.lab_errors[0]


def test_time_without_a_reading_is_no_evidence_of_wheels_that_turn(base, course: Course, monkeypatch) -> None:
    driver = Driver(base, base.clock, course.room, course.file.point("A").pose)
    base.drive(0.3, 0.0)
    base.clock.sleep(0.2)
    base.stop()
    read, stalls = base.state, iter([0.0, 7.0])

    def late() -> BaseState:
        base.clock.sleep(next(stalls, 0.0))
        return read()

    monkeypatch.setattr(base, "state", late)
    driver.wait_for_rest(0.1, limit_s=5.0)
    assert base.applied == AT_REST


def test_wheels_that_turn_on_after_a_stop_are_the_robots_fault(base, course: Course, monkeypatch) -> None:
    driver = Driver(base, base.clock, course.room, course.file.point("A").pose)
    read = base.state

    def rolling() -> BaseState:
        base.world.set_wheel_speeds(0.02, -0.02)
        return replace(read(), left_ticks=round(base.clock.now() * 100))

    monkeypatch.setattr(base, "state", rolling)
    with pytest.raises(RobotFaultError, match="still turn 5 s after"):
        driver.wait_for_rest(0.1, limit_s=5.0)
