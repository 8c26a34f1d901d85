"""The short way for calls whose delay stays: one line of lag, verified window by window."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from audio.align.bands import HOP_S, Activity, Bands, Floats
from audio.align.correlation import correlate_windows, peak_offset, take

WINDOW_S = 0.256
STEP_S = 0.128
REACH_S = 0.014
BLOCK_S = 8.0  # a clock 1000 ppm off moves by 8 ms from block to block


@dataclass(frozen=True)
class SteadyFit:
    """A line of lag over the reference: lag_s + slope * time, and which windows of speech keep to it."""

    lag_s: float
    slope: float
    times_s: Floats  # (W,) middles of the windows
    agrees: npt.NDArray[np.bool_]  # (W,)
    heard: int  # how many of those that agree are not silent in the recording: only they speak for the line

    def at(self, times_s: Floats) -> Floats:
        """Return the lag in seconds at reference times (K,)."""
        return self.lag_s + self.slope * times_s


def fit_line(reference: Bands, degraded: Bands, activity: Activity, start_s: float, floor: float) -> SteadyFit:
    """Follow the lag from `start_s` in windows of speech and fit a robust line.

    Windows in which the recording is silent agree: there is nothing in them that could lie elsewhere on the line.
    """
    rate = reference.low_rate
    window = round(WINDOW_S * rate)
    inside = round(WINDOW_S / HOP_S)
    step = round(STEP_S / HOP_S)
    frames = activity.active if activity.active.size else np.zeros(1, dtype=bool)
    busy = np.convolve(frames.astype(float), np.ones(inside), mode="full")[inside - 1 :: step]
    starts = np.flatnonzero(busy >= 0.4 * inside) * step
    starts = starts[starts * HOP_S * rate + window <= len(reference.low)]
    times = starts * HOP_S + WINDOW_S / 2
    lags, heights, silent = np.empty(len(starts)), np.empty(len(starts)), np.zeros(len(starts), dtype=bool)
    reach = round(REACH_S * rate)
    centre = start_s
    for block_start in np.arange(0, times[-1] + BLOCK_S if len(times) else 0, BLOCK_S):
        block = np.flatnonzero((times >= block_start) & (times < block_start + BLOCK_S))
        if not len(block):
            continue
        at = np.round(starts[block] * HOP_S * rate).astype(np.int64)
        offsets = np.full(len(block), round(centre * rate) - reach)
        rho = correlate_windows(
            reference.low, degraded.low, at, offsets, window=window, count=2 * reach + 1, floor=floor
        )
        peak = np.argmax(rho[:, 1:-1], axis=1) + 1
        rows = np.arange(len(block))
        top = peak_offset(rho[rows, peak - 1], rho[rows, peak], rho[rows, peak + 1])
        lags[block] = (peak + top - reach + round(centre * rate)) / rate
        heights[block] = rho[rows, peak]
        heard = take(degraded.low, at + round(centre * rate), window)
        silent[block] = np.mean(np.square(heard), axis=1) < 10 * floor
        good = heights[block] > 0.4
        if np.count_nonzero(good) >= 3:
            centre = float(np.median(lags[block][good]))
    lag, slope = _line(times, lags, heights, ~silent & (heights > 0.3), start_s)
    # The highest peak of a steady vowel may lie a pitch period away by a hair: what counts is that the line fits too.
    at = np.round(starts * HOP_S * rate).astype(np.int64)
    offsets = np.round((lag + slope * times) * rate).astype(np.int64) - 2
    fits = correlate_windows(reference.low, degraded.low, at, offsets, window=window, count=5, floor=floor).max(
        axis=1, initial=0.0
    )
    known = fits[~silent]
    typical = float(np.median(known)) if len(known) else 0.0
    agrees = silent | ((fits > heights - 0.06) & (fits > max(0.25, 0.6 * typical)))
    return SteadyFit(lag, slope, times, agrees, int(np.count_nonzero(agrees & ~silent)))


def _line(
    times: Floats, lags: Floats, heights: Floats, usable: npt.NDArray[np.bool_], start_s: float
) -> tuple[float, float]:
    """Return lag at time 0 and slope of the line most windows lie on."""
    if np.count_nonzero(usable) < 3:
        return start_s, 0.0
    slope, lag = 0.0, float(np.median(lags[usable]))
    span = times[usable][-1] - times[usable][0]
    for tolerance in (0.012, 0.003, 0.001, 0.0005):
        near = usable & (np.abs(lags - lag - slope * times) < tolerance)
        if span < 2 or np.count_nonzero(near) < 5:
            continue
        slope, lag = (float(value) for value in np.polyfit(times[near], lags[near], 1, w=heights[near] ** 2))
    middle = float(np.median(lags[usable]))
    if np.count_nonzero(usable & (np.abs(lags - middle) < 0.0003)) > 0.9 * np.count_nonzero(usable):
        # A flat line explains it as well: the refinement at the full rate tells a small drift better.
        return middle, 0.0
    return lag, slope
