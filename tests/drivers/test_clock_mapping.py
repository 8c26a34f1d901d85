"""Another machine's clock mapped onto ours: the truth lies inside the stated error, whatever network and drift do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.clock_mapping import MAX_DRIFT, ClockMapping, machine_clock

DELAYS = st.floats(0.0, 0.2)


@given(
    offset=st.floats(-1e6, 1e6),
    drift=st.floats(-6e-4, 6e-4),
    delays=st.lists(st.tuples(DELAYS, DELAYS), min_size=1, max_size=40),
    later=st.floats(-0.5, 5.0),
)
def test_the_truth_lies_inside_the_stated_error(
    offset: float, drift: float, delays: list[tuple[float, float]], later: float
) -> None:
    mapping, now = ClockMapping(), 0.0

    def there(here: float) -> float:
        return offset + here * (1 + drift)

    for out, back in delays:
        mapping.feed(now, there(now + out), now + out + back)
        now += out + back + 1.0
    here, error = mapping.here(there(now + later))
    assert abs(here - (now + later)) <= error + 1e-6
    assert error <= min(out + back for out, back in delays) / 2 + MAX_DRIFT * (len(delays) * 1.4 + 6) + 1e-6
    estimate = mapping.estimate()
    assert abs(estimate.drift - drift) <= estimate.drift_error + 1e-6


def test_the_error_is_half_of_the_quickest_round_trip_and_grows_slowly() -> None:
    mapping = ClockMapping()
    mapping.feed(10.0, 610.2, 10.4)
    assert mapping.here(610.2) == pytest.approx((10.2, 0.2))
    mapping.feed(11.0, 611.001, 11.002)
    assert mapping.here(611.001) == pytest.approx((11.001, 0.001))
    assert mapping.here(621.001)[1] == pytest.approx(0.001 + 10 * MAX_DRIFT)
    assert mapping.estimate().offset_s == pytest.approx(600.0)
    assert str(mapping.estimate()).startswith("+600.000000 s ± 1.00 ms")


def test_a_clock_that_was_set_is_followed_from_its_next_reading_on() -> None:
    mapping = ClockMapping()
    mapping.feed(10.0, 20.0, 10.01)
    mapping.feed(11.0, 631.0, 11.01)
    assert mapping.here(631.0) == pytest.approx((11.005, 0.005))


def test_two_processes_of_one_machine_know_that_they_read_one_clock() -> None:
    assert machine_clock() == machine_clock()
    assert len(machine_clock()) > 36
