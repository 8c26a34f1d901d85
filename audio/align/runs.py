"""Turns a lag per frame into runs, lines of lag refined at the full rate, and says which of them can be believed."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from audio.align.bands import FRAME_S, HOP_S, Bands, Floats, runs_of
from audio.align.correlation import Ints, correlate_windows, peak_offset

REFINE_S = 0.001
SAME_LAG_S = 0.00035
BEND_S = 0.0004  # a run whose lag leaves its line by more is split
CHAIN_S = 0.017  # changes of lag a jitter buffer makes at once
MUTED_S = 0.112
SHORT_FRAMES = 16
SOUND_SHARE = 0.9  # of the neighbours' correlation: a short run below it, within a cut, is chance
LEAST_CUT_S = 0.015
ADOPT_REACH_S = 0.00015
ADOPT_LOSS = 0.04  # how much less correlation a neighbour's lag may have


@dataclass(frozen=True)
class FrameLags:
    """Frames of speech with the lag found for each, refined, and how well it fits (-1..1)."""

    times_s: Floats  # (F,) middles
    lags_s: Floats  # (F,)
    fine: Floats  # (F,) correlation from 120 Hz to 7 kHz at the refined lag
    low: Floats  # (F,) correlation from 120 to 1800 Hz
    weight: Floats  # (F,) root mean square of the reference's frame in the fine band


@dataclass(frozen=True)
class Run:
    """Frames first .. end-1 whose lag is on one line."""

    first: int
    end: int
    lag_s: float  # at time 0
    slope: float
    correlation: float

    def at(self, times_s: Floats | float) -> Floats:
        """Return the lag in seconds at reference times."""
        return np.asarray(self.lag_s + self.slope * np.asarray(times_s))


def refine(
    reference: Bands, degraded: Bands, frames: Ints, lags_s: Floats, floor: float, *, reach_s: float = REFINE_S
) -> FrameLags:
    """Return the frames' lags (F,) refined to a part of a sample at the fine rate, within reach_s."""
    rate = reference.fine_rate
    reach, window = round(reach_s * rate), round(FRAME_S * rate)
    starts = np.round(frames * HOP_S * rate).astype(np.int64)
    base = np.round(lags_s * rate).astype(np.int64)
    refined, fine, low = np.empty(len(frames)), np.empty(len(frames)), np.empty(len(frames))
    weight = np.empty(len(frames))
    low_window = round(FRAME_S * reference.low_rate)
    energy = np.concatenate([[0.0], np.cumsum(np.square(reference.fine, dtype=np.float64))])
    last = len(reference.fine)
    for start in range(0, len(frames), 256):
        part = slice(start, start + 256)
        rho = correlate_windows(
            reference.fine,
            degraded.fine,
            starts[part],
            base[part] - reach - 1,
            window=window,
            count=2 * reach + 3,
            floor=floor,
        )
        rows = np.arange(len(rho))
        peak = np.argmax(rho[:, 1:-1], axis=1) + 1
        top = peak_offset(rho[rows, peak - 1], rho[rows, peak], rho[rows, peak + 1])
        refined[part] = (base[part] + peak - reach - 1 + top) / rate
        # The height between samples, or a lag half a sample off the grid would lose to a worse one on it.
        fine[part] = rho[rows, peak] - 0.25 * (rho[rows, peak - 1] - rho[rows, peak + 1]) * top
        begin = np.round(frames[part] * HOP_S * reference.low_rate).astype(np.int64)
        offsets = np.round(refined[part] * reference.low_rate).astype(np.int64) - 1
        low[part] = correlate_windows(
            reference.low, degraded.low, begin, offsets, window=low_window, count=3, floor=floor
        ).max(axis=1)
        spans = np.minimum(starts[part] + window, last)
        weight[part] = np.sqrt(np.maximum(energy[spans] - energy[np.minimum(starts[part], last)], 0))
    return FrameLags(frames * HOP_S + FRAME_S / 2, refined, fine, low, weight)


def adopt_neighbours(reference: Bands, degraded: Bands, indices: Ints, frames: FrameLags, floor: float) -> FrameLags:
    """Give short stretches the lag of a longer neighbour where that fits them as well.

    Near the edges of sound, and in steady vowels, a pitch period more or less fits nearly as well as the truth.
    """
    stretches = _stretches(frames)
    long = [part for part in stretches if part[1] - part[0] >= SHORT_FRAMES]
    short = [part for part in stretches if part[1] - part[0] < SHORT_FRAMES]
    if not long or not short:
        return frames
    starts = [first for first, _ in long]
    for side in (-1, 0):
        chosen, wanted = [], []
        for first, end in short:
            index = int(np.searchsorted(starts, first)) + side
            if 0 <= index < len(long):
                edge = long[index][1] - 3 if side else long[index][0] + 2
                chosen += list(range(first, end))
                wanted += [frames.lags_s[edge]] * (end - first)
        if not chosen:
            continue
        rows = np.array(chosen)
        tried = refine(reference, degraded, indices[rows], np.array(wanted), floor, reach_s=ADOPT_REACH_S)
        position = 0
        for first, end in short:
            if position >= len(rows) or rows[position] != first:
                continue
            part, new = slice(first, end), slice(position, position + end - first)
            position += end - first
            loud = frames.weight[part] + 1e-12
            if float(np.sum(loud * (tried.fine[new] - frames.fine[part]))) > -ADOPT_LOSS * float(np.sum(loud)):
                frames.lags_s[part], frames.fine[part] = tried.lags_s[new], tried.fine[new]
                frames.low[part] = tried.low[new]
    return frames


def find_runs(frames: FrameLags) -> list[Run]:
    """Return the runs that can be believed, in time order."""
    pieces: list[Run] = []
    for first, end in _stretches(frames):
        pieces += _fit_lines(frames, first, end)
    return _without_excursions(frames, _believed(frames, _joined(frames, pieces)))


def unheard(frames: FrameLags, run: Run) -> list[tuple[int, int]]:
    """Return the frames (first, end) inside a run in which nothing of the reference is heard for MUTED_S or more."""
    count = round(MUTED_S / HOP_S)
    heard = np.maximum(frames.low, frames.fine)[run.first : run.end]
    if len(heard) < count:
        return []
    level = np.convolve(heard, np.ones(5) / 5, mode="same")
    level[:2], level[-2:] = heard[:2], heard[-2:]
    return [(run.first + first, run.first + end) for first, end in runs_of(level < 0.25) if end - first >= count]


def _stretches(frames: FrameLags) -> list[tuple[int, int]]:
    if not len(frames.lags_s):
        return []
    breaks = np.flatnonzero(np.abs(np.diff(frames.lags_s)) > SAME_LAG_S) + 1
    edges = [0, *breaks.tolist(), len(frames.lags_s)]
    return list(pairwise(edges))


def _fit_lines(frames: FrameLags, first: int, end: int) -> list[Run]:
    run = _line(frames, first, end)
    count = end - first
    if count >= 8:
        apart = frames.lags_s[first:end] - run.at(frames.times_s[first:end])
        smooth = np.abs(np.convolve(apart, np.ones(5) / 5, mode="valid"))
        worst = int(np.argmax(smooth)) + 2
        if smooth.max() > BEND_S:
            middle = first + min(max(worst, 4), count - 4)
            return _fit_lines(frames, first, middle) + _fit_lines(frames, middle, end)
    return [run]


def _line(frames: FrameLags, first: int, end: int) -> Run:
    """Fit a line by reweighted least squares; its slope is kept only where it shows."""
    times, lags = frames.times_s[first:end], frames.lags_s[first:end]
    rho = np.clip(frames.fine[first:end], 0.02, 0.99)
    trust = rho**2 / (1 - rho**2)
    lag = float(np.sum(trust * lags) / np.sum(trust)) if len(lags) < 5 else _weighted_median(lags, trust)
    slope = 0.0
    if len(times) >= 12 and times[-1] - times[0] > 0.5:
        middle = float(np.mean(times))
        level, tilt = lag, 0.0
        spread = error = 1e-4
        for _ in range(6):
            apart = lags - level - tilt * (times - middle)
            spread = max(1.48 * float(np.median(np.abs(apart))), 2e-6)
            weights = trust / (1 + np.square(apart / (2 * spread)))
            design = np.stack([np.ones(len(times)), times - middle])
            normal = (design * weights) @ design.T
            level, tilt = (float(value) for value in np.linalg.solve(normal, (design * weights) @ lags))
            error = spread / np.sqrt(len(times) / 4) / max(float(np.std(times)), 1e-3)
        # Frames overlap fourfold; a slope has to move the ends visibly and beyond its own error.
        if abs(tilt) > 4 * error and abs(tilt) * (times[-1] - times[0]) > 2e-5:
            slope, lag = tilt, level - tilt * middle
        else:
            lag = _weighted_median(lags, trust)
    loud = frames.weight[first:end] + 1e-12
    correlation = float(np.sum(loud * frames.fine[first:end]) / np.sum(loud))
    return Run(first, end, lag, slope, correlation)


def _weighted_median(values: Floats, weights: Floats) -> float:
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    near = values[order][np.searchsorted(total, 0.5 * total[-1])]
    # The mean of what is near the median is steadier than the median alone.
    close = np.abs(values - near) < 1e-4
    return float(np.sum((values * weights)[close]) / np.sum(weights[close]))


def _joined(frames: FrameLags, pieces: list[Run]) -> list[Run]:
    """Join runs on one line, over stray runs of less than four frames between them."""
    joined: list[Run] = []
    for piece in pieces:
        for back in (1, 2, 3):
            if len(joined) < back:
                break
            earlier = joined[-back]
            strays = joined[len(joined) - back + 1 :]
            if any(stray.end - stray.first >= 4 for stray in strays):
                break
            junction = frames.times_s[piece.first]
            near = abs(float(earlier.at(junction) - piece.at(junction))) < SAME_LAG_S / 2
            if near and (merged := _line(frames, earlier.first, piece.end)) and _keeps(frames, merged, strays):
                joined[len(joined) - back :] = [merged]
                break
        else:
            joined.append(piece)
            continue
        if not joined or joined[-1].end != piece.end:
            joined.append(piece)
    return joined


def _keeps(frames: FrameLags, merged: Run, strays: list[Run]) -> bool:
    inside = np.ones(merged.end - merged.first, dtype=bool)
    for stray in strays:
        inside[stray.first - merged.first : stray.end - merged.first] = False
    part = slice(merged.first, merged.end)
    apart = np.abs(frames.lags_s[part] - merged.at(frames.times_s[part]))[inside]
    return bool(np.percentile(apart, 80) < BEND_S)


def _believed(frames: FrameLags, runs: list[Run]) -> list[Run]:
    """Keep chains of runs that correlate better than the best of many chance lags would in their time."""
    chains: list[list[Run]] = []
    for run in runs:
        if chains:
            last = chains[-1][-1]
            start, end = frames.times_s[run.first], frames.times_s[last.end - 1]
            if abs(float(run.at(start) - last.at(end))) <= CHAIN_S and start - end < 0.25:
                chains[-1].append(run)
                continue
        chains.append([run])
    believed: list[Run] = []
    for chain in chains:
        part = slice(chain[0].first, chain[-1].end)
        count = chain[-1].end - chain[0].first
        loud = frames.weight[part]
        low = float(np.sum(loud * frames.low[part]) / (np.sum(loud) + 1e-12))
        # A chain with many steps had as many chances to find something alike.
        seconds = count * HOP_S / (1 + 0.5 * (len(chain) - 1))
        if low > max(0.3, 3.2 / np.sqrt(600 * seconds)) or (len(chain) > 3 and low > 0.72 and count >= 16):
            believed += chain
    return believed


def _without_excursions(frames: FrameLags, runs: list[Run]) -> list[Run]:
    """Drop short runs far from neighbours that agree with each other, and those within a cut that fit worse.

    What was cut out has no place in the recording: what is found for it lies a pitch period off, or anywhere.
    """
    kept: list[Run] = []
    for index, run in enumerate(runs):
        if 0 < index < len(runs) - 1 and (run.end - run.first) * HOP_S < 0.3 and kept:
            before, after = kept[-1], runs[index + 1]
            time = frames.times_s[run.first]
            gap = abs(float(before.at(time) - after.at(time)))
            away = min(abs(float(run.at(time) - other.at(time))) for other in (before, after))
            if gap < 0.03 and away > 2 * CHAIN_S:
                continue
            settled = next((each for each in runs[index + 1 :] if each.end - each.first >= SHORT_FRAMES), after)
            usual = min(before.correlation, settled.correlation)
            if run.correlation < SOUND_SHARE * usual and _is_cut(frames, before, settled):
                continue
        kept.append(run)
    return kept


def _is_cut(frames: FrameLags, before: Run, after: Run) -> bool:
    """Tell whether most of the time between two runs was cut out of the recording: stretching takes out far less."""
    start, end = float(frames.times_s[before.end - 1]), float(frames.times_s[after.first])
    skipped = float(before.at(start) - after.at(end))
    return skipped > max(LEAST_CUT_S, 0.5 * (end - start))
