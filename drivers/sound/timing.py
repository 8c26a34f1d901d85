"""Finds what was lost, inserted or held up in a recording, by comparing its sample count with the clock."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from drivers.sound.types import DropOut, DropOutKind

Array = NDArray[np.float64]

SETTLE_S = 0.3


def time_faults(
    arrivals: Sequence[tuple[float, int]],
    sample_rate: int,
    own_pauses: Sequence[tuple[float, float]] = (),
    *,
    stall_s: float = 0.14,
    step_s: float = 0.03,
    window_s: float = 0.5,
) -> tuple[DropOut, ...]:
    """Drop-outs seen in when blocks arrived.

    `arrivals`: (seconds, frames received by then) after each block, in order. `own_pauses`: spans in which the
    receiving process itself did not run, and maybe the whole machine: a late arrival in them blames nobody else, but is
    told all the same, for a live client may have been disturbed just so. A shift of more than
    `step_s` between the earliest arrivals of the `window_s` before and behind a block is loss (late from then on) or
    insertion (early from then on); a block late by `stall_s` that the following make up for is a stall.
    """
    arrivals = _settled(arrivals)
    if len(arrivals) < 3:
        return ()
    times = np.array([time for time, _ in arrivals])
    frames = np.array([count for _, count in arrivals], dtype=float)
    lags = times - frames / sample_rate
    # The floor of the lag before and behind each gap between two blocks: bursts only ever raise single blocks.
    before, behind = _floors(times, lags, window_s)
    shifts = behind[1:] - before[:-1]
    gaps = np.diff(times)
    late = lags[1:] - before[:-1]
    found: list[DropOut] = []
    for first, last in _runs(np.abs(shifts) > step_s):
        shift = float(np.median(shifts[first : last + 1]))
        # A loss shows from its place onwards, an insertion up to it.
        place = first if shift > 0 else last
        kind = DropOutKind.LOST if shift > 0 else DropOutKind.INSERTED
        words = "fewer" if shift > 0 else "more"
        detail = f"{abs(shift) * sample_rate:.0f} samples {words} than the clock asks for"
        found.append(DropOut(kind, float(frames[place] - frames[0]) / sample_rate, abs(shift), detail))
    for place in map(int, np.flatnonzero((gaps > stall_s) & (late > stall_s) & (shifts <= step_s))):
        start, end = float(times[place]), float(times[place + 1])
        at = float(frames[place] - frames[0]) / sample_rate
        if _overlap(start, end, own_pauses) < (end - start) / 2:
            found.append(DropOut(DropOutKind.STALLED, at, end - start, "no sound came, then all of it at once"))
        else:
            found.append(DropOut(DropOutKind.PAUSED, at, end - start, "the recording process itself did not run"))
    return tuple(sorted(found, key=lambda drop: drop.start_s))


def _settled(arrivals: Sequence[tuple[float, int]]) -> Sequence[tuple[float, int]]:
    """Without the start, when servers hand out what had gathered before."""
    return [arrival for arrival in arrivals if arrival[0] >= arrivals[0][0] + SETTLE_S]


def _floors(times: Array, lags: Array, window_s: float) -> tuple[Array, Array]:
    """Twice (N,): the least lag among the blocks of the last `window_s` up to each, and of the next from each on.

    Gaps count as short ones: behind a long stall a window would otherwise see nothing but the stall's late blocks.
    """
    active = np.concatenate(([0.0], np.cumsum(np.minimum(np.diff(times), window_s / 10))))
    firsts = np.searchsorted(active, active - window_s)
    ends = np.searchsorted(active, active + window_s, side="right")
    before = np.array([lags[first : index + 1].min() for index, first in enumerate(firsts)])
    behind = np.array([lags[index:end].min() for index, end in enumerate(ends)])
    return before, behind


def _runs(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and last index of each unbroken run of true."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], flags.astype(np.int8), [0]))))
    return [(int(first), int(end) - 1) for first, end in zip(edges[::2], edges[1::2], strict=True)]


def _overlap(start: float, end: float, spans: Sequence[tuple[float, float]]) -> float:
    return sum(max(0.0, min(end, last) - max(start, first)) for first, last in spans)
