"""Clocks: a bench's clock runs faster, and its users never wait in the wrong units."""

from __future__ import annotations

import time

import pytest

from drivers.clock import ManualClock, ScaledClock, SystemClock, clock_for_scale


def test_two_scaled_clocks_of_one_scale_agree() -> None:
    first, second = ScaledClock(5), ScaledClock(5)
    before, between, after = first.now(), second.now(), first.now()
    assert before <= between <= after


def test_a_scaled_clock_runs_at_its_scale() -> None:
    clock = ScaledClock(4)
    wall, start = time.monotonic(), clock.now()
    clock.sleep(0.2)
    passed = clock.now() - start
    assert passed >= 0.2
    assert passed <= 4 * (time.monotonic() - wall) + 1e-6
    assert clock.to_wall(2.0) == 0.5


@pytest.mark.parametrize("scale", [0, -1, 1000, float("nan")])
def test_an_absurd_scale_is_refused(scale: float) -> None:
    with pytest.raises(ValueError, match="time scale"):
        ScaledClock(scale)


def test_scale_one_is_the_system_clock() -> None:
    assert isinstance(clock_for_scale(1), SystemClock)
    assert isinstance(clock_for_scale(2), ScaledClock)


def test_a_manual_clock_moves_only_when_told() -> None:
    clock = ManualClock(10)
    assert clock.now() == 10
    clock.sleep(2)
    clock.advance(1)
    clock.sleep(-5)
    assert clock.now() == 13
