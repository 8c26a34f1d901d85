"""The score as a whole: what goes in, what comes out, what is judged, what the page shows."""

import importlib
import json
import subprocess
import sys

import numpy as np
import pytest

from audio import AudioError, Thresholds, analyse, judge, pair_up, reference, score, write_report
from audio.files import read_audio
from audio.plain import figure
from audio.recording import Recording
from audio.reference.signals import noise, tone
from audio.report import report_html

RATE = 16_000


@pytest.fixture(scope="module")
def voice():
    return pair_up(reference.load("female_1"), reference.load("female_1"), RATE).reference


@pytest.fixture(scope="module")
def late(voice):
    """The voice 120 ms late, with a tone of 1 kHz in front."""
    return np.concatenate([tone(1000, 1.0, RATE), np.zeros(RATE // 5), voice])


@pytest.fixture(scope="module")
def identity(voice):
    return score(voice, voice, RATE)


def test_a_recording_that_is_its_reference_is_excellent(identity, voice):
    assert identity.mos > 4.5
    assert (identity.delay_ms, identity.drift_ppm, identity.coverage) == (0.0, 0.0, 1.0)
    assert identity.active_speech_ratio == pytest.approx(0.886, abs=0.01)
    assert identity.active_speech_level_dbov == pytest.approx(-26, abs=0.3)
    assert identity.reasons == ()
    assert all(delay == 0 for _, delay in identity.delay_track)
    assert identity.track[-1][0] < len(voice) / RATE


def test_delay_and_presence_are_in_the_score(voice, late):
    found = score(voice, late, RATE, present_hz=[1000, 500])
    assert found.delay_ms == pytest.approx(1200, abs=1)
    assert found.mos > 4.3
    heard, absent = found.recording.presence
    assert (heard.found, absent.found) == (True, False)
    assert (heard.intervals[0].start_s, heard.intervals[0].end_s) == pytest.approx((0, 1), abs=0.05)


def test_a_silent_recording_scores_one_and_says_why(voice):
    found = score(voice, np.zeros_like(voice), RATE)
    assert 1.0 <= found.mos <= 1.3
    assert (found.delay_ms, found.active_speech_ratio, found.active_speech_level_dbov) == (None, 0.0, None)
    assert any("silent" in reason.text for reason in found.reasons)


def test_everything_has_a_form_in_json(voice, late):
    for found in (score(voice, late, RATE, present_hz=[1000]), score(voice, np.zeros_like(voice), RATE)):
        document = json.loads(json.dumps(found.to_json(), allow_nan=False))
        assert document["mos"] == pytest.approx(found.mos, abs=1e-5)
        assert {"reasons", "track", "delay_track", "recording", "reference", "coverage"} <= document.keys()
        assert document["recording"]["bandwidth"]["band"] in {"none", "wide-band", "narrow-band"}


def test_echo_is_measured_when_the_own_side_is_given(voice):
    own = reference.load("male_1").samples[::3].copy()
    back = 0.05 * np.concatenate([np.zeros(RATE // 4), own])[: len(own)]
    found = score(voice, voice, RATE, own_side=(own, back + noise(len(back) / RATE, RATE, -80)))
    assert found.echo.delay_ms == pytest.approx(250, abs=1)
    assert found.echo.return_loss_db == pytest.approx(26, abs=2)
    assert not judge(found, Thresholds(min_echo_return_loss_db=40)).passed


@pytest.mark.parametrize(
    ("degraded", "what"),
    [
        (np.zeros((100, 2)), "one channel"),
        (np.zeros(10), "at least 0.1 s"),
        (np.zeros(RATE, dtype=np.int16), "floating point"),
        (np.full(RATE, np.nan), "no numbers"),
        (np.zeros(0), "at least 0.1 s"),
    ],
)
def test_what_cannot_be_scored_is_refused(voice, degraded, what):
    with pytest.raises(AudioError, match=what):
        score(voice, degraded, RATE)


def test_a_silent_reference_and_an_impossible_tone_are_refused(voice):
    with pytest.raises(AudioError, match="reference is silent"):
        score(np.zeros(RATE), voice, RATE)
    with pytest.raises(AudioError, match="cannot be looked for"):
        score(voice, voice, RATE, present_hz=[12_000])
    with pytest.raises(AudioError, match="sample rate of 4000 Hz"):
        score(voice, voice, 4000)


def test_two_recordings_are_brought_to_one_rate_and_channel():
    left = Recording(np.zeros(48_000), 48_000)
    right = Recording(np.ones((8000, 2)) * [0.2, 0.4], 8000)
    pair = pair_up(left, right)
    assert (pair.sample_rate, len(pair.reference), len(pair.degraded)) == (48_000, 48_000, 48_000)
    assert pair.degraded[24_000] == pytest.approx(0.3, abs=0.01)
    assert pair_up(left, right, 16_000).sample_rate == 16_000


def test_limits_decide_and_what_has_none_is_not_judged(identity):
    judged = judge(identity, Thresholds(min_mos=4, max_delay_ms=10, min_active_speech_ratio=0.5))
    assert judged.passed
    assert {each.name: each.passed for each in judged.measurements if each.passed is not None} == {
        "MOS": True,
        "delay": True,
        "active speech ratio": True,
    }
    strict = judge(identity, Thresholds(min_mos=4.95, min_active_speech_ratio=0.9))
    assert [each.name for each in strict.failures] == ["MOS", "active speech ratio"]
    assert "must be at least 4.95" in strict.failures[0].sentence()


def test_a_limit_on_what_could_not_be_measured_fails(voice):
    judged = judge(score(voice, np.zeros_like(voice), RATE), Thresholds(max_delay_ms=500))
    (failure,) = judged.failures
    assert failure.sentence() == "delay could not be measured, must be at most 500 ms"


def test_a_limit_on_what_was_not_looked_at_is_an_error(identity):
    with pytest.raises(ValueError, match="own side"):
        judge(identity, Thresholds(min_echo_return_loss_db=30))
    with pytest.raises(ValueError, match="500 Hz was not looked for"):
        judge(identity, Thresholds(present_hz=[500]))


@pytest.mark.parametrize(
    "limits",
    [
        {"min_mos": 6},
        {"max_delay_ms": -1},
        {"min_active_speech_ratio": 2},
        {"mos": 3},
        {"min_mos": float("nan")},
        {"min_active_speech_level_dbov": -20, "max_active_speech_level_dbov": -30},
    ],
)
def test_senseless_limits_are_refused(limits):
    with pytest.raises(ValueError, match="validation error"):
        Thresholds.model_validate(limits)


def test_the_report_is_one_page_with_everything_on_it(tmp_path, voice):
    degraded = voice.copy()
    degraded[5 * RATE : 7 * RATE] = 0
    found = score(voice, degraded, RATE, present_hz=[500])
    pair = pair_up(Recording(voice, RATE), Recording(degraded, RATE))
    judgement = judge(found, Thresholds(min_mos=4.9, present_hz=[500]))
    path = write_report(tmp_path / "report.html", found, pair, judgement, ("female_1", "<b>call</b>.wav"))
    page = path.read_text(encoding="utf-8")
    assert "&lt;b&gt;call&lt;/b&gt;.wav" in page
    assert "failed" in page
    assert "mute" in page
    assert page.count("data:image/svg+xml") == 2
    assert "http" not in page.replace("http-equiv", "")
    assert [path] == list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["silence", "noise", "short"])
def test_the_report_of_a_hopeless_recording_is_drawn_all_the_same(voice, kind):
    degraded = {"silence": np.zeros(RATE), "noise": noise(3, RATE), "short": voice[: RATE // 2]}[kind]
    found = score(voice, degraded, RATE)
    pair = pair_up(Recording(voice, RATE), Recording(degraded, RATE))
    assert "MOS-LQO" in report_html(found, pair, judge(found, Thresholds()), ("reference", "recording"))


def test_a_recording_is_analysed_without_a_reference():
    found = analyse(reference.load("tone_500").samples, 48_000, present_hz=[500])
    assert found.presence[0].level_dbov == pytest.approx(-26, abs=0.2)
    assert found.duration_s == 10


def test_naming_the_library_loads_nothing_heavy():
    code = "import audio, audio.thresholds, sys; print(sorted({'numpy', 'scipy', 'soundfile'} & sys.modules.keys()))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_names_are_found_and_others_are_not():
    audio = importlib.import_module("audio")

    assert audio.read_audio is read_audio
    assert set(audio.__all__) <= {name for name in audio.__all__ if getattr(audio, name)}
    with pytest.raises(AttributeError, match="no attribute 'tenor'"):
        _ = audio.tenor


@pytest.mark.parametrize(
    ("value", "text"),
    [(15650.4, "15650"), (3.1416, "3.142"), (-25.96, "-25.96"), (-0.0, "0"), (0.00012345, "0.0001234")],
)
def test_figures_are_for_people(value: float, text: str) -> None:
    assert figure(value) == text
