"""Normalised cross-correlation of many short windows with their surroundings in another signal."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view
from scipy import fft

from audio.align.bands import Floats, Single

Ints = npt.NDArray[np.int64]


def take(samples: Single, starts: Ints, count: int) -> Single:
    """Return samples[start : start + count] for each start (F,) as rows (F, count), zeros beyond the ends."""
    if not len(starts):
        return np.zeros((0, count), dtype=np.float32)
    first = int(starts.min())
    return rows_of(span(samples, first, int(starts.max()) + count), starts - first, count)


def span(samples: Single, first: int, end: int) -> Single:
    """Return samples[first:end], zeros beyond the ends; `first` may be negative."""
    inside = samples[max(first, 0) : max(end, 0)]
    if len(inside) == end - first:
        return inside
    out = np.zeros(end - first, dtype=np.float32)
    out[max(-first, 0) :][: len(inside)] = inside
    return out


def rows_of(samples: Single, starts: Ints, count: int) -> Single:
    """Return samples[start : start + count] for each start (F,) as rows (F, count); all inside the signal."""
    return np.asarray(sliding_window_view(samples, count)[starts])


def sliding_sums(values: Single, window: int) -> Floats:
    """Return the sums over values[k : k + window] for each k it fits in."""
    totals = np.zeros(len(values) + 1)
    np.cumsum(values, dtype=np.float64, out=totals[1:])
    return np.asarray(totals[window:] - totals[:-window])


def correlate_windows(
    reference: Single, degraded: Single, starts: Ints, offsets: Ints, *, window: int, count: int, floor: float
) -> Single:
    """Return the normalised correlation (F, count) of reference windows with the degraded signal.

    Row f compares reference[starts[f] : + window] with degraded[starts[f] + offsets[f] + k : + window], k in
    0 .. count-1. `floor` is a power (mean square) of the degraded signal below which it counts as silence.
    """
    if not len(starts):
        return np.zeros((0, count), dtype=np.float32)
    template = take(reference, starts, window)
    begins = starts + offsets
    first = int(begins.min())
    begins -= first
    near = span(degraded, first, first + int(begins.max()) + window + count - 1)
    around = rows_of(near, begins, window + count - 1)
    size = fft.next_fast_len(window + count - 1, real=True)
    spectrum = fft.rfft(around, size, axis=1)
    spectrum *= np.conj(fft.rfft(template, size, axis=1))
    product = fft.irfft(spectrum, size, axis=1)[:, :count]
    # Rows overlap: the power in each window is computed once for all of them.
    loudness = np.maximum(sliding_sums(np.square(near), window), 0).astype(np.float32)
    power = rows_of(loudness, begins, count)
    own = np.sum(np.square(template), axis=1, keepdims=True)
    return np.asarray(product / np.sqrt((power + np.float32(window * floor)) * own + np.float32(1e-20)))


def peak_offset(left: Floats, middle: Floats, right: Floats) -> Floats:
    """Return where a parabola through three equally spaced values has its top: -0.5 .. 0.5 from the middle one."""
    curvature = left - 2 * middle + right
    with np.errstate(divide="ignore", invalid="ignore"):
        offset = np.where(curvature < 0, 0.5 * (left - right) / curvature, 0.0)
    return np.clip(offset, -0.5, 0.5)
