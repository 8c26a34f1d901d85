"""Plays and records through a sound program on another host (or this one): `pacat`/`parec` or `aplay`/`arecord`.

Sound goes through the program's standard input and output, so any way to run a command there serves, SSH first of all.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import TracebackType
from typing import IO, TYPE_CHECKING, Protocol, Self

import numpy as np

from drivers.clock import Clock, SystemClock
from drivers.errors import DeviceUnreachableError, SoundLoopError
from drivers.sound.comparison import LoopCheck, checked, damages, probe
from drivers.sound.pauses import PauseWatch
from drivers.sound.timing import time_faults
from drivers.sound.types import Array, Capture, DropOut, DropOutKind, Playback, Samples, as_samples

if TYPE_CHECKING:
    from drivers.ssh import SshHost

SAMPLE_BYTES = 4
START_TIMEOUT_S = 20.0
# What a network may hold a block up without its being the sound's fault.
NETWORK_STALL_S = 0.5
LEAD_S = 0.25
TAIL_S = 0.25


class RunningCommand(Protocol):
    """A process with pipes; `subprocess.Popen` is one."""

    @property
    def stdin(self) -> IO[bytes] | None: ...
    @property
    def stdout(self) -> IO[bytes] | None: ...
    @property
    def stderr(self) -> IO[bytes] | None: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def kill(self) -> None: ...


RemoteCommand = Callable[[Sequence[str]], RunningCommand]
"""Starts a command, given as a list of words, with pipes for its input, output and errors."""


def run_here(words: Sequence[str]) -> RunningCommand:
    """Start the command on this machine."""
    try:
        return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except OSError as exc:
        raise DeviceUnreachableError(f"`{shlex.join(words)}` could not be started: {exc}") from exc


def over_ssh(host: SshHost) -> RemoteCommand:
    """A RemoteCommand on a host, over its warm connection; nothing of it survives a lost link."""
    from drivers.ssh import PipedProcess  # noqa: PLC0415 - sound that needs no host does without

    return lambda words: PipedProcess(host.start(words))


class Program(StrEnum):
    """The family of sound programs on the host."""

    PULSE = "pulse"
    ALSA = "alsa"

    def record(self, device: str, sample_rate: int) -> list[str]:
        """The command that writes raw float32 samples of `device` to its output."""
        if self is Program.PULSE:
            sound = ["--raw", "--format=float32le", "--channels=1", "--latency-msec=20"]
            return ["parec", "--verbose", f"--device={device}", f"--rate={sample_rate}", *sound]
        return ["arecord", "-D", device, "-t", "raw", "-f", "FLOAT_LE", "-c", "1", "-r", str(sample_rate)]

    def play(self, device: str, sample_rate: int) -> list[str]:
        """The command that plays raw float32 samples from its input."""
        if self is Program.PULSE:
            sound = ["--raw", "--format=float32le", "--channels=1", "--latency-msec=1000"]
            return ["pacat", "--playback", "--verbose", f"--device={device}", f"--rate={sample_rate}", *sound]
        return ["aplay", "-D", device, "-t", "raw", "-f", "FLOAT_LE", "-c", "1", "-r", str(sample_rate)]


@dataclass(frozen=True, slots=True)
class SoundHost:
    """Where the sound programs run: how to start a command there, what to call it, and its environment."""

    run: RemoteCommand
    name: str
    program: Program = Program.PULSE
    environment: Mapping[str, str] = field(default_factory=dict)

    def start(self, words: Sequence[str]) -> RunningCommand:
        """Start a sound program there; its messages in English, for they are read."""
        settings = [f"{name}={value}" for name, value in {**self.environment, "LC_ALL": "C"}.items()]
        return self.run(["env", *settings, *words])


class _Messages:
    """Reads what a program says on its error output, with the time of each line."""

    def __init__(self, process: RunningCommand, clock: Clock) -> None:
        self.lines: list[tuple[float, str]] = []
        self._clock = clock
        self._source = process.stderr
        self._thread = threading.Thread(target=self._read, name="sound-messages", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        rest = b""
        while self._source is not None and (piece := self._source.read1(4096)):  # type: ignore[attr-defined] # IO[bytes] of a pipe is a BufferedReader
            # pacat rewrites its status line with carriage returns.
            *whole, rest = re.split(rb"[\r\n]+", rest + piece)
            now = self._clock.now()
            self.lines += [(now, line.decode(errors="replace")) for line in whole if line]

    def about(self, word: str) -> list[float]:
        """When lines with `word` in them came."""
        return [when for when, line in self.lines if word in line.lower()]

    def join(self) -> None:
        self._thread.join(timeout=2)

    def last(self) -> str:
        said = [line for _, line in self.lines if not line.startswith("Time:")]
        return " / ".join(said[-3:]) or "it said nothing"


class CommandTape:
    """A recording that runs on a host."""

    def __init__(self, host: SoundHost, device: str, sample_rate: int, clock: Clock) -> None:
        self.name = f"{device} on {host.name}"
        self._sample_rate = sample_rate
        self._clock = clock
        self._process = host.start(host.program.record(device, sample_rate))
        self._messages = _Messages(self._process, clock)
        self._blocks: list[bytes] = []
        self._bytes = 0
        self._arrivals: list[tuple[float, int]] = []
        self._changed = threading.Condition()
        self._ended = False
        self._capture: Capture | None = None
        self._pauses = PauseWatch(clock)
        self._reader = threading.Thread(target=self._read, name="sound-tape", daemon=True)
        self._reader.start()
        with self._changed:
            self._changed.wait_for(lambda: self._bytes > 0 or self._ended, START_TIMEOUT_S)
        if not self._bytes:
            self._finish()
            raise SoundLoopError(
                f"recording from {self.name} gave nothing: {self._messages.last()};"
                " see that the program is installed there and that the device exists"
            )

    def _read(self) -> None:
        source = self._process.stdout
        while source is not None and (piece := source.read1(65_536)):  # type: ignore[attr-defined] # IO[bytes] of a pipe is a BufferedReader
            with self._changed:
                self._blocks.append(piece)
                self._bytes += len(piece)
                self._arrivals.append((self._clock.now(), self._bytes // SAMPLE_BYTES))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _finish(self) -> None:
        self._pauses.stop()
        _end(self._process)
        self._reader.join(timeout=5)
        self._messages.join()
        _close_pipes(self._process)

    def stop(self) -> Capture:
        """End the recording, once what sounded until now has come in; what it holds. May be called again."""
        if self._capture is None:
            first, count = self._arrivals[0]
            due = count + round((self._clock.now() - first) * self._sample_rate)
            with self._changed:
                self._changed.wait_for(lambda: self._ended or self._bytes // SAMPLE_BYTES >= due, 1.0)
                died = self._ended
            now = self._clock.now()
            self._finish()
            self._capture = self._developed(now, died)
        return self._capture

    def _developed(self, now: float, died: bool) -> Capture:
        data = b"".join(self._blocks)
        samples = np.frombuffer(data[: len(data) - len(data) % SAMPLE_BYTES], dtype="<f4")
        arrivals = list(self._arrivals)
        if now - arrivals[-1][0] > NETWORK_STALL_S:
            arrivals.append((now, arrivals[-1][1]))
        start = min(when - count / self._sample_rate for when, count in arrivals)
        drops = [*time_faults(arrivals, self._sample_rate, self._pauses.pauses, stall_s=NETWORK_STALL_S)]
        for when in self._messages.about("overrun"):
            drops.append(DropOut(DropOutKind.OVERRUN, when - start, 0.0, "the program on the host says so"))
        if died:
            at = len(samples) / self._sample_rate
            drops.append(DropOut(DropOutKind.ENDED, at, 0.0, f"the program ended: {self._messages.last()}"))
        return Capture(self.name, samples, self._sample_rate, start, tuple(drops))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _play(host: SoundHost, device: str, samples: Samples, sample_rate: int, clock: Clock) -> Playback:
    lead, tail = round(LEAD_S * sample_rate), round(TAIL_S * sample_rate)
    data = np.concatenate([np.zeros(lead), samples, np.zeros(tail)]).astype("<f4").tobytes()
    duration = len(data) / SAMPLE_BYTES / sample_rate
    name = f"{device} on {host.name}"
    process = host.start(host.program.play(device, sample_rate))
    messages = _Messages(process, clock)
    began = clock.now()
    feeder = threading.Thread(target=_feed, args=(process, data), name="sound-feed", daemon=True)
    feeder.start()
    try:
        code: int | None = process.wait(timeout=clock.to_wall(duration + START_TIMEOUT_S))
    except subprocess.TimeoutExpired:
        code = None
    ended = clock.now()
    _end(process)
    feeder.join(timeout=5)
    messages.join()
    _close_pipes(process)
    if code and ended - began < LEAD_S:
        raise DeviceUnreachableError(
            f"playing into {name} failed: {messages.last()} (exit {code});"
            " see that the program is installed there and that the device exists"
        )
    starts = messages.about("stream started") or messages.about("playing raw data") or [began]
    start = starts[0] + LEAD_S
    # A pulse stream runs dry at its natural end too: that one is no fault.
    dry = [when for when in messages.about("underrun") if when < starts[0] + duration - TAIL_S / 2]
    drops = [DropOut(DropOutKind.UNDERRUN, when - start, 0.0, "the program on the host says so") for when in dry]
    if code is None:
        drops.append(DropOut(DropOutKind.STALLED, duration, ended - start - duration, "the program took no more sound"))
    elif code:
        drops.append(DropOut(DropOutKind.ENDED, ended - start, 0.0, f"the program ended: {messages.last()}"))
    return Playback(name, start, len(samples), sample_rate, tuple(drops))


def _feed(process: RunningCommand, data: bytes) -> None:
    # A program that ended is noticed by its exit code.
    with contextlib.suppress(OSError, ValueError):
        if process.stdin is not None:
            process.stdin.write(data)
            process.stdin.close()


def _end(process: RunningCommand) -> None:
    if process.poll() is None:
        process.kill()
    process.wait(timeout=10)


def _close_pipes(process: RunningCommand) -> None:
    for pipe in (process.stdin, process.stdout, process.stderr):
        with contextlib.suppress(OSError):
            if pipe is not None:
                pipe.close()


@dataclass(frozen=True, slots=True)
class CommandMicrophone:
    """A client's microphone on another host: plays into `sink` there.

    `loop`: where to listen to it meanwhile, if that is bit-identical (on pulse the microphone itself); "" on a card.
    """

    host: SoundHost
    sink: str
    loop: str = ""
    sample_rate: int = 48_000
    clock: Clock = field(default_factory=SystemClock)

    @property
    def name(self) -> str:
        return f"{self.loop or self.sink} on {self.host.name}"

    def play(self, sound: Array) -> Playback:
        """Play (N,) samples within -1 .. 1; with a loop, what came out is compared bit by bit."""
        samples = as_samples(sound)
        if not self.loop:
            return _play(self.host, self.sink, samples, self.sample_rate, self.clock)
        with CommandTape(self.host, self.loop, self.sample_rate, self.clock) as tape:
            played = _play(self.host, self.sink, samples, self.sample_rate, self.clock)
        heard = tape.stop()
        damaged = damages(samples, heard.samples, self.sample_rate)
        return replace(played, drop_outs=(*played.drop_outs, *heard.drop_outs, *damaged))

    def check(self) -> LoopCheck:
        """Play a second of noise and listen to it at the loop. Raises SoundLoopError without a loop."""
        if not self.loop:
            raise SoundLoopError(f"{self.name} has no loop to listen at: name the recording device that hears it")
        return _check(self.host, self.sink, self.loop, self.sample_rate, self.clock)


@dataclass(frozen=True, slots=True)
class CommandSpeaker:
    """A client's speaker on another host: recorded at `source`. `sink`: where a self-test plays into it, "" if none."""

    host: SoundHost
    source: str
    sink: str = ""
    sample_rate: int = 48_000
    clock: Clock = field(default_factory=SystemClock)

    @property
    def name(self) -> str:
        return f"{self.source} on {self.host.name}"

    def record(self) -> CommandTape:
        """Start to record; it records once this returns."""
        return CommandTape(self.host, self.source, self.sample_rate, self.clock)

    def check(self) -> LoopCheck:
        """Play a second of noise into the sink and record it. Raises SoundLoopError without a sink."""
        if not self.sink:
            raise SoundLoopError(f"{self.name} has no sink to play a self-test into: name the one it records")
        return _check(self.host, self.sink, self.source, self.sample_rate, self.clock)


def _check(host: SoundHost, sink: str, source: str, sample_rate: int, clock: Clock) -> LoopCheck:
    sent = probe(sample_rate)
    with CommandTape(host, source, sample_rate, clock) as tape:
        played = _play(host, sink, sent, sample_rate, clock)
    return checked(f"{source} on {host.name}", sent, played, tape.stop(), exact=host.program is Program.PULSE)
