"""Stretches of time, and the runs of a mask that they are made from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, order=True)
class Interval:
    """From `start_s` up to `end_s`, seconds from the start of the signal."""

    start_s: float
    end_s: float

    @property
    def duration_s(self) -> float:
        return self.end_s - self.start_s


def runs(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(R, 2) begin and end (exclusive) of the stretches in which `mask`, (N,), holds."""
    padded = np.concatenate(([False], mask, [False]))
    edges = np.flatnonzero(padded[1:] != padded[:-1])
    return edges.reshape(-1, 2)


def joined(found: NDArray[np.int64], gap: int) -> NDArray[np.int64]:
    """The same runs, those joined that lie at most `gap` apart."""
    if len(found) < 2:
        return found
    apart = found[1:, 0] - found[:-1, 1] > gap
    begins = found[np.concatenate(([True], apart)), 0]
    ends = found[np.concatenate((apart, [True])), 1]
    return np.column_stack((begins, ends))


def as_intervals(found: NDArray[np.int64], rate: float) -> tuple[Interval, ...]:
    """Runs of samples (or frames) at `rate` hertz as seconds."""
    return tuple(Interval(float(begin) / rate, float(end) / rate) for begin, end in found)
