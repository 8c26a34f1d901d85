"""Speed along a way: speed up, cruise, and brake so as to stand at its end."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Profile:
    """A trapezoid, for metres as for radians.

    `cruise`: highest speed. `acceleration`, `braking`: per second squared, positive. `creep`: least speed while not
    there, so that the end is reached. `latency_s`: how late the base follows a command.
    """

    cruise: float
    acceleration: float
    braking: float
    creep: float
    latency_s: float = 0.1

    def next_speed(self, speed: float, remaining: float, elapsed: float) -> float:
        """The speed to ask for now: `speed` was asked for `elapsed` seconds ago, `remaining` is the way still to go."""
        if remaining <= 0:
            return 0.0
        room_to_brake = max(0.0, remaining - speed * self.latency_s)
        limit = min(self.cruise, math.sqrt(2 * self.braking * room_to_brake))
        faster = speed + self.acceleration * elapsed
        return max(min(faster, limit), min(self.creep, self.cruise))

    def duration(self, way: float) -> float:
        """About how long `way` takes from rest to rest, in seconds."""
        return way / self.cruise + self.cruise / self.acceleration + self.cruise / self.braking + 2 * self.latency_s
