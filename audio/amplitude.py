"""What the samples alone tell: peak, power, crest, offset, clipping, noise floor, mutes and drop-outs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audio.intervals import Interval, as_intervals, joined, runs

Array = NDArray[np.float64]

FRAME_S = 0.02
FLOOR_PERCENTILE = 5.0  # of the frames' powers: below it only pauses lie
ZERO = 1.6e-5  # half a step of 16 bits
SHORTEST_DROPOUT_S = 0.002
EDGE_S = 0.005  # sound within this time before and after makes silence a drop-out
EDGE_BELOW_RMS_DB = 25.0
MUTE_BELOW_RMS_DB = 45.0
SHORTEST_MUTE_S = 1.0
_CLIPPED_RUN = 3  # samples at the extreme
_CLIPPED_RUNS = 3  # such runs: a single flat top may be chance
_SAME = 1e-4  # of the peak
_SHELL, _SHELL_STEPS = 2e-3, 1.4e-4  # of the peak, and at least four and a half steps of 16 bits


@dataclass(frozen=True, slots=True)
class Amplitude:
    """Levels in dB relative to full scale; power relative to a full-scale square wave (dBov), minus infinity for none.

    `dc`: mean, in full scales. `noise_floor_dbov`: power of the quietest 5 % of 20 ms frames. `clipping`: stretches in
    which tops are cut off flat; `clipped_ratio`: share of samples. `dropouts`: digital silence from 2 ms to 1 s that
    begins and ends in the middle of sound. `mutes`: at least 1 s that is 45 dB below the whole (pauses of that kind are
    told apart from a mute only with a reference).
    """

    peak_dbov: float
    rms_dbov: float
    crest_db: float
    dc: float
    noise_floor_dbov: float
    clipped_ratio: float
    clipping: tuple[Interval, ...]
    dropouts: tuple[Interval, ...]
    mutes: tuple[Interval, ...]


def measure_amplitude(signal: Array, sample_rate: int) -> Amplitude:
    """Measures `signal`, (N,) in [-1, 1] at `sample_rate` hertz. Raises ValueError when it is empty."""
    if signal.ndim != 1 or len(signal) == 0:
        raise ValueError(f"one channel with samples is needed, not shape {signal.shape}")
    peak = max(float(signal.max()), -float(signal.min()))
    power = float(signal @ signal) / len(signal)
    frames = _frame_powers(signal, max(round(FRAME_S * sample_rate), 1))
    clipped = _clipped(signal, peak)
    return Amplitude(
        _db(peak**2),
        _db(power),
        _db(peak**2) - _db(power) if power > 0 else 0.0,
        float(signal.mean()),
        _db(float(np.percentile(frames, FLOOR_PERCENTILE))),
        float(np.sum(clipped[:, 1] - clipped[:, 0])) / len(signal),
        as_intervals(joined(clipped, sample_rate // 10), sample_rate),
        _dropouts(signal, power, sample_rate) if power > 0 else (),
        _mutes(frames, power, sample_rate) if power > 0 else (),
    )


def _db(power: float) -> float:
    return 10 * math.log10(power) if power > 0 else -math.inf


def _frame_powers(signal: Array, length: int) -> Array:
    """(F,) mean power of each frame of `length` samples; the last, shorter one only when it is alone."""
    count = len(signal) // length
    if count == 0:
        return np.array([float(np.mean(signal**2))])
    frames = signal[: count * length].reshape(count, length)
    return np.asarray(np.einsum("ij,ij->i", frames, frames) / length)


def _clipped(signal: Array, peak: float) -> NDArray[np.int64]:
    """(R, 2) runs of samples that stay at the signal's own highest or lowest value."""
    if peak < 1e-3:  # steps of 16 bits make flat tops of their own in signals so weak
        return np.empty((0, 2), dtype=np.int64)
    margin = _SAME * peak
    tops = []
    shell = max(_SHELL * peak, _SHELL_STEPS)
    highest, lowest = float(signal.max()), float(signal.min())
    for extreme, at_top, near_top in (
        (highest, signal >= highest - margin, signal >= highest - shell),
        (lowest, signal <= lowest + margin, signal <= lowest + shell),
    ):
        # The weaker side of a signal that is not symmetric is not cut off. The top of a sine, even one of few steps,
        # has half as many samples as the shell just below it.
        if abs(extreme) < peak / 2 or np.count_nonzero(at_top) < np.count_nonzero(near_top) / 2:
            continue
        found = runs(at_top)
        found = found[found[:, 1] - found[:, 0] >= _CLIPPED_RUN]
        if len(found) >= _CLIPPED_RUNS:
            tops.append(found)
    if not tops:
        return np.empty((0, 2), dtype=np.int64)
    every = np.concatenate(tops)
    return every[np.argsort(every[:, 0])]


def _mutes(frames: Array, power: float, sample_rate: int) -> tuple[Interval, ...]:
    rate = sample_rate / max(round(FRAME_S * sample_rate), 1)
    found = runs(frames < power * 10 ** (-MUTE_BELOW_RMS_DB / 10))
    return as_intervals(found[(found[:, 1] - found[:, 0]) / rate >= SHORTEST_MUTE_S], rate)


def _dropouts(signal: Array, power: float, sample_rate: int) -> tuple[Interval, ...]:
    found = runs((signal <= ZERO) & (signal >= -ZERO))
    length = (found[:, 1] - found[:, 0]) / sample_rate
    inner = (found[:, 0] > 0) & (found[:, 1] < len(signal))
    found = found[(length >= SHORTEST_DROPOUT_S) & (length <= SHORTEST_MUTE_S) & inner]
    edge = max(round(EDGE_S * sample_rate), 1)
    least = power * 10 ** (-EDGE_BELOW_RMS_DB / 10)
    kept = [
        (begin, end)
        for begin, end in found
        if np.mean(signal[max(begin - edge, 0) : begin] ** 2) >= least
        and np.mean(signal[end : end + edge] ** 2) >= least
    ]
    return as_intervals(np.array(kept, dtype=np.int64).reshape(-1, 2), sample_rate)
