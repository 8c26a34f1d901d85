"""How far the LiDAR alone says that the base moved."""

from __future__ import annotations

import math

import numpy as np
import pytest

from drivers.guard.scan_motion import moved
from drivers.rooms import Room
from drivers.sim.beam_model import BeamModel, SimulatedLidar
from drivers.sim.person import Person
from drivers.types import Pose, Scan, Twist

ANGLES = np.radians((np.arange(1081) - 540) * 0.25)
MOUNT = Pose(0.1, 0.0, 0.0)


def scan(lidar: SimulatedLidar, pose: tuple[float, float, float], time: float, person: Person | None = None) -> Scan:
    legs = tuple(person.legs(time)) if person else ()
    ranges, codes = lidar.measure(pose, Twist(0.0, 0.0), legs)
    return Scan(ranges, ANGLES, codes, time, time)


def lidar(seed: int) -> SimulatedLidar:
    return SimulatedLidar(Room.library("standard"), BeamModel(), np.random.default_rng(seed))


@pytest.mark.parametrize("seed", range(8))
def test_rest_is_told_from_the_slowest_motion(seed: int) -> None:
    chance, sensor = np.random.default_rng(seed), lidar(seed)
    x, y, heading = chance.uniform(1.0, 4.0), chance.uniform(1.5, 3.0), chance.uniform(-3.0, 3.0)
    first = scan(sensor, (x, y, heading), 0.0)
    still = moved(first, scan(sensor, (x, y, heading), 0.3), MOUNT)
    assert still is not None
    assert still.rim < 0.008
    crept = moved(
        first, scan(sensor, (x + 0.02 * math.cos(heading), y + 0.02 * math.sin(heading), heading), 0.3), MOUNT
    )
    assert crept is not None
    assert crept.distance == pytest.approx(0.02, abs=0.005)
    turned = moved(first, scan(sensor, (x, y, heading + 0.1), 0.3), MOUNT)
    assert turned is not None
    assert turned.heading == pytest.approx(0.1, abs=0.01)


def test_somebody_who_walks_by_is_no_motion_of_the_base() -> None:
    sensor, person = lidar(1), Person(((3.0, 2.0), (3.0, 3.5)), 0.0, 1.0, False)
    first = scan(sensor, (1.9, 2.4, 0.0), 0.2, person)
    seen = moved(first, scan(sensor, (1.9, 2.4, 0.0), 0.5, person), MOUNT)
    assert seen is not None
    assert seen.rim < 0.008


def test_where_nothing_is_seen_nothing_is_told() -> None:
    empty = Scan(np.full(1081, np.nan), ANGLES, np.full(1081, 1, np.uint8), 0.0, 0.0)
    assert moved(empty, empty, MOUNT) is None
