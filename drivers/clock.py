"""Clocks that everything timed is given, so that a bench may run faster than real time and tests need no sleep."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """A monotonic clock, in seconds. Never compare readings of two different clocks."""

    def now(self) -> float:
        """Seconds since an arbitrary, fixed start."""

    def sleep(self, seconds: float) -> None:
        """Wait for `seconds` of this clock; returns at once when not positive."""

    def to_wall(self, seconds: float) -> float:
        """How many seconds of the machine's own clock `seconds` of this one last: what sockets and queues wait."""


class SystemClock:
    """The machine's monotonic clock, shared by all processes of one machine."""

    def now(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        if seconds > 0:
            time.sleep(seconds)

    def to_wall(self, seconds: float) -> float:
        return seconds


class ScaledClock:
    """A clock of the simulated bench that runs `scale` times as fast as the machine's.

    Processes of one machine that use the same scale read the same time. Only for simulated devices: a real robot
    does not obey it.
    """

    def __init__(self, scale: float) -> None:
        if not 0.1 <= scale <= 100:
            raise ValueError(f"time scale {scale} is outside 0.1 .. 100")
        self.scale = scale

    def now(self) -> float:
        return time.monotonic() * self.scale

    def sleep(self, seconds: float) -> None:
        if seconds > 0:
            time.sleep(seconds / self.scale)

    def to_wall(self, seconds: float) -> float:
        return seconds / self.scale


class ManualClock:
    """A clock that moves only when told to: for tests and for replaying recordings."""

    def __init__(self, start: float = 0.0) -> None:
        self._now = start

    def now(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        self._now += max(0.0, seconds)

    def advance(self, seconds: float) -> None:
        """Move the clock on by `seconds`."""
        self._now += seconds

    def to_wall(self, seconds: float) -> float:  # noqa: ARG002 - a manual clock passes no wall time
        return 0.0


def clock_for_scale(scale: float) -> Clock:
    """The system clock at scale 1, otherwise a clock of the simulated bench."""
    return SystemClock() if scale == 1 else ScaledClock(scale)
