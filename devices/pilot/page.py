"""The pilot's page in a browser: opened, and what it shows of the robot read back."""

from __future__ import annotations

import time
from typing import Any

from devices.client import WebDriverSession
from devices.pilot.behind import BehindPage
from drivers.clock import Clock
from drivers.errors import DeviceSilentError
from drivers.protocols import GuardedBase
from drivers.types import BaseMode, BaseState, ChargingState

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


class PagedBase(BehindPage[GuardedBase]):
    """A guarded base whose odometry is what the pilot's page shows; the rest is the base's.

    Its readings keep the time at which the board gave them, on the clock that it shares with the bench.
    """

    def __init__(self, base: GuardedBase, page: PilotPage, clock: Clock) -> None:
        super().__init__(base)
        self._page = page
        self._clock = clock

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
