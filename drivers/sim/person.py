"""A person in the room of the bench, who stands or walks along a path; a function of time."""

from __future__ import annotations

import math
from dataclasses import dataclass

from drivers.sim.raycast import Circle

BODY_RADIUS_M = 0.2
_LEG_RADIUS_M = 0.07
_LEGS_APART_M = 0.26


@dataclass(frozen=True, slots=True)
class Person:
    """Someone who is at `path[0]` from `start` on (seconds of the bench's clock) and walks the corners of `path`.

    `speed_m_s` is above 0. At the end of the path the person stays, or leaves when `leaves` is set.
    """

    path: tuple[tuple[float, float], ...]
    start: float
    speed_m_s: float = 1.0
    leaves: bool = False

    def __post_init__(self) -> None:
        if not self.path:
            raise ValueError("a person needs at least one place")
        if not all(math.isfinite(value) for place in self.path for value in place):
            raise ValueError(f"a person's places are metres, not {list(self.path)}")
        if not 0.01 <= self.speed_m_s <= 5:
            raise ValueError(f"a walking speed of {self.speed_m_s} m/s is outside 0.01 .. 5 m/s")

    @property
    def end(self) -> float:
        """When the person arrives at the end of the path."""
        length = sum(math.dist(a, b) for a, b in zip(self.path, self.path[1:], strict=False))
        return self.start + length / self.speed_m_s

    def place(self, time: float) -> tuple[float, float, float] | None:
        """(x, y, heading) at `time`, or None while not in the room."""
        if time < self.start or (self.leaves and time > self.end):
            return None
        left = (time - self.start) * self.speed_m_s
        heading = 0.0
        for (ax, ay), (bx, by) in zip(self.path, self.path[1:], strict=False):
            length = math.hypot(bx - ax, by - ay)
            heading = math.atan2(by - ay, bx - ax)
            if left < length:
                share = left / length
                return ax + share * (bx - ax), ay + share * (by - ay), heading
            left -= length
        return *self.path[-1], heading

    def body(self, time: float) -> Circle | None:
        """What a robot runs into."""
        place = self.place(time)
        return Circle(place[0], place[1], BODY_RADIUS_M) if place else None

    def legs(self, time: float) -> tuple[Circle, ...]:
        """What a LiDAR near the floor sees."""
        place = self.place(time)
        if place is None:
            return ()
        x, y, heading = place
        dx, dy = -math.sin(heading) * _LEGS_APART_M / 2, math.cos(heading) * _LEGS_APART_M / 2
        return (Circle(x + dx, y + dy, _LEG_RADIUS_M), Circle(x - dx, y - dy, _LEG_RADIUS_M))
