"""Exact arcs against Euler and midpoint steps, and calibrated against nominal wheels.

    python benchmarks/odometry.py [--quick]

The first table drives 7.7 m without slip and compares where each way of integrating ends. The second lets robots with
wrong wheels drive a 2 m square both ways and compares the end error after UMBmark (Borenstein and Feng 1996)
and after `courses.calibrate` on the same runs.
"""

from __future__ import annotations

import argparse
import datetime
import math
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

import numpy as np
from numpy.typing import NDArray
from slip_bench import CREATE2, SimulatedRun, Truth, simulate, wheel_paths

from courses.calibrate import CalibrationRun, Nominal, calibrate
from courses.odometry import DiffDriveOdometry, integrate
from courses.umbmark import Return, umbmark
from drivers.types import BaseGeometry, Pose

Floats = NDArray[np.float64]
CURVES = (((1.6, 0.9),), ((1.6, -1.6),), ((1.5, 1.8),), ((1.5, -1.1),), ((1.5, 1.4),))  # 7.7 m of arcs


def stepwise(wheels: Floats, share: float) -> Floats:
    """End pose when each step goes straight, at the heading `share` of the way through its turn."""
    travel, turn = wheels.mean(axis=1), (wheels[:, 1] - wheels[:, 0]) / CREATE2.wheel_base_m
    heading = np.cumsum(turn) - turn * (1 - share)
    return np.array([np.sum(travel * np.cos(heading)), np.sum(travel * np.sin(heading)), turn.sum()])


def integration_table() -> None:
    """How far from the true end each way of integrating comes out."""
    print("| rate | Euler, mm | midpoint, mm | exact arc, mm |\n|---|---|---|---|")
    for rate in (20.0, 10.0, 5.0, 2.0):
        wheels = np.vstack(wheel_paths(CURVES, rate))
        true = Pose(0.0, 0.0, 0.0)
        for ((travel, turn),) in CURVES:  # each leg in closed form: one arc
            radius = travel / turn
            true = true.compose(Pose(radius * math.sin(turn), radius * (1 - math.cos(turn)), turn))
        ticks = np.vstack((np.zeros(2), np.cumsum(wheels, axis=0))) / CREATE2.left_metres_per_tick
        ends = (stepwise(wheels, 0.0), stepwise(wheels, 0.5), integrate(CREATE2, ticks)[0][-1])
        errors = [math.hypot(end[0] - true.x, end[1] - true.y) * 1e3 for end in ends]
        print(f"| {rate:g} Hz | {errors[0]:.2f} | {errors[1]:.3f} | {errors[2]:.1e} |")


def square(direction: int) -> list[list[tuple[float, float]]]:
    """A square of 2 m with a standstill at each corner."""
    return [[(2.0, 0.0), (0.0, direction * math.pi / 2)]] * 4


def square_return(run: SimulatedRun, geometry: BaseGeometry) -> Return:
    """True end and odometry's end, seen from the start."""
    ticks = np.vstack([run.ticks[0], *(each[1:] for each in run.ticks[1:])])
    motion = integrate(geometry, ticks)[1]
    end = run.lidar[0].between(run.lidar[-1])
    return Pose(*end.xyh), Pose(motion.x, motion.y, motion.turn)


def end_error(runs: list[SimulatedRun], geometry: BaseGeometry) -> float:
    """The larger distance between the true and odometry's mean end of both directions (UMBmark's E_max,syst), m."""
    half = len(runs) // 2
    errors = []
    for same in (runs[:half], runs[half:]):
        pairs = [square_return(run, geometry) for run in same]
        errors.append(np.mean([(true.x - odo.x, true.y - odo.y) for true, odo in pairs], axis=0))
    return max(math.hypot(*error) for error in errors)


def calibration_table(robots: int) -> None:
    """Systematic end error after calibration, over robots with random wheel errors."""
    rng = np.random.default_rng(1)
    paths = {direction: wheel_paths(square(direction), 20.0) for direction in (-1, 1)}
    print(
        "| slip, m^2/m | nominal, mm | UMBmark, mm (better by) | courses.calibrate, mm (better by) |\n|---|---|---|---|"
    )
    for slip in (4e-7, 1e-6, 1e-5):
        rows = []
        for _ in range(robots):
            wheel, base = rng.normal(0, 0.005), rng.normal(0, 0.01)
            left, right = CREATE2.left_metres_per_tick * (1 - wheel), CREATE2.right_metres_per_tick * (1 + wheel)
            truth = Truth(slip, BaseGeometry(left, right, CREATE2.wheel_base_m * (1 + base)))
            both = [simulate(truth, rng, paths[direction]) for direction in (-1,) * 5 + (1,) * 5]
            returns = [square_return(run, CREATE2) for run in both]
            published = umbmark(returns[:5], returns[5:], 2.0, CREATE2)
            stated = [CalibrationRun(run.lidar, run.ticks) for run in both]
            nominal = Nominal(CREATE2, Pose(0.0, 0.0, 0.0))
            ours = calibrate(stated, nominal, robot="simulated", date=datetime.date(2024, 1, 1))
            # Judged without slip, so that only what calibration left shows.
            judged = [simulate(Truth(0.0, truth.geometry), rng, paths[direction]) for direction in (-1, 1)]
            rows.append([end_error(judged, geometry) for geometry in (CREATE2, published, ours.geometry)])
        before, by_umbmark, by_ours = np.median(rows, axis=0) * 1e3
        print(
            f"| {slip:g} | {before:.1f} | {by_umbmark:.1f} ({before / by_umbmark:.1f} x) "
            f"| {by_ours:.1f} ({before / by_ours:.1f} x) |"
        )


def speed_line() -> str:
    """Time a reading takes, streamed and replayed."""
    ticks = np.cumsum(np.tile([30, 34], (2000, 1)), axis=0)
    odometry = DiffDriveOdometry(CREATE2)
    start = time.perf_counter()
    for i, (left, right) in enumerate(ticks.tolist()):
        odometry.update(left, right, i * 0.02)
    middle = time.perf_counter()
    integrate(CREATE2, ticks)
    end = time.perf_counter()
    streamed, replayed = (middle - start) / 2000 * 1e6, (end - middle) / 2000 * 1e6
    return f"One reading with covariance and derivatives: {streamed:.0f} us streamed, {replayed:.2f} us replayed."


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer robots")
    robots = 10 if parser.parse_args().quick else 100
    print("End error of integrating 7.7 m of arcs\n")
    integration_table()
    print(f"\nSystematic end error of a 2 m square, 5 calibration squares each way, median of {robots} robots\n")
    calibration_table(robots)
    print(f"\n{speed_line()}")


if __name__ == "__main__":
    main()
