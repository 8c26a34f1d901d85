"""The way a leg takes over the floor, and whether it is free."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from courses.model import Direction, Leg, Manner
from drivers.rooms import Room
from drivers.rooms.geometry import crossing
from drivers.types import Array, Pose, wrap_angle

STRAIGHT_TOLERANCE = math.radians(5)
# An arc to a place further behind than this is many times as long as the distance, and endless straight behind.
_MOST_BEHIND = math.radians(170)
_STEP_M = 0.1


@dataclass(frozen=True, slots=True)
class Path:
    """One arc of a circle or a straight line, driven forward or in reverse.

    `entry`: heading of the *base* at the beginning, radians. `curvature`: 1/m, signed, of the way in the direction of
    travel; 0 is straight. `length`: metres. `sign`: 1 forward, -1 reverse.
    """

    x: float
    y: float
    entry: float
    curvature: float
    length: float
    sign: int

    def at(self, travelled: float) -> Pose:
        """Where the base should be after `travelled` metres; beyond the end the way goes on straight."""
        course = self.entry if self.sign > 0 else self.entry + math.pi
        on_arc = min(max(travelled, 0.0), self.length)
        turn = self.curvature * on_arc
        if abs(turn) < 1e-9:
            dx, dy = on_arc, 0.0
        else:
            dx, dy = math.sin(turn) / self.curvature, (1 - math.cos(turn)) / self.curvature
        x = self.x + math.cos(course) * dx - math.sin(course) * dy
        y = self.y + math.sin(course) * dx + math.cos(course) * dy
        beyond = travelled - on_arc
        x += beyond * math.cos(course + turn)
        y += beyond * math.sin(course + turn)
        return Pose(x, y, wrap_angle(self.entry + turn))

    def locate(self, pose: Pose) -> tuple[float, float, float]:
        """Travelled length (m), offset to the left of travel (m) and heading error (rad) of `pose` on this way."""
        course = self.entry if self.sign > 0 else self.entry + math.pi
        dx, dy = pose.x - self.x, pose.y - self.y
        along = math.cos(course) * dx + math.sin(course) * dy
        across = -math.sin(course) * dx + math.cos(course) * dy
        if abs(self.curvature) < 1e-9:
            return along, across, wrap_angle(pose.heading - self.entry)
        radius = 1 / self.curvature
        # About the centre of the circle, which lies at (0, radius); angle and radius have one sign.
        sense = math.copysign(1.0, radius)
        turned = math.atan2(along * sense, (radius - across) * sense)
        if turned * radius < -abs(self.length) * 0.25:
            turned += 2 * math.pi * sense
        offset = radius - sense * math.hypot(along, radius - across)
        return turned * radius, offset, wrap_angle(pose.heading - self.entry - turned)

    def samples(self) -> Array:
        """(N, 2) points on the way, at most 0.1 m apart, ends included; metres."""
        count = 1 if abs(self.curvature) < 1e-9 else max(1, math.ceil(self.length / _STEP_M))
        poses = [self.at(self.length * i / count) for i in range(count + 1)]
        return np.array([(pose.x, pose.y) for pose in poses])


def plan(leg: Leg, start: Pose, end: Pose) -> Path:
    """The way of a leg from where the base stands (`start`) to its end; turning on the spot comes before it."""
    sign = 1 if leg.direction is Direction.FORWARD else -1
    dx, dy = end.x - start.x, end.y - start.y
    distance, bearing = math.hypot(dx, dy), math.atan2(dy, dx)
    if leg.how is not Manner.ARC:
        entry = bearing if sign > 0 else bearing + math.pi
        return Path(start.x, start.y, wrap_angle(entry), 0.0, distance, sign)
    course = start.heading if sign > 0 else start.heading + math.pi
    half = wrap_angle(bearing - course)
    if abs(half) < 1e-6 or distance < 1e-6:
        return Path(start.x, start.y, start.heading, 0.0, distance, sign)
    curvature = 2 * math.sin(half) / distance
    return Path(start.x, start.y, start.heading, curvature, 2 * half / curvature, sign)


def leg_faults(leg: Leg, start: Pose, end: Pose, room: Room, free_m: float) -> list[str]:
    """What keeps a leg from being driven, in words; nothing when it is free."""
    faults = []
    way = plan(leg, start, end)
    if way.length < 0.01:
        return [f"goes nowhere: {leg.start} and {leg.end} are in one place"]
    if abs(way.curvature * way.length) > 2 * _MOST_BEHIND:
        other = Direction.REVERSE if leg.direction is Direction.FORWARD else Direction.FORWARD
        return [
            f"is no arc that could be driven: {leg.end} lies behind {leg.start}, seen in the direction of travel; use "
            f"direction: {other.value}, or how: turn-then-drive"
        ]
    if leg.how is Manner.STRAIGHT and abs(wrap_angle(way.entry - start.heading)) > STRAIGHT_TOLERANCE:
        off = math.degrees(wrap_angle(way.entry - start.heading))
        faults.append(
            f"is no straight leg: {leg.end} lies {off:+.0f} deg off the heading at {leg.start}; "
            "use how: turn-then-drive, or mend the heading"
        )
    samples = way.samples()
    pieces = [(samples[i], samples[i + 1]) for i in range(len(samples) - 1)]
    for p, q in pieces:
        hits = crossing(p, q, room.segments)
        if hits.any():
            return [*faults, f"leads through {room.segment_names[int(np.argmax(hits))]!r}"]
    ends = [((float(p[0]), float(p[1])), (float(q[0]), float(q[1]))) for p, q in pieces]
    least = min(room.clearance_along(p, q) for p, q in ends)
    if least < free_m:
        faults.append(f"comes within {least:.2f} m of a wall or furniture; the robot needs {free_m:.2f} m")
    steps = max(2, math.ceil(way.length / _STEP_M))
    outside = [pose for i in range(steps + 1) if not room.contains((pose := way.at(way.length * i / steps)).x, pose.y)]
    if outside:
        faults.append(f"leaves the geofence of room {room.name!r} near ({outside[0].x:.2f}, {outside[0].y:.2f})")
    if leg.direction is Direction.REVERSE:
        faults += _reverse_faults(leg, way, room)
    return faults


def _reverse_faults(leg: Leg, way: Path, room: Room) -> list[str]:
    """A base reverses only where its blind rear cannot meet anybody: in a dock zone, slowly."""
    faults = []
    begin, finish = way.at(0.0), way.at(way.length)
    if not any(dock.in_zone(begin.x, begin.y) and dock.in_zone(finish.x, finish.y) for dock in room.docks):
        faults.append("is driven in reverse outside a dock zone, where the LiDAR does not see behind the robot")
    if leg.speed_m_s > 0.1:
        faults.append(f"is driven in reverse at {leg.speed_m_s:g} m/s; reversing is held to 0.1 m/s")
    return faults
