"""What an action is given and gives back: the contract between the sequencer and whatever a step uses."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from pydantic import BaseModel

from drivers.protocols import PowerSwitch
from labctl.config import Lab

if TYPE_CHECKING:
    from drivers.ssh import SshHost

Parameters = TypeVar("Parameters", bound=BaseModel)
# The output by which an action says that a robot has left its place: broken off, somebody has to look after it.
SET_OUT = "set_out"


class Verdict(StrEnum):
    """How a step or a run ended; the worst of several counts."""

    PASSED = "passed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    ERRORED = "errored"

    @classmethod
    def worst(cls, verdicts: list[Verdict]) -> Verdict:
        """Of none: passed."""
        order = list(cls)
        return max(verdicts, key=order.index, default=cls.PASSED)


def storable(text: str) -> str:
    """A text as databases keep it: none half of a surrogate pair, and PostgreSQL no NUL."""
    return text.replace("\0", "\ufffd").encode(errors="replace").decode()


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a step, with a sentence for people where it is not plain success."""

    verdict: Verdict
    reason: str = ""

    def __post_init__(self) -> None:
        # It quotes whatever devices and programs say, and the verdict has to be written down all the same.
        object.__setattr__(self, "reason", storable(self.reason))


@dataclass(frozen=True, slots=True)
class Measurement:
    """A value with its unit (SI, or "1") and limits. What is not finite is no value, and no limit: None."""

    name: str
    value: float | None
    unit: str
    low: float | None = None
    high: float | None = None
    verdict: Verdict | None = None

    def __post_init__(self) -> None:
        for name in ("value", "low", "high"):
            number = getattr(self, name)
            if number is not None and not math.isfinite(number):
                object.__setattr__(self, name, None)


class Cancellation:
    """A wish that a step ends early; thread-safe."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[str], None]] = []
        self.reason = ""
        self.verdict = Verdict.CANCELLED

    @property
    def asked(self) -> bool:
        return self._asked.is_set()

    def ask(self, reason: str, verdict: Verdict = Verdict.CANCELLED) -> None:
        """The first reason counts. `verdict`: what the step's becomes."""
        with self._lock:
            if self._asked.is_set():
                return
            self.reason, self.verdict = reason, verdict
            self._asked.set()
            callbacks = tuple(self._callbacks)
        for callback in callbacks:
            callback(reason)

    def on_asked(self, callback: Callable[[str], None]) -> None:
        """Call back with the reason, at once when it was asked already."""
        with self._lock:
            self._callbacks.append(callback)
            asked = self._asked.is_set()
        if asked:
            callback(self.reason)

    def wait(self, timeout_s: float) -> bool:
        """Sleep, unless cancelled."""
        return self._asked.wait(timeout_s)


@dataclass(frozen=True, slots=True)
class BaseAddress:
    """How to reach a robot's guard with the right to drive: for `drivers.guard.GuardClient.connect`, in any process.

    `time_scale`: of the clock that its times are of, see `drivers.clock.clock_for_scale`.
    """

    robot: str
    url: str
    token: str | None
    fencing: int
    time_scale: float


class Bases(Protocol):
    """Where actions get a robot's guarded base."""

    def address(self, robot: str, fencing: int) -> BaseAddress:
        """Where to drive it, on the lease with that fencing number.

        Raises LabFailureError when the lease is over or the guard does not run.
        """

    def lease_ends_at(self, robot: str, fencing: int) -> float:
        """When to stop by, of `time.monotonic()`; moves with renewals, in the past once the lease is over."""


class Sessions(Protocol):
    """WebDriver sessions of runs, one for each device: opened by a step, used by those after it.

    Commands raise `devices.webdriver.WebDriverError`, LabFailureError where there is no session.
    """

    def open(self, run: str, device: str, holder: str, capabilities: dict[str, Any]) -> dict[str, Any]:
        """Begin the session on a device of a run, in the name of whom the job is of; the capabilities it got."""

    def is_open(self, run: str, device: str) -> bool:
        """Whether a step opened the device's session, and none closed it."""

    def call(self, run: str, device: str, method: str, path: str, body: dict[str, Any] | None) -> Any:
        """The value that a command at `path`, below the session, answers with."""

    def direct(self, run: str, device: str) -> AbstractContextManager[tuple[str, str]]:
        """Where the session is on the device's own server (URL before /session, id there), for commands that have no
        time to be recorded."""

    def close(self, run: str, device: str) -> None:
        """End the session; harmless where there is none."""

    def notes(self, run: str, device: str) -> dict[str, Any]:
        """What steps remember for each other while the session is open."""


class LabHost(Protocol):
    """A host of the lab with its power switch, if it has one."""

    @property
    def ssh(self) -> SshHost: ...
    @property
    def power(self) -> PowerSwitch | None: ...
    def wait_until_up(self, timeout_s: float, wait: Callable[[float], object]) -> None:
        """Back when it answers, or when `wait`, which sleeps, says True. Raises `drivers.ssh.HostUnreachableError`."""


class LabHosts(Protocol):
    """Where actions get the lab's hosts, on connections that are warm."""

    def get(self, name: str) -> LabHost:
        """The host of that name. Raises NotFoundError."""

    def private_in(self, folder: Path) -> Path | None:
        """What the daemon keeps to itself and a job must not copy along with `folder`; None where there is nothing."""


@dataclass(frozen=True)
class StepContext:
    """Everything a step may touch. `folder`: an empty folder of its own, gone afterwards.

    `output` gives later steps of the lane a JSON value by name, as `steps.ID.outputs.NAME`.
    """

    lab: Lab
    device: str
    roles: Mapping[str, str]
    fencing: int
    folder: Path
    workers: Executor
    bases: Bases
    hosts: LabHosts
    cancellation: Cancellation
    emit: Callable[[str, dict[str, Any]], None]  # kind without "step.", data
    measure: Callable[[list[Measurement]], None]
    keep: Callable[[Path, str, str], None]  # file, name, media type
    find: Callable[[str], Path]  # a file kept in this run, by name, or an uploaded one, by id; raises NotFoundError
    run: str
    lane: str
    output: Callable[[str, Any], None]
    sessions: Sessions
    holder: str  # whom the job is of


class Action(Protocol, Generic[Parameters]):
    """What `uses:` names. Raises `drivers.errors.DeviceError` or LabFailureError for causes on the lab's side."""

    parameters: type[Parameters]

    def run(self, context: StepContext, parameters: Parameters) -> Outcome: ...
