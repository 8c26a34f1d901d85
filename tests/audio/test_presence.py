"""Tones are found, measured and timed, also weak, in noise and drifting; speech and noise are none."""

import numpy as np
import pytest

from audio import reference
from audio.presence import find_tones
from audio.reference.signals import noise, silence, tone

RATE = 48_000


@pytest.mark.parametrize("rate", [8000, 16_000, 48_000])
@pytest.mark.parametrize("frequency", [500, 1000, 1234.5])
def test_a_clean_tone_has_its_frequency_level_and_duration(rate, frequency):
    (found,) = find_tones(tone(frequency, 3, rate, -26), rate, [frequency])
    assert found.found
    assert found.frequency_hz == pytest.approx(frequency, abs=0.1)
    assert found.level_dbov == pytest.approx(-26, abs=0.2)
    assert found.snr_db > 25
    assert found.ratio == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("snr_db", [20, 0, -10, -15])
def test_a_tone_in_noise_is_found_with_its_snr(snr_db):
    mixed = tone(1000, 5, RATE, -36) + noise(5, RATE, -36 - snr_db)
    (found,) = find_tones(mixed, RATE, [1000])
    assert found.found
    assert found.level_dbov == pytest.approx(-36, abs=1.0)
    assert found.snr_db == pytest.approx(snr_db, abs=1.2)
    assert found.ratio > 0.9


def test_when_a_tone_is_there_is_told_to_a_twentieth_of_a_second():
    signal = np.concatenate([silence(1, RATE), tone(500, 2, RATE), silence(1.5, RATE), tone(500, 1, RATE)])
    signal = signal + noise(len(signal) / RATE, RATE, -60)
    (found,) = find_tones(signal, RATE, [500])
    assert [(each.start_s, each.end_s) for each in found.intervals] == [
        pytest.approx((1, 3), abs=0.05),
        pytest.approx((4.5, 5.5), abs=0.05),
    ]
    assert found.ratio == pytest.approx(3 / 5.5, abs=0.03)


def test_two_tones_at_once_are_both_found_and_a_third_is_not():
    both = tone(500, 2, RATE, -30) + tone(1000, 2, RATE, -40)
    low, high, absent = find_tones(both, RATE, [500, 1000, 2000])
    assert (low.found, high.found, absent.found) == (True, True, False)
    assert high.level_dbov == pytest.approx(-40, abs=0.3)


def test_a_drifting_tone_is_followed_within_the_tolerance():
    time = np.arange(5 * RATE) / RATE
    drifting = 0.1 * np.sin(2 * np.pi * (1000 * time + 0.5 * 3.0 * time**2))  # 1000 to 1015 Hz
    (found,) = find_tones(drifting, RATE, [1000], tolerance=0.02)
    assert found.ratio > 0.97
    assert found.frequency_hz == pytest.approx(1007.5, abs=0.5)
    assert found.drift_hz_per_s == pytest.approx(3.0, abs=0.1)


def test_a_tone_outside_the_tolerance_is_another_tone():
    (found,) = find_tones(tone(1030, 2, RATE), RATE, [1000], tolerance=0.01)
    assert not found.found


@pytest.mark.parametrize("name", ["female_1", "female_2", "male_1", "male_2", "noise", "silence", "sweep"])
def test_speech_noise_silence_and_a_sweep_are_no_tone(name):
    signal = reference.load(name)
    assert not any(each.found for each in find_tones(signal.samples, signal.sample_rate, [500, 1000]))


def test_less_than_a_window_of_sound_holds_no_tone():
    assert not find_tones(tone(500, 0.1, RATE), RATE, [500])[0].found


@pytest.mark.parametrize(("frequency", "tolerance"), [(5, 0.01), (24_000, 0.01), (1000, 0.5), (1000, 0)])
def test_what_cannot_be_looked_for_is_refused(frequency, tolerance):
    with pytest.raises(ValueError, match=r"cannot be looked for|tolerance"):
        find_tones(silence(1, RATE), RATE, [frequency], tolerance)
