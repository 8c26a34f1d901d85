"""What alignment finds: where each part of the reference is in the recording, and what has no counterpart."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from audio.align.bands import Floats
from audio.align.warping import Piece, read_pieces


class SegmentKind(StrEnum):
    """What a part of the reference is, and whether it was found."""

    SPEECH = "speech"
    PAUSE = "pause"
    MISSING = "missing"


@dataclass(frozen=True)
class Segment:
    """A part of the reference, start_s to end_s, and its lag, linear from start to end.

    The lag of a missing part is where it would be if time went on in the recording (muted, garbled); NaN where the
    recording has no time for it (cut out, or nothing matched at all). `correlation` (0..1) is that of the waveform
    from 120 Hz to 7 kHz, 0 for pauses and missing parts.
    """

    start_s: float
    end_s: float
    lag_start_s: float
    lag_end_s: float
    correlation: float
    kind: SegmentKind


@dataclass(frozen=True)
class Utterance:
    """Speech between pauses of 200 ms or more, in reference time, with the median delay of what was found of it."""

    start_s: float
    end_s: float
    delay_ms: float


@dataclass(frozen=True)
class Interval:
    """From start_s to end_s, in seconds."""

    start_s: float
    end_s: float


@dataclass(frozen=True)
class Alignment:
    """How a recording runs against its reference. A lag is recording time minus reference time: positive is late."""

    sample_rate: int
    length: int  # samples of the reference
    delay_ms: float  # median over found speech; NaN where nothing was found
    drift_ppm: float  # how much slower the recording's clock ran the playing; NaN where it can't be told
    coverage: float  # share of the active speech of the reference that was found, 0..1
    segments: tuple[Segment, ...] = field(repr=False)
    utterances: tuple[Utterance, ...] = field(repr=False)
    inserted: tuple[Interval, ...] = field(repr=False)  # in recording time, its head and tail included

    def lag(self, times_s: Floats) -> Floats:
        """Return the lag in seconds (K,) at reference times (K,); NaN where nothing matched."""
        times = np.asarray(times_s, dtype=float)
        lags = np.full(times.shape, np.nan)
        if not self.segments:
            return lags
        starts = np.array([segment.start_s for segment in self.segments])
        index = np.clip(np.searchsorted(starts, times, side="right") - 1, 0, len(starts) - 1)
        ends = np.array([segment.end_s for segment in self.segments])
        first = np.array([segment.lag_start_s for segment in self.segments])
        last = np.array([segment.lag_end_s for segment in self.segments])
        found = np.array([segment.kind is not SegmentKind.MISSING for segment in self.segments])
        share = (times - starts[index]) / np.maximum(ends[index] - starts[index], 1e-9)
        inside = found[index] & (times >= starts[0]) & (times <= ends[-1])
        lags[inside] = (first[index] + share * (last - first)[index])[inside]
        return lags

    def warp(self, degraded: Floats) -> Floats:
        """Return the recording (M,) on the reference's time axis (N,), in its own level.

        Parts at a lag of whole samples are copied bit by bit, others read by windowed-sinc interpolation; changes
        of lag are cross-faded over 4 ms. Where the recording has no time for the reference there are zeros.
        """
        rate = self.sample_rate
        pieces = [
            Piece(
                round(segment.start_s * rate),
                round(segment.end_s * rate),
                segment.lag_start_s * rate,
                segment.lag_end_s * rate,
            )
            for segment in self.segments
            if np.isfinite(segment.lag_start_s)
        ]
        return read_pieces(np.asarray(degraded), pieces, self.length, round(0.002 * rate))
