"""Wheel counts unwrapped past 16 bits, and told when they cannot be."""

from hypothesis import given
from hypothesis import strategies as st

from drivers.create2.encoders import LONGEST_GAP_S, SLACK_S, EncoderUnwrapper

TICKS_AT_FULL_SPEED = 1124.6  # a second, at 0.5 m/s


def raw(count: float) -> int:
    """A cumulative count as the board's 16-bit counter shows it."""
    return (int(count) + 32768) % 65536 - 32768


speeds = st.floats(-TICKS_AT_FULL_SPEED, TICKS_AT_FULL_SPEED)


@given(
    st.integers(-32768, 32767),
    st.lists(st.tuples(st.floats(0.001, 20.0), speeds, speeds), min_size=1, max_size=60),
)
def test_follows_any_drive_over_any_gap_in_which_the_counter_cannot_turn_half_round(start, legs):
    unwrapper = EncoderUnwrapper()
    time, left, right = 0.0, float(start), float(start)
    unwrapper.update(raw(left), raw(right), time)
    for duration, left_speed, right_speed in legs:
        time += duration
        left += left_speed * duration
        right += right_speed * duration
        assert unwrapper.update(raw(left), raw(right), time) == (int(left) - start, int(right) - start)
    assert unwrapper.breaks == 0


@given(st.lists(st.tuples(st.integers(1, 130), speeds), min_size=1, max_size=20))
def test_records_that_arrive_in_bursts_are_no_jump(bursts):
    unwrapper = EncoderUnwrapper()
    left, board_time = 0.0, 0.0
    unwrapper.update(0, 0, 0.0)
    for size, speed in bursts:
        arrival = board_time + size * 0.015
        for _ in range(size):
            board_time += 0.015
            left += speed * 0.015
            unwrapper.update(raw(left), 0, arrival)
    assert unwrapper.breaks == 0
    assert unwrapper.left_ticks == int(left)


@given(st.integers(3000, 32767), st.sampled_from([-1, 1]))
def test_a_step_that_no_wheel_can_make_is_left_out_and_noted(step, sign):
    unwrapper = EncoderUnwrapper()
    unwrapper.update(100, 100, 0.0)
    unwrapper.update(110, 110, 0.015)
    assert unwrapper.update(raw(110 + sign * step), 112, 0.030) == (10, 10)
    assert unwrapper.breaks == 1
    assert unwrapper.last_break is not None
    assert unwrapper.last_break.time == 0.030
    # From there on it counts again.
    assert unwrapper.update(raw(110 + sign * step + 5), 117, 0.045) == (15, 15)
    assert unwrapper.breaks == 1


def test_silence_in_which_the_counter_may_have_wrapped_is_a_break():
    unwrapper = EncoderUnwrapper()
    unwrapper.update(0, 0, 0.0)
    assert unwrapper.update(40, 50, LONGEST_GAP_S + 1) == (40, 50)
    assert unwrapper.breaks == 1
    assert unwrapper.last_break is not None
    assert "silent for 23 s" in unwrapper.last_break.detail


def test_what_a_long_gap_allowed_for_runs_out_again():
    unwrapper = EncoderUnwrapper()
    time = 0.0
    unwrapper.update(0, 0, time)
    time = 20.0
    unwrapper.update(0, 0, time)
    for _ in range(1400):
        time += 0.015
        unwrapper.update(0, 0, time)
    assert unwrapper.breaks == 0
    unwrapper.update(int(3 * SLACK_S * TICKS_AT_FULL_SPEED), 0, time + 0.015)
    assert unwrapper.breaks == 1
