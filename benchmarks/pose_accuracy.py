"""Pose against a known room: errors over thousands of simulated scans beside the Cramer-Rao bound.

python benchmarks/pose_accuracy.py [--quick] [--plot FILE]
"""

from __future__ import annotations

import os

for _threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_threads] = "1"

import argparse
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from _rooms import EMPTY, FURNISHED, cast, inside

from courses.localization import Match, cramer_rao_bound, locate

ANGLES = np.radians(np.arange(-540, 541) * 0.25)
GUESS_M, GUESS_DEG = 0.5, 20.0
CLUTTER_SHARE = 0.15


def clutter(ranges: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Unmapped boxes and legs of people: runs of beams that stop short of the wall, and which beams those are."""
    ranges, blocked = ranges.copy(), np.zeros(len(ranges), dtype=bool)
    while blocked.mean() < CLUTTER_SHARE:
        width = int(rng.integers(5, 60))
        first = int(rng.integers(0, len(ranges) - width))
        beams = slice(first, first + width)
        depth = rng.uniform(0.2, 0.95) * ranges[beams].min() + rng.normal(0, 0.02) * np.linspace(-1, 1, width)
        ranges[beams] = np.minimum(ranges[beams], np.maximum(depth, 0.1))
        blocked[beams] = True
    return ranges, blocked


@dataclass
class Result:
    errors: np.ndarray
    bound: np.ndarray
    reported: np.ndarray
    flagged: np.ndarray
    cpu_ms: np.ndarray


def run(segments: np.ndarray, sigma: float, cluttered: bool, poses: int, seed: int) -> Result:
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(poses):
        truth = inside(segments, rng)
        ranges, blocked = cast(segments, truth, ANGLES), np.zeros(len(ANGLES), dtype=bool)
        if cluttered:
            ranges, blocked = clutter(ranges, rng)
        ranges = ranges + rng.normal(0, sigma, len(ranges))
        where, how_far = rng.uniform(-math.pi, math.pi), GUESS_M * math.sqrt(rng.uniform())
        turn = math.radians(rng.uniform(-GUESS_DEG, GUESS_DEG))
        guess = np.add(truth, (how_far * math.cos(where), how_far * math.sin(where), turn))
        started = time.process_time()
        match: Match = locate(ranges, ANGLES, segments, guess)
        spent = time.process_time() - started
        error = np.array(match.pose.xyh) - truth
        error[2] = math.remainder(error[2], 2 * math.pi)
        bound = np.sqrt(np.diag(cramer_rao_bound(truth, ANGLES, segments, sigma, ~blocked)))
        flagged = match.ambiguous or match.degenerate
        rows.append((error, bound, np.sqrt(np.diag(match.covariance)), flagged, spent * 1e3))
    return Result(*(np.array(column) for column in zip(*rows, strict=True)))


def robust_sigma(values: np.ndarray) -> np.ndarray:
    return 1.4826 * np.median(np.abs(values), axis=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="200 poses a case instead of 2000")
    parser.add_argument("--plot", type=Path, help="write the error scatter in units of the bound to this file")
    arguments = parser.parse_args()
    poses = 200 if arguments.quick else 2000
    locate(cast(EMPTY, np.array([3.0, 4, 0]), ANGLES), ANGLES, EMPTY, (3, 4, 0))
    locate(cast(FURNISHED, np.array([3.0, 4, 0]), ANGLES), ANGLES, FURNISHED, (3, 4, 0))
    print(f"{poses} poses a case, {len(ANGLES)} beams, first guess off by up to {GUESS_M} m and {GUESS_DEG:.0f} deg\n")
    print("| room | sigma | clutter | error x, y (mm) | heading (mdeg) | / bound x, y, heading | largest mm "
          "| > 50 mm unflagged | flagged | inside 3 reported sigma | CPU ms median | p95 |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|---|---|---|")
    scatter = {}
    for name, segments in (("empty 6x8 m", EMPTY), ("furnished 6x8 m", FURNISHED)):
        for sigma in (0.010, 0.030):
            for cluttered in (False, True):
                seed = [len(segments), round(sigma * 1e3), cluttered]
                result = run(segments, sigma, cluttered, poses, seed)
                spread = robust_sigma(result.errors)
                ratio = robust_sigma(result.errors / result.bound)
                distance = np.hypot(*result.errors[:, :2].T)
                covered = (np.abs(result.errors) <= 3 * result.reported).all(axis=1).mean()
                unflagged = int(((distance > 0.05) & ~result.flagged).sum())
                print(
                    f"| {name} | {sigma * 1e3:.0f} mm | {CLUTTER_SHARE if cluttered else 0:.0%} "
                    f"| {spread[0] * 1e3:.2f}, {spread[1] * 1e3:.2f} | {math.degrees(spread[2]) * 1e3:.1f} "
                    f"| {ratio[0]:.2f}, {ratio[1]:.2f}, {ratio[2]:.2f} | {distance.max() * 1e3:.1f} "
                    f"| {unflagged} | {result.flagged.mean():.1%} | {covered:.1%} "
                    f"| {np.median(result.cpu_ms):.1f} | {np.percentile(result.cpu_ms, 95):.1f} |",
                    flush=True,
                )
                scatter[f"{name}, {sigma * 1e3:.0f} mm{', clutter' if cluttered else ''}"] = (
                    result.errors / result.bound
                )
    if arguments.plot:
        _plot(scatter, arguments.plot)


def _plot(scatter: dict[str, np.ndarray], path: Path) -> None:
    import matplotlib  # noqa: PLC0415  (slow to import and only wanted with --plot)

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415  (as above)

    figure, axes = plt.subplots(2, 4, figsize=(14, 7), sharex=True, sharey=True, layout="constrained")
    circle = np.linspace(0, 2 * math.pi, 200)
    for axis, (title, errors) in zip(axes.ravel(), scatter.items(), strict=True):
        axis.plot(errors[:, 0], errors[:, 1], ".", markersize=2)
        axis.plot(3 * np.cos(circle), 3 * np.sin(circle), "k-", linewidth=0.8)
        axis.set(title=title, xlim=(-6, 6), ylim=(-6, 6), aspect="equal")
    figure.supxlabel("error in x / bound")
    figure.supylabel("error in y / bound")
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
