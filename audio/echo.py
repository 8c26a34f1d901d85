"""Echo: how much of what one side says comes back to it, and how late."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft
from scipy.signal import fftconvolve

Array = NDArray[np.float64]

TAIL_S = 0.15  # of the echo path behind its strongest tap
LEAD_S = 0.005
_REGULARISATION = 1e-3  # of the mean power over frequency: where nothing was said, nothing can be known
_OUTSTANDING = 8.0  # times the spread of the other taps; a second of noise taps stays below 5


@dataclass(frozen=True, slots=True)
class Echo:
    """`delay_ms` from saying to hearing oneself; `return_loss_db`: level said minus level come back.

    Both None when no echo stands out; the loss is then at least `detectable_db`, at which an echo would just have been
    seen.
    """

    present: bool
    delay_ms: float | None
    return_loss_db: float | None
    detectable_db: float


def measure_echo(sent: Array, returned: Array, sample_rate: int, longest_delay_s: float = 1.0) -> Echo:
    """Looks for `sent`, (N,), in `returned`, (M,), both in [-1, 1] and recorded at the same time at the same rate.

    The echo path is estimated as the regularised quotient of cross- and auto-spectrum (Wiener), averaged over
    blocks, so speech of the other side at the same time does not matter much. Raises ValueError when `sent` is silent
    or shorter than half a second.
    """
    length = min(len(sent), len(returned))
    if length < sample_rate // 2:
        raise ValueError(f"at least half a second of both sides is needed, not {length / sample_rate:.2f} s")
    sent, returned = sent[:length], returned[:length]
    power = float(sent @ sent) / length
    if power <= 0:
        raise ValueError("nothing was said on the own side, so no echo can be measured")
    taps = min(round((longest_delay_s + TAIL_S) * sample_rate), length)
    path = _echo_path(sent, returned, taps)
    peak = int(np.argmax(np.abs(path)))
    spread = float(np.median(np.abs(path))) / 0.6745
    begin, end = max(peak - round(LEAD_S * sample_rate), 0), min(peak + round(TAIL_S * sample_rate), len(path))
    if spread == 0 and path[peak] == 0:
        return Echo(False, None, None, math.inf)
    detectable = -20 * math.log10(_OUTSTANDING * max(spread, 1e-9))
    if abs(path[peak]) < _OUTSTANDING * spread:
        return Echo(False, None, None, detectable)
    kept = path[begin:end].copy()
    kept[np.abs(kept) < 3 * spread] = 0.0
    echo = fftconvolve(sent, kept)[:length]
    loss = 10 * math.log10(power / max(float(echo @ echo) / length, 1e-20))
    return Echo(True, 1000 * peak / sample_rate, loss, detectable)


def _echo_path(sent: Array, returned: Array, taps: int) -> Array:
    """(taps,) the impulse response from `sent` to `returned`, lags of 0 and more, by blocks of `taps` samples."""
    size = next_fast_len(3 * taps, real=True)
    cross = np.zeros(size // 2 + 1, dtype=np.complex128)
    auto = np.zeros(size // 2 + 1)
    for start in range(0, len(sent), taps):
        said = rfft(sent[start : start + taps], size)
        heard = rfft(returned[start : start + 2 * taps], size)
        around = rfft(sent[start : start + 2 * taps], size)
        cross += np.conj(said) * heard
        auto += (np.conj(said) * around).real
    auto = np.maximum(auto, 0) + _REGULARISATION * np.mean(np.maximum(auto, 0))
    path: Array = irfft(cross / auto, size)[:taps]
    return path
