"""Follows a moving delay frame by frame: the likeliest path through the correlations at every lag (Viterbi)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from audio.align.bands import FRAME_S, HOP_S, Bands, Floats, Single
from audio.align.correlation import Ints, correlate_windows, rows_of, sliding_sums, span, take

REACH_S = 1.1  # how far the delay may be from the middle of the search
# What a change of lag costs, in units of a frame's evidence: a drifting clock, a jitter buffer, a break.
CREEP_COST, STEP_COST, JUMP_COST = 0.03, 1.0, 6.0
STEP_S = 0.016
IN_PAUSE = 0.4  # changes are likelier in pauses
BATCH = 64


def track(
    reference: Bands,
    degraded: Bands,
    frames: Ints,
    levels_db: Floats,
    *,
    middle_s: float,
    floor: float,
    anchors: tuple[float | None, float | None] = (None, None),
) -> Floats:
    """Return the likeliest lag in seconds (F,) of each frame (index into HOP_S steps, ascending).

    `anchors` are lags known just before the first and just after the last frame: leaving them costs a jump.
    """
    rate = reference.low_rate
    first = round((middle_s - REACH_S) * rate)
    count = 2 * round(REACH_S * rate) + 1
    reach = round(STEP_S * rate)
    weights = np.clip((levels_db - (levels_db.max() - 40)) / 25, 0.2, 1.0).astype(np.float32)
    scores = np.empty((len(frames), count), dtype=np.float32)
    total = _anchor(anchors[0], first, count, rate)
    for start in range(0, len(frames), BATCH):
        part = slice(start, start + BATCH)
        evidence = _evidence(reference, degraded, frames[part], (first, count), floor) * weights[part, None]
        for row, reward in enumerate(evidence, start):
            if row:
                ease = _ease(frames[row] - frames[row - 1])
                best = np.maximum(total, _highest_within(total, reach) - np.float32(STEP_COST * ease))
                creep = np.maximum(total[1:], total[:-1]) - np.float32(CREEP_COST * ease)
                np.maximum(best[1:], creep, out=best[1:])
                np.maximum(best[:-1], creep, out=best[:-1])
                np.maximum(best, total.max() - JUMP_COST * ease, out=best)
                total = best + reward
            else:
                total = total + reward
            scores[row] = total
    scores[-1] += _anchor(anchors[1], first, count, rate)
    return (_trace_back(scores, frames, reach) + first) / rate


def _highest_within(values: Single, reach: int) -> Single:
    """Return the highest value (N,) within `reach` places of each, from maxima over 2, 4, 8, ... places."""
    width, size = 2 * reach + 1, 1
    highest = np.full(len(values) + 2 * reach, -np.inf, dtype=np.float32)
    highest[reach : reach + len(values)] = values
    while 2 * size <= width:
        highest = np.maximum(highest[:-size], highest[size:])
        size *= 2
    return np.maximum(highest[: len(values)], highest[width - size : width - size + len(values)])


def _ease(steps: int) -> float:
    return 1.0 if steps <= 2 else IN_PAUSE


def _anchor(lag_s: float | None, first: int, count: int, rate: float) -> Single:
    start = np.zeros(count, dtype=np.float32)
    if lag_s is not None:
        start -= JUMP_COST
        index = round(lag_s * rate) - first
        start[max(index - 2, 0) : max(index + 3, 0)] = 0
    return start


def _trace_back(scores: Single, frames: Ints, reach: int) -> npt.NDArray[np.int64]:
    path = np.empty(len(scores), dtype=np.int64)
    path[-1] = int(np.argmax(scores[-1]))
    for row in range(len(scores) - 1, 0, -1):
        at, ease = int(path[row]), _ease(frames[row] - frames[row - 1])
        before = scores[row - 1]
        far = int(np.argmax(before))
        low = max(at - reach, 0)
        near = low + int(np.argmax(before[low : at + reach + 1]))
        low = max(at - 1, 0)
        creep = low + int(np.argmax(before[low : at + 2]))
        choices = [
            (float(before[at]), at),
            (float(before[creep]) - CREEP_COST * ease, creep),
            (float(before[near]) - STEP_COST * ease, near),
            (float(before[far]) - JUMP_COST * ease, far),
        ]
        path[row - 1] = max(choices, key=lambda choice: choice[0])[1]
    return path


def _evidence(reference: Bands, degraded: Bands, frames: Ints, lags: tuple[int, int], floor: float) -> Single:
    """Return how well each lag explains each frame (F, count): near the log-likelihood ratio of the correlation."""
    rate = reference.low_rate
    first, count = lags
    starts = np.round(frames * HOP_S * rate).astype(np.int64)
    offsets = np.full(len(frames), first)
    rho = correlate_windows(
        reference.low, degraded.low, starts, offsets, window=round(FRAME_S * rate), count=count, floor=floor
    )
    np.maximum(rho, 0, out=rho)
    squared = np.square(rho, out=rho)
    evidence = squared / (np.float32(1.15) - squared)
    return np.asarray(evidence + _envelope_evidence(reference, degraded, frames, lags), dtype=np.float32)


def _envelope_evidence(reference: Bands, degraded: Bands, frames: Ints, lags: tuple[int, int]) -> Single:
    """Return evidence (F, count) from the envelope above 1.8 kHz, at the lags of the low band."""
    (first, count), rate = lags, reference.low_rate
    own_rate = reference.envelope_rate
    window = round(2 * FRAME_S * own_rate)
    starts = np.round((frames * HOP_S - FRAME_S / 2) * own_rate).astype(np.int64)
    start = round(first / rate * own_rate)
    needed = int(np.ceil(count / rate * own_rate)) + 2
    template = take(reference.envelope, starts, window)
    begins = starts + start
    first_begin = int(begins.min())
    begins -= first_begin
    near = span(degraded.envelope, first_begin, first_begin + int(begins.max()) + window + needed - 1)
    around = rows_of(near, begins, window + needed - 1)
    # The correlation of envelopes is that of their changes: each window's own mean is taken away.
    template = template - template.mean(axis=1, keepdims=True)
    product = _sliding_products(template, around, needed)
    mean = sliding_sums(near, window) / window
    variance = sliding_sums(np.square(near), window) / window - mean**2
    spread = np.sqrt(np.maximum(variance, 1e-6 * mean.max() ** 2 + 1e-12) * window).astype(np.float32)
    spread = rows_of(spread, begins, needed)
    own = np.sqrt(np.sum(np.square(template), axis=1, keepdims=True)) + 1e-9
    rho = np.maximum(product / (spread * own), 0).astype(np.float32)
    squared = np.square(rho)
    evidence = np.float32(0.5) * squared / (np.float32(1.25) - squared)
    index = np.clip(np.round(((np.arange(count) + first) / rate) * own_rate).astype(int) - start, 0, needed - 1)
    return np.asarray(evidence[:, index])


def _sliding_products(template: Single, around: Single, count: int) -> Single:
    size = template.shape[1] + count - 1
    return np.asarray(
        np.fft.irfft(np.fft.rfft(around, size, axis=1) * np.conj(np.fft.rfft(template, size, axis=1)), size, axis=1)
    )[:, :count].astype(np.float32)
