"""The band that a signal fills, and what telephony calls it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

Array = NDArray[np.float64]

_RESOLUTION_HZ = 50.0
_BUSY_PERCENTILE, _QUIET_PERCENTILE = 98.0, 5.0
_ABOVE_FLOOR_DB = 15.0  # steady noise, smoothed so, spreads by 8 to 12 dB
_BELOW_PEAK_DB = 60.0
_SMOOTH_HZ = 350.0
_FRAMES_AT_ONCE = 512


class Band(StrEnum):
    """The bands of ITU-T G.711, G.722, G.722.1 Annex C and G.719, by their upper edge."""

    NONE = "none"
    NARROW = "narrow-band"
    WIDE = "wide-band"
    SUPER_WIDE = "super-wide-band"
    FULL = "full-band"


# Half of the usual sample rates, and what the slope of a change of rate lets through.
_UPPER_EDGES = ((Band.NARROW, 4_800.0), (Band.WIDE, 9_000.0), (Band.SUPER_WIDE, 16_500.0), (Band.FULL, math.inf))


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """Lowest and highest frequency in hertz at which speech stands out of the noise; both 0 when it nowhere does."""

    low_hz: float
    high_hz: float
    band: Band


def measure_bandwidth(signal: Array, sample_rate: int) -> Bandwidth:
    """The band of `signal`, (N,) in [-1, 1].

    At each frequency the loudest moments (98th percentile of frames of 20 ms) must stand 15 dB above the quietest (5th
    percentile) and lie at most 60 dB below the strongest frequency. So a fricative at any time opens the band, and
    steady noise does not. A steady signal that fills its band all the time (noise, a tone) is measured by the second
    rule alone.
    """
    length = round(sample_rate / _RESOLUTION_HZ)
    nothing = Bandwidth(0.0, 0.0, Band.NONE)
    if len(signal) < 2 * length or not np.any(signal):
        return nothing
    power = _spectra(signal, length)
    loud, quiet = np.percentile(power, (_BUSY_PERCENTILE, _QUIET_PERCENTILE), axis=0)
    strong = loud >= loud.max() * 10 ** (-_BELOW_PEAK_DB / 10)
    varying = loud >= quiet * 10 ** (_ABOVE_FLOOR_DB / 10)
    best = int(np.argmax(loud))
    filled = strong & varying if varying[best] else strong
    bins = np.flatnonzero(filled[1:]) + 1
    if len(bins) == 0:
        return nothing
    low, high = float(bins[0]) * sample_rate / length, float(bins[-1]) * sample_rate / length
    return Bandwidth(low, high, next(band for band, edge in _UPPER_EDGES if high <= edge))


def _spectra(signal: Array, length: int) -> NDArray[np.float32]:
    """(F, B) smoothed power spectra of half-overlapping frames; of long signals only every so many, about 3000."""
    views = np.lib.stride_tricks.sliding_window_view(signal, length)[:: length // 2]
    views = views[:: max(len(views) // 3000, 1)]
    window = np.blackman(length + 1)[:-1]
    width = round(_SMOOTH_HZ / _RESOLUTION_HZ)
    parts = [
        uniform_filter1d(np.abs(np.fft.rfft(views[start : start + _FRAMES_AT_ONCE] * window, axis=1)) ** 2, width)
        for start in range(0, len(views), _FRAMES_AT_ONCE)
    ]
    return np.concatenate(parts).astype(np.float32)
