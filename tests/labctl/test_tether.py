"""A driving process whose daemon has stalled: nothing that it begins moves the robot."""

from __future__ import annotations

import time
from multiprocessing.sharedctypes import RawArray
from typing import cast

from drivers.clock import SystemClock
from drivers.guard import GuardClient
from drivers.guard.rules import REST
from drivers.types import MotionStatus, StopReason
from labctl.actions.driving_process import _watched
from labctl.actions.tether import DAEMON_LIVES_AT, LEASE_ENDS_AT, STALLED_AFTER_S


class Base:
    """As much of a guard's client as the watch beside a course uses, and a course that docks."""

    def __init__(self) -> None:
        self.docking = False
        self.stops = 0

    def seek_dock(self) -> None:
        self.docking = True

    def stop(self) -> None:
        self.docking = False
        self.stops += 1

    def status(self) -> MotionStatus:
        return MotionStatus(0.0, True, False, self.docking, StopReason.COMMANDED, "", REST, REST, self.stops)


def until(base: Base, *, stops: int) -> None:
    give_up = time.monotonic() + 5.0
    while base.stops < stops:
        assert time.monotonic() < give_up, f"stopped {base.stops} times, not {stops}"
        time.sleep(0.01)


def test_a_docking_run_that_begins_while_the_daemon_is_stalled_is_ended_too() -> None:
    base, shared = Base(), RawArray("d", 2)
    shared[DAEMON_LIVES_AT] = time.monotonic() - 2 * STALLED_AFTER_S
    shared[LEASE_ENDS_AT] = time.monotonic() + 60
    with _watched(cast("GuardClient", base), SystemClock(), shared):
        until(base, stops=1)
        time.sleep(0.2)
        assert base.stops == 1  # a base that does not move is told once
        for begun in range(2):
            base.seek_dock()
            until(base, stops=begun + 2)
            assert not base.docking
