"""Maps a sensor's own 24-bit millisecond clock onto the host's clock, with a stated error.

Two sources of knowledge. A time request (TM1) is answered between the host's sending and receiving, so each exchange
bounds the offset from both sides; the bounds of many exchanges are intersected, which fixes the offset at one moment.
Afterwards each scan arrives some delay after it was taken; the smallest delays lie on a line whose slope is the clocks'
skew, found as an edge of the lower convex hull (Zhang, Liu, Xia: Clock synchronization algorithms for network
measurements, IEEE INFOCOM 2002), so lateness of the host or the network does not pull the mapping.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from drivers.errors import ProtocolError

TICK_S = 0.001
WRAP = 1 << 24
# What two quartz clocks may drift apart at most, as a ratio: room for a bad one and for its temperature.
MAX_SKEW = 500e-6
# How far a clock's rate is trusted to have been measured before there is a track to measure it on.
_ASSUMED_SKEW = 200e-6
_BIN_S = 1.0
_MIN_BINS = 10
_MAX_BINS = 180


def unwrap(stamp: int, expected_s: float) -> float:
    """The sensor time, seconds without wrap, that reads `stamp` and lies nearest to `expected_s`."""
    expected = expected_s / TICK_S
    return (stamp + WRAP * round((expected - stamp) / WRAP)) * TICK_S


@dataclass(frozen=True, slots=True)
class TimeExchange:
    """One time request: the host's clock before sending and after receiving, and the sensor's stamp in between."""

    sent: float
    received: float
    stamp: int


class ClockMapping:
    """What the host's clock showed when the sensor's showed a given time.

    `to_host` gives the mapped time, `error` the half width of its uncertainty at that time.
    """

    def __init__(self, exchanges: Sequence[TimeExchange]) -> None:
        """Fix the mapping by time requests made just now.

        Raises ProtocolError when no offset fits them all: the sensor's clock jumped in between, or stands still.
        """
        if not exchanges:
            raise ValueError("a clock mapping needs at least one time exchange")
        first = exchanges[0]
        start = first.stamp * TICK_S
        low, high = -math.inf, math.inf
        for exchange in exchanges:
            sensor = unwrap(exchange.stamp, start + exchange.sent - first.sent)
            # The stamp is cut down to whole ticks: the sensor's true time is up to one tick later.
            low = max(low, exchange.sent - sensor - TICK_S)
            high = min(high, exchange.received - sensor)
        slack = MAX_SKEW * (exchanges[-1].received - first.sent)
        if low > high + slack:
            raise ProtocolError(
                f"the sensor's clock does not advance evenly: {len(exchanges)} time requests within "
                f"{exchanges[-1].received - first.sent:.3f} s contradict each other by {(low - high) * 1e3:.1f} ms"
            )
        self._synchronised = exchanges[-1].received
        self._offset = (low + high) / 2
        self._half_width = abs(high - low) / 2 + slack
        self._bins: deque[tuple[float, float]] = deque(maxlen=_MAX_BINS)  # (sensor time, smallest delay in its bin)
        self._bin: tuple[int, float, float] | None = None
        self._line: tuple[float, float, float] | None = None  # (sensor time, delay of the quickest arrivals, skew)
        self._floor = 0.0  # that delay at the moment of the time requests, by their offset
        self._floor_error = 0.0
        self._spread = 0.0

    def to_sensor(self, host: float) -> float:
        """The sensor's time, unwrapped, at a host time."""
        return host - self._offset_and_error(host - self._offset)[0]

    def to_host(self, sensor: float) -> float:
        """The host's time at an unwrapped sensor time. A stamp is cut down to whole ticks: half a tick is added."""
        return sensor + self._offset_and_error(sensor)[0] + TICK_S / 2

    def error(self, sensor: float) -> float:
        """Half width of the uncertainty of `to_host`, seconds."""
        return self._offset_and_error(sensor)[1] + TICK_S / 2

    def arrived(self, sensor: float, host: float) -> None:
        """Learn from a scan taken at `sensor` (unwrapped) that was complete at `host`."""
        delay = host - sensor
        number = math.floor(sensor / _BIN_S)
        if self._bin is not None and self._bin[0] == number:
            if delay < self._bin[2]:
                self._bin = (number, sensor, delay)
            return
        if self._bin is not None:
            self._bins.append(self._bin[1:])
            self._track()
        self._bin = (number, sensor, delay)

    def _offset_and_error(self, sensor: float) -> tuple[float, float]:
        """The offset at a sensor time, by the time requests or by the track of arrivals, whichever is the surer."""
        since = max(0.0, sensor + self._offset - self._synchronised)
        by_requests = self._half_width + _ASSUMED_SKEW * since
        if self._line is None:
            return self._offset, by_requests
        at, delay, skew = self._line
        beyond = max(0.0, sensor - self._bins[-1][0] - 2 * _BIN_S)
        by_track = self._half_width + self._floor_error + self._spread + MAX_SKEW * beyond
        if by_requests <= by_track:
            return self._offset, by_requests
        tracked = delay + skew * (sensor - at) - self._floor
        # Whatever the arrivals suggest, no quartz drifts faster than this from where the time requests saw it.
        reach = self._half_width + MAX_SKEW * since
        return min(max(tracked, self._offset - reach), self._offset + reach), by_track

    def _track(self) -> None:
        if len(self._bins) < _MIN_BINS:
            return
        middle = sum(sensor for sensor, _ in self._bins) / len(self._bins)
        at, delay, skew = _supporting_line(self._bins, middle)
        skew = min(max(skew, -MAX_SKEW), MAX_SKEW)
        residuals = sorted(d - (delay + skew * (sensor - at)) for sensor, d in self._bins)
        self._spread = residuals[len(residuals) * 9 // 10] + TICK_S / 2
        self._line = (at, delay, skew)
        if len(self._bins) < _MAX_BINS:
            # While the track still begins at the time requests, the line carried back to their moment tells how long
            # the quickest arrivals take. Its slope is uncertain by the spread at both of its ends.
            self._floor = delay + skew * (self._synchronised - self._offset - at) - self._offset
            self._floor_error = 2 * self._spread


def _supporting_line(points: Sequence[tuple[float, float]], middle: float) -> tuple[float, float, float]:
    """The line under all points (ascending in x) nearest to them on the whole: (x, y, slope) of the hull's edge over
    `middle`."""
    hull: list[tuple[float, float]] = []
    for point in points:
        while len(hull) >= 2 and _turn(hull[-2], hull[-1], point) <= 0:
            hull.pop()
        hull.append(point)
    for left, right in pairwise(hull):
        if left[0] <= middle <= right[0]:
            return (left[0], left[1], (right[1] - left[1]) / (right[0] - left[0]))
    return (hull[0][0], hull[0][1], 0.0)


def _turn(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
