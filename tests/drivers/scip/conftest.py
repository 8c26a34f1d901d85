"""A simulated LiDAR whose every scan tells its own number, and a driver on it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from drivers.clock import ScaledClock
from drivers.scip import HokuyoLidar
from drivers.sim.scip_server import ScipServer

STEPS = 1081


class NumberedSource:
    """Scans that differ from each other: the first range, in millimetres less 1000, is the scan's number."""

    def __init__(self) -> None:
        self.taken: list[tuple[float, NDArray[np.float64], NDArray[np.uint8]]] = []

    def __call__(self, time: float) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
        number = len(self.taken)
        ranges = np.linspace(0.5, 20.0, STEPS) + 0.001 * (number % 100)
        ranges[0] = 1.0 + 0.001 * number
        codes = np.zeros(STEPS, np.uint8)
        codes[100:105] = (1, 2, 3, 4, 5)
        ranges[100:106] = np.nan
        ranges[200] = 70.0  # beyond the sensor's reach
        ranges[201] = 0.010  # nearer than it
        self.taken.append((time, ranges, codes))
        return ranges, codes

    def time_ahead(self, ranges: NDArray[np.float64]) -> float:
        """When the beam straight ahead of that scan was fired: half a turn after the stamp, which is for the rear."""
        return self.taken[self.number(ranges)][0] + 0.0125

    @staticmethod
    def number(ranges: NDArray[np.float64]) -> int:
        return round(float(ranges[0]) * 1000) - 1000


@pytest.fixture
def source() -> NumberedSource:
    return NumberedSource()


@pytest.fixture
def clock() -> ScaledClock:
    """Four times real time: a scan every 6 ms of the wall."""
    return ScaledClock(4.0)


@pytest.fixture
def server(source: NumberedSource, clock: ScaledClock) -> Iterator[ScipServer]:
    with ScipServer(source, clock) as running:
        yield running


@pytest.fixture
def lidar(server: ScipServer, clock: ScaledClock) -> Iterator[HokuyoLidar]:
    with HokuyoLidar.open(server.url, clock) as opened:
        yield opened
