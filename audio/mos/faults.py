"""Finds what a listener would name: mutes, gaps, missing bandwidth, noise, clipping and a wrong level."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audio.intervals import joined, runs
from audio.mos.bands import HOP_S, Bands, Floats, Single, hertz_to_bark
from audio.mos.disturbance import speech_power

Mask = NDArray[np.bool_]
Ints = NDArray[np.int64]

ACTIVE_RANGE = 1e-4  # frames within 40 dB of the loudest are speech
LOUD_RANGE = 10**-2.5  # within 25 dB of the mean of active speech: its loss can't be missed
LOST = 10**-2.2  # 22 dB below what was due
SHORTEST_MUTE_S = 0.2
SILENT_POWER = 1e-9  # -90 dBov
GAP_BLOCK_S = 0.005
GAP_TILT_S = 125e-6  # the difference over this time dims hum and rumble, 20 dB at 100 Hz, and is greatest at 4 kHz
NOTHING = 10**-4.5  # 45 dB below loud speech
GAP = 10**-3.0  # 30 dB below what was due
CUT_OFF = 10**-2.0  # a band that lost 20 dB is missing
AUDIBLE_SHARE = 10**-5.0  # a band 50 dB below the whole is content
FLAT_TOP = 0.995
UNHEARD_POWER = 1e-7  # -70 dBov: what lies below all the time is no speech
STEADY = 10.0  # nor is what stays within 10 dB


@dataclass(frozen=True, eq=False)
class Activity:
    """Frames (T,) of the reference: `active` speech; the `loud` part of it; `lost`, loud but not arrived."""

    active: Mask
    loud: Mask
    lost: Mask

    @property
    def heard(self) -> Mask:
        return self.active & ~self.lost

    def without_loss_in(self, frames: Mask) -> Activity:
        """The same where nothing counts as lost in `frames` (T,)."""
        return Activity(self.active, self.loud, self.lost & ~frames)


def find_active(reference: Single, degraded: Single, bands: Bands) -> Activity:
    """Tell speech from pauses in the reference, and arrived from lost speech."""
    due, got = speech_power(reference, bands), speech_power(degraded, bands)
    active = due > ACTIVE_RANGE * due.max()
    loud = due > LOUD_RANGE * due[active].mean()
    ratio = got / np.maximum(due, 1e-30)
    # The upper quartile of what arrived is the gain: losses, even of half of the speech, leave it alone.
    gain = float(np.quantile(ratio[loud], 0.75))
    return Activity(active, loud, loud & (ratio < LOST * gain))


def find_mutes(activity: Activity, degraded: Single, bands: Bands) -> Ints:
    """Return the mutes (M, 2), first frame and end, of at least 200 ms; pauses between lost speech belong to them."""
    got = speech_power(degraded, bands)
    quiet = got <= 2 * max(float(got[activity.lost].max()), 1e-14) if activity.lost.any() else activity.lost
    lost = joined(runs(activity.lost | (quiet & ~activity.loud)), 1)
    long_enough = [
        part
        for part in lost
        if (part[1] - part[0]) * HOP_S >= SHORTEST_MUTE_S
        and activity.lost[part[0] : part[1]].sum() * HOP_S >= 0.5 * SHORTEST_MUTE_S
    ]
    trimmed = [_trimmed(part, activity.lost) for part in long_enough]
    return np.array(trimmed, dtype=np.int64).reshape(-1, 2)


def _trimmed(part: Ints, lost: Mask) -> tuple[int, int]:
    inside = np.flatnonzero(lost[part[0] : part[1]])
    return int(part[0] + inside[0]), int(part[0] + inside[-1] + 1)


def find_gaps(reference: Floats, degraded: Floats, sample_rate: int, mutes: Ints) -> tuple[Floats, float]:
    """Return when (K,) in s blocks of 5 ms of loud speech did not arrive outside mutes, and their share of all.

    A gap shows with and without rumble: a filter or codec that takes out what lies below speech leaves no gaps.
    """
    lost, loud = _lost_blocks(reference, degraded, sample_rate)
    lag = max(round(GAP_TILT_S * sample_rate), 1)
    lost &= _lost_blocks(_tilted(reference, lag), _tilted(degraded, lag), sample_rate)[0]
    # A single block may fall between two glottal pulses.
    lost &= np.concatenate(([False], lost[:-1])) | np.concatenate((lost[1:], [False]))
    for begin, end in mutes:
        lost[round((begin - 1) * HOP_S / GAP_BLOCK_S) : round((end + 2) * HOP_S / GAP_BLOCK_S)] = False
    times: Floats = np.flatnonzero(lost).astype(np.float64) * GAP_BLOCK_S
    return times, float(lost.sum() / loud.sum())


def _tilted(samples: Floats, lag: int) -> Floats:
    return np.concatenate((samples[:lag], samples[lag:] - samples[:-lag]))


def _lost_blocks(reference: Floats, degraded: Floats, sample_rate: int) -> tuple[Mask, Mask]:
    """Return which blocks (K,) did not arrive, and which of the reference are loud."""
    length = round(GAP_BLOCK_S * sample_rate)
    due, got = _block_powers(reference, length), _block_powers(degraded, length)
    loud = due > LOUD_RANGE * due[due > ACTIVE_RANGE * due.max()].mean()
    ratio = got / np.maximum(due, 1e-30)
    # Of a fricative too little may pass a telephone band; what was lost leaves nothing at all.
    nothing = got < NOTHING * got[loud].mean()
    return loud & nothing & (ratio < GAP * float(np.quantile(ratio[loud], 0.75))), loud


def _block_powers(samples: Floats, length: int) -> Floats:
    blocks = samples[: len(samples) // length * length].reshape(-1, length)
    powers: Floats = np.einsum("ij,ij->i", blocks, blocks) / length
    return powers


def gain_db(reference: Single, degraded: Single, activity: Activity, bands: Bands) -> float:
    """Return the usual gain from reference to recording in dB over loud speech that arrived."""
    frames = activity.loud & activity.heard
    due, got = speech_power(reference, bands)[frames], speech_power(degraded, bands)[frames]
    return float(10 * np.log10(max(float(np.median(got / due)), 1e-20)))


@dataclass(frozen=True)
class MissingBand:
    """Speech of the reference up to `reference_hz` arrived up to `degraded_hz`; `bark` between them."""

    reference_hz: float
    degraded_hz: float
    bark: float


def find_missing_band(reference: Single, degraded: Single, activity: Activity, bands: Bands) -> MissingBand:
    """Compare the upper ends of the spectra of the frames that were heard."""
    due = reference[activity.heard].mean(axis=0, dtype=np.float64)
    got = degraded[activity.heard].mean(axis=0, dtype=np.float64)
    speech = (bands.centres > 300) & (bands.centres < 1500)
    gain = got[speech].sum() / max(due[speech].sum(), 1e-30)
    content = np.flatnonzero(due > AUDIBLE_SHARE * due.sum())
    present = content[got[content] > CUT_OFF * gain * due[content]]
    if len(content) == 0 or len(present) == 0:
        return MissingBand(0.0, 0.0, 0.0)
    top, reached = float(bands.edges[content[-1] + 1]), float(bands.edges[present[-1] + 1])
    bark = float(np.diff(hertz_to_bark(np.array([reached, top])))[0])
    return MissingBand(top, reached, bark)


def noise_db(reference: Single, degraded: Single, activity: Activity) -> float | None:
    """Return speech over noise in dB where the recording has more noise in the pauses than the reference has.

    None with no pause to listen in, or no more noise than the reference's and at least 50 dB of distance.
    """
    due, got = reference.sum(axis=1, dtype=np.float64), degraded.sum(axis=1, dtype=np.float64)
    # A frame beside speech holds some of it.
    pause = ~activity.active
    pause[1:] &= ~activity.active[:-1]
    pause[:-1] &= ~activity.active[1:]
    heard = activity.heard
    if pause.sum() * HOP_S < 0.1 or not heard.any():
        return None
    noise, speech = float(np.median(got[pause])), float(got[heard].mean())
    noise_before, speech_before = float(np.median(due[pause])), float(due[heard].mean())
    ratio = noise / max(speech - noise, 1e-3 * speech)
    if ratio < 1e-5 or ratio < 4 * noise_before / speech_before:
        return None
    return float(-10 * np.log10(ratio))


def only_noise(degraded: Single, bands: Bands) -> float | None:
    """Return the power in dBov of a recording in which nobody speaks: too faint, or steady as noise is; None of others.

    Half a second at either end may hold the click of a switch.
    """
    power = speech_power(degraded, bands)
    edge = round(0.5 / HOP_S)
    power = power[edge:-edge] if len(power) > 4 * edge else power
    low, high = np.quantile(power, [0.1, 0.95])
    if high >= UNHEARD_POWER and high >= STEADY * low:
        return None
    return float(10 * np.log10(max(degraded.sum(axis=1, dtype=np.float64).mean(), 1e-20)))


def clipped_share(samples: Floats, floor: float = 1e-3) -> float:
    """Return the share of samples (N,) that lie in flat tops: two or more in a row at the extreme."""
    peak = max(float(samples.max(initial=0.0)), -float(samples.min(initial=0.0)))
    if peak < floor:
        return 0.0
    extreme = (samples >= FLAT_TOP * peak) | (samples <= -FLAT_TOP * peak)
    flat = extreme[1:-1] & extreme[:-2] & extreme[2:]
    return float(flat.mean()) if len(flat) else 0.0
