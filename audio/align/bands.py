"""The views of a signal that alignment works on: a low band, a high-band envelope, a fine band, and speech activity."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt
from scipy import signal as dsp

Floats = npt.NDArray[np.floating]
Single = npt.NDArray[np.float32]

FRAME_S = 0.064
HOP_S = 0.016
LOW_RATE = 4000
FINE_RATE = 16000
ENVELOPE_RATE = 500


@dataclass(frozen=True)
class Bands:
    """A signal as seen by alignment. Rates are exact even where the sample rate is no multiple of them."""

    low: Single  # 120 to 1800 Hz, tilted up by 6 dB per octave, at about 4 kHz
    low_rate: float
    fine: Single  # 120 Hz to 7 kHz, tilted likewise, at about 16 kHz or the signal's own rate
    fine_rate: float
    envelope: Single  # fourth root of the energy above 1.8 kHz, at envelope_rate: what fricatives leave
    envelope_rate: float


def split_bands(samples: Floats, sample_rate: int) -> Bands:
    """Return the bands of a signal (N,)."""
    fine, fine_rate = _resample(samples.astype(np.float32), float(sample_rate), FINE_RATE)
    low, low_rate = _resample(fine, fine_rate, LOW_RATE)
    low = _tilt(_filter(low, dsp.butter(3, [120, 1800], "bandpass", fs=low_rate, output="sos")))
    top = min(7000.0, 0.45 * fine_rate)
    high = _filter(fine, dsp.butter(2, [1900, top], "bandpass", fs=fine_rate, output="sos"))
    factor = max(round(fine_rate / ENVELOPE_RATE), 1)
    count = len(high) // factor
    energy = np.mean(np.square(high[: count * factor]).reshape(count, factor), axis=1)
    fine = _tilt(_filter(fine, dsp.butter(2, [120, top], "bandpass", fs=fine_rate, output="sos")))
    return Bands(low, low_rate, fine, fine_rate, np.sqrt(np.sqrt(energy)), fine_rate / factor)


@dataclass(frozen=True)
class Activity:
    """Which frames of the reference carry sound: frames of FRAME_S, HOP_S apart, the first starts at 0."""

    level_db: Floats  # (F,)
    active: npt.NDArray[np.bool_]  # (F,)

    @property
    def centres_s(self) -> Floats:
        """Return the middle of each frame (F,) in seconds."""
        return np.arange(len(self.active)) * HOP_S + FRAME_S / 2

    def stretches(self, longest_gap_s: float) -> list[tuple[float, float]]:
        """Return the active stretches (start s, end s), joined over gaps of at most `longest_gap_s`."""
        stretches: list[tuple[float, float]] = []
        for first, last in runs_of(self.active):
            start, end = first * HOP_S + (FRAME_S - HOP_S) / 2, (last - 1) * HOP_S + (FRAME_S + HOP_S) / 2
            if stretches and start - stretches[-1][1] <= longest_gap_s:
                stretches[-1] = (stretches[-1][0], end)
            else:
                stretches.append((start, end))
        return stretches


def find_activity(bands: Bands) -> Activity:
    """Return which frames are within 35 dB of the loud ones and stand out from a noise floor where there is one."""
    hop = HOP_S * bands.fine_rate
    power = np.concatenate([[0.0], np.cumsum(np.square(bands.fine, dtype=np.float64))])
    count = max(int((len(bands.fine) - FRAME_S * bands.fine_rate) // hop) + 1, 0)
    starts = np.round(np.arange(count) * hop).astype(np.int64)
    # A frame counts as active by its middle hop, so that stretches end where the sound ends.
    margin = round((FRAME_S - HOP_S) / 2 * bands.fine_rate)
    energy = power[starts + margin + round(hop)] - power[starts + margin]
    level = 10 * np.log10(np.maximum(energy / hop, 1e-20))
    if not count or level.max() <= -150:
        return Activity(level, np.zeros(count, dtype=bool))
    audible = level[level > -150]
    loud, floor = np.percentile(audible, 95), np.percentile(audible, 5)
    threshold = min(max(loud - 35, floor + 6), loud - 10)
    return Activity(level, level > threshold)


def runs_of(flags: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return the (first, end) index of each run of true flags (F,)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [(int(first), int(end)) for first, end in zip(edges[::2], edges[1::2], strict=True)]


def _resample(samples: Single, rate: float, wanted: int) -> tuple[Single, float]:
    if rate <= wanted:
        return samples, rate
    ratio = Fraction(wanted / rate).limit_denominator(500)
    out = dsp.resample_poly(samples, ratio.numerator, ratio.denominator, window=("kaiser", 5.0))
    return out.astype(np.float32, copy=False), rate * ratio.numerator / ratio.denominator


def _filter(samples: Single, sections: Floats) -> Single:
    return np.asarray(dsp.sosfilt(sections.astype(np.float32), samples), dtype=np.float32)


def _tilt(samples: Single) -> Single:
    """Return the first difference: without it pitch harmonics near 150 Hz would outweigh everything else."""
    return np.diff(samples, prepend=samples[:1])
