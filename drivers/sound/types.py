"""What sound drivers hand around: playbacks, captures and the drop-outs in them. Samples are mono, full scale +-1."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from drivers.errors import SoundLoopError

Samples = NDArray[np.float32]
Array = NDArray[np.float64] | NDArray[np.float32]


class DropOutKind(StrEnum):
    """How sound was lost or disturbed on the lab's side."""

    UNDERRUN = "underrun"
    """The player's data came too late; the server put in silence."""
    OVERRUN = "overrun"
    """The recorder took its data too late; the server threw some away."""
    LOST = "lost"
    """Samples are missing: fewer came than the time that passed."""
    INSERTED = "inserted"
    """Samples are too many: more came than the time that passed."""
    STALLED = "stalled"
    """The server or sound card stood still, then caught up: nothing is lost, but a live client was disturbed."""
    PAUSED = "paused"
    """The recording process itself did not run for a while, and maybe the whole machine: nothing is lost."""
    SUSPENDED = "suspended"
    """Somebody suspended the sink or source."""
    DAMAGED = "damaged"
    """What was heard behind the loop differs from what was sent."""
    SILENT = "silent"
    """Nothing was heard at all where something was sent."""
    ENDED = "ended"
    """The server, program or device went away in the middle."""


@dataclass(frozen=True, slots=True)
class DropOut:
    """One disturbance: when it began and how long it was, in seconds since the stream's first sample."""

    kind: DropOutKind
    start_s: float
    duration_s: float
    detail: str

    def __str__(self) -> str:
        return f"{self.kind} at {self.start_s:.3f} s for {self.duration_s * 1000:.0f} ms ({self.detail})"


def require_intact(what: str, drop_outs: tuple[DropOut, ...]) -> None:
    """Raises SoundLoopError that lists `drop_outs` when there are any."""
    if drop_outs:
        shown = "; ".join(str(drop) for drop in drop_outs[:5])
        more = f"; and {len(drop_outs) - 5} more" if len(drop_outs) > 5 else ""
        raise SoundLoopError(
            f"{what}: the lab's own sound path dropped out: {shown}{more}."
            " This says nothing about the device under test: free the machine of other load and run again"
        )


@dataclass(frozen=True, slots=True, eq=False)
class Playback:
    """What became of one play: `start_time` is when the first sample left, in seconds of the driver's clock."""

    endpoint: str
    start_time: float
    frames: int
    sample_rate: int
    drop_outs: tuple[DropOut, ...] = ()

    def require_intact(self) -> None:
        """Raises SoundLoopError when anything dropped out."""
        require_intact(f"playing into {self.endpoint}", self.drop_outs)


@dataclass(frozen=True, slots=True, eq=False)
class Capture:
    """A recording: (N,) float32 samples and when the first was taken, in seconds of the driver's clock."""

    endpoint: str
    samples: Samples
    sample_rate: int
    start_time: float
    drop_outs: tuple[DropOut, ...] = ()

    @property
    def duration_s(self) -> float:
        return len(self.samples) / self.sample_rate

    def between(self, start: float, end: float) -> Samples:
        """The samples taken from `start` to `end`, seconds of the driver's clock, as far as they were recorded."""
        first = max(0, round((start - self.start_time) * self.sample_rate))
        last = max(first, round((end - self.start_time) * self.sample_rate))
        return self.samples[first:last]

    def require_intact(self) -> None:
        """Raises SoundLoopError when anything dropped out."""
        require_intact(f"recording from {self.endpoint}", self.drop_outs)


def as_samples(sound: Array) -> Samples:
    """`sound` as contiguous float32.

    Raises ValueError when it is no (N,) array of finite numbers within full scale, or empty.
    """
    samples = np.ascontiguousarray(sound, dtype=np.float32)
    if samples.ndim != 1 or not len(samples):
        raise ValueError(f"sound must be a one-dimensional array with samples in it, not of shape {samples.shape}")
    peak = float(np.max(np.abs(samples)))
    if not peak <= 1.0:
        raise ValueError(f"sound must be finite and within -1 .. 1; its peak is {peak:g}, which would be clipped")
    return samples
