"""Recordings of driven courses become a calibration that knows the robot, and a verdict that judges consistency."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from courses.calibration_runs import calibrate_recordings
from courses.consistency import Consistency
from courses.course import Course
from courses.evaluate import evaluate
from courses.log import CourseLog
from courses.playback import read_recording
from courses.runner import run_course
from courses.verdict import Verdict

BIGGER = 1.005  # the right wheel of the robot that is calibrated, against the drawing
SLIP = 4e-7  # what the bench's robot slips by default


def drive(new_base, name: str, seed: int, recording: Path, right_wheel: float) -> CourseLog:
    """One course without docking, by a robot with an uncalibrated right wheel."""
    course = Course.library(name)
    course = dataclasses.replace(course, file=course.file.model_copy(update={"docking": None}))
    base = new_base(seed)
    base.world.body = dataclasses.replace(base.world.body, right_wheel_scale=right_wheel)
    run_course(course, base, base.clock, robot="robot-1", recording=recording)
    return read_recording(recording)


@pytest.fixture(scope="module")
def calibration_logs(tmp_path_factory: pytest.TempPathFactory, new_base) -> list[CourseLog]:
    folder = tmp_path_factory.mktemp("calibration")
    return [drive(new_base, "calibration", seed, folder / f"{seed}.mcap", BIGGER) for seed in range(4)]


def test_wheels_mount_and_slip_are_found(calibration_logs: list[CourseLog]) -> None:
    found = calibrate_recordings(calibration_logs)
    ratio = found.geometry.right_metres_per_tick / found.geometry.left_metres_per_tick
    assert ratio == pytest.approx(BIGGER, abs=5e-4)
    assert found.mount.x == pytest.approx(0.1, abs=2e-3)
    assert found.slip.interval[0] < 2 * SLIP
    assert found.slip.interval[1] > SLIP / 2
    assert (found.robot, found.slip.runs) == ("robot-1", 4)


def test_a_calibrated_robot_is_consistent_and_one_with_another_wheel_is_not(
    calibration_logs: list[CourseLog], new_base, tmp_path: Path
) -> None:
    calibration = calibrate_recordings(calibration_logs)
    outcomes = []
    for right_wheel in (BIGGER, 1.02 * BIGGER):
        log = drive(new_base, "standard", 11, tmp_path / f"{right_wheel}.mcap", right_wheel)
        log.setup = dataclasses.replace(log.setup, calibration=calibration)
        outcomes.append(evaluate(log).judged)
    good, worn = outcomes
    assert (good.verdict, good.consistency.outcome) == (Verdict.PASSED, Consistency.CONSISTENT)
    assert (worn.verdict, worn.consistency.outcome) == (Verdict.FAILED, Consistency.INCONSISTENT)


def test_a_recording_of_another_robot_is_refused(calibration_logs: list[CourseLog]) -> None:
    first = calibration_logs[0]
    other = dataclasses.replace(first, setup=dataclasses.replace(first.setup, robot="robot-2"))
    with pytest.raises(ValueError, match="recording 2 is of robot 'robot-2', the first of 'robot-1'"):
        calibrate_recordings([first, other])


def test_broken_tick_counts_are_named_and_make_the_run_errored(calibration_logs: list[CourseLog]) -> None:
    log = calibration_logs[0]
    visits = list(log.visits)
    for index in range(2, len(visits)):
        before, after = (
            dataclasses.replace(state, odometry_breaks=1) for state in (visits[index].before, visits[index].after)
        )
        visits[index] = dataclasses.replace(visits[index], before=before, after=after)
    broken = dataclasses.replace(log, visits=visits)
    result = evaluate(broken)
    assert result.verdict is Verdict.ERRORED
    assert any(error.startswith("leg B-C: the motor board's tick counts broke off") for error in result.lab_errors)
    with pytest.raises(ValueError, match="recording 1: leg B-C: the motor board"):
        calibrate_recordings([broken])


def test_nothing_cannot_be_calibrated_from(calibration_logs: list[CourseLog]) -> None:
    with pytest.raises(ValueError, match="at least one course"):
        calibrate_recordings([])
    empty = dataclasses.replace(calibration_logs[0], visits=[], damage=("it breaks off after 90 bytes",))
    with pytest.raises(ValueError, match=r"recording 1 holds 0 measured points.*breaks off after 90 bytes"):
        calibrate_recordings([empty])
