"""The guard as the stop channel of another maker's page that drives through the lab's own pilot socket.

The page's commands pass a gate on their way to the guard. Using the channel stops the base and shuts the gate, whatever
the page goes on to ask for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from devices.pilot.behind import BehindPage
from drivers.errors import MotionRefusedError
from drivers.guard.rules import REST
from drivers.protocols import GuardedBase
from drivers.types import BaseState, MotionStatus, StopReason


class GatedBase(BehindPage[GuardedBase]):
    """A guarded base behind a gate; satisfies `devices.pilot.foreign.ArmedBase`, and is what the pilot socket drives.

    `drive` passes a command on to the guard.
    """

    def __init__(self, base: GuardedBase, drive: Callable[[float, float], None]) -> None:
        super().__init__(base)
        self._drive = drive
        self._shut: str | None = "its stop channel is not armed"

    # The gate

    def arm(self) -> None:
        """Open it."""
        self._shut = None

    def disarm(self) -> None:
        """Shut it: the page drives no more."""
        self._shut = self._shut or "the page drives no more"
        self._base.stop()

    def trip(self, why: str) -> None:
        """Stop the base and shut the gate."""
        self._shut = why
        self._base.stop()

    def tell_state(self, state: BaseState) -> None:
        """The guard reads the board itself."""

    def drive(self, linear: float, angular: float) -> None:
        """From the page. Nothing passes a shut gate."""
        if self._shut is None:
            self._drive(linear, angular)

    def status(self) -> MotionStatus:
        """The guard's, or that the gate is shut."""
        status = self._base.status()
        if self._shut is None:
            return status
        rests = status.applied == REST
        detail = f"{'stopped by' if rests else 'NOT YET stopped by'} the guard: {self._shut}"
        return replace(status, allowed=False, reason=StopReason.CLIENT_TROUBLE, detail=detail)

    # The base

    def seek_dock(self) -> None:
        raise MotionRefusedError("a robot that another maker's page drives is not docked by a course")

    def cancel_docking(self) -> None:
        self._base.stop()
