"""Peak, power, crest, offset, clipping, noise floor, mutes and drop-outs of signals made to have them."""

import math

import numpy as np
import pytest

from audio import reference
from audio.amplitude import measure_amplitude
from audio.reference.signals import noise, tone

RATE = 48_000
VOICES = [voice.name for voice in reference.voices()]


def test_a_sine_has_a_crest_of_3_db():
    measured = measure_amplitude(tone(1000, 2, RATE, -20) + 0.01, RATE)
    assert measured.rms_dbov == pytest.approx(-19.96, abs=0.05)
    assert measured.crest_db == pytest.approx(3.5, abs=0.3)
    assert measured.dc == pytest.approx(0.01, abs=1e-4)


@pytest.mark.parametrize("name", [*VOICES, "tone_500", "tone_1000", "sweep", "noise"])
def test_the_references_are_free_of_clipping_dropouts_and_mutes(name):
    measured = measure_amplitude(reference.load(name).samples, RATE)
    assert (measured.clipping, measured.dropouts, measured.mutes) == ((), (), ())


@pytest.mark.parametrize("name", VOICES)
@pytest.mark.parametrize("gain_db", [12, 18, 24])
def test_clipping_is_found(name, gain_db):
    loud = np.clip(reference.load(name).samples * 10 ** (gain_db / 20), -1, 1)
    measured = measure_amplitude(loud, RATE)
    assert measured.peak_dbov == 0
    assert measured.clipped_ratio == pytest.approx(np.mean(np.abs(loud) == 1), rel=0.5)
    assert measured.clipping


def test_a_quiet_recording_with_16_bits_is_not_called_clipped():
    quiet = np.round(reference.load("male_1").samples * 0.01 * 32768) / 32768
    assert not measure_amplitude(quiet, RATE).clipping


def test_zero_filled_packets_are_dropouts_with_their_times():
    voice = reference.load("male_1").samples.copy()
    for start in (1.0, 1.5, 2.6):
        begin = int(start * RATE)
        voice[begin : begin + RATE // 50] = 0
    measured = measure_amplitude(voice, RATE)
    assert [each.start_s for each in measured.dropouts] == pytest.approx([1.0, 1.5, 2.6], abs=0.001)
    assert all(each.duration_s == pytest.approx(0.02, abs=0.001) for each in measured.dropouts)


def test_a_mute_has_its_times():
    voice = reference.load("female_1").samples.copy()
    voice[5 * RATE : 7 * RATE] = 0
    (mute,) = measure_amplitude(voice, RATE).mutes
    assert (mute.start_s, mute.end_s) == pytest.approx((5, 7), abs=0.03)


def test_the_noise_floor_is_that_of_the_pauses():
    voice = reference.load("female_2").samples
    noisy = voice + noise(len(voice) / RATE, RATE, -55)
    assert measure_amplitude(noisy, RATE).noise_floor_dbov == pytest.approx(-55, abs=0.5)
    assert measure_amplitude(voice, RATE).noise_floor_dbov == pytest.approx(-84, abs=1)


def test_silence_is_measured_without_warning():
    measured = measure_amplitude(np.zeros(RATE), RATE)
    assert measured.rms_dbov == -math.inf
    assert measured.clipping == ()


def test_a_single_sample_and_none_at_all():
    assert measure_amplitude(np.array([0.5]), RATE).peak_dbov == pytest.approx(-6.02, abs=0.01)
    with pytest.raises(ValueError, match="one channel with samples"):
        measure_amplitude(np.array([]), RATE)
