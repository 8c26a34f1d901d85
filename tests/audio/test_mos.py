"""What the perceptual score promises, on the packaged voices: order, blind spots of others, reasons, bad input."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from _time_warps import jitter_buffer, lose_packets
from numpy.typing import NDArray
from scipy.signal import butter, firwin, oaconvolve, resample_poly, sosfilt

from audio import reference
from audio.align import Alignment, Interval, Segment, SegmentKind, align
from audio.errors import SignalError
from audio.mos import PerceptualScore, ReasonKind, perceptual

Array = NDArray[np.float64]
RATE = 16_000
VOICES = ("female_1", "male_2")


@functools.cache
def voice(name: str, sample_rate: int = RATE) -> Array:
    recording = reference.load(name)
    return resample_poly(recording.samples, sample_rate, recording.sample_rate)


def unmoved(samples: Array, sample_rate: int = RATE) -> Alignment:
    """The alignment of two signals that run alike."""
    duration = len(samples) / sample_rate
    whole = Segment(0.0, duration, 0.0, 0.0, 1.0, SegmentKind.SPEECH)
    return Alignment(sample_rate, len(samples), 0.0, 0.0, 1.0, (whole,), (), ())


def score(sent: Array, arrived: Array, sample_rate: int = RATE) -> PerceptualScore:
    return perceptual(sent, arrived, sample_rate, unmoved(sent, sample_rate))


def with_noise(samples: Array, snr_db: float) -> Array:
    noise = np.random.default_rng(1).standard_normal(len(samples))
    return samples + noise * np.sqrt(np.mean(samples**2)) * 10 ** (-snr_db / 20)


def with_loss(samples: Array, share: float) -> Array:
    packet = RATE // 50
    lost = np.random.default_rng(2).random(len(samples) // packet + 1) < share
    return np.where(np.repeat(lost, packet)[: len(samples)], 0.0, samples)


def clipped(samples: Array, gain_db: float) -> Array:
    peak = np.abs(samples).max()
    return np.clip(samples * 10 ** (gain_db / 20), -peak, peak)


def low_passed(samples: Array, cut_hz: float, sample_rate: int = RATE) -> Array:
    return oaconvolve(samples, firwin(161 * sample_rate // 16000 // 2 * 2 + 1, cut_hz, fs=sample_rate), mode="same")


def kinds(result: PerceptualScore) -> set[ReasonKind]:
    return {reason.kind for reason in result.reasons}


@pytest.mark.parametrize("name", VOICES)
@pytest.mark.parametrize("rate", [8000, 16_000, 48_000])
def test_what_is_unchanged_is_worth_the_most_without_a_reason(name: str, rate: int) -> None:
    x = voice(name, rate)
    result = score(x, x, rate)
    assert result.mos == pytest.approx(4.64, abs=0.01)
    assert result.reasons == ()
    assert [time for time, _ in result.track] == [second + 0.5 for second in range(round(len(x) / rate))]
    assert all(value == pytest.approx(4.64, abs=0.01) for _, value in result.track)


@pytest.mark.parametrize("name", VOICES)
@pytest.mark.parametrize(
    ("degrade", "severities", "last_below"),
    [
        (with_noise, (40, 30, 20, 10, 0), 1.3),
        (with_loss, (0.01, 0.03, 0.05, 0.1, 0.2), 1.6),
        (clipped, (6, 12, 18, 24), 1.6),
        (low_passed, (7000, 5000, 3400, 2500, 1500), 2.8),
    ],
)
def test_falls_with_severity(name: str, degrade: object, severities: tuple[float, ...], last_below: float) -> None:
    assert callable(degrade)
    x = voice(name)
    values = [score(x, degrade(x, severity)).mos for severity in severities]
    assert values == sorted(values, reverse=True)
    assert values[0] > values[-1] + 1
    assert values[-1] < last_below


def test_narrow_band_is_worth_less_than_wide_band_and_that_less_than_all_at_48_khz() -> None:
    x = voice("female_1", 48_000)
    narrow, wide = (score(x, low_passed(x, cut, 48_000), 48_000) for cut in (3400, 7000))
    assert narrow.mos + 0.5 < wide.mos < 4.6
    [reason] = [reason for reason in narrow.reasons if reason.kind is ReasonKind.BANDWIDTH]
    assert reason.text.startswith("narrow-band")
    assert reason.value == pytest.approx(3400, rel=0.1)


def test_a_mute_is_named_with_its_time_and_costs_dear() -> None:
    x = voice("male_2")
    y = x.copy()
    y[5 * RATE : 7 * RATE] = 0
    result = score(x, y)
    assert result.mos < 2.5
    [mute] = [reason for reason in result.reasons if reason.kind is ReasonKind.MUTE]
    assert mute.start_s == pytest.approx(5, abs=0.3)
    assert mute.end_s == pytest.approx(7, abs=0.3)
    assert mute.value == pytest.approx(mute.end_s - mute.start_s)
    track = dict(result.track)
    assert max(track[5.5], track[6.5]) < 1.5
    assert min(track[1.5], track[9.5]) > 4


@pytest.mark.parametrize(("gain_db", "least", "most"), [(-10, -0.01, 0.01), (10, -0.01, 0.01), (-40, 0.5, 1.5)])
def test_level_costs_only_where_it_is_far_off(gain_db: float, least: float, most: float) -> None:
    x = voice("female_1") * 0.3
    result = score(x, x * 10 ** (gain_db / 20))
    assert least <= 4.64 - result.mos <= most
    if gain_db == -40:
        assert [reason.text for reason in result.reasons] == ["40 dB too quiet"]


def test_noise_is_measured_in_the_pauses() -> None:
    x = np.concatenate([voice("male_2"), np.zeros(RATE)])
    [noise] = [reason for reason in score(x, with_noise(x, 20)).reasons if reason.kind is ReasonKind.NOISE]
    # The ratio is to active speech, which lies about a decibel above the whole.
    assert noise.value == pytest.approx(21, abs=1.5)


def test_lost_packets_and_clipping_are_named() -> None:
    x = voice("female_1")
    [gaps] = [reason for reason in score(x, with_loss(x, 0.1)).reasons if reason.kind is ReasonKind.GAPS]
    assert gaps.value == pytest.approx(0.1, abs=0.03)
    assert ReasonKind.CLIPPING in kinds(score(x, clipped(x, 12)))
    assert ReasonKind.CLIPPING not in kinds(score(x, with_noise(x, 30)))


def test_silence_is_worth_nothing_and_said() -> None:
    x = voice("female_1")
    for arrived in (np.zeros(len(x)), np.zeros(0)):
        result = score(x, arrived)
        assert result.mos == 1.0
        assert kinds(result) == {ReasonKind.SILENCE}


def test_other_speech_is_worth_nothing_and_said() -> None:
    x, y = voice("female_1"), voice("male_2")
    result = perceptual(x, y, RATE, align(x, y, RATE))
    assert 1.0 <= result.mos <= 1.3
    assert kinds(result) == {ReasonKind.OTHER_SPEECH}


def test_a_delay_that_changes_in_a_pause_is_named_and_hardly_costs() -> None:
    x = np.concatenate([voice("female_1")[: 4 * RATE], np.zeros(RATE), voice("male_2")[: 4 * RATE]])
    cut = round(4.5 * RATE)
    y = np.concatenate([x[:cut], np.zeros(RATE // 5), x[cut:]])
    result = perceptual(x, y, RATE, align(x, y, RATE))
    assert result.mos > 4.34
    [delay] = [reason for reason in result.reasons if reason.kind is ReasonKind.DELAY]
    assert delay.value == pytest.approx(200, abs=5)


def test_a_break_within_a_word_costs_something() -> None:
    x = voice("female_1")
    at = int(np.argmax(np.convolve(x**2, np.ones(RATE // 4), mode="same")))
    length = len(x) / RATE
    parts = (
        Segment(0.0, at / RATE, 0.0, 0.0, 1.0, SegmentKind.SPEECH),
        Segment(at / RATE, length, 0.2, 0.2, 1.0, SegmentKind.SPEECH),
    )
    inserted = (Interval(at / RATE, at / RATE + 0.2),)
    alignment = Alignment(RATE, len(x), 0.0, 0.0, 1.0, parts, (), inserted)
    y = np.concatenate([x[:at], np.zeros(RATE // 5), x[at:]])
    assert 0.05 < 4.64 - perceptual(x, y, RATE, alignment).mos <= 0.8


@pytest.mark.parametrize(
    ("sent", "arrived", "rate", "message"),
    [
        (np.ones(RATE), np.ones(RATE), 4000, "8000 to 48000"),
        (np.ones((RATE, 2)), np.ones(RATE), RATE, "one channel"),
        (np.ones(RATE), np.full(RATE, np.nan), RATE, "not finite"),
        (np.ones(100), np.ones(100), RATE, "32 ms"),
        (np.zeros(RATE), np.ones(RATE), RATE, "reference is silent"),
    ],
)
def test_what_cannot_be_scored_is_refused(sent: Array, arrived: Array, rate: int, message: str) -> None:
    with pytest.raises(SignalError, match=message):
        perceptual(sent, arrived, rate, unmoved(np.ones(RATE)))


@pytest.mark.parametrize("share", [0.1, 0.2])
def test_concealed_loss_is_not_forgiven_where_a_jitter_buffer_moves_the_delay_as_well(share: float) -> None:
    x = voice("male_1")
    lossy = lose_packets(x, RATE, share, np.random.default_rng(3), conceal=True).samples
    moved = jitter_buffer(lossy, RATE, [(0, 0), (1.0, 0.12), (5.0, 0)]).samples

    steady, moving = (perceptual(x, y, RATE, align(x, y, RATE)).mos for y in (lossy, moved))
    assert steady < 3.2
    assert abs(moving - steady) < 0.2


@pytest.mark.parametrize("cut_s", [0.02, 0.06, 0.12, 0.2])
@pytest.mark.parametrize("at_s", [2.2, 5.1])
def test_what_a_jump_cuts_out_of_a_word_is_heard_as_a_skip_and_not_as_silence(at_s: float, cut_s: float) -> None:
    x = resample_poly(reference.load("female_2").samples, 1, 3)
    y = np.concatenate([x[: round(at_s * RATE)], x[round((at_s + cut_s) * RATE) :]])
    assert 4.64 - perceptual(x, y, RATE, align(x, y, RATE)).mos <= 0.8


def test_many_small_cuts_are_worth_as_little_as_the_speech_that_is_missing() -> None:
    x = voice("male_2")
    kept = np.arange(len(x)) % (RATE // 4) >= RATE // 20  # 50 ms of each 250 ms are gone, and so is their time
    y = x[kept]
    assert perceptual(x, y, RATE, align(x, y, RATE)).mos < 2.5


@pytest.mark.parametrize(
    ("level", "text"), [(1e-4, "silent but for noise of -80 dBov"), (3e-2, "no speech, only sound of -31 dBov")]
)
def test_a_recording_of_nothing_but_noise_is_said_to_hold_no_speech(level: float, text: str) -> None:
    x = voice("female_1")
    y = level * np.random.default_rng(8).standard_normal(len(x))
    result = perceptual(x, y, RATE, align(x, y, RATE))
    assert 1.0 <= result.mos <= 1.3
    [reason] = result.reasons
    assert reason.kind is ReasonKind.SILENCE
    assert text in reason.text


def test_a_filter_that_takes_out_rumble_leaves_no_gaps() -> None:
    x = voice("male_2") + 0.05 * np.sin(2 * np.pi * 40 * np.arange(len(voice("male_2"))) / RATE)
    y = sosfilt(butter(4, 200, "highpass", fs=RATE, output="sos"), x)
    assert ReasonKind.GAPS not in kinds(score(x, y))


@pytest.mark.parametrize("name", ["female_1", "male_1"])
def test_the_same_noise_costs_hardly_more_where_more_of_the_band_is_listened_to(name: str) -> None:
    full = voice(name, 48_000)
    noisy = full + 0.0006 * np.random.default_rng(4).standard_normal(len(full))
    wide, wide_noisy = (resample_poly(each, 1, 3) for each in (full, noisy))
    assert score(full, noisy, 48_000).mos == pytest.approx(score(wide, wide_noisy).mos, abs=0.25)
