"""Active speech level and activity after ITU-T P.56 (12/2011), method B."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

Array = NDArray[np.float64]

TIME_CONSTANT_S = 0.03  # of each of the two smoothing stages (P.56, table 1)
HANGOVER_S = 0.2
MARGIN_DB = 15.9  # the threshold lies this far below the level of what exceeds it
_LOWEST_POWER_OF_TWO = -23  # 16-bit meters begin at -15; lower steps let signals 40 dB too quiet be measured
_BLOCK = 1 << 19  # samples in memory at once


@dataclass(frozen=True, slots=True)
class ActiveLevel:
    """What a P.56 speech voltmeter shows. Levels are in dB relative to a full-scale square wave (dBov).

    `level_dbov`: mean power while speech is active (minus infinity where nothing is). `ratio`: share of time that is
    active, 0..1. `long_term_dbov`: mean power of the whole. `threshold_dbov`: the envelope above which a sample counts
    as active. `duration_s`: how long the signal is.
    """

    level_dbov: float
    ratio: float
    long_term_dbov: float
    threshold_dbov: float
    duration_s: float


def active_speech_level(signal: Array, sample_rate: int) -> ActiveLevel:
    """Measures the active level of `signal`, (N,) in [-1, 1], at `sample_rate` hertz, after P.56 method B.

    The rectified signal is smoothed twice with 30 ms, samples whose envelope reached a threshold within the last
    200 ms count as active, and that threshold is sought, between powers of two, which lies 15.9 dB below the power of
    its own active samples. Silence has ratio 0 and level minus infinity. Works in blocks: memory does not grow with N.
    """
    if signal.ndim != 1:
        raise ValueError(f"one channel is needed, shape (N,), not {signal.shape}")
    if sample_rate <= 0:
        raise ValueError(f"the sample rate must be positive, not {sample_rate}")
    exponents = np.arange(_LOWEST_POWER_OF_TWO, 0, dtype=np.float64)
    energy, counts = _activity(signal, sample_rate, np.exp2(exponents))
    seconds = len(signal) / sample_rate
    silent = ActiveLevel(-math.inf, 0.0, -math.inf, -math.inf, seconds)
    if energy == 0:
        return silent
    long_term = 10 * math.log10(energy / len(signal))
    reached = counts > 0
    if not reached.any():
        return ActiveLevel(-math.inf, 0.0, long_term, -math.inf, seconds)
    levels: Array = 10 * np.log10(energy / counts[reached].astype(np.float64))
    thresholds: Array = 20 * math.log10(2) * exponents[reached]
    level, threshold = _where_margin_is_met(levels, thresholds)
    if not math.isfinite(level):
        return ActiveLevel(-math.inf, 0.0, long_term, -math.inf, seconds)
    return ActiveLevel(level, min(10 ** ((long_term - level) / 10), 1.0), long_term, threshold, seconds)


def envelope(signal: Array, sample_rate: int) -> Array:
    """(N,) the P.56 envelope: the rectified signal through two exponential averages of 30 ms."""
    g = math.exp(-1 / (sample_rate * TIME_CONSTANT_S))
    smoothed: Array = lfilter([(1 - g) ** 2], [1.0, -2 * g, g * g], np.abs(signal))
    return smoothed


def active_mask(signal: Array, sample_rate: int, level: ActiveLevel | None = None) -> NDArray[np.bool_]:
    """(N,) where speech is active: the envelope reached the threshold now or within the last 200 ms."""
    level = level or active_speech_level(signal, sample_rate)
    if not math.isfinite(level.threshold_dbov):
        return np.zeros(len(signal), dtype=np.bool_)
    above = envelope(signal, sample_rate) >= 10 ** (level.threshold_dbov / 20)
    index = np.arange(len(signal))
    last = np.maximum.accumulate(np.where(above, index, -len(signal)))
    mask: NDArray[np.bool_] = index - last <= _hangover(sample_rate)
    return mask


def _hangover(sample_rate: int) -> int:
    return math.ceil(HANGOVER_S * sample_rate)


def _activity(signal: Array, sample_rate: int, thresholds: Array) -> tuple[float, NDArray[np.int64]]:
    """The energy of the signal, and for each threshold how many samples are active."""
    g = math.exp(-1 / (sample_rate * TIME_CONSTANT_S))
    numerator, denominator = [(1 - g) ** 2], [1.0, -2 * g, g * g]
    state = np.zeros(2)
    hangover = _hangover(sample_rate)
    counts = np.zeros(len(thresholds), dtype=np.int64)
    left = np.zeros(len(thresholds), dtype=np.int64)  # hang-over that remains at the start of the block
    energy = 0.0
    for start in range(0, len(signal), _BLOCK):
        block = np.asarray(signal[start : start + _BLOCK], dtype=np.float64)
        energy += float(block @ block)
        smoothed, state = lfilter(numerator, denominator, np.abs(block), zi=state)
        peak = smoothed.max()
        for row, threshold in enumerate(thresholds):
            if threshold > peak:
                active = min(int(left[row]), len(block))
                counts[row] += active
                left[row] -= active
            else:
                counted, left[row] = _active_in_block(smoothed >= threshold, hangover, int(left[row]))
                counts[row] += counted
    return energy, counts


def _active_in_block(above: NDArray[np.bool_], hangover: int, left: int) -> tuple[int, int]:
    """Active samples of a block in which `above` holds somewhere, and the hang-over that remains after it."""
    edges = np.flatnonzero(above[1:] != above[:-1]) + 1
    bounds = np.concatenate(([0], edges, [len(above)]))
    lengths = np.diff(bounds)
    is_above = above[bounds[:-1]]
    gaps = lengths[~is_above]
    allowed = np.full(len(gaps), hangover)
    if not is_above[0]:
        allowed[0] = left
    counted = int(lengths[is_above].sum() + np.minimum(gaps, allowed).sum())
    remaining = hangover if is_above[-1] else max(int(allowed[-1] - gaps[-1]), 0)
    return counted, remaining


def _where_margin_is_met(levels: Array, thresholds: Array) -> tuple[float, float]:
    """Active level and threshold at which the first lies `MARGIN_DB` above the second, linear in dB between steps."""
    excess = levels - thresholds - MARGIN_DB
    below = np.flatnonzero(excess <= 0)
    if len(below) == 0:
        return -math.inf, -math.inf
    upper = int(below[0])
    if upper == 0:
        return (float(levels[0]), float(thresholds[0])) if excess[0] == 0 else (-math.inf, -math.inf)
    share = excess[upper - 1] / (excess[upper - 1] - excess[upper])
    level = levels[upper - 1] + share * (levels[upper] - levels[upper - 1])
    threshold = thresholds[upper - 1] + share * (thresholds[upper] - thresholds[upper - 1])
    return float(level), float(threshold)
