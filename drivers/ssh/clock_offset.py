"""How far a host's clock is from ours, with an error that holds.

Each exchange stamps the host's time somewhere between our sending and our receiving. So the offset lies within half of
the round trip from its middle, whatever the network did; the shortest of several round trips gives the best bound.
(RFC 5905 calls these offset and half of the delay; asymmetry is inside the bound.)
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from drivers.ssh.errors import SshError
from drivers.ssh.host import SshHost
from drivers.ssh.process import Stream

_SCRIPT = "while read -r line; do date +%s.%N; done"
_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class ClockOffset:
    """The host's clock is ahead of ours by `offset_s`, within plus or minus `error_s`."""

    offset_s: float
    error_s: float

    def __str__(self) -> str:
        return f"{self.offset_s * 1e3:+.1f} ± {self.error_s * 1e3:.1f} ms"


def clock_offset(host: SshHost, exchanges: int = 8, now: Callable[[], float] = time.time) -> ClockOffset:
    """Ask the host for its time `exchanges` times over one session; the best answer. Raises SshError."""
    best: ClockOffset | None = None
    with host.start(_SCRIPT, env={"LC_ALL": "C"}) as process:
        answers = process.output(_TIMEOUT_S)
        for _ in range(exchanges):
            sent = now()
            process.write(b"\n")
            line = b""
            for stream, data in answers:
                line += data if stream is Stream.STDOUT else b""
                if line.endswith(b"\n"):
                    break
            received = now()
            seen = between(sent, _seconds(line, host.title), received)
            if best is None or seen.error_s < best.error_s:
                best = seen
        process.end_input()
    assert best is not None
    return best


def between(sent: float, there: float, received: float) -> ClockOffset:
    """What one exchange says: the host read `there` after we `sent` and before we `received`."""
    return ClockOffset(there - (sent + received) / 2, max(0.0, received - sent) / 2)


def _seconds(line: bytes, title: str) -> float:
    try:
        return float(line)
    except ValueError:
        raise SshError(f"{title} does not tell its time: {line[:100]!r}") from None
