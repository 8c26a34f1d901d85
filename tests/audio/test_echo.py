"""Delay and return loss of echoes made by known paths, alone, in noise and under the other side's speech."""

import numpy as np
import pytest

from audio import reference
from audio.echo import measure_echo
from audio.reference.signals import noise, silence

RATE = 16_000


@pytest.fixture(scope="module")
def talkers():
    return [reference.load(name).samples[::3].copy() for name in ("female_1", "male_1")]


def delayed(signal, delay_ms, loss_db):
    shift = round(delay_ms * RATE / 1000)
    return 10 ** (-loss_db / 20) * np.concatenate([np.zeros(shift), signal])[: len(signal)]


@pytest.mark.parametrize("delay_ms", [0, 12.5, 180, 800])
@pytest.mark.parametrize("loss_db", [6, 30, 45])
def test_a_plain_echo_has_its_delay_and_loss(talkers, delay_ms, loss_db):
    heard = delayed(talkers[0], delay_ms, loss_db)
    heard = heard + noise(len(heard) / RATE, RATE, -85)
    measured = measure_echo(talkers[0], heard, RATE)
    assert measured.present
    assert measured.delay_ms == pytest.approx(delay_ms, abs=0.2)
    assert measured.return_loss_db == pytest.approx(loss_db, abs=2)


def test_an_echo_under_the_other_sides_speech_is_found(talkers):
    own, other = talkers
    length = min(len(own), len(other))
    heard = delayed(own, 240, 20)[:length] + other[:length]
    measured = measure_echo(own, heard, RATE)
    assert measured.present
    assert measured.delay_ms == pytest.approx(240, abs=0.2)
    assert measured.return_loss_db == pytest.approx(20, abs=2.5)


def test_the_other_sides_speech_alone_is_no_echo(talkers):
    measured = measure_echo(talkers[0], talkers[1], RATE)
    assert not measured.present
    assert (measured.delay_ms, measured.return_loss_db) == (None, None)


def test_a_room_spreads_the_echo_and_its_power_is_summed(talkers):
    path = np.random.default_rng(3).standard_normal(800) * np.exp(-np.arange(800) / 120)
    path[0] = 4.0
    heard = np.convolve(delayed(talkers[0], 100, 25), path)[: len(talkers[0])]
    measured = measure_echo(talkers[0], heard, RATE)
    loss = 10 * np.log10(np.sum(talkers[0] ** 2) / np.sum(heard**2))
    assert measured.delay_ms == pytest.approx(100, abs=0.2)
    assert measured.return_loss_db == pytest.approx(loss, abs=1.5)


def test_silence_came_back(talkers):
    assert not measure_echo(talkers[0], silence(5, RATE), RATE).present


def test_without_own_speech_nothing_can_be_said(talkers):
    with pytest.raises(ValueError, match="nothing was said"):
        measure_echo(silence(5, RATE), talkers[0], RATE)
    with pytest.raises(ValueError, match="half a second"):
        measure_echo(talkers[0][:100], talkers[0][:100], RATE)
