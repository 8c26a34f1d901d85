"""Microphones and speakers on real sound cards, through PortAudio (the sounddevice package)."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from types import ModuleType, TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from drivers.clock import Clock, SystemClock
from drivers.errors import DeviceUnreachableError, SoundLoopError
from drivers.sound.comparison import LoopCheck, checked, damages, probe
from drivers.sound.pauses import PauseWatch
from drivers.sound.timing import time_faults
from drivers.sound.types import Array, Capture, DropOut, DropOutKind, Playback, Samples, as_samples

START_TIMEOUT_S = 5.0
LEAD_S = 0.25
TAIL_S = 0.25


def library() -> ModuleType:
    """sounddevice, which loads PortAudio and looks for sound cards when first imported.

    Raises DeviceUnreachableError when either is not installed.
    """
    try:
        import sounddevice  # noqa: PLC0415 - takes a while and needs a system library that few programs want
    except (ImportError, OSError) as exc:
        raise DeviceUnreachableError(
            f"PortAudio could not be loaded: {exc}; on Debian: apt-get install libportaudio2; pip install sounddevice"
        ) from exc
    module: ModuleType = sounddevice
    return module


def rescan() -> None:
    """Look for sound cards again: PortAudio sees only those of its start. Ends every stream that runs."""
    module = library()
    module._terminate()
    module._initialize()


def _device(name: str | int, kind: str, sample_rate: int) -> int:
    """The number of the device with that name, exactly or in part, which can do what is asked."""
    module = library()
    try:
        found = module.query_devices(name, kind)
        check = module.check_input_settings if kind == "input" else module.check_output_settings
        check(device=found["index"], channels=1, dtype="float32", samplerate=sample_rate)
    except (ValueError, module.PortAudioError) as exc:
        there = ", ".join(repr(each["name"]) for each in module.query_devices()) or "none at all"
        raise DeviceUnreachableError(
            f"no {kind} device {name!r} at {sample_rate} Hz: {exc}; PortAudio sees {there}"
        ) from exc
    return int(found["index"])


class PortAudioTape:
    """A recording that runs on a sound card. `gain_db`: added to what is recorded, from the loop's calibration."""

    def __init__(self, device: str | int, sample_rate: int, clock: Clock, gain_db: float = 0.0) -> None:
        module = library()
        self.name = f"sound card {device}"
        self._sample_rate = sample_rate
        self._clock = clock
        self._factor = np.float32(10 ** (gain_db / 20))
        self._blocks: list[NDArray[np.float32]] = []
        self._frames = 0
        self._starts: list[float] = []
        self._arrivals: list[tuple[float, int]] = []
        self._overflows: list[int] = []
        self._first = threading.Event()
        self._capture: Capture | None = None
        self._stopped_early = False
        number = _device(device, "input", sample_rate)
        self._pauses = PauseWatch(clock)
        try:
            self._stream = module.InputStream(
                samplerate=sample_rate,
                device=number,
                channels=1,
                dtype="float32",
                latency="high",
                callback=self._sound_came,
            )
            self._stream.start()
        except module.PortAudioError as exc:
            self._pauses.stop()
            raise DeviceUnreachableError(f"{self.name} could not be opened to record: {exc}") from exc
        if not self._first.wait(START_TIMEOUT_S):
            self._pauses.stop()
            self._stream.close()
            raise SoundLoopError(f"{self.name} gave no sound within {START_TIMEOUT_S:.0f} s: is it muted or suspended?")

    def _sound_came(self, data: NDArray[np.float32], frames: int, times: Any, status: Any) -> None:
        now = self._clock.now()
        if status.input_overflow:
            self._overflows.append(self._frames)
        age = times.currentTime - times.inputBufferAdcTime
        self._starts.append(now - max(0.0, age) - self._frames / self._sample_rate)
        self._blocks.append(data[:, 0].copy())
        self._frames += frames
        self._arrivals.append((now, self._frames))
        self._first.set()

    def stop(self) -> Capture:
        """End the recording; what it holds. May be called again."""
        if self._capture is None:
            module = library()
            asked = self._clock.now()
            died = not self._stream.active
            try:
                self._stream.stop()
            except module.PortAudioError:
                died = True
            self._stream.close()
            self._pauses.stop()
            start = float(np.median(self._starts))
            drops = [
                DropOut(DropOutKind.OVERRUN, at / self._sample_rate, 0.0, "PortAudio says so") for at in self._overflows
            ]
            arrivals = list(self._arrivals)
            if asked - arrivals[-1][0] > 0.5:
                arrivals.append((asked, arrivals[-1][1]))
            drops += time_faults(arrivals, self._sample_rate, self._pauses.pauses, stall_s=0.3)
            if died:
                at = self._frames / self._sample_rate
                drops.append(DropOut(DropOutKind.ENDED, at, 0.0, "the device went away"))
            samples: Samples = np.concatenate(self._blocks) * self._factor
            self._capture = Capture(self.name, samples, self._sample_rate, start, tuple(drops))
        return self._capture

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _Player:
    """Hands PortAudio one signal, block by block."""

    def __init__(self, samples: Samples, sample_rate: int, clock: Clock) -> None:
        lead, tail = (
            np.zeros(round(LEAD_S * sample_rate), np.float32),
            np.zeros(round(TAIL_S * sample_rate), np.float32),
        )
        self.sound = np.concatenate([lead, samples, tail])
        self.at = 0
        self.done = threading.Event()
        self.underflows: list[int] = []
        self.starts: list[float] = []
        self._sample_rate = sample_rate
        self._clock = clock

    def fill(self, data: NDArray[np.float32], frames: int, times: Any, status: Any) -> None:
        # Many hosts report an underflow as they fill their buffers for the first time.
        if status.output_underflow and self.at:
            self.underflows.append(self.at)
        ahead = times.outputBufferDacTime - times.currentTime
        self.starts.append(self._clock.now() + max(0.0, ahead) - self.at / self._sample_rate)
        piece = self.sound[self.at : self.at + frames]
        data[: len(piece), 0] = piece
        data[len(piece) :, 0] = 0
        self.at += len(piece)
        if self.at >= len(self.sound):
            raise library().CallbackStop


def _play(device: str | int, samples: Samples, sample_rate: int, clock: Clock) -> Playback:
    module = library()
    name = f"sound card {device}"
    number = _device(device, "output", sample_rate)
    player = _Player(samples, sample_rate, clock)
    duration = len(player.sound) / sample_rate
    try:
        stream = module.OutputStream(
            samplerate=sample_rate,
            device=number,
            channels=1,
            dtype="float32",
            latency="high",
            callback=player.fill,
            finished_callback=player.done.set,
        )
        with stream:
            finished = player.done.wait(clock.to_wall(duration + START_TIMEOUT_S))
    except module.PortAudioError as exc:
        raise DeviceUnreachableError(f"{name} could not be played into: {exc}") from exc
    start = (float(np.median(player.starts)) if player.starts else clock.now()) + LEAD_S
    drops = [
        DropOut(DropOutKind.UNDERRUN, at / sample_rate - LEAD_S, 0.0, "PortAudio says so") for at in player.underflows
    ]
    if not finished or player.at < len(player.sound):
        at = player.at / sample_rate - LEAD_S
        drops.append(DropOut(DropOutKind.ENDED, at, 0.0, "the device took no more sound"))
    return Playback(name, start, len(samples), sample_rate, tuple(drops))


@dataclass(frozen=True, slots=True)
class PortAudioMicrophone:
    """A client's microphone behind a sound card's output: a cable, or a loudspeaker before it.

    `loop`: the input that hears it, for self-tests; `exact`: that loop is digital and bit-identical, so every play is
    compared with it. `gain_db`: applied before playing, from the loop's calibration (a check's -`gain_db`).
    """

    device: str | int
    loop: str | int = ""
    exact: bool = False
    gain_db: float = 0.0
    sample_rate: int = 48_000
    clock: Clock = field(default_factory=SystemClock)

    @property
    def name(self) -> str:
        return f"sound card {self.device}"

    def play(self, sound: Array) -> Playback:
        """Play (N,) samples; raises ValueError when they, with the gain applied, would clip."""
        samples = as_samples(np.asarray(sound, np.float32) * np.float32(10 ** (self.gain_db / 20)))
        if not self.exact:
            return _play(self.device, samples, self.sample_rate, self.clock)
        with PortAudioTape(self.loop, self.sample_rate, self.clock) as tape:
            played = _play(self.device, samples, self.sample_rate, self.clock)
        heard = tape.stop()
        damaged = damages(samples, heard.samples, self.sample_rate)
        return replace(played, drop_outs=(*played.drop_outs, *heard.drop_outs, *damaged))

    def check(self) -> LoopCheck:
        """Play a second of noise and listen at the loop. Raises SoundLoopError without one."""
        if self.loop == "":
            raise SoundLoopError(f"{self.name} has no loop to listen at: name the input that hears it")
        return _check(self.device, self.loop, self.sample_rate, self.clock, exact=self.exact)


@dataclass(frozen=True, slots=True)
class PortAudioSpeaker:
    """A client's speaker before a sound card's input. `loop`: the output that it hears, for self-tests."""

    device: str | int
    loop: str | int = ""
    exact: bool = False
    gain_db: float = 0.0
    sample_rate: int = 48_000
    clock: Clock = field(default_factory=SystemClock)

    @property
    def name(self) -> str:
        return f"sound card {self.device}"

    def record(self) -> PortAudioTape:
        """Start to record; it records once this returns."""
        return PortAudioTape(self.device, self.sample_rate, self.clock, self.gain_db)

    def check(self) -> LoopCheck:
        """Play a second of noise at the loop and record it. Raises SoundLoopError without one."""
        if self.loop == "":
            raise SoundLoopError(f"{self.name} has no loop to play a self-test into: name the output that it hears")
        return _check(self.loop, self.device, self.sample_rate, self.clock, exact=self.exact)


def _check(output: str | int, recorded: str | int, sample_rate: int, clock: Clock, *, exact: bool) -> LoopCheck:
    sent = probe(sample_rate)
    with PortAudioTape(recorded, sample_rate, clock) as tape:
        played = _play(output, sent, sample_rate, clock)
    return checked(f"sound card {recorded}", sent, played, tape.stop(), exact=exact)
