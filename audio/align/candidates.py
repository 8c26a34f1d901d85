"""Finds where in a recording a reference may start: the global delays worth looking at, and how much each explains."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import fft

from audio.align.bands import HOP_S, Activity, Bands, Floats
from audio.align.correlation import correlate_windows

WINDOW_S = 0.256
NEIGHBOURHOOD_S = 0.080
MOST_WINDOWS = 48
PEAKS = 6


@dataclass(frozen=True)
class Candidate:
    """A constant lag in seconds, and the mean squared correlation (0..1) of windows of speech near it."""

    lag_s: float
    support: float
    polarity: int  # -1: the recording's sign is inverted


def find_candidates(reference: Bands, degraded: Bands, activity: Activity) -> list[Candidate]:
    """Return candidate lags, the one that explains most first.

    Peaks of the waveform's correlation, whitened by half, are joined by those of the envelope's, which survive moving
    delay. Speech that repeats itself has a peak for each repetition: only the windows tell which covers more.
    """
    lags = _waveform_peaks(reference, degraded) + _envelope_peaks(reference, degraded)
    distinct: list[float] = []
    for lag in lags:
        if all(abs(lag - other) > NEIGHBOURHOOD_S / 2 for other in distinct):
            distinct.append(lag)
    measured = measure_support(reference, degraded, activity, np.array(distinct))
    return sorted(measured, key=lambda candidate: -candidate.support)


def measure_support(reference: Bands, degraded: Bands, activity: Activity, lags_s: Floats) -> list[Candidate]:
    """Return how much of the active speech each lag (K,) explains, within NEIGHBOURHOOD_S of it."""
    rate = reference.low_rate
    window = round(WINDOW_S * rate)
    frames = np.flatnonzero(activity.active)
    frames = frames[:: max(len(frames) // MOST_WINDOWS, 1)]
    starts = np.round((frames * HOP_S - 0.1) * rate).astype(np.int64)
    starts = np.unique(np.clip(starts, 0, max(len(reference.low) - window, 0)))
    floor = silence_floor(degraded)
    reach = round(NEIGHBOURHOOD_S * rate)
    candidates = []
    for lag in lags_s:
        offsets = np.full(len(starts), round(lag * rate) - reach)
        rho = correlate_windows(
            reference.low, degraded.low, starts, offsets, window=window, count=2 * reach + 1, floor=floor
        )
        highest, lowest = rho.max(axis=1), rho.min(axis=1)
        upright, inverted = float(np.mean(highest**4)), float(np.mean(lowest**4))
        candidates.append(Candidate(float(lag), max(upright, inverted), 1 if upright >= 0.8 * inverted else -1))
    return candidates


def silence_floor(bands: Bands) -> float:
    """Return the power in the low band under which a recording counts as silent, 60 to 40 dB below its loud parts.

    In between it is a little above the quietest parts that are not digital silence: what the noise of a muted part
    has in common with the reference is chance.
    """
    block = max(round(HOP_S * bands.low_rate), 1)
    count = len(bands.low) // block
    if not count:
        return 1e-12
    power = np.mean(np.square(bands.low[: count * block]).reshape(count, block), axis=1)
    loud = float(np.percentile(power, 98))
    sound = power[power > 1e-8 * loud]
    quiet = float(np.percentile(sound, 5)) if len(sound) else 0.0
    return max(min(max(2 * quiet, 1e-6 * loud), 1e-4 * loud), 1e-14)


def _waveform_peaks(reference: Bands, degraded: Bands) -> list[float]:
    # A slow clock or moving delay smears the peak of a long stretch, so parts of 10 s look for themselves.
    rate = reference.low_rate
    part = round(10 * rate)
    count = len(reference.low) // part
    if count <= 2:
        parts = [(0, len(reference.low))]
    else:
        middles = np.linspace(0, len(reference.low) - part, min(count, 5)).astype(int)
        parts = [(int(first), int(first) + part) for first in middles]
    peaks: list[float] = []
    for first, end in parts:
        product = _cross_correlation(reference.low[first:end], degraded.low, whiten=0.5)
        peaks += [(lag - first) / rate for lag in _highest(np.abs(product), end - first, round(0.01 * rate))]
    return peaks


def _envelope_peaks(reference: Bands, degraded: Bands) -> list[float]:
    rate = 125.0
    ours, theirs = (_speech_envelope(bands, rate) for bands in (reference, degraded))
    peaks: list[float] = []
    for row in range(len(ours)):
        product = _cross_correlation(ours[row], theirs[row], whiten=0.0)
        peaks += [lag / rate for lag in _highest(product, ours.shape[1], 5)[:3]]
    return peaks


def _speech_envelope(bands: Bands, rate: float) -> Floats:
    """Return the fourth root of energy (2, N) of the low and the high band at `rate`, without its slow part."""
    rows = []
    for samples, own_rate in ((np.abs(bands.low), bands.low_rate), (bands.envelope, bands.envelope_rate)):
        edges = np.round(np.arange(int(len(samples) / own_rate * rate) + 1) * own_rate / rate).astype(int)
        total = np.concatenate([[0.0], np.cumsum(samples, dtype=np.float64)])
        rows.append(np.diff(total[np.minimum(edges, len(samples))]))
    length = min(len(row) for row in rows)
    if not length:
        return np.zeros((2, 1))
    envelope = np.sqrt(np.array([row[:length] for row in rows]))
    return np.asarray(envelope - envelope.mean(axis=1, keepdims=True))


def _cross_correlation(ours: Floats, theirs: Floats, whiten: float) -> Floats:
    """Return sum_n ours[n] theirs[n + lag] for lag = -(N-1) .. M-1."""
    total = len(ours) + len(theirs)
    size = fft.next_fast_len(total, real=True)
    spectrum = np.conj(fft.rfft(ours, size)) * fft.rfft(theirs, size)
    if whiten:
        magnitude = np.abs(spectrum)
        spectrum /= (magnitude + 1e-4 * magnitude.max(initial=1e-30)) ** whiten
    product = fft.irfft(spectrum, size)
    return np.concatenate([product[size - (len(ours) - 1) :], product[: len(theirs)]])


def _highest(values: Floats, ours: int, apart: int) -> list[int]:
    """Return the lags of the highest peaks, at least `apart` from each other; values[ours - 1] is lag 0."""
    remaining = values.copy()
    found = []
    for _ in range(PEAKS):
        peak = int(np.argmax(remaining))
        if remaining[peak] <= 0:
            break
        found.append(peak - (ours - 1))
        remaining[max(peak - apart, 0) : peak + apart + 1] = -np.inf
    return found
