"""Lays runs of lag along the reference: where one goes over into the next, what is missing and what was inserted."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from audio.align.alignment import Interval, Segment, SegmentKind
from audio.align.bands import HOP_S, Activity, Bands, Floats, Single
from audio.align.runs import FrameLags, Run, unheard

CUT_S = 0.020  # shorter cuts are a jitter buffer's: the sound goes on in the next period
EDGE_S = 0.080
SHORTEST_INSERTION_S = 0.010


@dataclass(frozen=True)
class Stretch:
    """Part of the reference whose lag is linear, before it is known what is speech in it; NaN: cut out."""

    start_s: float
    end_s: float
    lag_start_s: float
    lag_end_s: float
    run: Run | None = None


def lay_out(reference: Bands, degraded: Bands, frames: FrameLags, runs: list[Run], duration_s: float) -> list[Stretch]:
    """Return stretches that cover the reference from 0 to `duration_s` without gaps."""
    if not runs:
        return [Stretch(0.0, duration_s, np.nan, np.nan)]
    starts = [float(frames.times_s[run.first]) - HOP_S / 2 for run in runs]
    ends = [float(frames.times_s[run.end - 1]) + HOP_S / 2 for run in runs]
    between: list[list[Stretch]] = []
    for index in range(len(runs) - 1):
        before, after = runs[index], runs[index + 1]
        # What was cut out has no place in the recording: about as much lies between the runs.
        cut = max(float(before.at(ends[index]) - after.at(starts[index + 1])), 0.0)
        if starts[index + 1] - ends[index] < EDGE_S + cut:
            low = max(ends[index] - EDGE_S, starts[index] + HOP_S / 2)
            high = min(starts[index + 1] + EDGE_S, ends[index + 1] - HOP_S / 2)
            ends[index], starts[index + 1] = _break(reference, degraded, before, after, (low, high))
            between.append(_gap(before, after, ends[index], starts[index + 1], in_word=True))
        else:
            between.append(_gap(before, after, ends[index], starts[index + 1], in_word=False))
    # Before the first run and after the last nothing was found: time goes on there, but it is not heard.
    stretches = [Stretch(0.0, starts[0], float(runs[0].at(0.0)), float(runs[0].at(starts[0])))]
    for index, run in enumerate(runs):
        if ends[index] > starts[index]:
            lags = [float(run.at(starts[index])), float(run.at(ends[index]))]
            stretches.append(Stretch(starts[index], ends[index], lags[0], lags[1], run))
        if index < len(between):
            stretches += between[index]
    stretches.append(Stretch(ends[-1], duration_s, float(runs[-1].at(ends[-1])), float(runs[-1].at(duration_s))))
    return _in_order(stretches)


def _in_order(stretches: list[Stretch]) -> list[Stretch]:
    """Return stretches that follow each other without overlap; a run between two cuts may have been cut away."""
    ordered: list[Stretch] = []
    position = 0.0
    for stretch in stretches:
        if stretch.end_s <= position or stretch.end_s <= stretch.start_s:
            continue
        if stretch.start_s > position:
            ordered.append(Stretch(position, stretch.start_s, np.nan, np.nan))
        slope = (stretch.lag_end_s - stretch.lag_start_s) / (stretch.end_s - stretch.start_s)
        start = max(stretch.start_s, position)
        lag = stretch.lag_start_s + (start - stretch.start_s) * slope
        ordered.append(Stretch(start, stretch.end_s, lag, stretch.lag_end_s, stretch.run))
        position = stretch.end_s
    return ordered


def name_segments(stretches: list[Stretch], frames: FrameLags, activity: Activity) -> list[Segment]:
    """Return segments: stretches divided into speech, pauses and what was not heard."""
    active = activity.stretches(0.05)
    lost: list[tuple[float, float]] = []
    for stretch in stretches:
        if stretch.run is not None:
            for first, last in unheard(frames, stretch.run):
                lost.append((float(frames.times_s[first]) - HOP_S / 2, float(frames.times_s[last - 1]) + HOP_S / 2))
    segments: list[Segment] = []
    for stretch in stretches:
        cuts: set[float] = {stretch.start_s, stretch.end_s}
        for start, end in active + lost:
            cuts |= {edge for edge in (start, end) if stretch.start_s < edge < stretch.end_s}
        edges = sorted(cuts)
        for start, end in pairwise(edges):
            segments.append(_name(stretch, start, end, active, lost))
    return _merged(segments)


def insertions(stretches: list[Stretch], duration_s: float) -> list[Interval]:
    """Return the parts of the recording, `duration_s` long, that no stretch of the reference was read from."""
    spans = sorted(
        (stretch.start_s + stretch.lag_start_s, stretch.end_s + stretch.lag_end_s)
        for stretch in stretches
        if np.isfinite(stretch.lag_start_s)
    )
    found, position = [], 0.0
    for start, end in [*spans, (duration_s, duration_s)]:
        if min(start, duration_s) - position >= SHORTEST_INSERTION_S:
            found.append(Interval(max(position, 0.0), min(start, duration_s)))
        position = max(position, end)
    return found


def _gap(before: Run, after: Run, start: float, end: float, in_word: bool) -> list[Stretch]:
    """Return the stretches between two runs."""
    first, last = float(before.at(start)), float(after.at(end))
    change = last - first
    if end <= start:
        return []
    if in_word and change < -CUT_S:
        return [Stretch(start, end, np.nan, np.nan)]
    if abs(change) < 0.002:
        return [Stretch(start, end, first, last)]
    if change > 0:
        middle = (start + end) / 2
        return [
            Stretch(start, middle, first, float(before.at(middle))),
            Stretch(middle, end, float(after.at(middle)), last),
        ]
    room = end - start + change  # how long the recording took over it
    if room <= 0:
        return [Stretch(start, end, np.nan, np.nan)]
    hold = min(0.04, room / 3)
    return [
        Stretch(start, start + hold, first, float(before.at(start + hold))),
        Stretch(start + hold, end - hold, float(before.at(start + hold)), float(after.at(end - hold))),
        Stretch(end - hold, end, float(after.at(end - hold)), last),
    ]


def _break(
    reference: Bands, degraded: Bands, before: Run, after: Run, around: tuple[float, float]
) -> tuple[float, float]:
    """Return where `before` ends and `after` starts between low and high: the split both sides agree with most."""
    low, high = around
    middle = (low + high) / 2
    if high - low < 0.01:
        return middle, middle
    ours, theirs = float(before.at(middle)), float(after.at(middle))
    cut = max(ours - theirs, 0.0) if ours - theirs > CUT_S else 0.0
    rate = reference.fine_rate
    # With a cut the split is one instant of the recording, so the later side is heard `cut` later in the reference.
    low, high = low - cut, high + cut
    count = round((high - low) * rate)
    agree_before = _agreement(reference, degraded, low, low + ours, count)
    agree_after = _agreement(reference, degraded, low + cut, low + cut + theirs, count)
    score = np.concatenate([[0.0], np.cumsum(agree_before)])
    score += np.concatenate([np.cumsum(agree_after[::-1])[::-1], [0.0]])
    split = low + int(np.argmax(score)) / rate
    return split, split + cut


def _agreement(reference: Bands, degraded: Bands, at: float, heard_at: float, count: int) -> Floats:
    """Return how alike both are around each instant (count,), over 6 ms, weighted by the loudness of both."""
    rate = reference.fine_rate
    smooth = np.ones(max(round(0.006 * rate), 1))

    def cut(samples: Single, start_s: float) -> Floats:
        index = round(start_s * rate) + np.arange(count)
        inside = (index >= 0) & (index < len(samples))
        return np.where(inside, samples[np.clip(index, 0, len(samples) - 1)], 0.0).astype(float)

    ours, theirs = cut(reference.fine, at), cut(degraded.fine, heard_at)
    theirs *= np.sqrt((np.sum(ours**2) + 1e-12) / (np.sum(theirs**2) + 1e-12))
    size = len(smooth)
    product = np.convolve(ours * theirs, smooth, mode="full")[size // 2 : size // 2 + count]
    energy = np.convolve(ours**2 + theirs**2, smooth, mode="full")[size // 2 : size // 2 + count]
    typical = np.mean(energy) + 1e-12
    return np.asarray((2 * product - 0.5 * energy) / np.sqrt(energy * typical + 1e-3 * typical**2))


def _name(
    stretch: Stretch, start: float, end: float, active: list[tuple[float, float]], lost: list[tuple[float, float]]
) -> Segment:
    middle = (start + end) / 2
    speech = any(first <= middle < last for first, last in active)
    span = max(stretch.end_s - stretch.start_s, 1e-9)
    change = stretch.lag_end_s - stretch.lag_start_s
    lags = [stretch.lag_start_s + (time - stretch.start_s) / span * change for time in (start, end)]
    heard = stretch.run is not None and not any(first <= middle < last for first, last in lost)
    if speech and heard and stretch.run is not None:
        return Segment(start, end, lags[0], lags[1], max(stretch.run.correlation, 0.0), SegmentKind.SPEECH)
    missing = (speech and not heard) or not np.isfinite(lags[0])
    return Segment(start, end, lags[0], lags[1], 0.0, SegmentKind.MISSING if missing else SegmentKind.PAUSE)


def _merged(segments: list[Segment]) -> list[Segment]:
    """Join neighbours of one kind and one line."""
    merged: list[Segment] = []
    for segment in segments:
        if merged:
            last = merged[-1]
            both_cut = np.isnan(last.lag_end_s) and np.isnan(segment.lag_start_s)
            slopes = [
                (part.lag_end_s - part.lag_start_s) / max(part.end_s - part.start_s, 1e-9) for part in (last, segment)
            ]
            in_line = abs(last.lag_end_s - segment.lag_start_s) < 1e-9 and abs(slopes[0] - slopes[1]) < 1e-9
            if last.kind is segment.kind and (both_cut or in_line):
                merged[-1] = Segment(
                    last.start_s,
                    segment.end_s,
                    last.lag_start_s,
                    segment.lag_end_s,
                    max(last.correlation, segment.correlation),
                    last.kind,
                )
                continue
        merged.append(segment)
    return merged


def found_share(segments: list[Segment], activity: Activity) -> float:
    """Return the share of the active frames of the reference that are in segments of speech."""
    frames = activity.centres_s[activity.active]
    if not len(frames):
        return 0.0
    starts = np.array([segment.start_s for segment in segments])
    speech = np.array([segment.kind is not SegmentKind.MISSING for segment in segments])
    index = np.clip(np.searchsorted(starts, frames, side="right") - 1, 0, len(starts) - 1)
    return float(np.mean(speech[index]))
