"""A differential-drive robot's body: motors with lag, wheels that slip, a bumper that stops it."""

from __future__ import annotations

import math
import random
from collections import deque
from dataclasses import dataclass
from typing import Protocol

from drivers.types import Twist, wrap_angle

# A head-on contact within this angle presses both sides of the bumper.
_BOTH_SIDES = math.radians(15)
_PRESSED_WITHIN_M = 0.002


@dataclass(frozen=True, slots=True)
class BodyModel:
    """What the body truly is, as against what the driver takes it for.

    `metres_per_tick` and `wheel_base_m` are nominal (Create 2: 72 mm wheels, 508.8 counts a turn, 235 mm base); the
    true ones are these times the scales. `left_slip_variance`, `right_slip_variance`: variance of the way a wheel
    makes over the floor, m^2 per metre of rim. `latency_s`: from command to motor; `lag_s`: time constant of the
    motors; `acceleration_m_s2`: their limit at the rim. `left_stalled`, `right_stalled`: the wheel does not turn.
    """

    metres_per_tick: float = math.pi * 0.072 / 508.8
    wheel_base_m: float = 0.235
    radius_m: float = 0.18
    left_wheel_scale: float = 1.0
    right_wheel_scale: float = 1.0
    wheel_base_scale: float = 1.0
    left_slip_variance: float = 4e-7
    right_slip_variance: float = 4e-7
    latency_s: float = 0.015
    lag_s: float = 0.03
    acceleration_m_s2: float = 1.5
    left_stalled: bool = False
    right_stalled: bool = False
    wheel_drop: bool = False
    cliff: bool = False

    def __post_init__(self) -> None:
        for name in ("left_wheel_scale", "right_wheel_scale", "wheel_base_scale"):
            if not 0.5 <= getattr(self, name) <= 2:
                raise ValueError(f"{name} {getattr(self, name)} is outside 0.5 .. 2")
        for name in ("left_slip_variance", "right_slip_variance"):
            if not 0 <= getattr(self, name) <= 0.01:
                raise ValueError(f"{name} {getattr(self, name)} is outside 0 .. 0.01 m^2/m")
        for name in ("latency_s", "lag_s"):
            if not 0 <= getattr(self, name) <= 2:
                raise ValueError(f"{name} {getattr(self, name)} is outside 0 .. 2 s")
        for name in ("metres_per_tick", "wheel_base_m", "radius_m", "acceleration_m_s2"):
            if not 0 < getattr(self, name) <= 10:
                raise ValueError(f"{name} {getattr(self, name)} is outside 0 .. 10")


class Surroundings(Protocol):
    """What a body can run into."""

    def contact(self, x: float, y: float, radius: float) -> tuple[float, float] | None:
        """Gap in metres (negative: overlapping) and direction in the room, radians, of the nearest thing that a disc
        of `radius` is within 10 mm of, or None."""

    def held(self, x: float, y: float) -> float:
        """How deep, metres, the body would be in something that holds it without pressing the bumper; 0 when free."""


class Robot:
    """Pose (x, y, heading in the room), rim travel of both wheels, bumper. `step` moves it on by a short time."""

    def __init__(self, model: BodyModel, pose: tuple[float, float, float], chance: random.Random) -> None:
        self.model = model
        self.x, self.y, self.heading = pose
        self.left_rim_m = self.right_rim_m = 0.0
        self.left_speed = self.right_speed = 0.0
        self.velocity = Twist(0.0, 0.0)
        self.bump_left = self.bump_right = False
        self._chance = chance
        self._left_asked = self._right_asked = 0.0
        self._asked: deque[tuple[float, float, float]] = deque()

    def ask(self, time: float, left_m_s: float, right_m_s: float) -> None:
        """Nominal rim speeds that the motors are to reach, as of `time`."""
        self._asked.append((time + self.model.latency_s, left_m_s, right_m_s))

    @property
    def at_rest(self) -> bool:
        """Whether nothing will move until something is asked for."""
        return not (self._asked or self._left_asked or self._right_asked or self.left_speed or self.right_speed)

    @property
    def left_ticks(self) -> int:
        return math.floor(self.left_rim_m / self.model.metres_per_tick)

    @property
    def right_ticks(self) -> int:
        return math.floor(self.right_rim_m / self.model.metres_per_tick)

    def step(self, now: float, seconds: float, surroundings: Surroundings) -> None:
        """Move on from `now` by `seconds`, which are few milliseconds."""
        while self._asked and self._asked[0][0] <= now:
            _, self._left_asked, self._right_asked = self._asked.popleft()
        model = self.model
        left_from, right_from = self.left_speed, self.right_speed
        self.left_speed = self._towards(left_from, 0.0 if model.left_stalled else self._left_asked, seconds)
        self.right_speed = self._towards(right_from, 0.0 if model.right_stalled else self._right_asked, seconds)
        left = (left_from + self.left_speed) / 2 * seconds
        right = (right_from + self.right_speed) / 2 * seconds
        self.left_rim_m += left
        self.right_rim_m += right
        free = self._move(
            self._over_floor(left, model.left_wheel_scale, model.left_slip_variance),
            self._over_floor(right, model.right_wheel_scale, model.right_slip_variance),
            surroundings,
        )
        base = model.wheel_base_m * model.wheel_base_scale
        left_true = self.left_speed * model.left_wheel_scale
        right_true = self.right_speed * model.right_wheel_scale
        self.velocity = Twist((left_true + right_true) / 2 if free else 0.0, (right_true - left_true) / base)

    def feel(self, surroundings: Surroundings) -> None:
        """Press or release the bumper for what is touched where the body stands now."""
        touched = surroundings.contact(self.x, self.y, self.model.radius_m)
        self.bump_left = self.bump_right = False
        if touched and touched[0] < _PRESSED_WITHIN_M:
            bearing = wrap_angle(touched[1] - self.heading)
            self.bump_left = bearing > -_BOTH_SIDES
            self.bump_right = bearing < _BOTH_SIDES

    def put(self, x: float, y: float, heading: float) -> None:
        """Carry the body to another pose; the wheels do not turn."""
        self.x, self.y, self.heading = x, y, wrap_angle(heading)

    def _towards(self, speed: float, asked: float, seconds: float) -> float:
        lag = self.model.lag_s
        change = (asked - speed) * (1 - math.exp(-seconds / lag) if lag > 0 else 1.0)
        limit = self.model.acceleration_m_s2 * seconds
        speed += max(-limit, min(limit, change))
        return asked if abs(asked - speed) < 1e-4 else speed

    def _over_floor(self, rim: float, scale: float, slip_variance: float) -> float:
        if rim == 0:
            return 0.0
        return rim * scale + self._chance.gauss(0.0, math.sqrt(slip_variance * abs(rim)))

    def _move(self, left: float, right: float, surroundings: Surroundings) -> bool:
        """Along the arc that the two wheels make over the floor; False if something is in the way: then only turned."""
        if left == 0 and right == 0:
            self.feel(surroundings)
            return True
        way = (left + right) / 2
        turn = (right - left) / (self.model.wheel_base_m * self.model.wheel_base_scale)
        # The chord of an arc: sinc(turn / 2) times its length, half the turn to its side.
        half = turn / 2
        chord = way * (math.sin(half) / half if abs(half) > 1e-9 else 1.0)
        x = self.x + chord * math.cos(self.heading + half)
        y = self.y + chord * math.sin(self.heading + half)
        heading = wrap_angle(self.heading + turn)
        radius = self.model.radius_m
        before = surroundings.contact(self.x, self.y, radius)
        after = surroundings.contact(x, y, radius)
        deeper = after is not None and after[0] < 0 and (before is None or after[0] < before[0])
        held = surroundings.held(x, y)
        free = not deeper and not (held > 0 and held > surroundings.held(self.x, self.y))
        if free:
            self.x, self.y = x, y
        self.heading = heading
        self.feel(surroundings)
        return free
