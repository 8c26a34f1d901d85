"""Test signals other than speech, computed when asked for: tones, sweep, noise, silence."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.signal import chirp

Array = NDArray[np.float64]

FADE_S = 0.01  # at both ends, so that no signal begins or ends with a click


def tone(frequency_hz: float, duration_s: float, sample_rate: int, level_dbov: float = -26.0) -> Array:
    """(N,) a sine whose power is `level_dbov` relative to a full-scale square wave; -3 dBov is a full-scale sine."""
    _check(level_dbov, frequency_hz, sample_rate)
    time = np.arange(round(duration_s * sample_rate)) / sample_rate
    return _fade(np.sqrt(2) * 10 ** (level_dbov / 20) * np.sin(2 * np.pi * frequency_hz * time), sample_rate)


def sweep(
    duration_s: float, sample_rate: int, low_hz: float = 50.0, high_hz: float = 20_000.0, level_dbov: float = -26.0
) -> Array:
    """(N,) a sine that rises from `low_hz` to `high_hz`, the same time for each octave."""
    _check(level_dbov, high_hz, sample_rate)
    time = np.arange(round(duration_s * sample_rate)) / sample_rate
    wave = chirp(time, low_hz, duration_s, high_hz, method="logarithmic", phi=-90)
    return _fade(np.sqrt(2) * 10 ** (level_dbov / 20) * wave, sample_rate)


def noise(duration_s: float, sample_rate: int, level_dbov: float = -36.0, seed: int = 1) -> Array:
    """(N,) white Gaussian noise, the same for the same `seed`, limited to full scale."""
    if level_dbov > -12:
        raise ValueError(f"noise of {level_dbov} dBov would be clipped; at most -12 dBov")
    wave = np.random.default_rng(seed).standard_normal(round(duration_s * sample_rate))
    return np.clip(wave * 10 ** (level_dbov / 20), -1, 1)


def silence(duration_s: float, sample_rate: int) -> Array:
    """(N,) zeros."""
    return np.zeros(round(duration_s * sample_rate))


def _fade(wave: Array, sample_rate: int) -> Array:
    length = min(round(FADE_S * sample_rate), len(wave) // 2)
    ramp = 0.5 - 0.5 * np.cos(np.pi * np.arange(length) / max(length, 1))
    wave[:length] *= ramp
    wave[len(wave) - length :] *= ramp[::-1]
    return wave


def _check(level_dbov: float, frequency_hz: float, sample_rate: int) -> None:
    if not 0 < frequency_hz < sample_rate / 2:
        raise ValueError(f"{frequency_hz} Hz cannot be played at {sample_rate} Hz: it must be below half of that")
    if level_dbov > -3.01:
        raise ValueError(f"a sine of {level_dbov} dBov would be clipped; at most -3.01 dBov")
