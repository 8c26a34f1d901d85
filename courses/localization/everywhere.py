"""The pose of a base anywhere in a known room, from one scan and no guess."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from courses.localization.locate import locate
from courses.localization.match import Match
from drivers.rooms import Room
from drivers.types import Array, Pose

# Guesses stand so far apart that the search about each reaches half way to the next.
_APART_M = 1.0
_HEADINGS = 8
_SAME_M = 0.15
_SAME_RAD = math.radians(5.0)
_DOUBTFUL_RATIO = 0.9


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Where the base is; `match` is the sensor's, `ambiguous` also when another place fits nearly as well."""

    base: Pose
    match: Match


def find_pose(ranges: Array, angles: Array, room: Room, mount: tuple[float, float, float]) -> Found:
    """Look everywhere inside the geofence.

    `ranges`, `angles` (N,): as of `locate`. `mount`: the sensor's (x, y, heading) on the base. Raises ValueError when
    the scan fits nowhere.
    """
    low, high = room.geofence.min(axis=0), room.geofence.max(axis=0)
    sensor_on_base = Pose(*mount)
    matches: list[Match] = []
    steps = [np.arange(a + _APART_M / 2, b + _APART_M / 2, _APART_M) for a, b in zip(low, high, strict=True)]
    for x, y, heading in product(*steps, np.arange(_HEADINGS) * (2 * math.pi / _HEADINGS)):
        if not room.contains(float(x), float(y)):
            continue
        guess = Pose(float(x), float(y), float(heading)).compose(sensor_on_base)
        try:
            matches.append(
                locate(
                    ranges, angles, room.segments, guess,
                    search_m=_APART_M * 0.55, search_rad=math.pi / _HEADINGS * 1.1, survey_sigma_m=room.survey_sigma_m,
                )
            )  # fmt: skip
        except ValueError:
            continue  # nothing of the room is near there
    inside = [(_base(each, sensor_on_base), each) for each in matches]
    inside = [(base, each) for base, each in inside if room.contains(base.x, base.y)]
    if not inside:
        raise ValueError("the scan fits the room nowhere inside its geofence; does the robot stand in this room?")
    base, best = max(inside, key=lambda pair: pair[1].score)
    rivals = [other.score for pose, other in inside if _apart(pose, base)]
    doubtful = best.ambiguous and best.runner_up_score > _DOUBTFUL_RATIO * best.score
    doubtful |= best.inlier_ratio < 0.5 or max(rivals, default=0.0) > _DOUBTFUL_RATIO * best.score
    return Found(base, _with_doubt(best, doubtful))


def _base(match: Match, mount: Pose) -> Pose:
    return match.pose.compose(Pose(*mount.inverse().xyh))


def _apart(one: Pose, other: Pose) -> bool:
    turned = abs(math.remainder(one.heading - other.heading, 2 * math.pi))
    return math.hypot(one.x - other.x, one.y - other.y) > _SAME_M or turned > _SAME_RAD


def _with_doubt(match: Match, doubtful: bool) -> Match:
    return replace(match, ambiguous=doubtful)
