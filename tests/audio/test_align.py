"""Alignment finds constant, jumping, drifting and stretched delays of speech-like signals, and admits what is lost."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from _time_warps import jumps
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal as dsp

import audio
from audio import reference
from audio.align import SegmentKind, align
from audio.align.ordering import in_order
from audio.align.runs import FrameLags, Run
from audio.align.warping import Piece, read_pieces
from audio.errors import SignalError

RATE = 16000
VOICES = Path(audio.__file__).parent / "reference"


def babble(seed: int, seconds: float = 8.0, rate: int = RATE) -> np.ndarray:
    """Return something like speech: gliding harmonics under moving formants, hiss between, and pauses."""
    rng = np.random.default_rng(seed)
    out, pitch = [], 90 + 60 * rng.random()
    while sum(map(len, out)) < seconds * rate:
        for _ in range(rng.integers(4, 9)):
            count = round(rng.uniform(0.08, 0.22) * rate)
            glide = pitch * rng.uniform(0.8, 1.3) * np.linspace(1, rng.uniform(0.85, 1.15), count)
            phase = 2 * np.pi * np.cumsum(glide) / rate
            formants = rng.uniform([300, 900, 2200], [800, 2000, 3200])
            voice = np.zeros(count)
            for harmonic in range(1, 30):
                gain = sum(np.exp(-(((harmonic * pitch - f) / 150) ** 2)) for f in formants) + 0.02
                voice += gain * np.sin(harmonic * phase)
            out.append(voice * np.hanning(count))
            if rng.random() < 0.5:
                hiss = rng.normal(size=round(0.07 * rate))
                out.append(np.diff(hiss, prepend=0) * np.hanning(len(hiss)) * 0.5)
        out.append(np.zeros(round(rng.uniform(0.25, 0.5) * rate)))
    signal = np.concatenate(out)[: round(seconds * rate)]
    return 0.1 * signal / np.sqrt(np.mean(signal**2))


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    return babble(1)


def test_identity_has_no_lag_and_warps_to_itself(speech: np.ndarray) -> None:
    found = align(speech, speech, RATE)
    assert found.delay_ms == 0
    assert found.coverage == 1
    assert found.inserted == ()
    assert np.array_equal(found.lag(np.arange(0, 8, 0.01)), np.zeros(800))
    assert np.array_equal(found.warp(speech), speech)


@pytest.mark.parametrize("gain", [0.01, 1.0, -1.0])
@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000])
def test_whole_sample_delay_is_exact_at_any_rate_gain_and_polarity(rate: int, gain: float) -> None:
    reference = babble(2, 4.0, rate)
    count = round(0.3217 * rate)
    degraded = gain * np.concatenate([np.zeros(count), reference, np.zeros(rate)])
    found = align(reference, degraded, rate)
    assert found.delay_ms == pytest.approx(1000 * count / rate, abs=1e-9)
    assert found.coverage == 1
    assert np.array_equal(found.warp(degraded), gain * reference)


def test_delay_of_part_of_a_sample(speech: np.ndarray) -> None:
    spectrum = np.fft.rfft(np.pad(speech, (2000, 2000)))
    frequency = np.fft.rfftfreq(len(speech) + 4000)
    spectrum[frequency > 0.4] = 0  # no reading between samples keeps what is next to half the rate
    speech = np.fft.irfft(spectrum)[2000:-2000]
    degraded = np.fft.irfft(spectrum * np.exp(-2j * np.pi * frequency * 0.4))
    found = align(speech, degraded, RATE)
    assert found.delay_ms == pytest.approx(1000 * 2000.4 / RATE, abs=0.003)
    assert np.std(found.warp(degraded) - speech) < 0.02 * np.std(speech)


@pytest.mark.parametrize("late_s", [10.0, -1.0])
def test_recording_started_long_before_or_after_the_reference(speech: np.ndarray, late_s: float) -> None:
    count = round(abs(late_s) * RATE)
    degraded = np.concatenate([np.zeros(count), speech]) if late_s > 0 else speech[count:]
    found = align(speech, degraded, RATE)
    assert found.delay_ms == pytest.approx(1000 * late_s)
    if late_s > 0:
        assert found.inserted[0].end_s == pytest.approx(late_s, abs=0.01)
    else:
        assert SegmentKind.MISSING in {part.kind for part in found.segments[:3]}
        assert found.coverage == pytest.approx(1 - 1 / 8, abs=0.06)


@pytest.mark.parametrize("change_s", [0.02, 0.06, 0.2, 1.0, -0.02, -0.06, -0.2])
def test_jump_of_the_delay_in_the_middle_of_sound(speech: np.ndarray, change_s: float) -> None:
    count = round(abs(change_s) * RATE)
    at = 4 * RATE
    degraded = (
        np.concatenate([speech[:at], np.zeros(count), speech[at:]])
        if change_s > 0
        else np.concatenate([speech[:at], speech[at + count :]])
    )
    found = align(speech, degraded, RATE)
    assert found.lag(np.array([3.8]))[0] == pytest.approx(0, abs=1e-4)
    assert found.lag(np.array([4.1 + max(-change_s, 0)]))[0] == pytest.approx(change_s, abs=1e-4)
    if change_s >= 0.06:
        [hole] = found.inserted
        assert hole.end_s - hole.start_s == pytest.approx(change_s, abs=1e-3)
        assert hole.start_s == pytest.approx(4.0, abs=0.03)
    warped = found.warp(degraded)
    kept = np.r_[0 : at - 1000, at + max(round(-change_s * RATE), 0) + 1000 : len(speech)]
    assert np.sqrt(np.mean((warped[kept] - speech[kept]) ** 2)) < 0.05 * np.std(speech)


def test_clock_drift_is_measured_and_undone() -> None:
    reference = babble(3, 20.0)
    read_at = np.arange(int(len(reference) * 1.0003)) / 1.0003
    spectrum = np.fft.rfft(reference)
    fine = np.fft.irfft(np.pad(spectrum, (0, 15 * (len(spectrum) - 1))), 16 * len(reference)) * 16
    degraded = np.interp(read_at * 16, np.arange(len(fine)), fine)
    found = align(reference, degraded, RATE)
    assert found.drift_ppm == pytest.approx(300, abs=5)
    times = np.array([utterance.start_s + 0.1 for utterance in found.utterances])
    assert np.abs(found.lag(times) - times * 300e-6).max() < 5e-4
    warped = found.warp(degraded)
    assert np.corrcoef(warped, reference)[0, 1] > 0.99


def test_muted_part_is_missing_but_the_rest_is_found(speech: np.ndarray) -> None:
    degraded = speech.copy()
    degraded[3 * RATE : 5 * RATE] = 0
    found = align(speech, degraded, RATE)
    lost = [part for part in found.segments if part.kind is SegmentKind.MISSING]
    assert min(part.start_s for part in lost) > 2.94
    assert max(part.end_s for part in lost) < 5.06
    assert sum(part.end_s - part.start_s for part in lost) > 1.0
    assert np.isnan(found.lag(np.array([(lost[0].start_s + lost[0].end_s) / 2]))[0])
    assert found.delay_ms == pytest.approx(0, abs=1e-3)
    assert np.array_equal(found.warp(degraded)[: 2 * RATE], speech[: 2 * RATE])


@pytest.mark.parametrize("voice", ["female_1", "female_2"])
def test_muted_part_with_noise_does_not_jump_out_of_order(voice: str) -> None:
    """Narrow band, a noise floor and 60 ms inserted: chance matches in the mute lay a second away."""
    reference, rate = soundfile.read(VOICES / f"{voice}.flac")
    sections = dsp.butter(4, 3400, fs=rate, output="sos")
    inserted_s = {"female_1": 6.38, "female_2": 7.6}[voice]
    if voice == "female_2":
        reference, rate, sections = dsp.resample_poly(reference, 1, 3), RATE, dsp.butter(4, 3400, fs=RATE, output="sos")
    degraded = dsp.sosfilt(sections, reference)
    at = round(inserted_s * rate)
    degraded = np.concatenate([degraded[:at], np.zeros(round(0.06 * rate)), degraded[at:]])
    degraded[5 * rate : 7 * rate] = 0
    degraded += np.random.default_rng(0).normal(size=len(degraded)) * 10 ** (-70 / 20)
    found = align(reference, degraded, rate)
    lags = found.lag(np.arange(0.3, len(reference) / rate - 0.3, 0.01))
    assert np.nanmin(lags) > -0.005
    assert np.nanmax(lags) < 0.065
    assert found.coverage > 0.75


def test_runs_that_go_back_in_the_recording_are_dropped() -> None:
    count = 300
    ones = np.ones(count)
    frames = FrameLags(0.032 + 0.016 * np.arange(count), np.zeros(count), 0.9 * ones, 0.9 * ones, ones)
    before, stray, after = Run(0, 100, 0.18, 0.0, 0.9), Run(110, 120, 1.17, 0.0, 0.9), Run(140, 300, 0.18, 0.0, 0.9)
    assert in_order(frames, [before, stray, after]) == [before, after]
    later = Run(140, 300, 1.3, 0.0, 0.9)
    assert in_order(frames, [before, stray, later]) == [before, stray, later]
    assert in_order(frames, []) == []


def test_noise_as_loud_as_the_speech(speech: np.ndarray) -> None:
    noise = np.random.default_rng(5).normal(size=len(speech) + 8000) * np.std(speech)
    found = align(speech, np.concatenate([np.zeros(8000), speech]) + noise, RATE)
    assert found.delay_ms == pytest.approx(500, abs=0.1)
    assert found.coverage > 0.85


@pytest.mark.parametrize("what", ["silence", "noise", "other speech", "a click"])
def test_nothing_is_found_in_what_is_not_the_reference(speech: np.ndarray, what: str) -> None:
    click = np.zeros(RATE)
    click[500] = 1
    degraded = {
        "silence": np.zeros(5 * RATE),
        "noise": np.random.default_rng(6).normal(size=8 * RATE) * 0.1,
        "other speech": babble(99),
        "a click": click,
    }[what]
    found = align(speech, degraded, RATE)
    assert found.coverage < 0.1
    assert np.isnan(found.delay_ms)
    assert not found.warp(degraded).any()


def test_repeated_material_is_not_aliased() -> None:
    sentence, other = babble(7, 3.0), babble(8, 2.0)
    reference = np.concatenate([sentence, sentence, other])
    degraded = np.concatenate([np.zeros(4000), reference, np.zeros(RATE)])
    found = align(reference, degraded, RATE)
    assert found.delay_ms == pytest.approx(250)
    assert found.coverage == 1


def test_moving_start_is_not_looked_for_where_its_speech_comes_again() -> None:
    sentence, other = babble(7, 11.0), babble(8, 6.0)
    reference = np.concatenate([sentence, sentence[: 5 * RATE], other])
    delay, cut = np.zeros(3200), RATE * 3
    degraded = np.concatenate([delay, reference[:cut], reference[cut + 160 :]])
    found = align(reference, degraded, RATE)
    lags = found.lag(np.arange(0.2, 2.8, 0.1))
    assert found.coverage > 0.98
    assert lags == pytest.approx(np.full(len(lags), 0.2), abs=1e-3)


def test_segments_cover_the_reference_without_gaps(speech: np.ndarray) -> None:
    degraded = np.concatenate([speech[:40000], np.zeros(3000), speech[40000:90000], speech[92000:]])
    segments = align(speech, degraded, RATE).segments
    assert segments[0].start_s == 0
    assert segments[-1].end_s == len(speech) / RATE
    assert all(a.end_s == b.start_s for a, b in pairwise(segments))


@pytest.mark.parametrize(
    ("reference", "rate", "message"),
    [
        (np.zeros((100, 2)), RATE, "one channel"),
        (np.zeros(0), RATE, "one channel"),
        (np.array([0.0, np.nan]), RATE, "no numbers"),
        (np.zeros(100, dtype=np.int16), RATE, "floating-point"),
        (np.zeros(100), 1000, "sample rate"),
    ],
)
def test_unusable_signals_are_refused(reference: np.ndarray, rate: int, message: str) -> None:
    with pytest.raises(SignalError, match=message):
        align(reference, np.ones(100), rate)


@pytest.mark.parametrize(("ours", "theirs"), [(1, 1), (10, 5000), (5000, 10), (900, 900)])
def test_signals_too_short_to_align_find_nothing_or_themselves(ours: int, theirs: int) -> None:
    rng = np.random.default_rng(0)
    found = align(rng.normal(size=ours), rng.normal(size=theirs), RATE)
    assert found.coverage <= 1
    assert len(found.warp(np.zeros(theirs))) == ours


@settings(max_examples=60, deadline=None)
@given(lag=st.floats(-40, 40), slope=st.floats(-0.02, 0.02), frequency=st.floats(0.001, 0.3))
def test_reading_along_a_line_keeps_a_tone(lag: float, slope: float, frequency: float) -> None:
    signal = np.cos(2 * np.pi * frequency * np.arange(2200))
    piece = Piece(100, 2000, lag, lag + 1900 * slope)
    positions = np.arange(200, 1900)
    result = read_pieces(signal, [piece], 2100, 16)[positions]
    expected = np.cos(2 * np.pi * frequency * (positions + piece.lag_at(positions)))
    assert np.abs(result - expected).max() < 5e-3
    assert not read_pieces(signal, [piece], 2100, 16)[:100].any()


@pytest.mark.parametrize("change_s", [-0.02, 0.02])
def test_a_lag_at_which_the_recording_is_over_explains_nothing(change_s: float) -> None:
    # Half of it lies at either lag; at one 8 s off, where its rest would be, nothing contradicts.
    recording = reference.load("male_1")
    voice = dsp.resample_poly(recording.samples, 1, 3)
    found = align(voice, jumps(voice, 16_000, [(5.1 - 0.25, change_s)]).samples, 16_000)
    assert found.coverage > 0.95
    assert found.lag(np.array([2.0, 8.0])) == pytest.approx([0.0, change_s], abs=0.0005)


def test_what_is_cut_out_of_a_word_is_found_where_it_was() -> None:
    voice = dsp.resample_poly(reference.load("female_2").samples, 1, 3)
    found = align(voice, jumps(voice, 16_000, [(4.8, -0.12)]).samples, 16_000)
    [cut] = [part for part in found.segments if np.isnan(part.lag_start_s)]
    assert (cut.start_s, cut.end_s) == pytest.approx((4.8, 4.92), abs=0.01)
