"""The ear's view of sound: power in bands of half a Bark, the threshold in quiet, and loudness."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft

Floats = NDArray[np.float64]
Single = NDArray[np.float32]

FRAME_S = 0.032
HOP_S = 0.016
BAND_WIDTH_BARK = 0.5
LOWEST_HZ = 60.0
HIGHEST_HZ = 18_000.0
LISTENING_LEVEL_DB_SPL = 76.0  # what active speech is taken to sound at


@dataclass(frozen=True, eq=False)
class Bands:
    """Bands of about half a Bark for one sample rate: edges (B+1,) Hz, centres (B,) Hz, widths (B,) Bark.

    `weights` (F, B) sums the power spectrum of a frame of `size` samples into bands; bins are split between bands
    in proportion. `threshold` (B,) is the power of the threshold in quiet, 1.0 standing for 0 dB SPL.
    """

    sample_rate: int
    size: int
    edges: Floats
    centres: Floats
    widths: Floats
    weights: Single
    threshold: Floats

    @property
    def hop(self) -> int:
        return self.size // 2


def hertz_to_bark(frequency: Floats) -> Floats:
    """Return the critical-band rate in Bark (Traunmueller, J. Acoust. Soc. Am. 88, 1990, p. 97)."""
    return 26.81 * frequency / (1960.0 + frequency) - 0.53


def bark_to_hertz(bark: Floats) -> Floats:
    """Return the frequency in hertz of a critical-band rate in Bark."""
    return 1960.0 * (bark + 0.53) / (26.28 - bark)


def threshold_in_quiet_db(frequency: Floats) -> Floats:
    """Return the threshold in quiet in dB SPL (Terhardt, Hearing Research 1, 1979, p. 155)."""
    khz = frequency / 1000.0
    return np.asarray(3.64 * khz**-0.8 - 6.5 * np.exp(-0.6 * (khz - 3.3) ** 2) + 1e-3 * khz**4)


def make_bands(sample_rate: int) -> Bands:
    """Return the bands up to 18 kHz or just below half the sample rate."""
    size = 2 * round(0.5 * FRAME_S * sample_rate)
    top = min(HIGHEST_HZ, 0.485 * sample_rate)
    low, high = hertz_to_bark(np.array([LOWEST_HZ, top]))
    count = max(8, round((high - low) / BAND_WIDTH_BARK))
    edges = bark_to_hertz(np.linspace(low, high, count + 1))
    bins = np.arange(size // 2 + 1) * sample_rate / size
    half = 0.5 * sample_rate / size
    lower = np.maximum(bins[:, None] - half, edges[None, :-1])
    upper = np.minimum(bins[:, None] + half, edges[None, 1:])
    weights = np.clip(upper - lower, 0.0, None) / (2 * half)
    centres = 0.5 * (edges[1:] + edges[:-1])
    return Bands(
        sample_rate=sample_rate,
        size=size,
        edges=edges,
        centres=centres,
        widths=np.diff(hertz_to_bark(edges)),
        weights=weights.astype(np.float32),
        threshold=10 ** (threshold_in_quiet_db(centres) / 10),
    )


def band_powers(samples: Floats, bands: Bands) -> Single:
    """Return the power (T, B) of a signal (N,) in frames of 32 ms, every 16 ms; the mean square of a full band is 1:1.

    Frames are taken in blocks, so that ten minutes cost no more memory than their result.
    """
    size, hop = bands.size, bands.hop
    count = max(1, -(-(len(samples) - size) // hop) + 1)
    powers = np.empty((count, len(bands.centres)), dtype=np.float32)
    block = 512
    for start in range(0, count, block):
        stop = min(start + block, count)
        part = samples[start * hop : (stop - 1) * hop + size].astype(np.float32)
        part = np.pad(part, (0, (stop - 1 - start) * hop + size - len(part)))
        frames = np.lib.stride_tricks.sliding_window_view(part, size)[::hop]
        powers[start:stop] = frame_powers(frames, bands)
    return powers


def frame_powers(frames: Single, bands: Bands) -> Single:
    """Return the power (F, B) of frames (F, size)."""
    window = np.sin(np.pi * (np.arange(bands.size) + 0.5) / bands.size).astype(np.float32) ** 2
    spectrum = fft.rfft(frames * window, axis=1)
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    scaled: Single = (power @ bands.weights) * np.float32(2.0 / (bands.size * np.sum(window**2)))
    return scaled


def loudness(powers: Single, bands: Bands) -> Single:
    """Return the specific loudness (T, B) in sone per Bark (Zwicker and Fastl, Psychoacoustics, 3rd ed., eq. 8.6)."""
    threshold = bands.threshold.astype(np.float32)
    scale = (0.08 * (bands.threshold / 0.5) ** 0.23).astype(np.float32)
    density = scale * ((0.5 + 0.5 * powers / threshold) ** np.float32(0.23) - 1.0)
    return np.maximum(density, np.float32(0.0))
