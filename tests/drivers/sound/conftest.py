"""A PulseAudio of the tests' own, and sound to send through it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from drivers.sound import PulseServer
from drivers.sound.types import Samples


@pytest.fixture(scope="module")
def server() -> Iterator[PulseServer]:
    with PulseServer.start() as started:
        yield started


def noise(seconds: float, seed: int = 1, level: float = 0.3) -> Samples:
    samples = np.random.default_rng(seed).uniform(-level, level, round(seconds * 48_000))
    return samples.astype(np.float32)


@pytest.fixture
def make_noise() -> Callable[..., Samples]:
    return noise


@pytest.fixture
def freeze() -> Callable[[int, float], None]:
    """Stops a process for a while."""

    def stop(pid: int, seconds: float) -> None:
        os.kill(pid, signal.SIGSTOP)
        try:
            time.sleep(seconds)
        finally:
            os.kill(pid, signal.SIGCONT)

    return stop
