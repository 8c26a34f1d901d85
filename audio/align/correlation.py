"""Normalised cross-correlation of many short windows with their surroundings in another signal."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import fft

from audio.align.bands import Floats, Single

Ints = npt.NDArray[np.int64]


def take(samples: Single, starts: Ints, count: int) -> Single:
    """Return samples[start : start + count] for each start (F,) as rows (F, count), zeros beyond the ends."""
    index = starts[:, None] + np.arange(count)
    inside = (index >= 0) & (index < len(samples))
    if len(samples) == 0:
        return np.zeros(index.shape, dtype=np.float32)
    return np.where(inside, samples[np.clip(index, 0, len(samples) - 1)], np.float32(0))


def correlate_windows(
    reference: Single, degraded: Single, starts: Ints, offsets: Ints, *, window: int, count: int, floor: float
) -> Single:
    """Return the normalised correlation (F, count) of reference windows with the degraded signal.

    Row f compares reference[starts[f] : + window] with degraded[starts[f] + offsets[f] + k : + window], k in
    0 .. count-1. `floor` is a power (mean square) of the degraded signal below which it counts as silence.
    """
    template = take(reference, starts, window)
    around = take(degraded, starts + offsets, window + count - 1)
    size = fft.next_fast_len(window + count - 1, real=True)
    spectrum = fft.rfft(around, size, axis=1)
    spectrum *= np.conj(fft.rfft(template, size, axis=1))
    product = fft.irfft(spectrum, size, axis=1)[:, :count]
    energy = np.zeros((len(starts), around.shape[1] + 1))
    np.cumsum(np.square(around), axis=1, dtype=np.float64, out=energy[:, 1:])
    power = (energy[:, window:] - energy[:, :-window]).astype(np.float32)
    np.maximum(power, 0, out=power)
    own = np.sum(np.square(template), axis=1, keepdims=True)
    return np.asarray(product / np.sqrt((power + np.float32(window * floor)) * own + np.float32(1e-20)))


def peak_offset(left: Floats, middle: Floats, right: Floats) -> Floats:
    """Return where a parabola through three equally spaced values has its top: -0.5 .. 0.5 from the middle one."""
    curvature = left - 2 * middle + right
    with np.errstate(divide="ignore", invalid="ignore"):
        offset = np.where(curvature < 0, 0.5 * (left - right) / curvature, 0.0)
    return np.clip(offset, -0.5, 0.5)
