"""Capabilities: what a driver offers, whatever its wire protocol. Domain libraries depend on these alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import IO, TYPE_CHECKING, Protocol, Self, runtime_checkable

from drivers.types import BaseGeometry, BaseState, MotionStatus, Pose, Scan

if TYPE_CHECKING:  # the motion guard imports this file and must stay small
    from types import TracebackType

    from drivers.sound.comparison import LoopCheck
    from drivers.sound.types import Array, Capture, Playback
    from drivers.ssh.process import Completed, OnOutput


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


@runtime_checkable
class Microphone(Protocol):
    """A mock microphone: what is played into it is what the client on it hears."""

    @property
    def name(self) -> str: ...

    @property
    def sample_rate(self) -> int:
        """Hertz of all sound given to `play`."""

    def play(self, sound: Array) -> Playback:
        """Play (N,) mono samples within -1 .. 1, 1 being full scale; back when the last has left.

        What dropped out on the lab's side is in the answer's `drop_outs`. Raises ValueError for sound that would clip,
        `drivers.errors.DeviceError` when nothing could be played.
        """

    def check(self) -> LoopCheck:
        """Self-test of the loop: play a known signal and listen. A client on the microphone hears it: check before."""


@runtime_checkable
class Tape(Protocol):
    """A recording that runs; as a context it stops at the end."""

    def stop(self) -> Capture:
        """End it; what it holds, with what dropped out on the lab's side. The same again when called again."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@runtime_checkable
class Speaker(Protocol):
    """A mock speaker: what a client plays into it can be recorded."""

    @property
    def name(self) -> str: ...

    @property
    def sample_rate(self) -> int:
        """Hertz of all recordings."""

    def record(self) -> Tape:
        """Start to record; it records once this returns. Raises `drivers.errors.DeviceError` when it cannot."""

    def check(self) -> LoopCheck:
        """Self-test of the loop: play a known signal and listen."""


@runtime_checkable
class Shell(Protocol):
    """A machine that runs commands for us."""

    @property
    def title(self) -> str:
        """What messages call it."""

    def exec(
        self,
        command: str | Sequence[str],
        *,
        stdin: bytes | IO[bytes] | None = None,
        timeout_s: float | None = None,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        on_output: OnOutput | None = None,
        keep_bytes: int = 8 << 20,
        check: str = "",
    ) -> Completed:
        """Run a command to its end: a line for its shell, or words that no shell looks at.

        Raises `drivers.ssh.SshError`: CommandTimeoutError after `timeout_s` (it was killed), LinkLostError, and with
        `check`, which says what the command is for, CommandFailedError when its exit status is not 0.
        """


@runtime_checkable
class PowerSwitch(Protocol):
    """What gives a device its power. Methods raise `drivers.errors.DeviceError` when the switch does not obey."""

    @property
    def name(self) -> str:
        """What messages call it."""

    def on(self) -> None:
        """Switch on; back when the switch says that it is."""

    def off(self) -> None:
        """Switch off; back when the switch says that it is."""

    def state(self) -> bool | None:
        """Whether it is on; None when the switch cannot know."""
