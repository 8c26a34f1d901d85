"""The pilot's page in a browser: opened, and what it shows of the robot read back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from devices.client import WebDriverSession
from devices.pilot.behind import BehindPage
from devices.pilot.gone import told_as_device
from devices.pilot.inputs import PilotInput
from drivers.clock import Clock
from drivers.errors import DeviceError, DeviceSilentError
from drivers.guard.rules import REST
from drivers.protocols import GuardedBase
from drivers.types import BaseMode, BaseState, ChargingState, MotionStatus, StopReason

# Keys know few velocities: for slow ones the page asks for rest in between. Seconds of the robot's clock.
_HEARD_WITHIN_S = 1.0
# How long a held key or stick lasts when the program that holds it says nothing more; milliseconds.
DEADMAN_MS = 300
_READY_WITHIN_S = 20.0
_NO_INPUT = "the pilot's page takes no input"
_TELEMETRY = "return window.pilot && window.pilot.telemetry"
_READING = "return window.pilot ? [window.pilot.telemetry, window.pilot.left] : [null, 'the page was left']"
_GONE = "the pilot's page is gone"


class PilotPage:
    """An opened page. What is wrong with it is raised as DeviceError."""

    def __init__(self, session: WebDriverSession) -> None:
        self.session = session

    def open(self, url: str) -> None:
        """Go to the page, and wait until the robot's odometry shows. Raises DeviceSilentError when it does not."""
        with told_as_device(f"the pilot's page {url} cannot be opened"):
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
        with told_as_device(_GONE):
            found: dict[str, Any] | None = self.session.execute(_TELEMETRY)
        return found

    def reading(self) -> dict[str, Any]:
        """The same, of a page that shows it and passes input on. Raises DeviceError for one that does not."""
        with told_as_device(_GONE):
            told, left = self.session.execute(_READING)
        if left is not None:
            raise DeviceError(f"{left}, so it passes no input on to the robot")
        if told is None:
            raise DeviceSilentError(f"the pilot's page shows no odometry; its notice says {self.notice()!r}")
        found: dict[str, Any] = told
        return found

    def notice(self) -> str:
        """The sentence that the page shows its pilot."""
        with told_as_device(_GONE):
            return str(self.session.execute("return document.getElementById('notice')?.textContent ?? ''"))


class PagedBase(BehindPage[GuardedBase]):
    """A guarded base that is driven through the pilot's page: both what a course drives and by what (a driving input).

    Its odometry is what the page shows, at the time at which the board gave it, on the clock that it shares with the
    bench; the rest is the base's. A page that fails has the base stopped and is raised as DeviceError.
    """

    def __init__(self, base: GuardedBase, page: PilotPage, piloted: PilotInput, clock: Clock) -> None:
        super().__init__(base)
        self._page = page
        self._input = piloted
        self._clock = clock
        self._halted: str | None = None
        self._unheard_since: float | None = None

    @property
    def name(self) -> str:
        return self._input.name

    def drive(self, linear: float, angular: float) -> None:
        """Ask the page. DeviceError when it takes no input."""
        if self._unheard_since is None and (linear or angular):
            self._unheard_since = self._clock.now()
        with self._failing(), told_as_device(_NO_INPUT):
            self._input.drive(linear, angular)

    def stop(self) -> None:
        """Let go of the page's inputs and stop the base."""
        self._unheard_since = None
        with self._failing(), told_as_device(_NO_INPUT):
            self._input.stop()
        self._base.stop()

    def state(self) -> BaseState:
        with self._failing():
            told = self._page.reading()
        self._halted = told["halted"]
        values = told["state"]
        state = BaseState(**{**values, "mode": BaseMode(values["mode"]), "charging": ChargingState(values["charging"])})
        age = self._clock.now() - state.time
        if age > 1.0:
            raise DeviceSilentError(
                f"the odometry on the pilot's page is {age:.1f} s old; its notice says {self._page.notice()!r}"
            )
        return state

    def status(self) -> MotionStatus:
        """The guard's; a base that rests because nothing of what the page was asked for arrives is no free one."""
        status = self._base.status()
        if status.commanded != REST:
            self._unheard_since = None
        if status.reason not in (None, StopReason.COMMANDED) or self._unheard_since is None:
            return status
        unheard_s = self._clock.now() - self._unheard_since
        if self._halted is None and unheard_s < _HEARD_WITHIN_S:
            return status
        why = self._halted or f"of what the page was asked for nothing came to the guard for {unheard_s:.1f} s"
        return replace(status, allowed=False, reason=StopReason.COMMAND_EXPIRED, detail=why)

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except DeviceError:
            self._base.stop()
            raise
