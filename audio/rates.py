"""Changes the sample rate of recordings."""

from __future__ import annotations

from math import gcd

from scipy.signal import resample_poly

from audio.recording import Array, Recording


def resampled(recording: Recording, rate: int) -> Array:
    """The samples, (N,) or (N, C), at `rate` hertz; untouched where it is theirs already."""
    if recording.sample_rate == rate:
        return recording.samples
    divisor = gcd(rate, recording.sample_rate)
    changed: Array = resample_poly(recording.samples, rate // divisor, recording.sample_rate // divisor)
    return changed
