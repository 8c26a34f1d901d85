"""How much two sounds differ to the ear, frame by frame: what was changed, and what was added.

The steps are those that the published models share (Beerends and Stemerdink, J. Audio Eng. Soc. 42, 1994, p. 115;
ITU-T P.862, clause 10; ITU-T P.863): bands of the ear, part of a constant colouration and of slow gain forgiven,
loudness, masking as a dead zone, more weight to what was added than to what is missing, and norms over time that
give short, strong disturbances more than their share. The form of each and all constants are our own, fitted on the
training talkers of benchmarks/audio_mos.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from audio.mos.bands import LISTENING_LEVEL_DB_SPL, Bands, Floats, Single, loudness

SPEECH_BAND_HZ = (300.0, 3400.0)
LISTENING_POWER = 10 ** (LISTENING_LEVEL_DB_SPL / 10)
COLOURATION_LIMIT = 100.0  # 20 dB
COLOURATION_FORGIVEN = 0.85  # of a constant colouration, in dB
AUDIBLE_OVER_THRESHOLD = 100.0
GAIN_LIMITS = (3e-4, 5.0)
GAIN_FLOOR = 5e3
GAIN_MEMORY = 0.2  # of the last frame's gain
DEAD_ZONE = 0.25  # of the softer of the two loudnesses
# Above the wide band speech has little that matters (the bands of ANSI S3.5-1997, table 1, end at 9.5 kHz), but no
# speech masks noise there. With full weight the same noise cost a talker with little sound up there 0.5 MOS more at 48
# than at 16 kHz, and one with much 0.1.
HIGH_BAND_HZ, HIGH_BAND_WEIGHT = 8000.0, 0.25
CHANGE_NORM = 1.5  # over bands
ADDED_EXPONENT, ADDED_FLOOR = 1.2, 200.0
ADDED_LEAST, ADDED_MOST = 3.0, 12.0
LOUD_FRAME_EXPONENT = 0.04
WINDOW_FRAMES, WINDOW_STEP = 20, 10  # 320 ms, every 160 ms
WINDOW_NORM = 6.0


@dataclass(frozen=True, eq=False)
class Disturbance:
    """Per frame of 16 ms, (T,): `changed` (any difference of loudness) and `added` (power the reference lacks)."""

    changed: Floats
    added: Floats


def speech_power(powers: Single, bands: Bands) -> Floats:
    """Return the power (T,) from 300 to 3400 Hz of band powers (T, B)."""
    low, high = SPEECH_BAND_HZ
    inside = (bands.centres > low) & (bands.centres < high)
    total: Floats = powers[:, inside].sum(axis=1, dtype=np.float64)
    return total


def measure_disturbance(
    reference: Single, degraded: Single, active: NDArray[np.bool_], heard: NDArray[np.bool_], bands: Bands
) -> Disturbance:
    """Compare band powers (T, B) of a reference and of what arrived, aligned in time.

    `active` (T,) are the frames of speech, `heard` (T,) those of them that were not muted; at least one of each.
    """
    threshold = bands.threshold.astype(np.float32)
    reference = reference * np.float32(LISTENING_POWER / _mean(speech_power(reference, bands), active))
    degraded = degraded * np.float32(LISTENING_POWER / _mean(speech_power(degraded, bands), heard))

    usual = _audible_mean(reference, active, threshold)
    arrived = _audible_mean(degraded, active, threshold)
    least = 1e-5 * LISTENING_POWER
    colour = np.clip((arrived + least) / (usual + least), 1 / COLOURATION_LIMIT, COLOURATION_LIMIT)
    reference *= (colour**COLOURATION_FORGIVEN).astype(np.float32)

    loud = np.where(reference > threshold, reference, 0).sum(axis=1, dtype=np.float64)
    arrived_loud = np.where(degraded > threshold, degraded, 0).sum(axis=1, dtype=np.float64)
    gain = np.clip((loud + GAIN_FLOOR) / (arrived_loud + GAIN_FLOOR), *GAIN_LIMITS)
    gain, _ = lfilter([1 - GAIN_MEMORY], [1, -GAIN_MEMORY], gain, zi=[GAIN_MEMORY])
    degraded *= gain[:, None].astype(np.float32)

    wanted, got = loudness(reference, bands), loudness(degraded, bands)
    difference = np.abs(got - wanted)
    difference -= DEAD_ZONE * np.minimum(wanted, got)
    np.maximum(difference, 0, out=difference)
    widths = (bands.widths * np.where(bands.centres > HIGH_BAND_HZ, HIGH_BAND_WEIGHT, 1.0)).astype(np.float32)
    changed = np.sum((difference * widths) ** CHANGE_NORM, axis=1, dtype=np.float64) ** (1 / CHANGE_NORM)
    surplus = ((degraded + ADDED_FLOOR) / (reference + ADDED_FLOOR)) ** np.float32(ADDED_EXPONENT)
    surplus = np.where(surplus < ADDED_LEAST, 0, np.minimum(surplus, ADDED_MOST))
    added = np.sum(difference * surplus * widths, axis=1, dtype=np.float64)
    # Between words a disturbance is heard a little more.
    weight = (
        (reference.sum(axis=1, dtype=np.float64) + 0.01 * LISTENING_POWER) / LISTENING_POWER
    ) ** -LOUD_FRAME_EXPONENT
    return Disturbance(changed * weight, added * weight)


def over_windows(values: Floats) -> tuple[Floats, Floats]:
    """Return the middle frame (W,) and the norm (W,) of windows of 320 ms of values (T,)."""
    if len(values) < WINDOW_FRAMES:
        values = np.pad(values, (0, WINDOW_FRAMES - len(values)))
    windows = np.lib.stride_tricks.sliding_window_view(values, WINDOW_FRAMES)[::WINDOW_STEP]
    norms: Floats = np.mean(windows**WINDOW_NORM, axis=1) ** (1 / WINDOW_NORM)
    middles: Floats = np.arange(len(norms), dtype=np.float64) * WINDOW_STEP + 0.5 * WINDOW_FRAMES
    return middles, norms


def _mean(power: Floats, frames: NDArray[np.bool_]) -> float:
    return float(power[frames].mean()) + 1e-20


def _audible_mean(powers: Single, active: NDArray[np.bool_], threshold: Single) -> Floats:
    audible = np.where(powers > AUDIBLE_OVER_THRESHOLD * threshold, powers, 0)
    mean: Floats = audible[active].mean(axis=0, dtype=np.float64)
    return mean
