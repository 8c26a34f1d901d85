"""Active speech level and activity, against a straightforward implementation of ITU-T P.56 method B."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audio import reference
from audio.level import active_mask, active_speech_level


def p56_sample_by_sample(signal, sample_rate):
    """The standard's recursions as written, one sample after the other; level in dBov and activity."""
    g = math.exp(-1 / (sample_rate * 0.03))
    hangover = math.ceil(0.2 * sample_rate)
    thresholds = [2.0**power for power in range(-15, 0)]
    active = [0] * len(thresholds)
    hang = [hangover] * len(thresholds)
    square = p = q = 0.0
    for sample in signal.tolist():
        square += sample * sample
        p = g * p + (1 - g) * abs(sample)
        q = g * q + (1 - g) * p
        for j, threshold in enumerate(thresholds):
            if q >= threshold:
                active[j] += 1
                hang[j] = 0
            elif hang[j] < hangover:
                active[j] += 1
                hang[j] += 1
            else:
                break  # a higher threshold was passed no later than this one
    previous = None
    for count, threshold in zip(active, thresholds, strict=True):
        if count == 0:
            break
        level, limit = 10 * math.log10(square / count), 20 * math.log10(threshold)
        excess = level - limit - 15.9
        if excess <= 0 and previous is None:
            return -math.inf, 0.0  # too weak for 16 bits: below the standard's range
        if excess <= 0:
            share = previous[0] / (previous[0] - excess)
            found = previous[1] + share * (level - previous[1])
            return found, 10 ** ((10 * math.log10(square / len(signal)) - found) / 10)
        previous = (excess, level)
    return -math.inf, 0.0


@pytest.mark.parametrize("name", ["female_1", "female_2", "male_1", "male_2"])
def test_level_and_activity_are_those_of_the_standard(name):
    voice = reference.load(name)
    narrow = voice.samples[: 4 * voice.sample_rate : 6]  # 8 kHz; what aliases is speech for a meter as well
    measured = active_speech_level(narrow, 8000)
    level, ratio = p56_sample_by_sample(narrow, 8000)
    assert measured.level_dbov == pytest.approx(level, abs=0.01)
    assert measured.ratio == pytest.approx(ratio, abs=0.001)


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    gain_db=st.floats(-40, 0),
    bursts=st.lists(st.tuples(st.floats(0.02, 0.5), st.floats(0.0, 0.6)), min_size=1, max_size=4),
)
def test_bursts_with_pauses_of_any_length_are_measured_as_the_standard_says(seed, gain_db, bursts):
    random = np.random.default_rng(seed)
    parts = []
    for on_s, off_s in bursts:
        parts += [0.2 * random.standard_normal(int(on_s * 4000)), 1e-4 * random.standard_normal(int(off_s * 4000))]
    signal = 10 ** (gain_db / 20) * np.concatenate(parts)
    level, ratio = p56_sample_by_sample(signal, 4000)
    measured = active_speech_level(signal, 4000)
    if math.isfinite(level):
        assert measured.level_dbov == pytest.approx(level, abs=0.01)
        assert measured.ratio == pytest.approx(ratio, abs=0.001)


def test_a_steady_sine_is_active_all_the_time_at_its_own_power():
    measured = active_speech_level(reference.signals.tone(1000, 10, 48_000, -20), 48_000)
    assert measured.level_dbov == pytest.approx(-20, abs=0.1)
    assert measured.ratio > 0.98


def test_level_follows_gain_and_activity_does_not():
    voice = reference.load("male_1")
    loud = active_speech_level(voice.samples, voice.sample_rate)
    quiet = active_speech_level(voice.samples * 0.01, voice.sample_rate)
    assert loud.level_dbov - quiet.level_dbov == pytest.approx(40, abs=0.02)
    assert quiet.ratio == pytest.approx(loud.ratio, abs=0.005)


def test_the_result_does_not_depend_on_how_the_signal_is_cut_into_blocks(monkeypatch):
    voice = reference.load("female_1")
    whole = active_speech_level(voice.samples, voice.sample_rate)
    monkeypatch.setattr("audio.level._BLOCK", 4801)
    assert active_speech_level(voice.samples, voice.sample_rate).level_dbov == pytest.approx(whole.level_dbov, abs=1e-9)


def test_silence_has_no_level_and_no_activity():
    measured = active_speech_level(np.zeros(48_000), 48_000)
    assert (measured.level_dbov, measured.ratio) == (-math.inf, 0.0)
    assert not active_mask(np.zeros(100), 48_000).any()


def test_the_mask_covers_the_share_of_time_that_the_ratio_states():
    voice = reference.load("male_2")
    level = active_speech_level(voice.samples, voice.sample_rate)
    assert active_mask(voice.samples, voice.sample_rate, level).mean() == pytest.approx(level.ratio, abs=0.02)


def test_several_channels_are_refused():
    with pytest.raises(ValueError, match="one channel"):
        active_speech_level(np.zeros((10, 2)), 48_000)
