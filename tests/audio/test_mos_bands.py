"""The ear's bands: a tone lands in its band with its power, loudness grows as it should."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audio.mos.bands import (
    band_powers,
    bark_to_hertz,
    hertz_to_bark,
    loudness,
    make_bands,
    threshold_in_quiet_db,
)


@given(st.floats(50, 20_000))
def test_bark_and_hertz_are_inverse(frequency: float) -> None:
    there = hertz_to_bark(np.array([frequency]))
    assert bark_to_hertz(there)[0] == pytest.approx(frequency, rel=1e-6)


def test_one_kilohertz_is_at_8_5_bark() -> None:
    assert hertz_to_bark(np.array([1000.0]))[0] == pytest.approx(8.53, abs=0.01)


def test_hearing_is_best_at_3_to_4_khz() -> None:
    frequencies = np.array([100.0, 1000.0, 3500.0, 12_000.0])
    quiet = threshold_in_quiet_db(frequencies)
    assert quiet.argmin() == 2
    assert quiet[0] == pytest.approx(23, abs=1)


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100, 48_000])
@settings(max_examples=20)
@given(frequency=st.floats(200, 3500), amplitude=st.floats(1e-3, 1.0))
def test_a_tone_lands_in_its_band_with_its_power(rate: int, frequency: float, amplitude: float) -> None:
    bands = make_bands(rate)
    tone = amplitude * np.sin(2 * np.pi * frequency * np.arange(rate // 4) / rate)
    mean = band_powers(tone, bands)[1:-1].mean(axis=0)
    assert mean.sum() == pytest.approx(amplitude**2 / 2, rel=0.02)
    strongest = int(mean.argmax())
    assert bands.edges[max(strongest - 1, 0)] <= frequency <= bands.edges[min(strongest + 2, len(mean))]


def test_blocks_leave_no_seam() -> None:
    bands = make_bands(8000)
    noise = np.random.default_rng(0).standard_normal(8000 * 12)
    whole = band_powers(noise, bands)
    apart = band_powers(noise[600 * bands.hop :], bands)
    np.testing.assert_allclose(whole[600:], apart, rtol=1e-4)


def test_loudness_is_nothing_below_the_threshold_and_grows_with_the_power_to_0_23() -> None:
    bands = make_bands(16_000)
    assert not loudness(0.5 * bands.threshold[None].astype(np.float32), bands).any()
    strong = loudness((bands.threshold[None] * [[1e8], [1e9]]).astype(np.float32), bands)
    np.testing.assert_allclose(strong[1] / strong[0], 10**0.23, rtol=0.02)
