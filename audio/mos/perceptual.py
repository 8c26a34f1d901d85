"""The score: disturbance mapped to MOS-LQO, what a listener would complain about beyond it, and the reasons."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

from audio.align import Alignment, SegmentKind
from audio.errors import SignalError
from audio.mos.bands import FRAME_S, HOP_S, Floats, band_powers, make_bands
from audio.mos.disturbance import measure_disturbance, over_windows
from audio.mos.faults import (
    GAP_BLOCK_S,
    SILENT_POWER,
    Activity,
    Ints,
    MissingBand,
    clipped_share,
    find_active,
    find_gaps,
    find_missing_band,
    find_mutes,
    gain_db,
    noise_db,
    only_noise,
)
from audio.mos.reasons import Reason, ReasonKind
from audio.mos.splices import find_cut_out, find_moving, is_cut_out, limit, settle

LOWEST_RATE, HIGHEST_RATE = 8000, 48_000
# The mapping, fitted to wide-band P.862.2 values on the training talkers: quality = BEST - changed - added, each
# weight * disturbance ** exponent, then the logistic curve of P.862.2.
BEST = 4.5
CHANGED_WEIGHT, CHANGED_EXPONENT = 1.5957, 0.6207
ADDED_WEIGHT, ADDED_EXPONENT = 0.2998, 0.45
BREAK_COST = 0.3  # of quality for each break of the delay within a word, in 10 s
BREAK_S = 0.030
BAND_WEIGHT = 0.06  # of quality for each Bark of missing bandwidth
MUTED_SHARE = 0.15  # a mute of this share of speech leaves 1/e of what a recording is worth,
CUT_OUT_SHARE = 0.2  # a skip over this share as well: no silence is heard in its place
QUIET_FROM_DB, LOUD_FROM_DB = 15.0, 20.0
LEVEL_COST_PER_DB = 0.04  # of MOS, for a recording without other faults
UNRELATED_COVERAGE = 0.3
FAINT_DBOV = -60.0
DELAY_WORTH_NAMING_S = 0.015
CLIPPING_WORTH_NAMING = 2e-4
GAPS_WORTH_NAMING = 0.003
NOISE_WORTH_NAMING_DB = 45.0
BAND_WORTH_NAMING_BARK = 0.8
DISTORTION_WORTH_NAMING_MOS = 3.8
EXPLAINS_DISTORTION = {ReasonKind.MUTE, ReasonKind.GAPS, ReasonKind.NOISE, ReasonKind.CLIPPING, ReasonKind.LEVEL}
UNEVEN = 4.0  # ratio of the worst twentieth to the middle of the windows


@dataclass(frozen=True)
class PerceptualScore:
    """`mos`: MOS-LQO, 1..5 (4.6: no audible difference). `track`: (time in s, MOS) about every second of the reference.

    `reasons`: what pulled the score down, the weightiest kinds first as in `ReasonKind`.
    """

    mos: float
    track: tuple[tuple[float, float], ...]
    reasons: tuple[Reason, ...]


def perceptual(reference: ArrayLike, degraded: ArrayLike, sample_rate: int, alignment: Alignment) -> PerceptualScore:
    """Score a recording (M,) against its reference (N,), both mono in [-1, 1] at 8 to 48 kHz, aligned by `alignment`.

    At 8 kHz a narrow-band listener judges, at 16 kHz a wide-band one, above a super-wide-band one: the same telephone
    speech is worth less to each. Time is that of the reference throughout.
    Raises SignalError for a rate out of range, a signal that is not one-dimensional or not finite, a reference
    shorter than 32 ms or silent.
    """
    sent, arrived = _checked("reference", reference), _checked("degraded", degraded)
    if not LOWEST_RATE <= sample_rate <= HIGHEST_RATE:
        raise SignalError(f"the sample rate is {sample_rate} Hz; the score needs {LOWEST_RATE} to {HIGHEST_RATE} Hz")
    if len(sent) < FRAME_S * sample_rate:
        raise SignalError(f"the reference has {len(sent)} samples; the score needs at least 32 ms")
    duration = len(sent) / sample_rate
    bands = make_bands(sample_rate)
    reference_powers = band_powers(sent, bands)
    if float(reference_powers.max()) <= 0:
        raise SignalError("the reference is silent: there is nothing that the recording could reproduce")
    if len(arrived) == 0 or float(np.dot(arrived, arrived)) / len(arrived) < SILENT_POWER:
        return _worthless(ReasonKind.SILENCE, duration, "the recording is silent")
    if alignment.coverage < UNRELATED_COVERAGE:
        noise_dbov = only_noise(band_powers(arrived, bands), bands)
        if noise_dbov is not None:
            what = "the recording is silent but for noise of" if noise_dbov < FAINT_DBOV else "no speech, only sound of"
            return _worthless(ReasonKind.SILENCE, duration, f"{what} {noise_dbov:.0f} dBov")
        share = round(100 * alignment.coverage)
        return _worthless(ReasonKind.OTHER_SPEECH, duration, f"other speech: {share} % of the reference was found")

    warped: Floats = np.asarray(alignment.warp(arrived), dtype=np.float64)
    powers = band_powers(warped, bands)
    cut_out = find_cut_out(alignment, len(powers))
    activity = find_active(reference_powers, powers, bands).without_loss_in(cut_out)
    if not activity.heard.any():
        return _worthless(ReasonKind.SILENCE, duration, "no speech of the reference arrived")
    gain = gain_db(reference_powers, powers, activity, bands)
    powers = np.where(cut_out[:, None], reference_powers * np.float32(10 ** (gain / 10)), powers)
    mutes = find_mutes(activity, powers, bands)
    missing = cut_out / CUT_OUT_SHARE
    for begin, end in mutes:
        missing[begin:end] = 1 / MUTED_SHARE
    band = find_missing_band(reference_powers, powers, activity, bands)
    noise = noise_db(reference_powers, powers, activity)
    moving = find_moving(alignment, len(powers))
    settled, misfits = settle(reference_powers, powers, warped, moving=moving, activity=activity, bands=bands)
    measured = measure_disturbance(reference_powers, settled, activity.active, activity.heard, bands)
    disturbance = limit(measured, alignment, misfits)

    frames, changed = over_windows(disturbance.changed)
    _, added = over_windows(disturbance.added)
    breaks = _breaks_in_words(alignment, activity)
    cost = BAND_WEIGHT * band.bark + BREAK_COST * breaks * min(1.0, 10 / duration)
    level = _level_factor(gain)
    mos = _worth(_mos(changed.mean(), added.mean(), cost), level, _missing(missing, activity))
    track = _track(
        frames, changed, added, cost=cost, level=level, missing=missing, activity=activity, duration=duration
    )

    reasons = _mute_reasons(mutes) + _gap_reasons(*find_gaps(sent, warped, sample_rate, mutes))
    clipped = clipped_share(arrived)
    clipped = clipped if clipped > 3 * clipped_share(sent) else 0.0
    reasons += _steady_reasons(duration, band=band, noise=noise, clipped=clipped, gain=gain)
    if mos < DISTORTION_WORTH_NAMING_MOS and not any(reason.kind in EXPLAINS_DISTORTION for reason in reasons):
        in_places = float(np.quantile(changed, 0.95)) > UNEVEN * float(np.quantile(changed, 0.5))
        if in_places or band.bark <= BAND_WORTH_NAMING_BARK:
            reasons.append(_distortion_reason(frames, changed, mos, duration, in_places=in_places))
    return PerceptualScore(mos, track, tuple(reasons + _delay_reasons(alignment)))


def _checked(name: str, signal: ArrayLike) -> Floats:
    samples = np.asarray(signal)
    if samples.ndim != 1:
        raise SignalError(f"the {name} has {samples.ndim} dimensions; give one channel, (N,)")
    if not np.all(np.isfinite(samples)):
        raise SignalError(f"the {name} holds samples that are not finite numbers")
    floats: Floats = samples.astype(np.float64, copy=False)
    return floats


def _worthless(kind: ReasonKind, duration: float, text: str) -> PerceptualScore:
    times = np.arange(max(1, round(duration))) + 0.5
    return PerceptualScore(
        1.0, tuple((float(time), 1.0) for time in times), (Reason(kind, 0.0, duration, 1.0, "share", text),)
    )


def _mos(changed: float, added: float, cost: float) -> float:
    """Map mean disturbances to MOS-LQO (the curve of ITU-T P.862.2)."""
    quality = BEST - CHANGED_WEIGHT * changed**CHANGED_EXPONENT - ADDED_WEIGHT * added**ADDED_EXPONENT - cost
    return float(0.999 + 4 / (1 + np.exp(-1.3669 * quality + 3.8224)))


def _worth(mos: float, level: float, missing: float) -> float:
    return float(1 + max(mos - 1, 0) * level * np.exp(-missing))


def _level_factor(gain: float) -> float:
    excess = max(0.0, -gain - QUIET_FROM_DB, gain - LOUD_FROM_DB)
    return max(0.0, 1 - excess * LEVEL_COST_PER_DB / 3.64)


def _missing(missing: Floats, activity: Activity) -> float:
    return float(missing[activity.loud].sum() / activity.loud.sum())


def _track(
    frames: Floats,
    changed: Floats,
    added: Floats,
    *,
    cost: float,
    level: float,
    missing: Floats,
    activity: Activity,
    duration: float,
) -> tuple[tuple[float, float], ...]:
    """Return (middle, MOS) of each second; in a muted part of a second its share of frames counts."""
    track = []
    for second in range(max(1, round(duration))):
        near = np.abs(frames * HOP_S - second - 0.5) <= 0.5
        if not near.any():
            near[np.argmin(np.abs(frames * HOP_S - second - 0.5))] = True
        part = slice(round(second / HOP_S), round((second + 1) / HOP_S))
        lost = missing[part][activity.active[part]].sum() / max(activity.active[part].sum(), 1)
        mos = _worth(_mos(changed[near].mean(), added[near].mean(), cost), level, float(lost))
        track.append((second + 0.5, mos))
    return tuple(track)


def _steady_reasons(
    duration: float, *, band: MissingBand, noise: float | None, clipped: float, gain: float
) -> list[Reason]:
    """Name what holds for the whole recording."""
    reasons = []
    if band.bark > BAND_WORTH_NAMING_BARK:
        name = "band-limited"
        if band.degraded_hz < 4800:
            name = "narrow-band"
        elif 6500 < band.degraded_hz < 9000:
            name = "wide-band"
        text = f"{name}: {band.degraded_hz / 1000:.1f} kHz of {band.reference_hz / 1000:.1f} kHz"
        reasons.append(Reason(ReasonKind.BANDWIDTH, 0.0, duration, band.degraded_hz, "Hz", text))
    if noise is not None and noise < NOISE_WORTH_NAMING_DB:
        reasons.append(Reason(ReasonKind.NOISE, 0.0, duration, noise, "dB", f"noise {noise:.0f} dB"))
    if clipped > CLIPPING_WORTH_NAMING:
        text = f"clipping: {100 * clipped:.2f} % of samples"
        reasons.append(Reason(ReasonKind.CLIPPING, 0.0, duration, clipped, "share", text))
    if _level_factor(gain) < 1:
        text = f"{abs(gain):.0f} dB too {'quiet' if gain < 0 else 'loud'}"
        reasons.append(Reason(ReasonKind.LEVEL, 0.0, duration, gain, "dB", text))
    return reasons


def _mute_reasons(mutes: Ints) -> list[Reason]:
    reasons = []
    for begin, end in mutes:
        start, stop = float(begin * HOP_S), float(end * HOP_S)
        text = f"mute {start:.1f} to {stop:.1f} s"
        reasons.append(Reason(ReasonKind.MUTE, start, stop, stop - start, "s", text))
    return reasons


def _gap_reasons(gaps: Floats, share: float) -> list[Reason]:
    if share < GAPS_WORTH_NAMING:
        return []
    text = f"gaps: {100 * share:.1f} % of speech is missing in pieces shorter than 0.2 s (packet loss)"
    return [Reason(ReasonKind.GAPS, float(gaps[0]), float(gaps[-1] + GAP_BLOCK_S), share, "share", text)]


def _distortion_reason(frames: Floats, changed: Floats, mos: float, duration: float, *, in_places: bool) -> Reason:
    """Tell what is spread over all speech (coding) from what comes in places (concealed loss)."""
    worst = float(frames[np.argmax(changed)] * HOP_S)
    spread = "in places, as by concealed packet loss" if in_places else "throughout, as by coding or heavy loss"
    text = f"distorted {spread}; worst at {worst:.1f} s"
    return Reason(ReasonKind.DISTORTION, 0.0, duration, mos, "MOS", text)


def _breaks_in_words(alignment: Alignment, activity: Activity) -> int:
    """Count where the delay jumps between two stretches of speech with speech right on both sides."""
    count = 0
    for before, after in pairwise(part for part in alignment.segments if not is_cut_out(part)):
        if before.kind is not SegmentKind.SPEECH or after.kind is not SegmentKind.SPEECH:
            continue
        ends, starts = round(before.end_s / HOP_S), round(after.start_s / HOP_S)
        jumped = abs(after.lag_start_s - before.lag_end_s) > BREAK_S
        # Most frames of the 80 ms on either side: a frame may fall between two glottal pulses.
        before_it, after_it = activity.active[max(ends - 5, 0) : ends], activity.active[starts : starts + 5]
        spoken = before_it.size > 0 and after_it.size > 0 and min(before_it.mean(), after_it.mean()) > 0.5
        count += int(jumped and spoken)
    return count


def _delay_reasons(alignment: Alignment) -> list[Reason]:
    speech = [part for part in alignment.segments if part.kind is SegmentKind.SPEECH]
    if not speech:
        return []
    lags = [lag for part in speech for lag in (part.lag_start_s, part.lag_end_s)]
    moved = max(lags) - min(lags)
    if moved < DELAY_WORTH_NAMING_S:
        return []
    text = f"delay varies by {1000 * moved:.0f} ms"
    return [Reason(ReasonKind.DELAY, speech[0].start_s, speech[-1].end_s, 1000 * moved, "ms", text)]
