"""The band of each voice, and of each voice after a low-pass, also in noise."""

import numpy as np
import pytest
from scipy.signal import butter, resample_poly, sosfiltfilt

from audio import reference
from audio.bandwidth import Band, measure_bandwidth
from audio.reference.signals import noise, tone

RATE = 48_000
VOICES = [voice.name for voice in reference.voices()]


@pytest.mark.parametrize("name", VOICES)
def test_the_voices_fill_the_full_band(name):
    assert measure_bandwidth(reference.load(name).samples, RATE).high_hz > 14_000


@pytest.mark.parametrize("name", VOICES)
@pytest.mark.parametrize(("edge", "band"), [(3400, Band.NARROW), (7000, Band.WIDE), (14_000, Band.SUPER_WIDE)])
@pytest.mark.parametrize("floor_dbov", [None, -60])
def test_a_low_pass_is_seen_at_its_edge(name, edge, band, floor_dbov):
    low_pass = butter(16, edge, fs=RATE, output="sos")
    voice = sosfiltfilt(low_pass, reference.load(name).samples)
    if floor_dbov is not None:
        voice = voice + noise(len(voice) / RATE, RATE, floor_dbov)
    measured = measure_bandwidth(voice, RATE)
    assert measured.high_hz < 1.2 * edge
    if floor_dbov is None:
        assert measured.high_hz > 0.8 * edge
        assert measured.band is band


@pytest.mark.parametrize("name", VOICES)
def test_a_change_of_rate_limits_the_band(name):
    back = resample_poly(resample_poly(reference.load(name).samples, 1, 6), 6, 1)
    assert measure_bandwidth(back, RATE).band is Band.NARROW


def test_noise_fills_everything_and_a_tone_next_to_nothing():
    assert measure_bandwidth(noise(2, RATE), RATE).band is Band.FULL
    measured = measure_bandwidth(tone(1000, 2, RATE), RATE)
    assert measured.low_hz == pytest.approx(1000, abs=300)
    assert measured.high_hz == pytest.approx(1000, abs=300)


def test_silence_and_a_click_too_short_have_none():
    assert measure_bandwidth(np.zeros(RATE), RATE).band is Band.NONE
    assert measure_bandwidth(np.ones(10), RATE).band is Band.NONE
