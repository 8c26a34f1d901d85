"""The order of the work: global delay, the short way where the delay is steady, tracking where it moves, segments."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from audio.align import steady, tracking
from audio.align.alignment import Alignment, Interval, Segment, SegmentKind, Utterance
from audio.align.bands import FRAME_S, HOP_S, Activity, Bands, Floats, find_activity, runs_of, split_bands
from audio.align.candidates import find_candidates, measure_support, silence_floor
from audio.align.correlation import Ints
from audio.align.ordering import in_order
from audio.align.runs import FrameLags, Run, adopt_neighbours, find_runs, refine
from audio.align.segmenting import Stretch, found_share, insertions, lay_out, name_segments
from audio.errors import SignalError

UTTERANCE_GAP_S = 0.2
LEAST_COVERAGE = 0.1
BLOCK_FRAMES = 1250  # 20 s of the reference are tracked at once
AROUND_S = 0.5  # how much steady speech is tracked on either side of a part that moves
LOWEST_RATE, HIGHEST_RATE = 8000, 192_000


def align(reference: ArrayLike, degraded: ArrayLike, sample_rate: int) -> Alignment:
    """Find where each moment of the reference (N,) is in the degraded recording (M,), both mono at `sample_rate`.

    The recording may start before or after the reference, be longer or shorter, drift, jump, stretch, lose parts, or
    have nothing to do with it: then coverage is low and the delay NaN. Polarity may be inverted.
    Raises SignalError for a rate outside 8 to 192 kHz, or a signal that is empty, not one-dimensional or not finite.
    """
    ours, theirs = (_checked(name, x) for name, x in (("reference", reference), ("degraded", degraded)))
    if not LOWEST_RATE <= sample_rate <= HIGHEST_RATE:
        raise SignalError(f"the sample rate is {sample_rate} Hz; alignment needs {LOWEST_RATE} to {HIGHEST_RATE} Hz")
    duration = len(ours) / sample_rate
    bands = split_bands(ours, sample_rate)
    activity = find_activity(bands)
    utterances = activity.stretches(UTTERANCE_GAP_S)
    if np.array_equal(ours, theirs):
        runs = [Run(0, int(np.count_nonzero(activity.active)), 0.0, 0.0, 1.0)]
        segments = name_segments([Stretch(0.0, duration, 0.0, 0.0, runs[0])], _nothing_lost(activity), activity)
        found = tuple(Utterance(start, end, 0.0) for start, end in utterances)
        return Alignment(sample_rate, len(ours), 0.0, 0.0, 1.0, tuple(segments), found, ())
    heard = split_bands(theirs, sample_rate)
    floor = silence_floor(heard)
    candidates = find_candidates(bands, heard, activity) if activity.active.any() else []
    if not candidates or candidates[0].support < 1e-6:
        return _nothing_found(sample_rate, len(ours), len(theirs), utterances)
    if candidates[0].polarity < 0:
        heard = Bands(-heard.low, heard.low_rate, -heard.fine, heard.fine_rate, heard.envelope, heard.envelope_rate)
    starts = [candidate.lag_s for candidate in candidates]
    indices = np.flatnonzero(activity.active).astype(np.int64)
    frames = refine(bands, heard, indices, _rough_lags(bands, heard, activity, indices, starts), floor)
    frames = adopt_neighbours(bands, heard, indices, frames, floor)
    believed = [_whole_samples(run, frames, ours, theirs, sample_rate) for run in in_order(frames, find_runs(frames))]
    stretches = lay_out(bands, heard, frames, believed, duration)
    segments = name_segments(stretches, frames, activity)
    coverage = found_share(segments, activity)
    if coverage < LEAST_COVERAGE:
        return _nothing_found(sample_rate, len(ours), len(theirs), utterances, coverage)
    alignment = Alignment(
        sample_rate,
        len(ours),
        np.nan,
        _drift(frames, believed),
        coverage,
        tuple(segments),
        (),
        tuple(insertions(stretches, len(theirs) / sample_rate)),
    )
    return _with_delays(alignment, activity, utterances)


def _checked(name: str, values: ArrayLike) -> Floats:
    samples = np.asarray(values)
    if samples.ndim != 1 or not len(samples):
        raise SignalError(f"the {name} has shape {samples.shape}; alignment needs one channel (N,) with samples in it")
    if samples.dtype.kind != "f":
        raise SignalError(f"the {name} holds {samples.dtype}; give floating-point samples in -1 .. 1")
    if not np.isfinite(samples).all():
        raise SignalError(f"the {name} has {np.count_nonzero(~np.isfinite(samples))} samples that are no numbers")
    return samples


def _rough_lags(reference: Bands, degraded: Bands, activity: Activity, indices: Ints, starts: list[float]) -> Floats:
    """Return a lag per active frame (F,): from a line where its windows agree, tracked where they do not."""
    times = indices * HOP_S + FRAME_S / 2
    floor = silence_floor(degraded)
    fits = [steady.fit_line(reference, degraded, activity, start, floor) for start in starts[:3]]
    fit = max(fits, key=lambda one: one.heard)
    lags = fit.at(times)
    moving = np.zeros(len(times), dtype=bool)
    for time, agrees in zip(fit.times_s, fit.agrees, strict=True):
        if not agrees:
            low, high = np.searchsorted(times, [time - AROUND_S, time + AROUND_S])
            moving[low:high] = True
    if not len(fit.agrees) or np.mean(moving) > 0.6:
        moving[:] = True
    levels = activity.level_db[indices]
    for first, end in runs_of(moving):
        last = float(lags[first - 1]) if first else None
        for start in range(first, end, BLOCK_FRAMES):
            stop = min(start + BLOCK_FRAMES, end)
            known = float(lags[stop]) if stop == end and end < len(lags) else None
            part = slice(start, stop)
            near = known if last is None else last  # or speech that comes again later would be found there
            choices = starts if near is None else [*starts, near]
            middle = _middle(reference, degraded, _only(activity, indices[part]), choices, near)
            anchors = (last, known)
            lags[part] = tracking.track(
                reference, degraded, indices[part], levels[part], middle_s=middle, floor=floor, anchors=anchors
            )
            last = float(lags[stop - 1])
    return lags


def _only(activity: Activity, indices: Ints) -> Activity:
    inside = np.zeros_like(activity.active)
    inside[indices] = True
    return Activity(activity.level_db, inside)


def _middle(reference: Bands, degraded: Bands, block: Activity, choices: list[float], last: float | None) -> float:
    """Return the lag around which a block is searched: the last one, unless another explains the block much better."""
    measured = measure_support(reference, degraded, block, np.array(choices))
    best = max(measured, key=lambda candidate: candidate.support)
    if last is not None and (measured[-1].support > 0.6 * best.support or abs(best.lag_s - last) < 0.5):
        return last
    return best.lag_s


def _whole_samples(run: Run, frames: FrameLags, ours: Floats, theirs: Floats, rate: int) -> Run:
    """Return the run with its lag set to whole samples of the signals where those fit the samples themselves."""
    if run.slope:
        return run
    start = max(round(float(frames.times_s[run.first]) * rate), 0)
    count = min(round(float(frames.times_s[run.end - 1]) * rate) - start + 1, 4 * rate)
    for lag in round(run.lag_s * rate) + np.array([0, -1, 1]):
        first = max(start, -int(lag))
        mine, other = ours[first : start + count], theirs[first + int(lag) : start + count + int(lag)]
        if len(mine) != len(other) or len(mine) < 32:
            continue
        blocks = len(mine) // 32 // 32 or 1  # of 32 samples or more, so that a muted part does not decide
        mine, other = (part[: len(part) // blocks * blocks].reshape(blocks, -1) for part in (mine, other))
        own, cross = np.sum(other * other, axis=1), np.sum(mine * other, axis=1)
        sound = own > 1e-6 * np.max(own, initial=0.0)
        rest = 1 - cross[sound] ** 2 / (own * np.sum(mine * mine, axis=1) + 1e-30)[sound]
        if sound.any() and np.median(rest) < 1e-5:
            return Run(run.first, run.end, int(lag) / rate, 0.0, run.correlation)
    return run


def _drift(frames: FrameLags, runs: list[Run]) -> float:
    """Return the slope that all runs share, in ppm: each run has its own delay, long ones tell most."""
    above = below = 0.0
    for run in runs:
        part = slice(run.first, run.end)
        times, lags = frames.times_s[part], frames.lags_s[part]
        good = np.abs(lags - run.at(times)) < 0.0003
        if abs(run.slope) < 0.002 and np.count_nonzero(good) > 20 and times[-1] - times[0] > 1:
            apart = times[good] - np.mean(times[good])
            above += float(np.sum(apart * (run.slope * apart)))
            below += float(np.sum(apart**2))
    return 1e6 * above / below if below > 0 else np.nan


def _with_delays(alignment: Alignment, activity: Activity, utterances: list[tuple[float, float]]) -> Alignment:
    times = activity.centres_s[activity.active]
    lags = alignment.lag(times)
    found = []
    for start, end in utterances:
        inside = lags[(times >= start) & (times <= end)]
        inside = inside[np.isfinite(inside)]
        found.append(Utterance(start, end, 1000 * float(np.median(inside)) if len(inside) else np.nan))
    known = lags[np.isfinite(lags)]
    delay = 1000 * float(np.median(known)) if len(known) else np.nan
    return Alignment(
        alignment.sample_rate,
        alignment.length,
        delay,
        alignment.drift_ppm,
        alignment.coverage,
        alignment.segments,
        tuple(found),
        alignment.inserted,
    )


def _nothing_lost(activity: Activity) -> FrameLags:
    times = activity.centres_s[activity.active]
    zeros, ones = np.zeros(len(times)), np.ones(len(times))
    return FrameLags(times, zeros, ones, ones, ones)


def _nothing_found(
    sample_rate: int, length: int, heard: int, utterances: list[tuple[float, float]], coverage: float = 0.0
) -> Alignment:
    missing = Segment(0.0, length / sample_rate, np.nan, np.nan, 0.0, SegmentKind.MISSING)
    found = tuple(Utterance(start, end, np.nan) for start, end in utterances)
    whole = (Interval(0.0, heard / sample_rate),)
    return Alignment(sample_rate, length, np.nan, np.nan, coverage, (missing,), found, whole)
