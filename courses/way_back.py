"""The slow way back to the dock, from wherever in the room the base stands: finds itself, plans, drives, docks."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from courses.cancelling import CancelToken
from courses.docking import DockingOutcome
from courses.driving import Driver, DrivingLimits, DrivingListener
from courses.errors import LabError
from courses.inputs import DrivingInput
from courses.localization import find_pose
from courses.model import DockingPlan, Manner
from drivers.clock import Clock
from drivers.protocols import GuardedBase
from drivers.rooms import Dock, Room
from drivers.types import Pose

SLOW_M_S = 0.12
_SLOW = DrivingLimits(acceleration=0.2, braking=0.2, turn_speed=0.5, turn_acceleration=0.8)
_GRID_M = 0.1
_CLEARANCE_M = 0.3  # between the base's origin and walls: a Create 2 has 0.17 m of its own
_WAIT_FOR_CLEAR_S = 20.0

Place = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Returned:
    """How it went. `start`: where the base was found; `way`: the places it drove by."""

    start: Pose
    way: tuple[Place, ...]
    docking: DockingOutcome


def return_to_dock(
    base: GuardedBase,
    clock: Clock,
    room: Room,
    dock: Dock,
    *,
    driving_input: DrivingInput | None = None,
    cancel: CancelToken | None = None,
    listener: DrivingListener | None = None,
    tell: Callable[[str], None] = lambda _what: None,
) -> Returned:
    """Drive at 0.12 m/s to the place in front of `dock`, and dock. The base is at rest afterwards in every case.

    Raises LabError when the base does not know where it is or there is no way, and what `courses.driving.Driver`
    raises.
    """
    scan = base.scan(clock.now(), timeout=2.0)
    try:
        found = find_pose(scan.ranges, scan.angles, room, base.mount.xyh)
    except ValueError as exc:
        raise LabError(str(exc)) from exc
    start = found.base
    if not found.match.trustworthy:
        raise LabError(
            f"the scan fits more than one place in the room, the best of them ({start.x:.2f}, {start.y:.2f}): "
            "push the robot to its dock by hand"
        )
    tell(f"it stands at ({start.x:.2f}, {start.y:.2f})")
    plan = DockingPlan(dock=dock.name, attempts=3, time_limit_s=40.0, standoff_m=0.5)
    driver = Driver(
        base, clock, room, start,
        wait_for_clear_s=_WAIT_FOR_CLEAR_S, limits=_SLOW, driving_input=driving_input, listener=listener, cancel=cancel,
    )  # fmt: skip
    target = dock.pose.compose(Pose(plan.standoff_m, 0.0, 0.0))
    way: tuple[Place, ...] = ()
    if not driver.observe().on_dock:
        way = find_way(room, (start.x, start.y), (target.x, target.y))
        for here, there in pairwise(((start.x, start.y), *way)):
            tell(f"driving to ({there[0]:.2f}, {there[1]:.2f})")
            heading = math.atan2(there[1] - here[1], there[0] - here[0])
            driver.goto(*there, heading, how=Manner.TURN_THEN_DRIVE, speed=SLOW_M_S)
        driver.turn_to(target.heading)
    tell("docking")
    outcome = driver.dock(dock, plan)
    if not outcome.docked:
        driver.stop()
    return Returned(start, way, outcome)


def find_way(room: Room, start: Place, end: Place, clearance_m: float = _CLEARANCE_M) -> tuple[Place, ...]:
    """Places, `end` the last, that straight lines join at `clearance_m` from everything, as far as start and end allow.

    The shortest way on a grid of 0.1 m (Dijkstra 1959), then without the places that a straight line can leave out.
    Raises LabError when there is none.
    """
    if _straight(room, start, end, clearance_m):
        return (end,)
    low, high = room.geofence.min(axis=0), room.geofence.max(axis=0)
    columns, rows = (np.floor((high - low) / _GRID_M).astype(int) + 1).tolist()

    def place(cell: tuple[int, int]) -> Place:
        return (float(low[0] + cell[0] * _GRID_M), float(low[1] + cell[1] * _GRID_M))

    free = {
        (i, j)
        for i in range(columns)
        for j in range(rows)
        if room.contains(*place((i, j))) and room.clearance(*place((i, j))) >= clearance_m
    }
    begin, goal = (_nearest(free, place, each) for each in (start, end))
    cells = _shortest(free, begin, goal)
    if cells is None:
        raise LabError(
            f"no way from ({start[0]:.2f}, {start[1]:.2f}) to the dock keeps {clearance_m} m from everything"
        )
    places = [start, *(place(each) for each in cells), end]
    kept, at = [], 0
    while at < len(places) - 1:
        straight = [n for n in range(len(places) - 1, at, -1) if _straight(room, places[at], places[n], clearance_m)]
        at = straight[0] if straight else at + 1
        kept.append(places[at])
    return tuple(kept)


def _straight(room: Room, p: Place, q: Place, clearance_m: float) -> bool:
    """Whether the straight line keeps its distance; start and end may be nearer, as they are."""
    needed = min(clearance_m, room.clearance(*p), room.clearance(*q)) - 1e-6
    steps = np.linspace(0.0, 1.0, max(2, math.ceil(math.dist(p, q) / _GRID_M)))[1:-1]
    inside = all(room.contains(p[0] + t * (q[0] - p[0]), p[1] + t * (q[1] - p[1])) for t in steps)
    return inside and room.clearance_along(p, q) >= needed


def _nearest(free: set[tuple[int, int]], place: Callable[[tuple[int, int]], Place], to: Place) -> tuple[int, int]:
    if not free:
        raise LabError("the room leaves no space to drive in")
    return min(free, key=lambda cell: math.dist(place(cell), to))


def _shortest(
    free: set[tuple[int, int]], begin: tuple[int, int], goal: tuple[int, int]
) -> list[tuple[int, int]] | None:
    best: dict[tuple[int, int], float] = {begin: 0.0}
    before: dict[tuple[int, int], tuple[int, int]] = {}
    agenda = [(0.0, begin)]
    while agenda:
        length, cell = heapq.heappop(agenda)
        if cell == goal:
            way = [cell]
            while way[-1] in before:
                way.append(before[way[-1]])
            return way[::-1]
        if length > best[cell]:
            continue
        for i, j in ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1)):
            other = (cell[0] + i, cell[1] + j)
            further = length + math.hypot(i, j)
            if other in free and further < best.get(other, math.inf):
                best[other], before[other] = further, cell
                heapq.heappush(agenda, (further, other))
    return None
