"""A pilot's page of another maker in a browser: watched, read, and driven only as the robot's guard allows.

The guard judges each wish as it would for a base of ours and says how much of it the page may be asked for. Whatever
goes wrong with the page is told to the guard, which uses the robot's stop channel.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from devices.client import WebDriverSession
from devices.pilot.behind import BehindPage
from devices.pilot.client import SOCKET, PilotClient
from devices.pilot.gone import told_as_device
from devices.pilot.inputs import PilotInput
from devices.pilot.wheels import ShownWheels
from drivers.clock import Clock
from drivers.errors import DeviceError, DeviceSilentError, MotionRefusedError
from drivers.guard.rules import REST
from drivers.protocols import GuardedBase
from drivers.types import BaseGeometry, BaseMode, BaseState, ChargingState, Pose, StopReason, Twist

# Put into the page: it tells whether it was left, hidden or had the focus taken away since.
_WATCH = """
window.__labWatch = window.__labWatch || { trouble: null };
addEventListener("blur", () => { window.__labWatch.trouble = "the page lost the focus"; });
document.addEventListener("visibilitychange", () => {
  if (document.hidden) window.__labWatch.trouble = "the page was hidden";
});
"""
# Never more than that often, and not sooner after the last time, a stopped base is let go again.
_RESUME_EVERY_S = 0.5
_RELEASED_WITHIN_S = 5.0
# So long after motion was asked for last the base may still be under way, seconds of the robot's clock.
_UNDER_WAY_S = 0.5
# The stop channel's word is waited for so long, to say what became of the robot; it is used whether or not it comes.
_CONFIRMED_WITHIN_S = 1.0
_NO_INPUT = "the page of the pilot's client takes no input"
# What passes by itself; the rest ends the course.
_PASSES = frozenset(
    {
        StopReason.OBSTACLE,
        StopReason.LIDAR_BLIND,
        StopReason.LIDAR_STALE,
        StopReason.COMMAND_EXPIRED,
        StopReason.BOARD_SILENT,
        StopReason.POSE_UNKNOWN,
    }
)


class ArmedBase(GuardedBase, Protocol):
    """A guarded base that its own client drives, as `drivers.guard.foreign_client.ForeignGuardClient` offers it."""

    def arm(self) -> None: ...

    def disarm(self) -> None: ...

    def trip(self, why: str) -> None: ...

    def tell_state(self, state: BaseState) -> None: ...

    def set_pose(self, pose: Pose) -> None: ...


class ForeignPage:
    """An opened page. What is wrong with it is raised as DeviceError; commands of the session never raise else."""

    def __init__(self, session: WebDriverSession, client: PilotClient) -> None:
        self.session = session
        self.client = client
        self._script = _reading_script(client)

    def open(self, socket: str = "") -> None:
        """Go to the page and wait until it shows its robot. `socket`: of the lab, for a page that drives through it."""
        url = self.client.url.replace(SOCKET, socket)
        with told_as_device(f"the pilot's client {self.client.url} cannot be opened"):
            self.session.go(url)
            until = time.monotonic() + self.client.ready_within_s
            while (why := self._not_ready()) is not None:
                if time.monotonic() > until:
                    raise DeviceSilentError(
                        f"the pilot's client {self.client.url} shows no robot within {self.client.ready_within_s:g} s: "
                        f"{why}"
                    )
                time.sleep(0.1)
            self.session.execute(_WATCH)

    def read(self) -> tuple[float, float, float]:
        """Left and right wheel in metres, battery 0 .. 1 (1 where it is not shown).

        Raises DeviceError with what is wrong with the page: gone, left, hidden, out of focus, cut off from its robot.
        """
        with told_as_device("the page of the pilot's client is gone"):
            told = self.session.execute(self._script)
        if told["trouble"] is not None:
            raise DeviceError(str(told["trouble"]))
        return _numbers(told)

    def trouble(self) -> str:
        """What is wrong with the page; empty when nothing is."""
        try:
            self.read()
        except DeviceError as exc:
            return str(exc)
        return ""

    def _not_ready(self) -> str | None:
        told = self.session.execute(_reading_script(self.client, watched=False))
        if told["trouble"] is not None:
            return str(told["trouble"])
        try:
            _numbers(told)
        except DeviceError as exc:
            return str(exc)
        return None


class ForeignSeat(BehindPage[ArmedBase]):
    """The base as its client drives it: both what a course drives (`GuardedBase`) and by what (a driving input).

    `ask`: has the guard judge a wish, of which the page is asked for what is allowed; None where the page's own
    commands go through the guard. `wheels`: follows what the page shows. `resumes`: whether a stop for something that
    passes is followed by letting go of the base again.
    """

    def __init__(
        self,
        base: ArmedBase,
        page: ForeignPage,
        piloted: PilotInput,
        clock: Clock,
        *,
        ask: Callable[[float, float], None] | None,
        geometry: BaseGeometry,
        wheels: ShownWheels,
        resumes: bool,
    ) -> None:
        super().__init__(base)
        self._page = page
        self._input = piloted
        self._clock = clock
        self._ask = ask
        self._geometry = geometry
        self._wheels = wheels
        self._wished_at = -math.inf
        self._resumes = resumes
        self._resumed_at = -math.inf

    @property
    def name(self) -> str:
        return self._input.name

    # The driving input

    def drive(self, linear: float, angular: float) -> None:
        """Ask the guard, then the page for what the guard allows."""
        wish = Twist(linear, angular)
        if wish != REST:
            self._wished_at = self._clock.now()
        if self._ask is not None:
            self._ask(linear, angular)
        status = self._base.status()
        if status.allowed or self._ask is None:
            wish = wish if self._ask is None else status.applied
            self.hold(wish.linear, wish.angular)
            return
        self.let_go()
        if self._resumes and status.reason in _PASSES and self._clock.now() - self._resumed_at > _RESUME_EVERY_S:
            self.arm(_RELEASED_WITHIN_S)

    def stop(self) -> None:
        """Let go of the page's inputs, then have the guard expect rest."""
        self.let_go()
        self._base.stop()

    def hold(self, linear: float, angular: float) -> None:
        """Ask the page alone. Raises DeviceError when it is gone, after the stop channel was used."""
        with self._failing(), told_as_device(_NO_INPUT):
            self._input.drive(linear, angular)

    def let_go(self) -> None:
        """Let go of the page's inputs alone. Raises DeviceError when it is gone, after the stop channel was used."""
        with self._failing(), told_as_device(_NO_INPUT):
            self._input.stop()

    def arm(self, within_s: float) -> None:
        """Have the stop channel let go of the base, and the guard watch it. Raises MotionRefusedError if not."""
        self._resumed_at = self._clock.now()
        self._base.arm()
        until = time.monotonic() + within_s
        while (status := self._base.status()).reason is StopReason.STOP_CHANNEL:
            if time.monotonic() > until:
                raise MotionRefusedError(f"the base was not released within {within_s:g} s: {status.detail}")
            time.sleep(0.02)

    # The guarded base

    @property
    def geometry(self) -> BaseGeometry:
        return self._geometry

    def state(self) -> BaseState:
        """What the page shows now, passed on to the guard: it is the page's sign of life.

        Raises DeviceError when the wheels' way is lost while the base is under way, after the stop channel was used.
        """
        asked = self._clock.now()
        with self._failing():
            left, right, battery = self._page.read()
            breaks = self._wheels.breaks
            left, right = self._wheels.update(left, right, asked)
            # A robot that rests may count anew: what it did meanwhile is known. Relays make robots do so.
            if self._wheels.breaks > breaks and asked - self._wished_at < _UNDER_WAY_S:
                raise DeviceError(self._wheels.last_break)
        state = BaseState(
            time=asked,
            left_ticks=round(left / self._geometry.left_metres_per_tick),
            right_ticks=round(right / self._geometry.right_metres_per_tick),
            mode=BaseMode.SAFE,
            on_dock=False,
            charging=ChargingState.NOT_CHARGING,
            battery_ratio=battery,
            battery_current_a=0.0,
            battery_voltage_v=0.0,
            odometry_breaks=self._wheels.breaks,
        )
        self._base.tell_state(state)
        return state

    def seek_dock(self) -> None:
        raise MotionRefusedError("a robot that its own client drives is not docked by a course; leave out its docking")

    def cancel_docking(self) -> None:
        self.stop()

    def trip(self, why: str) -> None:
        self._base.trip(why)

    def disarm(self) -> None:
        self._base.disarm()

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """What goes wrong inside has the stop channel used, and is raised with what became of that."""
        try:
            yield
        except DeviceError as exc:
            raise MotionRefusedError(self._stopped_for(str(exc))) from exc

    def _stopped_for(self, why: str) -> str:
        try:
            self._base.trip(why)
            until = time.monotonic() + _CONFIRMED_WITHIN_S
            while not (detail := self._base.status().detail).startswith("stopped by") and time.monotonic() < until:
                time.sleep(0.02)
        except DeviceError as exc:
            return f"{why}; and its guard could not be told to stop the robot: {exc}"
        return f"the robot was {detail}" if why in detail else f"{why}; {detail}"


def _reading_script(client: PilotClient, *, watched: bool = True) -> str:
    """One script for all that is read, so that a reading is one command. A script that fails tells why."""
    watch = """
      if (!window.__labWatch) return { trouble: "the page was left or loaded anew" };
      if (window.__labWatch.trouble) return { trouble: window.__labWatch.trouble };
      if (document.hidden) return { trouble: "the page was hidden" };"""
    return f"""
    const ask = (what, text) => {{
      try {{ return new Function(text)(); }} catch (error) {{ throw new Error(what + " fails: " + error); }}
    }};
    try {{{watch if watched else ""}
      if (!ask("alive", {json.dumps(client.alive)})) return {{ trouble: "the page is cut off from its robot" }};
      return {{
        trouble: null, wheels: ask("wheels", {json.dumps(client.wheels)}),
        battery: {f'ask("battery", {json.dumps(client.battery)})' if client.battery else "1"},
      }};
    }} catch (error) {{ return {{ trouble: String(error.message) }}; }}
    """


def _numbers(told: dict[str, Any]) -> tuple[float, float, float]:
    wheels: Any = told.get("wheels")
    battery: Any = told.get("battery")
    if not (isinstance(wheels, list) and len(wheels) == 2):
        raise DeviceSilentError(f"wheels gives {wheels!r}, not [left, right] in metres")
    if not all(isinstance(each, int | float) and math.isfinite(each) for each in (*wheels, battery)):
        raise DeviceSilentError(f"wheels and battery give {wheels!r} and {battery!r}: those are no numbers")
    return float(wheels[0]), float(wheels[1]), float(battery)
