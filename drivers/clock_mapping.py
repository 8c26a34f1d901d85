"""Maps another machine's monotonic clock onto ours, with an error that holds.

Each exchange stamps the other clock somewhere between our sending and our receiving, so ours showed something between
those two at that reading (RFC 5905's offset and delay, with all asymmetry inside the bound). An older exchange still
bounds today's reading, by as much more as the two clocks may have parted since. What all exchanges allow is the answer.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from pathlib import Path

# A crystal is good for 1e-4, and a clock that is being corrected is slewed by up to 5e-4 (adjtimex(2)); both, with
# reserve.
MAX_DRIFT = 7e-4
_KEPT = 64
_KEPT_FOR_S = 60.0


@dataclass(frozen=True, slots=True)
class ClockEstimate:
    """The other clock is ahead of ours by `offset_s`, within plus or minus `error_s`, and gains `drift` seconds a
    second, within plus or minus `drift_error`.
    """

    offset_s: float
    error_s: float
    drift: float
    drift_error: float

    def __str__(self) -> str:
        drift = f"{1e6 * self.drift:+.0f} ± {1e6 * self.drift_error:.0f} ppm"
        return f"{self.offset_s:+.6f} s ± {1e3 * self.error_s:.2f} ms, {drift}"


@dataclass(frozen=True, slots=True)
class _Exchange:
    there: float
    earliest: float  # what our clock showed at the earliest and at the latest when theirs showed `there`
    latest: float


class ClockMapping:
    """Fed with exchanges, tells what our clock showed when the other showed a time."""

    def __init__(self, max_drift: float = MAX_DRIFT) -> None:
        self._max_drift = max_drift
        self._exchanges: deque[_Exchange] = deque(maxlen=_KEPT)
        self.count = 0  # of the exchanges so far

    def feed(self, sent: float, there: float, received: float) -> None:
        """Ours was `sent` before and `received` after theirs was read as `there`."""
        self.count += 1
        new = _Exchange(there, sent, max(sent, received))
        while self._exchanges and there - self._exchanges[0].there > _KEPT_FOR_S:
            self._exchanges.popleft()
        self._exchanges.append(new)
        low, high = self._bounds(there)
        if low > high:  # one of the clocks was set, or stood still: nothing older counts
            self._exchanges.clear()
            self._exchanges.append(new)

    def __bool__(self) -> bool:
        """Whether there was an exchange."""
        return bool(self._exchanges)

    def here(self, there: float) -> tuple[float, float]:
        """What our clock showed when theirs showed `there`, and the half width of what that may be wrong by."""
        low, high = self._bounds(there)
        return (low + high) / 2, max(0.0, high - low) / 2

    def estimate(self) -> ClockEstimate:
        """How the clocks stand at the latest exchange."""
        first, last = self._exchanges[0], self._exchanges[-1]
        time, error = self.here(last.there)
        low, high = -self._max_drift, self._max_drift
        if last.there > first.there:
            low = max(low, (last.there - first.there) / max(1e-9, last.latest - first.earliest) - 1)
            if last.earliest > first.latest:
                high = min(high, (last.there - first.there) / (last.earliest - first.latest) - 1)
        return ClockEstimate(last.there - time, error, (low + high) / 2, max(0.0, high - low) / 2)

    def _bounds(self, there: float) -> tuple[float, float]:
        low, high = float("-inf"), float("inf")
        for each in tuple(self._exchanges):
            since = there - each.there
            slack = abs(since) * self._max_drift
            low = max(low, each.earliest + since - slack)
            high = min(high, each.latest + since + slack)
        return low, high


def machine_clock() -> str:
    """What names this process's monotonic clock: equal for two processes exactly if they read the same one."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/time').readlink()}"
    except OSError:
        return ""
