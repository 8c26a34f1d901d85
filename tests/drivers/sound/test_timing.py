"""Loss, insertion and stalls are found in the arrival times of blocks; a late reader is told from a late server."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.sound.timing import time_faults
from drivers.sound.types import DropOutKind

RATE = 48_000
BLOCK = 960


def arrivals(seconds: float = 4.0, jitter_s: float = 0.004, ppm: float = 0.0) -> list[tuple[float, int]]:
    """When 20 ms blocks come in."""
    rng = np.random.default_rng(3)
    count = round(seconds * RATE / BLOCK)
    step = BLOCK / RATE * (1 + ppm * 1e-6)
    return [(100 + (i + 1) * step + float(rng.uniform(0, jitter_s)), (i + 1) * BLOCK) for i in range(count)]


@pytest.mark.parametrize("ppm", [-300, 0, 300])
def test_a_steady_stream_has_no_faults_even_from_a_drifting_sound_card(ppm: float) -> None:
    assert time_faults(arrivals(60, ppm=ppm), RATE) == ()


def test_lost_samples_are_counted_and_placed() -> None:
    blocks = [(t, n if t < 102 else n - 4800) for t, n in arrivals()]

    (fault,) = time_faults(blocks, RATE)

    assert fault.kind is DropOutKind.LOST
    assert fault.duration_s == pytest.approx(0.1, abs=0.006)
    assert fault.start_s == pytest.approx(102 - 100.32, abs=0.05)


def test_samples_too_many_are_counted() -> None:
    blocks = [(t, n if t < 102 else n + 4800) for t, n in arrivals()]

    (fault,) = time_faults(blocks, RATE)

    assert fault.kind is DropOutKind.INSERTED
    assert fault.duration_s == pytest.approx(0.1, abs=0.006)


def stalled(start: float, end: float) -> list[tuple[float, int]]:
    return [(end if start < t < end else t, n) for t, n in arrivals()]


def test_a_server_that_stands_still_and_catches_up_stalled() -> None:
    (fault,) = time_faults(stalled(102, 102.2), RATE)

    assert fault.kind is DropOutKind.STALLED
    assert fault.duration_s == pytest.approx(0.2, abs=0.03)


@pytest.mark.parametrize("seconds", [0.2, 1.3])
def test_our_own_pause_is_told_from_the_servers(seconds: float) -> None:
    (fault,) = time_faults(stalled(102, 102 + seconds), RATE, own_pauses=[(101.99, 102 + seconds - 0.01)])

    assert fault.kind is DropOutKind.PAUSED
    assert fault.duration_s == pytest.approx(seconds, abs=0.03)


def test_a_recording_that_ends_early_has_lost_its_end() -> None:
    blocks = [(t, n) for t, n in arrivals() if t < 103]

    (fault,) = time_faults([*blocks, (104.0, blocks[-1][1])], RATE)

    assert fault.kind is DropOutKind.LOST
    assert fault.duration_s == pytest.approx(1.0, abs=0.05)


@given(st.integers(20, 180), st.integers(2_000, 100_000))
def test_every_loss_beyond_42_ms_in_the_middle_is_found(place: int, lost: int) -> None:
    blocks = [(t, n if index < place else n - lost) for index, (t, n) in enumerate(arrivals())]

    assert [fault.kind for fault in time_faults(blocks, RATE)] == [DropOutKind.LOST]


def test_too_little_to_judge_is_no_fault() -> None:
    assert time_faults([], RATE) == ()
    assert time_faults([(1.0, 960)], RATE) == ()
