"""How a robot's own docking behaviour drives it backwards into its charger, by the charger's infrared beams."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from enum import StrEnum

from drivers.types import Twist

_IR_REACH_M = 2.5
_IR_HALF_CONE = math.radians(35)
_RED_BUOY, _GREEN_BUOY, _FORCE_FIELD, _DOCK = 8, 4, 1, 160


@dataclass(frozen=True, slots=True)
class AtDock:
    """A robot seen from its docked pose: `ahead` and `left` in metres, `heading` in radians; zeros when docked."""

    ahead: float
    left: float
    heading: float

    @property
    def on_contacts(self) -> bool:
        """Whether the charging contacts meet: within 5 mm, 15 mm sideways and 5 degrees."""
        return -0.02 < self.ahead < 0.005 and abs(self.left) < 0.015 and abs(self.heading) < math.radians(5)

    @property
    def in_cone(self) -> bool:
        """Whether the robot stands where the charger's beams reach."""
        # The beams start a robot's radius behind the docked pose.
        ahead = self.ahead + 0.2
        return (
            ahead > 0
            and math.hypot(ahead, self.left) < _IR_REACH_M
            and abs(self.left) < ahead * math.tan(_IR_HALF_CONE)
        )

    @property
    def infrared(self) -> int:
        """The character an all-round receiver gets (packet 17): red buoy on the left, green on the right, or both."""
        character = 0
        if self.in_cone:
            overlap = 0.1 * (self.ahead + 0.2)
            character |= _RED_BUOY if self.left > -overlap else 0
            character |= _GREEN_BUOY if self.left < overlap else 0
        if math.hypot(self.ahead, self.left) < 0.6:
            character |= _FORCE_FIELD
        return _DOCK | character if character else 0


@dataclass(frozen=True, slots=True)
class DockingModel:
    """How well the behaviour does. `misses`: how many of the next approaches come in too far to one side.

    Sigmas: how far from the middle, metres and radians, an approach aims. `attempts` and `time_limit_s`: when it ends.
    """

    misses: int = 0
    lateral_sigma_m: float = 0.003
    heading_sigma_rad: float = 0.008
    speed_m_s: float = 0.1
    attempts: int = 5
    time_limit_s: float = 90.0


class _Phase(StrEnum):
    SEARCH = "search"
    ALIGN = "align"
    APPROACH = "approach"
    BACK_OFF = "back off"


class DockingRun:
    """One run of the behaviour: `step` tells which way to drive until it returns None, docked or given up."""

    def __init__(self, model: DockingModel, chance: random.Random) -> None:
        self.misses_left = model.misses
        self._model = model
        self._chance = chance
        self._phase = _Phase.SEARCH
        self._attempts = 0
        self._elapsed = 0.0
        self._aim_left = self._aim_heading = 0.0
        self._search_began = 0.0

    def step(self, at: AtDock, seconds: float) -> Twist | None:
        """The velocity for the next `seconds`, with the robot at `at`."""
        self._elapsed += seconds
        if at.on_contacts or self._elapsed > self._model.time_limit_s:
            return None
        match self._phase:
            case _Phase.SEARCH:
                return self._search(at)
            case _Phase.ALIGN:
                off = self._wanted_heading(at) - at.heading
                if abs(off) < 0.05:
                    self._phase = _Phase.APPROACH
                return Twist(0.0, math.copysign(min(0.8, 0.1 + 2 * abs(off)), off))
            case _Phase.APPROACH:
                return self._approach(at)
            case _Phase.BACK_OFF:
                return self._back_off(at)

    def _search(self, at: AtDock) -> Twist | None:
        """Turn on the spot to look for the charger's beams, and give up after a turn."""
        if at.in_cone:
            return self._begin_attempt()
        return Twist(0.0, 0.6) if self._elapsed - self._search_began < 12 else None

    def _back_off(self, at: AtDock) -> Twist:
        if at.ahead < 0.4:
            return Twist(self._model.speed_m_s, -1.0 * at.heading)
        self._search_began = self._elapsed
        self._phase = _Phase.SEARCH
        return Twist(0.0, 0.0)

    def _begin_attempt(self) -> Twist | None:
        if self._attempts >= self._model.attempts:
            return None
        self._attempts += 1
        self._aim_left = self._chance.gauss(0.0, self._model.lateral_sigma_m)
        self._aim_heading = self._chance.gauss(0.0, self._model.heading_sigma_rad)
        if self.misses_left > 0:
            self.misses_left -= 1
            self._aim_left = math.copysign(0.05, self._aim_left)
        self._phase = _Phase.ALIGN
        return Twist(0.0, 0.0)

    def _approach(self, at: AtDock) -> Twist:
        near = at.ahead < 0.15
        if at.ahead < 0.002:
            # Against the charger, but beside its contacts.
            self._phase = _Phase.BACK_OFF
            return Twist(0.0, 0.0)
        speed = self._model.speed_m_s * (0.5 if near else 1.0)
        return Twist(-speed, 4.0 * (self._wanted_heading(at) - at.heading))

    def _wanted_heading(self, at: AtDock) -> float:
        """The dock's heading, and past it by as much as the robot is off to the left: reversing then brings it back."""
        return self._aim_heading + max(-0.5, min(0.5, 6.0 * (at.left - self._aim_left)))
