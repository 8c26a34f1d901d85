"""A loop's comparison finds every change of what was sent, and its level and delay where it is not bit-identical."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import SoundLoopError
from drivers.sound import DropOutKind, LoopCheck, match, probe
from drivers.sound.comparison import damages
from drivers.sound.types import Samples, as_samples

RATE = 48_000
SENT = probe(RATE)


def within_silence(sound: Samples, before: int = 1000, behind: int = 1000) -> Samples:
    return np.concatenate([np.zeros(before, np.float32), sound, np.zeros(behind, np.float32)])


@given(st.integers(0, 5000), st.integers(0, 5000))
def test_what_came_back_whole_has_no_damage_wherever_it_is(before: int, behind: int) -> None:
    assert damages(SENT, within_silence(SENT, before, behind), RATE) == ()


def test_silence_at_the_ends_of_what_was_sent_may_be_cut_off() -> None:
    assert damages(within_silence(SENT), SENT, RATE) == ()


@given(st.integers(1000, 40_000), st.integers(1, 5000))
def test_cut_samples_are_found_where_they_were(place: int, count: int) -> None:
    heard = within_silence(np.delete(SENT, np.s_[place : place + count]))

    (damage,) = damages(SENT, heard, RATE)

    assert damage.kind is DropOutKind.DAMAGED
    assert damage.start_s == pytest.approx(place / RATE, abs=0.006)
    assert count / RATE <= damage.duration_s <= count / RATE + 0.011


def test_silence_put_in_between_is_found() -> None:
    heard = within_silence(np.insert(SENT, 20_000, np.zeros(960, np.float32)))

    (damage,) = damages(SENT, heard, RATE)

    assert damage.start_s == pytest.approx(20_000 / RATE, abs=0.006)
    assert damage.duration_s == pytest.approx(0.02, abs=0.006)
    assert "+960 samples later" in damage.detail


def test_cuts_are_found_in_sound_of_few_values_too() -> None:
    tone = np.round(3000 * np.sin(np.arange(RATE) * 0.0613) + 900 * np.sin(np.arange(RATE) * 0.00917)) / 32_768
    sent = tone.astype(np.float32)

    (damage,) = damages(sent, within_silence(np.delete(sent, np.s_[20_000:20_960])), RATE)

    assert damage.start_s == pytest.approx(20_000 / RATE, abs=0.006)
    assert "-960 samples later" in damage.detail


def test_a_single_changed_sample_is_found() -> None:
    heard = within_silence(SENT)
    heard[1000 + 30_000] += np.float32(1e-6)

    (damage,) = damages(SENT, heard, RATE)

    assert damage.start_s == pytest.approx(30_000 / RATE, abs=0.006)


def test_an_end_that_did_not_come_back_is_found() -> None:
    (damage,) = damages(SENT, within_silence(SENT[:24_000], behind=0), RATE)

    assert damage.start_s == pytest.approx(0.5, abs=0.006)
    assert damage.duration_s == pytest.approx(0.5, abs=0.006)


def test_nothing_back_and_something_out_of_nothing() -> None:
    silence = np.zeros(RATE, np.float32)

    assert [drop.kind for drop in damages(SENT, silence, RATE)] == [DropOutKind.SILENT]
    assert [drop.kind for drop in damages(silence, within_silence(SENT), RATE)] == [DropOutKind.DAMAGED]
    assert damages(silence, silence, RATE) == ()


def test_level_and_delay_of_an_analogue_loop_are_measured() -> None:
    heard = within_silence(SENT * np.float32(0.5))
    heard += np.random.default_rng(5).normal(0, 1e-4, len(heard)).astype(np.float32)

    found = match(SENT, heard)

    assert found is not None
    assert found.offset == 1000
    assert found.gain_db == pytest.approx(-6.02, abs=0.01)
    assert 45 < found.snr_db < 55


def test_no_match_in_silence_or_in_too_little() -> None:
    assert match(SENT, np.zeros(2 * RATE, np.float32)) is None
    assert match(SENT, SENT[:-1]) is None


def test_a_bit_identical_loop_has_no_noise() -> None:
    found = match(SENT, within_silence(SENT))

    assert found is not None
    assert (found.offset, found.gain_db, found.snr_db) == (1000, 0.0, math.inf)


def test_a_broken_loop_is_the_labs_fault_and_says_where() -> None:
    drops = damages(SENT, within_silence(np.delete(SENT, np.s_[9600:10_560])), RATE)

    with pytest.raises(SoundLoopError, match=r"self-test of the loop of bob.*damaged at 0\.200 s for 2\d ms"):
        LoopCheck("bob", False, 0.0, 0.0, 20.0, drops).require_intact()


@pytest.mark.parametrize(
    ("sound", "reason"),
    [
        (np.array([]), "samples in it"),
        (np.zeros((10, 2)), "shape"),
        (np.array([0.0, np.nan]), "finite"),
        (np.array([0.0, 1.5]), "clipped"),
    ],
)
def test_sound_that_cannot_be_played_as_it_is_is_refused(sound: np.ndarray, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        as_samples(sound)


def test_the_probe_is_the_same_each_time(make_noise: Callable[..., Samples]) -> None:
    assert np.array_equal(probe(RATE), probe(RATE))
    assert float(np.abs(probe(RATE)).max()) <= 0.1
