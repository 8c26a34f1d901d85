"""Everything that one recording tells by itself: speech level and activity, amplitude, band, named tones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from audio.amplitude import Amplitude, measure_amplitude
from audio.bandwidth import Bandwidth, measure_bandwidth
from audio.errors import SignalError
from audio.level import ActiveLevel, active_speech_level
from audio.presence import TonePresence, find_tones
from audio.recording import Array

SHORTEST_S = 0.1


@dataclass(frozen=True, slots=True)
class Analysis:
    """What was measured of one signal, each by the function of its own module."""

    duration_s: float
    level: ActiveLevel
    amplitude: Amplitude
    bandwidth: Bandwidth
    presence: tuple[TonePresence, ...]


def analyse(
    signal: Array, sample_rate: int, present_hz: Iterable[float] = (), tone_tolerance: float = 0.01
) -> Analysis:
    """Measures `signal`, (N,) in [-1, 1], and looks for the tones `present_hz`. Raises SignalError when it cannot."""
    check_signal(signal, sample_rate, "the signal")
    return Analysis(
        len(signal) / sample_rate,
        active_speech_level(signal, sample_rate),
        measure_amplitude(signal, sample_rate),
        measure_bandwidth(signal, sample_rate),
        find_tones(signal, sample_rate, present_hz, tone_tolerance),
    )


def check_signal(signal: Array, sample_rate: int, name: str) -> None:
    """Raises SignalError unless `signal` is one channel of at least 0.1 s of finite samples at 8 kHz or more."""
    if not 8000 <= sample_rate <= 192_000:
        raise SignalError(f"{name} has a sample rate of {sample_rate} Hz; 8000 to 192000 Hz can be measured")
    if signal.ndim != 1:
        raise SignalError(f"{name} must be one channel, shape (N,), not {signal.shape}; take the mean of its channels")
    if not np.issubdtype(signal.dtype, np.floating):
        raise SignalError(f"{name} must be floating point in -1..1, not {signal.dtype}; divide 16-bit samples by 32768")
    if len(signal) < SHORTEST_S * sample_rate:
        raise SignalError(f"{name} lasts {len(signal) / sample_rate:.3f} s; at least {SHORTEST_S} s are needed")
    if not np.isfinite(signal).all():
        raise SignalError(f"{name} has samples that are no numbers (NaN or infinite)")
