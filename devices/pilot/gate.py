"""The guard as the stop channel of another maker's page that drives through the lab's own pilot socket.

The page's commands pass a gate on their way to the guard. Using the channel stops the base and shuts the gate, whatever
the page goes on to ask for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace

from drivers.errors import MotionRefusedError
from drivers.protocols import GuardedBase
from drivers.types import BaseGeometry, BaseState, MotionStatus, Pose, Scan, StopReason, Twist

_REST = Twist(0.0, 0.0)


class GatedBase:
    """A guarded base behind a gate; satisfies `devices.pilot.foreign.ArmedBase`, and is what the pilot socket drives.

    `drive` passes a command on to the guard.
    """

    def __init__(self, base: GuardedBase, drive: Callable[[float, float], None]) -> None:
        self._base = base
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
        rests = status.applied == _REST
        detail = f"{'stopped by' if rests else 'NOT YET stopped by'} the guard: {self._shut}"
        return replace(status, allowed=False, reason=StopReason.CLIENT_TROUBLE, detail=detail)

    # The base

    @property
    def geometry(self) -> BaseGeometry:
        return self._base.geometry

    @property
    def mount(self) -> Pose:
        return self._base.mount

    def stop(self) -> None:
        self._base.stop()

    def state(self) -> BaseState:
        return self._base.state()

    def scan(self, after: float = 0.0, timeout: float = 1.0) -> Scan:
        return self._base.scan(after, timeout)

    def scans(self) -> AbstractContextManager[Iterator[Scan]]:
        return self._base.scans()

    def seek_dock(self) -> None:
        raise MotionRefusedError("a robot that another maker's page drives is not docked by a course")

    def cancel_docking(self) -> None:
        self._base.stop()

    def emergency_stop(self, reason: str) -> None:
        self._base.emergency_stop(reason)

    def reset_emergency_stop(self, person: str, reason: str) -> None:
        self._base.reset_emergency_stop(person, reason)

    def set_pose(self, pose: Pose) -> None:
        """Passed on to a guard that keeps a geofence."""
        tell = getattr(self._base, "set_pose", None)
        if tell is not None:
            tell(pose)
