"""Keeps one robot's motion guard running and connected, and passes grants and emergency stops on to it."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import structlog

from drivers.clock import clock_for_scale
from drivers.errors import DeviceError
from drivers.guard import GuardClient, GuardProcess, GuardSettings
from drivers.remote_guard import RemoteGuardProcess
from drivers.ssh import SshHost
from drivers.types import BaseState, MotionStatus
from labctl.errors import LabFailureError, UnavailableError
from labctl.robots.orphans import end_orphan
from labctl.steps import BaseAddress

log = structlog.get_logger(__name__)
_LOOK_EVERY_S = 0.25
_BACK_OFF_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_STEADY_AFTER_S = 60.0


class RobotHealth(StrEnum):
    """Whether the robot can be used."""

    STARTING = "starting"
    READY = "ready"
    OFFLINE = "offline"


@dataclass(frozen=True, slots=True)
class _Lease:
    fencing: int
    deadline: float  # of time.monotonic()


@dataclass(frozen=True, slots=True)
class Place:
    """The host that a robot's devices hang on, where its guard runs, and the Python there."""

    host: SshHost
    python: str


class Robot:
    """One robot. `on_health` is called on each change with health and reason, from the supervising thread."""

    def __init__(
        self, settings: GuardSettings, on_health: Callable[[str, RobotHealth, str], None], place: Place | None = None
    ) -> None:
        self.settings = settings
        self.health = RobotHealth.STARTING
        self.reason = "its guard is starting"
        self.restarts = 0
        self._clock = clock_for_scale(settings.time_scale)
        self._on_health = on_health
        self._place = place
        self._guard: GuardProcess | RemoteGuardProcess | None = None
        self._stop = threading.Event()
        self._lock = threading.RLock()
        self._pressing = threading.Lock()  # never held while waiting for anything but the guard's first answer
        self._control: GuardClient | None = None
        self._lease: _Lease | None = None
        self._pressed: str | None = None
        self._told = True  # whether `on_health` took the latest
        self._thread = threading.Thread(target=self._supervise, name=f"robot {settings.name}", daemon=True)

    @property
    def name(self) -> str:
        return self.settings.name

    def start(self) -> None:
        """Begin to supervise."""
        self._thread.start()

    def close(self) -> None:
        """Stop the robot and end its guard."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    # Leases

    def grant(self, fencing: int, deadline: float) -> None:
        """The lease with `fencing` holds the robot until `deadline` of `time.monotonic()`; also renews."""
        with self._lock:
            if self._lease is not None and fencing < self._lease.fencing:
                return
            self._lease = _Lease(fencing, deadline)
            self._tell_lease()

    def release(self, fencing: int) -> None:
        """The lease is over: the guard stops the robot."""
        with self._lock:
            if self._lease is None or self._lease.fencing != fencing:
                return
            self._lease = None
            if self._control is not None:
                with contextlib.suppress(DeviceError):
                    self._control.release()

    def address(self, fencing: int) -> BaseAddress:
        """Where to drive it while the lease with `fencing` lasts. Raises LabFailureError when nobody can."""
        with self._lock:
            if self._lease is None or self._lease.fencing != fencing:
                raise LabFailureError(f"the lease with fencing number {fencing} no longer holds {self.name}")
            guard = self._guard
            if self._control is None or guard is None:
                raise LabFailureError(f"{self.name} is {self.health}: {self.reason}")
        return BaseAddress(self.name, guard.address, guard.settings.token, fencing, guard.settings.time_scale)

    def observed_at(self) -> BaseAddress | None:
        """Where to look on without a lease; None while its guard does not answer."""
        if self._control is None:
            return None
        settings = self.settings
        return BaseAddress(self.name, settings.listen[0], settings.token, 0, settings.time_scale)

    def lease_ends_at(self, fencing: int) -> float:
        """The end of the lease with `fencing`, of `time.monotonic()`; in the past when it is over."""
        lease = self._lease
        return lease.deadline if lease is not None and lease.fencing == fencing else -math.inf

    # Emergency stop

    def emergency_stop(self, reason: str) -> None:
        """Stop and latch.

        Raises UnavailableError when the guard does not take it now; then it is pressed as soon as one answers.
        """
        with self._pressing:
            control = self._control
            if control is None:
                self._pressed = reason
        if control is None:
            raise UnavailableError(f"{self.name} is {self.health} ({self.reason}): {_NOT_STOPPED}")
        try:
            control.emergency_stop(reason)
        except DeviceError as exc:
            self._pressed = reason
            raise UnavailableError(f"the guard of {self.name} did not take it ({exc}): {_NOT_STOPPED}") from exc

    def reset_emergency_stop(self, person: str, reason: str) -> None:
        """Take the latch off. Raises UnavailableError or `drivers.errors.MotionRefusedError`."""
        control = self._control
        if control is None:
            raise UnavailableError(f"{self.name} is {self.health}: {self.reason}")
        control.reset_emergency_stop(person, reason)

    def readings(self) -> tuple[BaseState | None, MotionStatus | None]:
        """What the motor board and the guard said last, where they said anything."""
        control = self._control
        if control is None:
            return None, None
        try:
            status = control.latest_status() or control.status()
            state = control.state()
        except DeviceError:
            return None, None if control is None else _status(control)
        return state, status

    # Supervision

    def _supervise(self) -> None:
        failures = 0
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                self._serve_guard()
            except (DeviceError, OSError, ValueError) as exc:
                self._set(RobotHealth.OFFLINE, str(exc))
            except Exception as exc:  # no thread to be had, say: nobody else would ever look after the robot again
                log.exception("a robot's guard could not be looked after; it is tried again", robot=self.name)
                self._set(RobotHealth.OFFLINE, f"looking after its guard failed: {exc!r}")
            if time.monotonic() - began > _STEADY_AFTER_S:
                failures = 0
            if self._stop.wait(_BACK_OFF_S[min(failures, len(_BACK_OFF_S) - 1)]):
                break
            failures += 1
            self.restarts += 1

    def _serve_guard(self) -> None:
        """Start the guard and stay until it ends, its connection is lost, or we are told to stop."""
        log_file = Path(self.settings.state_dir) / "guard.log"
        log_file.parent.mkdir(parents=True, exist_ok=True)
        with self._start_guard(log_file) as guard, guard.client(clock=self._clock) as control:
            control.latest_status()
            with self._lock:
                with self._pressing:
                    if self._pressed is not None:
                        control.emergency_stop(self._pressed)
                        self._pressed = None
                    self._control, self._guard = control, guard
                self._tell_lease()
            self._set(RobotHealth.READY, "")
            try:
                while not self._stop.wait(_LOOK_EVERY_S):
                    self._tell_health()
                    if not guard.running:
                        raise OSError(f"the guard of {self.name} ended; see {log_file}")
                    control.latest_status()
                    control.status()
            finally:
                with self._lock:
                    self._control = None

    def _start_guard(self, log_file: Path) -> GuardProcess | RemoteGuardProcess:
        if self._place is not None:
            return RemoteGuardProcess.start(self._place.host, self.settings, python=self._place.python, log=log_file)
        if (pid := end_orphan(Path(self.settings.listen[0].removeprefix("unix://")))) is not None:
            log.warning("ended a guard that an earlier daemon left behind", robot=self.name, pid=pid)
        return GuardProcess.start(self.settings, log=log_file)

    def _tell_lease(self) -> None:
        if self._control is not None and self._lease is not None:
            try:
                self._control.grant(self._lease.fencing, self._on_clock(self._lease.deadline))
            except DeviceError as exc:
                log.warning("the guard did not take a grant", robot=self.name, error=str(exc))

    def _on_clock(self, monotonic: float) -> float:
        """A time of `time.monotonic()` on the robot's own clock, which may run faster."""
        return self._clock.now() + (monotonic - time.monotonic()) / self._clock.to_wall(1.0)

    def _set(self, health: RobotHealth, reason: str) -> None:
        if (health, reason) != (self.health, self.reason):
            self.health, self.reason = health, reason
            log.info("robot health", robot=self.name, health=health.value, reason=reason)
            self._told = False
        self._tell_health()

    def _tell_health(self) -> None:
        """Until it is told: the database may be away, and the robot has to be looked after all the same."""
        if self._told:
            return
        try:
            self._on_health(self.name, self.health, self.reason)
            self._told = True
        except Exception as exc:
            log.warning(
                "a robot's health could not be noted; it is tried again", robot=self.name, error=str(exc).strip()
            )


_NOT_STOPPED = (
    "the emergency stop is NOT confirmed; it is pressed as soon as the guard answers. Use the one on the robot"
)


def _status(control: GuardClient) -> MotionStatus | None:
    try:
        return control.status()
    except DeviceError:
        return None
