"""The packaged voices are what the catalogue says; test signals have the level asked for."""

import hashlib
import itertools

import numpy as np
import pytest

from audio import AudioError, reference
from audio.level import active_speech_level
from audio.reference import signals


@pytest.mark.parametrize("voice", reference.voices(), ids=lambda voice: voice.name)
def test_a_voice_is_the_one_that_the_catalogue_describes(voice):
    recording = reference.load(voice.name)
    pcm = np.round(recording.samples * 32768).astype("<i2")
    assert hashlib.sha256(pcm.tobytes()).hexdigest() == voice.sha256_of_samples
    assert (recording.sample_rate, recording.channels, len(pcm)) == (48_000, 1, voice.samples)
    assert recording.duration_s == pytest.approx(voice.duration_s, abs=0.001)
    level = active_speech_level(recording.samples, 48_000)
    assert level.level_dbov == pytest.approx(voice.active_level_dbov, abs=0.01)
    assert level.level_dbov == pytest.approx(-26, abs=0.05)
    assert level.ratio == pytest.approx(voice.activity_ratio, abs=0.001)


def test_there_are_two_women_and_two_men_of_about_ten_seconds():
    assert sorted(voice.talker.split(",")[0] for voice in reference.voices()) == ["female", "female", "male", "male"]
    assert all(9 < voice.duration_s < 13 for voice in reference.voices())


def test_no_sentence_and_no_three_words_are_said_twice():
    said = [sentence.lower().split() for voice in reference.voices() for sentence in voice.sentences]
    threes = [three for words in said for three in itertools.pairwise(itertools.pairwise(words))]
    assert len(set(threes)) == len(threes)


@pytest.mark.parametrize("voice", reference.voices(), ids=lambda voice: voice.name)
def test_voices_have_energy_in_every_band_that_is_to_be_told_apart(voice):
    recording = reference.load(voice.name)
    power = np.abs(np.fft.rfft(recording.samples)) ** 2
    hertz = np.fft.rfftfreq(len(recording.samples), 1 / recording.sample_rate)
    pause = recording.samples[: recording.sample_rate // 4]
    floor = np.mean(pause**2) / (recording.sample_rate / 2)
    for low, high in ((100, 3400), (3400, 7000), (8000, 14_000), (14_000, 17_000)):
        band = (hertz >= low) & (hertz < high)
        density = 2 * power[band].mean() / len(recording.samples) / recording.sample_rate
        assert 10 * np.log10(density / floor) > 10, f"{low} to {high} Hz"


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(AudioError, match="female_1, female_2, male_1, male_2, tone_500"):
        reference.load("tenor")


@pytest.mark.parametrize("name", ["tone_500", "tone_1000", "sweep"])
def test_sines_have_their_level(name):
    samples = reference.load(name).samples
    assert 10 * np.log10(np.mean(samples**2)) == pytest.approx(-26, abs=0.05)


def test_noise_is_the_same_each_time_and_silence_is_silent():
    assert np.array_equal(reference.load("noise").samples, reference.load("noise").samples)
    assert not reference.load("silence").samples.any()


def test_a_signal_that_cannot_be_played_is_refused():
    with pytest.raises(ValueError, match="below half"):
        signals.tone(9000, 1, 16_000)
    with pytest.raises(ValueError, match="clipped"):
        signals.tone(1000, 1, 16_000, level_dbov=0)
    with pytest.raises(ValueError, match="clipped"):
        signals.noise(1, 16_000, level_dbov=-3)
