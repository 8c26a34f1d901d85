"""Finds tones of known frequency: whether they are there, how strong, how clean, and when; also in noise."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audio.intervals import Interval, as_intervals, joined, runs

Array = NDArray[np.float64]

WINDOW_S = 0.2  # resolves 7.5 Hz: a tone 20 dB below white noise still stands out at 48 kHz
HOP_S = 0.025
PROMINENCE_DB = 13.0  # over the mean of the surroundings; noise alone reaches it once in e^20 windows
LEAD_DB = 6.0  # over every other line of the surroundings: a harmonic of a voice has neighbours as strong
SHORTEST_S = 0.5  # a spoken vowel rarely keeps its pitch to 1 % for so long
_SURROUNDINGS = 1.9  # up to this factor above and below: the next harmonics of a voice are in it, f / 2 is not
_MAIN_LOBE_BINS = 2  # of a Hann window, to either side
_FRAMES_AT_ONCE = 256
_PROMINENT, _LEADING = 10 ** (PROMINENCE_DB / 10), 10 ** (LEAD_DB / 10)
_NOTHING = 1e-20  # power: silence has no tone


@dataclass(frozen=True, slots=True)
class TonePresence:
    """What was found of the tone that should have `asked_hz`.

    `found`: it was there for at least `SHORTEST_S`. `intervals`: when. `ratio`: share of the whole time. The rest tells
    of those times (None where nothing was found): `frequency_hz` measured; `drift_hz_per_s` its slope;
    `level_dbov` power of the tone relative to a full-scale square wave; `snr_db` over everything else in the signal.
    """

    asked_hz: float
    found: bool
    intervals: tuple[Interval, ...]
    ratio: float
    frequency_hz: float | None
    drift_hz_per_s: float | None
    level_dbov: float | None
    snr_db: float | None


def find_tones(
    signal: Array, sample_rate: int, frequencies_hz: Iterable[float], tolerance: float = 0.01
) -> tuple[TonePresence, ...]:
    """Looks for each frequency in `signal`, (N,) in [-1, 1]; `tolerance`: how far off, as a share, it may be or drift.

    In each window of 200 ms the strongest line within the tolerance counts as the tone when it stands 13 dB above the
    mean of what surrounds it within an octave, and 6 dB above every other line there that is not looked for. Begin and
    end are where the tone's power has fallen by 6 dB: half the window sees it. Raises ValueError for frequencies that
    the sample rate cannot carry or a tolerance outside 0 .. 0.2.
    """
    asked = tuple(frequencies_hz)
    return tuple(_find(signal, sample_rate, frequency, asked, tolerance) for frequency in asked)


def _find(
    signal: Array, sample_rate: int, asked_hz: float, others_hz: tuple[float, ...], tolerance: float
) -> TonePresence:
    if not 2 / WINDOW_S < asked_hz < sample_rate / 2 / (1 + tolerance):
        raise ValueError(f"{asked_hz} Hz cannot be looked for at {sample_rate} Hz: 10 Hz to half the rate can")
    if not 0 < tolerance <= 0.2:
        raise ValueError(f"the tolerance must lie above 0 and up to 0.2, not {tolerance}")
    nothing = TonePresence(asked_hz, False, (), 0.0, None, None, None, None)
    frames = list(_frames(signal, sample_rate, asked_hz, others_hz, tolerance))
    if not frames:
        return nothing
    tone, line_hz, seen, total = (np.concatenate(parts) for parts in zip(*frames, strict=True))
    hop = round(HOP_S * sample_rate) / sample_rate
    rate = 1 / hop
    stretches = []
    for begin, end in joined(runs(seen), 2):
        plateau = np.median(tone[begin:end])
        inside = runs(tone[begin:end] >= plateau / 4)
        inside = joined(inside, 2) + begin
        stretches += [(first, last) for first, last in inside if (last - first) * hop >= SHORTEST_S]
    if not stretches:
        return nothing
    found = np.array(stretches)
    # Frame k is centred half a window after its start, and stands for one hop.
    duration = len(signal) / sample_rate
    whole = as_intervals(found, rate)
    shifted = tuple(_clamped(each, WINDOW_S / 2 - hop / 2, duration) for each in whole)
    mask = np.zeros(len(tone), dtype=np.bool_)
    for begin, end in found:
        mask[begin:end] = True
    steady = mask & (tone >= 0.5 * np.median(tone[mask]))
    level = float(np.mean(tone[steady]))
    rest = max(float(np.mean(total[steady])) - level, 1e-12 * level)
    times = np.flatnonzero(steady) * hop
    slope = float(np.polyfit(times, line_hz[steady], 1)[0]) if np.ptp(times) > 0 else 0.0
    return TonePresence(
        asked_hz,
        True,
        shifted,
        min(sum(each.duration_s for each in shifted) / duration, 1.0),
        float(np.average(line_hz[steady], weights=tone[steady])),
        slope,
        10 * math.log10(level),
        10 * math.log10(level / rest),
    )


def _clamped(interval: Interval, shift: float, duration: float) -> Interval:
    """Moved by `shift`; a tone that the first or last window sees reaches the end of the signal."""
    start, end = interval.start_s + shift, interval.end_s + shift
    return Interval(
        0.0 if start <= WINDOW_S / 2 else start, duration if end >= duration - WINDOW_S / 2 - HOP_S else end
    )


def _frames(
    signal: Array, sample_rate: int, asked_hz: float, others_hz: tuple[float, ...], tolerance: float
) -> Iterator[tuple[Array, Array, NDArray[np.bool_], Array]]:
    """In groups of windows: power of the line, its frequency, whether it is a tone, total power."""
    length = round(WINDOW_S * sample_rate)
    hop = round(HOP_S * sample_rate)
    if len(signal) < length:
        return
    window = np.hanning(length + 1)[:-1]
    views = np.lib.stride_tricks.sliding_window_view(signal, length)[::hop]
    # Twice the length: bins half as wide, so that the line's place can be told from three of them.
    size = 2 * length
    width = sample_rate / size
    lobe = 2 * _MAIN_LOBE_BINS
    low = max(math.floor(asked_hz * (1 - tolerance) / width), 1)
    high = math.ceil(asked_hz * (1 + tolerance) / width)
    bottom = max(math.floor(asked_hz / _SURROUNDINGS / width), 1)
    top = min(math.ceil(asked_hz * _SURROUNDINGS / width), size // 2)
    bins = np.arange(bottom, top + 1)
    expected = np.zeros(len(bins), dtype=np.bool_)
    for other in others_hz:
        if other != asked_hz:
            expected |= np.abs(bins * width - other) <= tolerance * other + (lobe + 1) * width
    scale = 2.0 / (np.sum(window) ** 2)  # a line's peak bin, squared, to the power of its sine
    for start in range(0, len(views), _FRAMES_AT_ONCE):
        block = views[start : start + _FRAMES_AT_ONCE]
        total = np.sum((block * window) ** 2, axis=1) / np.sum(window**2)
        power = np.abs(np.fft.rfft(block * window, size, axis=1)[:, bottom : top + 1]) ** 2 * scale
        peak = low - bottom + np.argmax(power[:, low - bottom : high - bottom + 1], axis=1)
        line, offset = _interpolated(power, np.clip(peak, 1, power.shape[1] - 2))
        near = (np.abs(bins[None, :] - bins[peak][:, None]) <= lobe + 1) | expected
        count = np.maximum(np.sum(~near, axis=1), 1)
        rest = np.where(near, 0.0, power)
        around = np.sum(rest, axis=1) / count
        loudest = np.max(rest, axis=1)
        seen = (line >= _PROMINENT * np.maximum(around, _NOTHING)) & (line >= _LEADING * loudest)
        yield line, (bins[peak] + offset) * width, seen, total


def _interpolated(power: Array, peak: NDArray[np.int64]) -> tuple[Array, Array]:
    """Height and place (bins from the peak) of the parabola through the logarithms of three bins."""
    rows = np.arange(len(power))
    left, middle, right = (np.log(np.maximum(power[rows, peak + step], 1e-30)) for step in (-1, 0, 1))
    curvature = left - 2 * middle + right
    offset = np.where(curvature < 0, 0.5 * (left - right) / np.where(curvature < 0, curvature, -1.0), 0.0)
    offset = np.clip(offset, -1, 1)
    return np.exp(middle - 0.25 * (left - right) * offset), offset
