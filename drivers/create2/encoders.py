"""Unwraps the Create 2's 16-bit wheel counts and tells when the count cannot be trusted across a gap. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from drivers.create2.codec import MAX_WHEEL_SPEED_MM_S, NOMINAL_METRES_PER_TICK

# The board holds 500 mm/s at most; a wheel pushed or running downhill may turn somewhat faster.
MAX_TICKS_PER_S = 1.3 * MAX_WHEEL_SPEED_MM_S / 1000 / NOMINAL_METRES_PER_TICK
# Records that waited in a buffer arrive at once, so a turn may seem to take no time: this much is always allowed for.
SLACK_S = 0.5
# Beyond this a wheel at full speed could have turned half the counter's range, and the way round is anybody's guess.
LONGEST_GAP_S = 32767 / MAX_TICKS_PER_S


@dataclass(frozen=True, slots=True)
class OdometryBreak:
    """A gap over which wheel counts are not known; `time` is that of the reading after it."""

    time: float
    detail: str


class EncoderUnwrapper:
    """Cumulative left and right ticks from raw counts that wrap at 16 bits; both start at 0.

    A step that no wheel can have made (the board was reset, or bytes were damaged in a way the checksum misses), or
    silence so long that the counter may have gone round, adds nothing that is known: the step is left out or, after
    long silence, taken the short way. `breaks` counts these, `last_break` tells about the latest.
    """

    def __init__(self) -> None:
        self.left_ticks = 0
        self.right_ticks = 0
        self.breaks = 0
        self.last_break: OdometryBreak | None = None
        self._last: tuple[int, int, float] | None = None
        self._allowance_s = SLACK_S

    def update(self, left: int, right: int, time: float) -> tuple[int, int]:
        """Cumulative (left, right) ticks after the raw counts `left` and `right`, read at `time` seconds."""
        if self._last is not None:
            last_left, last_right, last_time = self._last
            gap = max(0.0, time - last_time)
            step_left, step_right = _short_way(left - last_left), _short_way(right - last_right)
            # Grows with time up to the slack; what a long gap added beyond it runs out as fast as it came.
            grown = min(self._allowance_s + gap, max(SLACK_S, gap))
            self._allowance_s = max(grown, self._allowance_s - gap)
            spent = max(abs(step_left), abs(step_right)) / MAX_TICKS_PER_S
            if gap > LONGEST_GAP_S:
                self._note(time, f"the board was silent for {gap:.0f} s; its counters may have wrapped unseen")
                spent = 0.0
            elif spent > self._allowance_s:
                self._note(time, f"counters jumped by {step_left} and {step_right} ticks in {gap:.3f} s")
                step_left = step_right = 0
                spent = 0.0
            self._allowance_s -= spent
            self.left_ticks += step_left
            self.right_ticks += step_right
        self._last = (left, right, time)
        return self.left_ticks, self.right_ticks

    def _note(self, time: float, detail: str) -> None:
        self.breaks += 1
        self.last_break = OdometryBreak(time, detail)


def _short_way(difference: int) -> int:
    """A difference of two 16-bit counts as the smallest step that explains it, -32768 .. 32767."""
    return (difference + 32768) % 65536 - 32768
