"""What every base that is driven through a page leaves to the guarded base behind it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Generic, TypeVar

from drivers.protocols import GuardedBase
from drivers.types import BaseGeometry, BaseState, MotionStatus, Pose, Scan

BaseT = TypeVar("BaseT", bound=GuardedBase)


class BehindPage(Generic[BaseT]):
    """Passes everything on to `base`; satisfies `drivers.protocols.GuardedBase`. What a page changes is overridden."""

    def __init__(self, base: BaseT) -> None:
        self._base = base

    @property
    def geometry(self) -> BaseGeometry:
        return self._base.geometry

    @property
    def mount(self) -> Pose:
        return self._base.mount

    def state(self) -> BaseState:
        return self._base.state()

    def drive(self, linear: float, angular: float) -> None:
        self._base.drive(linear, angular)

    def stop(self) -> None:
        self._base.stop()

    def status(self) -> MotionStatus:
        return self._base.status()

    def scan(self, after: float = 0.0, timeout: float = 1.0) -> Scan:
        return self._base.scan(after, timeout)

    def scans(self) -> AbstractContextManager[Iterator[Scan]]:
        return self._base.scans()

    def seek_dock(self) -> None:
        self._base.seek_dock()

    def cancel_docking(self) -> None:
        self._base.cancel_docking()

    def emergency_stop(self, reason: str) -> None:
        self._base.emergency_stop(reason)

    def reset_emergency_stop(self, person: str, reason: str) -> None:
        self._base.reset_emergency_stop(person, reason)

    def set_pose(self, pose: Pose) -> None:
        """Passed on to a guard that keeps a geofence."""
        tell = getattr(self._base, "set_pose", None)
        if tell is not None:
            tell(pose)
