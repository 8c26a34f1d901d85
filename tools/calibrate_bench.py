"""Calibrates the bench's simulated robot, and shows whether the verdict holds its level with that calibration.

`python tools/calibrate_bench.py --runs 12 --out FILE` drives the calibration course again and again and writes the
calibration. `--check 40 --calibration FILE` drives the standard course that many times and prints how the consistency
test's p-values are spread: on a good robot, evenly between 0 and 1. The calibration drives are all in one room, as
built; each drive of a check is in another one, since the survey's error is one of those that the test allows for.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
from scipy import stats

from courses.calibration import Calibration
from courses.calibration_runs import calibrate_recordings
from courses.course import Course
from courses.playback import read_recording
from courses.result import CourseResult
from courses.runner import run_course
from courses.verdict import Verdict
from drivers.clock import clock_for_scale
from drivers.guard import GuardProcess, GuardSettings, LidarRules
from drivers.sim import Bench

ROBOT = "robot-1"


def drive(
    course: Course,
    seed: int,
    scale: float,
    recording: Path,
    *,
    calibration: Calibration | None = None,
    room_seed: int | None = None,
) -> CourseResult:
    """One course on a fresh bench, through the guard."""
    room, clock = course.room, clock_for_scale(scale)
    with Bench(room.name, scale, seed, room_seed=room_seed) as bench, tempfile.TemporaryDirectory() as folder:
        robot = bench.robots[0]
        settings = GuardSettings(
            base_url=robot.base_url,
            lidar_url=robot.lidar_url,
            listen=(f"unix://{folder}/guard.sock",),
            state_dir=folder,
            simulated=True,
            time_scale=scale,
            lidar=LidarRules(mount_x_m=0.1),
            geofence=tuple((float(x), float(y)) for x, y in room.geofence),
            dock_zones=tuple(tuple((float(x), float(y)) for x, y in dock.zone) for dock in room.docks),
        )
        with GuardProcess.start(settings) as guard, guard.client(1, clock.now() + 3600, clock) as base:
            base.scan(timeout=30.0)
            return run_course(course, base, clock, robot=ROBOT, calibration=calibration, recording=recording)


def calibrate(runs: int, scale: float, seed: int, out: Path, folder: Path) -> None:
    """Drive, calibrate, save."""
    course = Course.library("calibration")
    recordings = []
    for run in range(runs):
        recording = folder / f"calibration-{run}.mcap"
        result = drive(course, seed + run, scale, recording, room_seed=seed)
        print(f"run {run + 1} of {runs}: {result.verdict}, {result.distance_m:.1f} m", flush=True)
        if result.verdict is not Verdict.PASSED:
            for reason in result.judged.reasons:
                print(f"  {reason}", flush=True)
        if not result.lab_errors:
            recordings.append(recording)
    calibration = calibrate_recordings([read_recording(recording) for recording in recordings])
    calibration.save(out)
    print(calibration.to_yaml())


def check(runs: int, scale: float, seed: int, calibration: Calibration, folder: Path) -> None:
    """Drive the standard course and look at the p-values."""
    values = []
    for run in range(runs):
        recording = folder / f"check-{run}.mcap"
        result = drive(Course.library("standard"), seed + run, scale, recording, calibration=calibration)
        p_value = result.judged.consistency.p_value
        # A machine that was too busy for the bench says nothing of the calibration.
        counts = p_value is not None and not result.lab_errors
        told = f"p {p_value:.4f}" if p_value is not None else "no p"
        print(f"run {run + 1} of {runs}: {result.verdict}, {told}{'' if counts else ', left out'}", flush=True)
        if result.verdict is not Verdict.PASSED:
            for reason in result.judged.reasons:
                print(f"  {reason}", flush=True)
        if counts and p_value is not None:
            values.append(p_value)
    if not values:
        sys.exit("no run could be judged: give the bench a smaller --time-scale or the machine less to do")
    spread = stats.kstest(values, "uniform").pvalue
    rejected = int(np.sum(np.array(values) < 0.05))
    print(f"{rejected} of {len(values)} below 0.05; Kolmogorov-Smirnov test against an even spread: p {spread:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=12)
    parser.add_argument("--check", type=int, metavar="N", help="check a calibration over N runs instead of making one")
    parser.add_argument("--calibration", type=Path, help="the calibration to check")
    parser.add_argument("--out", type=Path, default=Path("out/calibration.yaml"))
    parser.add_argument("--keep", type=Path, help="keep the recordings in this folder")
    parser.add_argument("--time-scale", type=float, default=4.0)
    parser.add_argument("--seed", type=int, default=100)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if options.check:
            if options.calibration is None:
                parser.error("--check needs --calibration FILE")
            loaded = Calibration.load(options.calibration)
            check(options.check, options.time_scale, options.seed + 10_000, loaded, folder)
        else:
            options.out.parent.mkdir(parents=True, exist_ok=True)
            calibrate(options.runs, options.time_scale, options.seed, options.out, folder)


if __name__ == "__main__":
    main()
