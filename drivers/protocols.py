"""Capabilities: what a driver offers, whatever its wire protocol. Domain libraries depend on these alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Protocol, runtime_checkable

from drivers.types import BaseGeometry, BaseState, MotionStatus, Pose, Scan


@runtime_checkable
class MotionBase(Protocol):
    """A differential-drive base. Every command lapses by itself (time to live): repeat it to keep moving."""

    @property
    def geometry(self) -> BaseGeometry: ...

    def drive(self, linear: float, angular: float) -> None:
        """Ask for a velocity, m/s forward and rad/s counter-clockwise. Returns at once; see `status` for refusals."""

    def stop(self) -> None:
        """Bring the base to rest."""

    def state(self) -> BaseState:
        """The latest reading of the motor board.

        Raises `drivers.errors.DeviceSilentError` when there is none, or none recent.
        """

    def status(self) -> MotionStatus:
        """Whether the base may move and, if not, why."""


@runtime_checkable
class PoseScanner(Protocol):
    """A planar LiDAR fixed to a base."""

    @property
    def mount(self) -> Pose:
        """The sensor's pose in the base's frame (origin midway between the wheels, x ahead)."""

    def scan(self, after: float = 0.0, timeout: float = 1.0) -> Scan:
        """The first scan taken later than `after` (the driver's clock).

        Raises `drivers.errors.DeviceSilentError` when none comes within `timeout` seconds.
        """

    def scans(self) -> AbstractContextManager[Iterator[Scan]]:
        """Scans as they come; a consumer that is too slow loses whole old scans, never parts."""


@runtime_checkable
class Docking(Protocol):
    """A base that finds its own way into its charger."""

    def seek_dock(self) -> None:
        """Start the board's own docking run."""

    def cancel_docking(self) -> None:
        """End the docking run and stand still."""


@runtime_checkable
class EmergencyStop(Protocol):
    """A stop that latches."""

    def emergency_stop(self, reason: str) -> None:
        """Stop now and stay stopped until reset. Needs no lease."""

    def reset_emergency_stop(self, person: str, reason: str) -> None:
        """Take the latch off; a named person's act, at the robot's side."""


@runtime_checkable
class GuardedBase(MotionBase, PoseScanner, Docking, EmergencyStop, Protocol):
    """A base behind the motion guard: what a course drives."""
