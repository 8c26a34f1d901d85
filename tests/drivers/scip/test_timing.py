"""The sensor's 24-bit clock on the host's: unwrapping, synchronisation, drift, and the error it states."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import ProtocolError
from drivers.scip.timing import TICK_S, WRAP, ClockMapping, TimeExchange, unwrap


class Sensor:
    """A sensor clock: `offset` seconds behind the host's at host time 0, running `drift` too fast."""

    def __init__(self, offset: float, drift: float = 0.0) -> None:
        self.offset, self.drift = offset, drift

    def time(self, host: float) -> float:
        return (host - self.offset) * (1 + self.drift)

    def host(self, sensor: float) -> float:
        return sensor / (1 + self.drift) + self.offset

    def stamp(self, host: float) -> int:
        return int(self.time(host) / TICK_S) % WRAP


def exchanges(sensor: Sensor, start: float, rng: random.Random, count: int = 16) -> list[TimeExchange]:
    found = []
    now = start
    for _ in range(count):
        there, back = 0.0002 + rng.expovariate(2000), 0.0002 + rng.expovariate(2000)
        found.append(TimeExchange(now, now + there + back, sensor.stamp(now + there)))
        now += there + back
    return found


@given(st.floats(0, 1e7), st.floats(-4000, 4000))
def test_a_stamp_is_unwrapped_to_the_nearest_time_that_reads_so(true: float, wrong_by: float) -> None:
    ticks = int(true / TICK_S)
    assert unwrap(ticks % WRAP, true + wrong_by) == pytest.approx(ticks * TICK_S, abs=1e-6)


@given(st.floats(-1e6, 1e6), st.integers(0, 1 << 30))
def test_time_requests_fix_the_offset_within_the_stated_error(offset: float, seed: int) -> None:
    sensor = Sensor(offset)
    mapping = ClockMapping(exchanges(sensor, offset + 5000.0, random.Random(seed)))
    host = offset + 5000.1
    stamped = unwrap(sensor.stamp(host), mapping.to_sensor(host))
    assert abs(mapping.to_host(stamped) - host) <= mapping.error(stamped) + 1e-6
    assert mapping.error(stamped) < 0.003


@pytest.mark.parametrize("drift_ppm", [-150.0, 0.0, 80.0])
def test_drift_is_followed_across_the_wrap_under_arrival_jitter(drift_ppm: float) -> None:
    sensor = Sensor(offset=-3.0, drift=drift_ppm * 1e-6)
    rng = random.Random(7)
    start = WRAP * TICK_S - 60.0 + sensor.offset  # a minute before the stamp wraps
    mapping = ClockMapping(exchanges(sensor, start, rng))
    worst, stated = 0.0, 0.0
    unwrapped_before = 0.0
    # Ten scans a second for an hour: delays of 19 ms plus jitter with a heavy tail.
    for number in range(36_000):
        taken = start + 0.1 + number * 0.1
        arrival = taken + 0.019 + rng.expovariate(300) + (0.2 if rng.random() < 0.01 else 0.0)
        stamp = sensor.stamp(taken)
        unwrapped = unwrap(stamp, mapping.to_sensor(arrival))
        assert unwrapped > unwrapped_before
        unwrapped_before = unwrapped
        error = abs(mapping.to_host(unwrapped) - taken)
        assert error <= mapping.error(unwrapped)
        worst, stated = max(worst, error), max(stated, mapping.error(unwrapped))
        mapping.arrived(unwrapped, arrival)
    assert worst < 0.003
    assert stated < 0.008


@pytest.mark.parametrize("jitter", [0.0005, 0.003, 0.03])
@pytest.mark.parametrize("seed", range(4))
def test_the_stated_error_holds_when_answers_are_late_one_way_only(jitter: float, seed: int) -> None:
    rng = random.Random(seed)
    sensor = Sensor(rng.uniform(-1e4, 1e4), rng.uniform(-190e-6, 190e-6))
    now = start = sensor.offset + rng.uniform(0, 20_000)
    asked = []
    for _ in range(16):
        back = 0.0004 + rng.uniform(0, jitter)
        asked.append(TimeExchange(now, now + back, sensor.stamp(now + 0.0002)))
        now += back
    mapping = ClockMapping(asked)
    for number in range(40 * 60):
        taken = start + 0.5 + number / 40
        arrival = taken + 0.025 + rng.uniform(0, jitter)
        unwrapped = unwrap(sensor.stamp(taken), mapping.to_sensor(arrival))
        assert abs(mapping.to_host(unwrapped) - taken) <= mapping.error(unwrapped)
        mapping.arrived(unwrapped, arrival)


def test_a_clock_that_jumps_between_time_requests_is_refused() -> None:
    sensor, jumped = Sensor(100.0), Sensor(90.0)
    rng = random.Random(1)
    with pytest.raises(ProtocolError, match="does not advance evenly"):
        ClockMapping(exchanges(sensor, 200.0, rng) + exchanges(jumped, 200.1, rng))


def test_a_mapping_needs_an_exchange() -> None:
    with pytest.raises(ValueError, match="at least one"):
        ClockMapping([])
