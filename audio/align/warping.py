"""Reads a signal along a piecewise linear lag: exact copies where it can, windowed sinc where it must."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from audio.align.bands import Floats

TAPS = 32
PHASES = 1024
BLOCK = 1 << 16
WHOLE = 1e-3  # samples: lags this near to whole ones are read without interpolation


@dataclass(frozen=True)
class Piece:
    """Samples start .. end of the result, read at a lag that goes linearly from lag_start to lag_end (in samples)."""

    start: int
    end: int
    lag_start: float
    lag_end: float

    def lag_at(self, positions: Floats) -> Floats:
        """Return the lag at positions (K,), in line beyond the ends too."""
        slope = (self.lag_end - self.lag_start) / max(self.end - self.start, 1)
        return self.lag_start + (positions - self.start) * slope

    def follows(self, other: Piece) -> bool:
        """Return whether the reading goes on from `other` without a break."""
        return other.end == self.start and abs(other.lag_end - self.lag_start) < 0.02


def read_pieces(samples: Floats, pieces: Sequence[Piece], length: int, fade: int) -> Floats:
    """Return the result (length,): pieces cross-faded over `fade` samples either side of where they break."""
    result = np.zeros(length, dtype=samples.dtype if samples.dtype.kind == "f" else np.float64)
    for index, piece in enumerate(pieces):
        before = pieces[index - 1] if index else None
        after = pieces[index + 1] if index + 1 < len(pieces) else None
        fades_in = before is not None and before.end == piece.start and not piece.follows(before)
        fades_out = after is not None and after.start == piece.end and not after.follows(piece)
        room = piece.end - piece.start
        rise = min(fade, room // 2, (before.end - before.start) // 2) if fades_in and before else 0
        fall = min(fade, room // 2, (after.end - after.start) // 2) if fades_out and after else 0
        start, end = max(piece.start - rise, 0), min(piece.end + fall, length)
        part = _read(samples, piece, start, end)
        if rise:
            ramp = _ramp(2 * rise)[-min(2 * rise, len(part)) :]
            part[: len(ramp)] *= ramp
        if fall:
            ramp = _ramp(2 * fall)[::-1][: min(2 * fall, len(part))]
            part[-len(ramp) :] *= ramp
        if rise or fall:
            result[start:end] += part
        else:
            result[start:end] = part
    return result


def _ramp(count: int) -> Floats:
    return np.asarray(np.sin(0.5 * np.pi * (np.arange(count) + 0.5) / count) ** 2)


def _read(samples: Floats, piece: Piece, start: int, end: int) -> Floats:
    steady = abs(piece.lag_end - piece.lag_start) < WHOLE
    whole = round(piece.lag_start)
    if steady and abs(piece.lag_start - whole) < WHOLE:
        return _slice(samples, start + whole, end + whole).copy()
    out = np.empty(max(end - start, 0), dtype=samples.dtype if samples.dtype.kind == "f" else np.float64)
    if steady:
        first = int(np.floor(piece.lag_start))
        kernel = _kernel(np.array([piece.lag_start - first]))[0]
        around = _slice(samples, start + first - TAPS // 2 + 1, end + first + TAPS // 2)
        out[:] = np.convolve(around, kernel[::-1], mode="valid") if len(out) else 0
        return out
    table = _kernel(np.arange(PHASES + 1) / PHASES).astype(out.dtype)
    for first_out in range(start, end, BLOCK):
        positions = np.arange(first_out, min(first_out + BLOCK, end), dtype=np.float64)
        positions += piece.lag_at(positions)
        low = np.floor(positions)
        phase = np.round((positions - low) * PHASES).astype(np.intp)
        base = int(low[0]) - TAPS // 2 + 1
        around = _slice(samples, base, int(low[-1]) + TAPS // 2 + 1)
        index = low.astype(np.intp) - int(low[0])
        total = np.zeros(len(positions), dtype=out.dtype)
        for tap in range(TAPS):
            total += table[:, tap][phase] * around[index + tap]
        out[first_out - start : first_out - start + len(total)] = total
    return out


def _slice(samples: Floats, start: int, end: int) -> Floats:
    """Return samples[start:end] with zeros where there are none."""
    inside = samples[max(start, 0) : max(end, 0)]
    missing_before = min(max(-start, 0), max(end - start, 0))
    missing_after = max(end - start - missing_before - len(inside), 0)
    if not missing_before and not missing_after:
        return inside
    return np.concatenate([np.zeros(missing_before, samples.dtype), inside, np.zeros(missing_after, samples.dtype)])


def _kernel(fractions: Floats) -> Floats:
    """Return Kaiser-windowed sinc weights (K, TAPS) that read at each fraction (0..1) after the middle-left tap."""
    offsets = np.arange(TAPS) - (TAPS // 2 - 1) - fractions[:, None]
    window = np.i0(9.0 * np.sqrt(np.maximum(1 - (offsets / (TAPS / 2)) ** 2, 0))) / np.i0(9.0)
    weights = np.sinc(offsets) * window
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))
