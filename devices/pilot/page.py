"""The pilot's page in a browser: opened, and what it shows of the robot read back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

from devices.client import WebDriverSession
from drivers.clock import Clock
from drivers.errors import DeviceSilentError
from drivers.protocols import GuardedBase
from drivers.types import BaseGeometry, BaseMode, BaseState, ChargingState, MotionStatus, Pose, Scan

# How long a held key or stick lasts when the program that holds it says nothing more; milliseconds.
DEADMAN_MS = 300
_READY_WITHIN_S = 20.0
_TELEMETRY = "return window.pilot && window.pilot.telemetry"


class PilotPage:
    """An opened page."""

    def __init__(self, session: WebDriverSession) -> None:
        self.session = session

    def open(self, url: str) -> None:
        """Go to the page, and wait until the robot's odometry shows. Raises DeviceSilentError when it does not."""
        self.session.go(f"{url}?deadman_ms={DEADMAN_MS}")
        until = time.monotonic() + _READY_WITHIN_S
        while self.telemetry() is None:
            if time.monotonic() > until:
                raise DeviceSilentError(
                    f"the pilot's page {url} shows no odometry within {_READY_WITHIN_S:g} s; its notice says "
                    f"{self.notice()!r}"
                )
            time.sleep(0.05)

    def telemetry(self) -> dict[str, Any] | None:
        """What the robot said last, as the page got it."""
        found: dict[str, Any] | None = self.session.execute(_TELEMETRY)
        return found

    def notice(self) -> str:
        """The sentence that the page shows its pilot."""
        return str(self.session.execute("return document.getElementById('notice')?.textContent ?? ''"))


class PagedBase:
    """A guarded base whose odometry is what the pilot's page shows; the rest is the base's. Satisfies `GuardedBase`.

    Its readings keep the time at which the board gave them, on the clock that it shares with the bench.
    """

    def __init__(self, base: GuardedBase, page: PilotPage, clock: Clock) -> None:
        self._base = base
        self._page = page
        self._clock = clock

    @property
    def geometry(self) -> BaseGeometry:
        return self._base.geometry

    @property
    def mount(self) -> Pose:
        return self._base.mount

    def state(self) -> BaseState:
        told = self._page.telemetry()
        if told is None:
            raise DeviceSilentError("the pilot's page shows no odometry any more; look at its notice")
        values = told["state"]
        state = BaseState(**{**values, "mode": BaseMode(values["mode"]), "charging": ChargingState(values["charging"])})
        age = self._clock.now() - state.time
        if age > 1.0:
            raise DeviceSilentError(f"the odometry on the pilot's page is {age:.1f} s old; look at its notice")
        return state

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
