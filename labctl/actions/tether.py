"""A driving process is tied to its daemon by a time in shared memory: while that is old, nothing moves the robot."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from typing import TypeAlias

from courses.inputs import DirectInput
from drivers.guard import GuardClient

# Seconds of the machine's clock. A command lives 0.25 s (unless configured) after the last one that was let through.
STALLED_AFTER_S = 0.25
# Times of time.monotonic() in the shared memory, which has no lock: a process that is killed could keep it.
Shared: TypeAlias = "ctypes.Array[ctypes.c_double]"
DAEMON_LIVES_AT, LEASE_ENDS_AT = 0, 1


class TetheredInput(DirectInput):
    """Wishes reach the base only while `alive`."""

    def __init__(self, base: GuardClient, alive: Callable[[], bool]) -> None:
        super().__init__(base)
        self._alive = alive

    def drive(self, linear: float, angular: float) -> None:
        if self._alive():
            super().drive(linear, angular)


def daemon_lives(shared: Shared) -> bool:
    """Whether the daemon said so a moment ago."""
    return time.monotonic() - float(shared[DAEMON_LIVES_AT]) < STALLED_AFTER_S
