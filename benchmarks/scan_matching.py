"""Scan-to-scan matching beside karto-scanmatcher and small-gicp: same pairs, same first guess, in the same run.

    python benchmarks/scan_matching.py [--quick]

Recorded logs are read from ../shared/data/lidar (CARMEN format; the corrected poses there are good to about 2 cm, so
they tell gross errors and differences, not millimetres); simulated logs have exact truth.
"""

from __future__ import annotations

import os

for _threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_threads] = "1"

import argparse
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from _rooms import CORRIDOR, OFFICE, cast, inside

from courses.carmen import read_carmen
from courses.localization import match_scans

RECORDED = Path(__file__).resolve().parents[2] / "shared" / "data" / "lidar"
NAMES = {"Intel": "intel-corrected.log.gz", "Freiburg 079": "freiburg-079-corrected.log.gz"}
Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Pair:
    """Two scans: ranges with NaN where nothing was measured, first guess and true pose of the second in the first."""

    angles: np.ndarray
    reference: np.ndarray
    scan: np.ndarray
    guess: Triple
    truth: Triple


def between(one: np.ndarray, other: np.ndarray) -> Triple:
    c, s = math.cos(one[2]), math.sin(one[2])
    dx, dy = other[:2] - one[:2]
    return (c * dx + s * dy, -s * dx + c * dy, math.remainder(other[2] - one[2], 2 * math.pi))


def points(ranges: np.ndarray, angles: np.ndarray) -> np.ndarray:
    valid = np.isfinite(ranges)
    return np.column_stack((ranges * np.cos(angles), ranges * np.sin(angles)))[valid]


def recorded_pairs(path: Path) -> list[Pair]:
    """Successive scans of a CARMEN log, first guess from raw odometry."""
    log = read_carmen(path)
    seen = [np.arctan2(scan.points[:, 1], scan.points[:, 0]) for scan in log.scans]
    step = math.pi / round(math.pi / min(np.diff(bearings).min() for bearings in seen))
    angles = np.arange(-math.pi / 2, math.pi / 2 - step / 2, step)
    ranges = np.full((len(log.scans), len(angles)), np.nan)
    for row, bearings, scan in zip(ranges, seen, log.scans, strict=True):
        row[np.round((bearings + math.pi / 2) / step).astype(int)] = np.hypot(*scan.points.T)
    raw = np.array([log.odometry_at(scan.time) for scan in log.scans])
    poses = np.array([scan.corrected for scan in log.scans])
    return [
        Pair(angles, ranges[k], ranges[k + 1], between(raw[k], raw[k + 1]), between(poses[k], poses[k + 1]))
        for k in range(len(ranges) - 1)
    ]


def simulated_pairs(
    segments: np.ndarray, field_of_view_deg: float, beams: int, *, count: int, seed: int, sigma_m: float = 0.01
) -> list[Pair]:
    """Random places, moves of up to 0.4 m and 25 deg, range noise, 2 % lost beams, odometry off by about 8 %."""
    rng = np.random.default_rng(seed)
    angles = np.radians(np.linspace(-field_of_view_deg / 2, field_of_view_deg / 2, beams, endpoint=False))
    pairs = []
    while len(pairs) < count:
        first = inside(segments, rng)
        truth = (rng.uniform(0, 0.4), rng.normal(0, 0.02), math.radians(rng.uniform(-25, 25)))
        c, s = math.cos(first[2]), math.sin(first[2])
        second = np.add(first, (c * truth[0] - s * truth[1], s * truth[0] + c * truth[1], truth[2]))
        seen = []
        for pose in (first, second):
            ranges = cast(segments, pose, angles)
            ranges += rng.normal(0, sigma_m, beams)
            ranges[(rng.uniform(size=beams) < 0.02) | (ranges > 25)] = np.nan
            seen.append(ranges)
        if np.nanmin(seen[1]) < 0.3:
            continue
        guess = tuple(np.array(truth) + rng.normal(0, (0.03, 0.02, math.radians(2.0))))
        pairs.append(Pair(angles, seen[0], seen[1], guess, truth))
    return pairs


def ours(pair: Pair) -> Triple:
    return match_scans(points(pair.reference, pair.angles), points(pair.scan, pair.angles), pair.guess).pose.xyh


def karto() -> Callable[[Pair], Triple]:
    import karto_scanmatcher as karto_api  # noqa: PLC0415  (a peer; the benchmark says so where it is missing)

    settings = karto_api.ScanMatcherConfig()
    settings.search_size = 0.5
    matcher = karto_api.Wrapper(settings)

    def match(pair: Pair) -> Triple:
        step = float(pair.angles[1] - pair.angles[0])
        longest = float(np.nanmax([np.nanmax(pair.reference), np.nanmax(pair.scan)])) + 1.0
        laser = karto_api.LaserScanConfig(
            float(pair.angles[0]), float(pair.angles[-1]), step, 0.05, longest, longest, "laser"
        )
        scans = []
        for number, (ranges, pose) in enumerate(((pair.reference, (0.0, 0.0, 0.0)), (pair.scan, pair.guess))):
            at = karto_api.Pose2(*pose)
            filled = np.where(np.isfinite(ranges), ranges, longest + 1.0)
            scans.append(karto_api.LocalizedRangeScan(laser, list(filled), at, at, number, float(number)))
        best = matcher.match_scan(scans[1], [scans[0]], True, True).best_pose
        return (best.x, best.y, best.yaw)

    return match


def gicp() -> Callable[[Pair], Triple]:
    import small_gicp  # noqa: PLC0415  (a peer, as above)

    def stacked(cloud: np.ndarray) -> np.ndarray:
        # The peer wants three dimensions: three layers make walls of the lines.
        layers = [np.column_stack((cloud, np.full(len(cloud), z))) for z in (-0.1, 0.0, 0.1)]
        return np.concatenate(layers)

    def match(pair: Pair) -> Triple:
        clouds = []
        for ranges in (pair.reference, pair.scan):
            cloud = small_gicp.PointCloud(stacked(points(ranges, pair.angles)))
            tree = small_gicp.KdTree(cloud)
            small_gicp.estimate_normals_covariances(cloud, tree, num_neighbors=10)
            clouds.append((cloud, tree))
        x, y, heading = pair.guess
        start = np.eye(4)
        start[:2, :2] = [[math.cos(heading), -math.sin(heading)], [math.sin(heading), math.cos(heading)]]
        start[:2, 3] = x, y
        (target, tree), (source, _) = clouds
        found = small_gicp.align(target, source, tree, start, max_correspondence_distance=0.5, max_iterations=50)
        matrix = found.T_target_source
        return (matrix[0, 3], matrix[1, 3], math.atan2(matrix[1, 0], matrix[0, 0]))

    return match


def measure(pairs: list[Pair], method: Callable[[Pair], Triple]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Errors in metres and degrees, and CPU milliseconds, one row a pair."""
    metres, degrees, spent = [], [], []
    for pair in pairs:
        started = time.process_time()
        x, y, heading = method(pair)
        spent.append(1e3 * (time.process_time() - started))
        metres.append(math.hypot(x - pair.truth[0], y - pair.truth[1]))
        degrees.append(abs(math.degrees(math.remainder(heading - pair.truth[2], 2 * math.pi))))
    return np.array(metres), np.array(degrees), np.array(spent)


def upper_bound(ours_: np.ndarray, peer: np.ndarray, statistic: Callable[..., np.ndarray], resamples: int) -> float:
    """97.5th percentile of statistic(ours) - statistic(peer) over pairs drawn again with replacement."""
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, len(ours_), (resamples, len(ours_)))
    return float(np.percentile(statistic(ours_[drawn], axis=1) - statistic(peer[drawn], axis=1), 97.5))


def logs(quick: bool) -> Iterator[tuple[str, list[Pair]]]:
    for name, file in NAMES.items():
        path = RECORDED / file
        if path.exists():
            pairs = recorded_pairs(path)
            yield name, pairs[:: max(1, len(pairs) // 150)] if quick else pairs
        else:
            print(f"(no {path}: the recorded log is skipped)")
    count = 40 if quick else 300
    yield "simulated office, 180 deg", simulated_pairs(OFFICE, 180, 180, count=count, seed=1)
    yield "simulated office, 270 deg", simulated_pairs(OFFICE, 270, 541, count=count, seed=2)
    yield "simulated office, 360 deg", simulated_pairs(OFFICE, 360, 360, count=count, seed=3)
    noisy = simulated_pairs(OFFICE, 270, 1081, count=count // 3, seed=7, sigma_m=0.03)
    yield "simulated office, 270 deg, range noise 30 instead of 10 mm", noisy
    yield "simulated corridor, 180 deg", simulated_pairs(CORRIDOR, 180, 360, count=count, seed=4)
    yield "simulated corridor, 270 deg", simulated_pairs(CORRIDOR, 270, 541, count=count, seed=5)
    yield "simulated corridor, 360 deg", simulated_pairs(CORRIDOR, 360, 360, count=count, seed=6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="some 150 pairs of each recorded log, 40 of each simulated"
    )
    quick = parser.parse_args().quick
    methods: dict[str, Callable[[Pair], Triple]] = {"guess": lambda pair: pair.guess, "courses.localization": ours}
    for name, load in (("karto-scanmatcher", karto), ("small-gicp", gicp)):
        try:
            methods[name] = load()
        except ImportError:
            print(f"({name} is not installed: skipped)")
    for log, pairs in logs(quick):
        print(f"\n{log}: {len(pairs)} pairs, {len(pairs[0].angles)} beams\n")
        print("| method | mean (median) m | mean (median) deg | CPU ms median | p95 | ours / this, mean m, deg "
              "| upper 95 % bound of ours - this: mean, median mm | mean, median mdeg |")  # fmt: skip
        print("|---|---|---|---|---|---|---|---|")
        results = {name: measure(pairs, method) for name, method in methods.items()}
        mine = results["courses.localization"]
        for name, (metres, degrees, spent) in results.items():
            row = (
                f"| {name} | {metres.mean():.4f} ({np.median(metres):.4f}) | {degrees.mean():.3f} "
                f"({np.median(degrees):.3f}) | {np.median(spent):.2f} | {np.percentile(spent, 95):.2f} |"
            )
            if name in ("guess", "courses.localization"):
                print(row + " | | |")
                continue
            resamples = 1000
            mm = [1e3 * upper_bound(mine[0], metres, f, resamples) for f in (np.mean, np.median)]
            mdeg = [1e3 * upper_bound(mine[1], degrees, f, resamples) for f in (np.mean, np.median)]
            print(
                f"{row} {mine[0].mean() / metres.mean():.2f}, {mine[1].mean() / degrees.mean():.2f} "
                f"| {mm[0]:+.2f}, {mm[1]:+.2f} | {mdeg[0]:+.1f}, {mdeg[1]:+.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
