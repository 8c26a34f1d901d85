"""Scans a second of the bench's ray caster in the standard room, beside MuJoCo's mj_multiRay and plain numpy algebra.

    python benchmarks/raycast.py [--quick]

All three cast 1081 beams against the same 24 segments from the same 200 poses, one thread, in turn. The bench needs 40
scans a second for each LiDAR, times its time scale.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import time
from collections.abc import Callable

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import mujoco
import numpy as np

from drivers.rooms import Room
from drivers.sim.beam_model import ANGLES, BEAM_TIMES, STEPS
from drivers.sim.raycast import RayCaster, SensorMotion
from drivers.types import Array

PoseTuple = tuple[float, float, float]
_HALF_THICKNESS_M = 1e-7


def plain_numpy(segments: Array) -> Callable[[PoseTuple], Array]:
    """Every beam against every segment, as one writes it at first."""
    start, along = segments[:, 0], segments[:, 1] - segments[:, 0]

    def cast(pose: PoseTuple) -> Array:
        x, y, heading = pose
        dx, dy = np.cos(ANGLES + heading), np.sin(ANGLES + heading)
        ax, ay = start[:, 0, None] - x, start[:, 1, None] - y
        ex, ey = along[:, 0, None], along[:, 1, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            cross = dx * ey - dy * ex
            reach = (ax * ey - ay * ex) / cross
            share = (ax * dy - ay * dx) / cross
        met = (reach > 0) & (share >= -1e-9) & (share <= 1 + 1e-9)
        return np.asarray(np.where(met, reach, np.inf).min(axis=0))

    return cast


def mujoco_rays(segments: Array) -> Callable[[PoseTuple], Array]:
    """The segments as thin boxes, cast by `mj_multiRay`."""
    spec = mujoco.MjSpec()
    for start, end in segments:
        along = end - start
        half = math.atan2(along[1], along[0]) / 2
        geom = spec.worldbody.add_geom()
        geom.type = mujoco.mjtGeom.mjGEOM_BOX
        geom.size = [np.hypot(*along) / 2, _HALF_THICKNESS_M, 1.0]
        geom.pos = [*(start + end) / 2, 0.0]
        geom.quat = [math.cos(half), 0, 0, math.sin(half)]
    model = spec.compile()
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    hit, ranges = np.zeros((STEPS, 1), dtype=np.int32), np.zeros((STEPS, 1))

    def cast(pose: PoseTuple) -> Array:
        x, y, heading = pose
        bearings = ANGLES + heading
        rays = np.column_stack((np.cos(bearings), np.sin(bearings), np.zeros(STEPS))).reshape(-1, 1)
        mujoco.mj_multiRay(model, data, np.array([[x], [y], [0.0]]), rays, None, 1, -1, hit, ranges, None, STEPS, 100.0)
        return ranges[:, 0].copy()

    return cast


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="3 rounds instead of 15")
    rounds = 3 if parser.parse_args().quick else 15
    room = Room.library("standard")
    chance = np.random.default_rng(0)
    poses: list[PoseTuple] = []
    while len(poses) < 200:
        x, y = chance.uniform((0.3, 0.4), (7.6, 5.6))
        if room.contains(x, y):
            poses.append((float(x), float(y), float(chance.uniform(-math.pi, math.pi))))
    caster = RayCaster(room.segments, ANGLES, BEAM_TIMES)
    moving = SensorMotion(0.35, 0.05, 0.5)
    casts: dict[str, Callable[[PoseTuple], Array]] = {
        "labctl, robot at rest": lambda pose: caster.cast(*pose).ranges,
        "labctl, robot moving (each beam from its own pose)": lambda pose: caster.cast(*pose, moving).ranges,
        "mujoco mj_multiRay": mujoco_rays(room.segments),
        "plain numpy, all beams x all segments": plain_numpy(room.segments),
    }
    times: dict[str, list[float]] = {name: [] for name in casts}
    for _ in range(rounds):
        for name, cast in casts.items():
            begun = time.perf_counter()
            for pose in poses:
                cast(pose)
            times[name].append((time.perf_counter() - begun) / len(poses))
    ours = statistics.median(times["labctl, robot at rest"])
    truth = [casts["labctl, robot at rest"](pose) for pose in poses]
    print(
        f"Ray casting, {STEPS} beams x {len(room.segments)} segments, median of {rounds} rounds of {len(poses)} poses\n"
    )
    print("| caster | scans/s | time against ours at rest | farthest from ours at rest |")
    print("|---|---:|---:|---:|")
    for name, cast in casts.items():
        median = statistics.median(times[name])
        apart = max(float(np.max(np.abs(cast(pose) - mine))) for pose, mine in zip(poses, truth, strict=True))
        shown = "(other scan)" if "moving" in name else f"{apart * 1000:.4f} mm"
        print(f"| {name} | {1 / median:,.0f} | {median / ours:.2f} x | {shown} |")


if __name__ == "__main__":
    main()
