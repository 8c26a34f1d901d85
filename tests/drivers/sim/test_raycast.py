"""Ranges of the simulated LiDAR against two other ways to find them: MuJoCo's, and beam by beam in plain algebra."""

from __future__ import annotations

import math

import mujoco
import numpy as np
import pytest

from drivers.rooms import Room
from drivers.sim.beam_model import ANGLES, BEAM_TIMES, STEPS
from drivers.sim.raycast import CIRCLE, NOTHING, Circle, RayCaster, SensorMotion
from drivers.types import Array

ROOM = Room.library("standard")
LEGS = (Circle(3.0, 3.5, 0.07), Circle(3.2, 3.6, 0.07), Circle(7.9, 4.1, 0.2))
# Walls of MuJoCo are boxes; this half thickness shows as at most 0.1 mm where a beam grazes by 0.06 degrees.
_HALF_THICKNESS_M = 1e-7


def free_poses(count: int, seed: int) -> list[tuple[float, float, float]]:
    chance = np.random.default_rng(seed)
    poses: list[tuple[float, float, float]] = []
    while len(poses) < count:
        x, y = chance.uniform((0.3, 0.3), (7.7, 5.7))
        if ROOM.contains(x, y) and all(math.hypot(c.x - x, c.y - y) > c.radius + 0.05 for c in LEGS):
            poses.append((float(x), float(y), float(chance.uniform(-2 * math.pi, 2 * math.pi))))
    return poses


class MujocoRoom:
    """The same room as thin boxes and upright cylinders."""

    def __init__(self) -> None:
        spec = mujoco.MjSpec()
        for start, end in ROOM.segments:
            along = end - start
            geom = spec.worldbody.add_geom()
            geom.type = mujoco.mjtGeom.mjGEOM_BOX
            geom.size = [np.hypot(*along) / 2, _HALF_THICKNESS_M, 1.0]
            geom.pos = [*(start + end) / 2, 0.0]
            half = math.atan2(along[1], along[0]) / 2
            geom.quat = [math.cos(half), 0, 0, math.sin(half)]
        for leg in LEGS:
            geom = spec.worldbody.add_geom()
            geom.type = mujoco.mjtGeom.mjGEOM_CYLINDER
            geom.size = [leg.radius, 1.0, 0.0]
            geom.pos = [leg.x, leg.y, 0.0]
        self.model = spec.compile()
        self.data = mujoco.MjData(self.model)
        mujoco.mj_forward(self.model, self.data)

    def ranges(self, x: float, y: float, heading: float) -> Array:
        bearings = ANGLES + heading
        rays = np.column_stack((np.cos(bearings), np.sin(bearings), np.zeros(STEPS))).reshape(-1, 1)
        hit = np.zeros((STEPS, 1), dtype=np.int32)
        ranges = np.zeros((STEPS, 1))
        mujoco.mj_multiRay(
            self.model, self.data, np.array([[x], [y], [0.0]]), rays, None, 1, -1, hit, ranges, None, STEPS, 100.0
        )
        return ranges[:, 0]


def beam_by_beam(x: float, y: float, heading: float, motion: SensorMotion) -> Array:
    """Each beam from its own place, against each segment, with no shared shortcuts."""
    turned = heading + ANGLES + motion.turning * BEAM_TIMES
    cos, sin = math.cos(heading), math.sin(heading)
    px = x + (cos * motion.ahead - sin * motion.left) * BEAM_TIMES
    py = y + (sin * motion.ahead + cos * motion.left) * BEAM_TIMES
    dx, dy = np.cos(turned), np.sin(turned)
    best = np.full(STEPS, np.inf)
    for (ax, ay), (bx, by) in ROOM.segments:
        ex, ey = bx - ax, by - ay
        with np.errstate(divide="ignore", invalid="ignore"):
            cross = dx * ey - dy * ex
            reach = ((ax - px) * ey - (ay - py) * ex) / cross
            share = ((ax - px) * dy - (ay - py) * dx) / cross
        met = (reach > 0) & (share >= -1e-9) & (share <= 1 + 1e-9)
        best = np.where(met & (reach < best), reach, best)
    return best


def test_ranges_agree_with_mujoco_within_a_tenth_of_a_millimetre() -> None:
    caster, peer = RayCaster(ROOM.segments, ANGLES), MujocoRoom()
    for pose in free_poses(60, seed=1):
        cast = caster.cast(*pose, circles=LEGS)
        np.testing.assert_allclose(cast.ranges, peer.ranges(*pose), rtol=0, atol=1e-4)


@pytest.mark.parametrize("moving", [False, True])
def test_ranges_agree_with_plain_algebra_also_while_moving(moving: bool) -> None:
    caster = RayCaster(ROOM.segments, ANGLES, BEAM_TIMES)
    chance = np.random.default_rng(2)
    off = []
    for pose in free_poses(60, seed=3):
        motion = SensorMotion(*chance.uniform((-0.5, -0.2, -2.0), (0.5, 0.2, 2.0))) if moving else SensorMotion()
        off.append(np.abs(caster.cast(*pose, motion).ranges - beam_by_beam(*pose, motion)))
    assert np.max(off) < 1e-4


def test_scan_while_turning_differs_from_one_at_rest_by_the_turn_within_the_sweep() -> None:
    caster = RayCaster(ROOM.segments, ANGLES, BEAM_TIMES)
    turning = caster.cast(3.0, 2.4, 0.3, SensorMotion(turning=1.0)).ranges
    ahead = 540
    standing = caster.cast(3.0, 2.4, 0.3 + BEAM_TIMES[ahead]).ranges
    assert turning[ahead] == pytest.approx(standing[ahead], abs=1e-9)


def test_beams_that_meet_nothing_are_infinite() -> None:
    caster = RayCaster(np.array([[[1.0, -1.0], [1.0, 1.0]]]), ANGLES)
    cast = caster.cast(0.0, 0.0, 0.0)
    assert cast.ranges[540] == pytest.approx(1.0)
    assert cast.hits[540] == 0
    assert cast.incidence[540] == pytest.approx(1.0)
    assert cast.hits[0] == NOTHING
    assert np.isinf(cast.ranges[0])
    assert np.count_nonzero(cast.hits == 0) == 361  # +-45 degrees, both ends included


def test_segment_across_the_rear_is_seen_by_both_ends_of_the_sweep() -> None:
    caster = RayCaster(np.array([[[-1.0, -5.0], [-1.0, 5.0]]]), ANGLES)
    cast = caster.cast(0.0, 0.0, 0.0)
    assert cast.ranges[0] == pytest.approx(math.sqrt(2))
    assert cast.ranges[-1] == pytest.approx(math.sqrt(2))
    assert cast.hits[540] == NOTHING


def test_circle_hides_the_wall_behind_it() -> None:
    caster = RayCaster(np.array([[[2.0, -1.0], [2.0, 1.0]]]), ANGLES)
    cast = caster.cast(0.0, 0.0, 0.0, circles=(Circle(1.0, 0.0, 0.1),))
    assert cast.ranges[540] == pytest.approx(0.9)
    assert cast.hits[540] == CIRCLE
    assert cast.ranges[540 + 40] == pytest.approx(2.0 / math.cos(math.radians(10)))
