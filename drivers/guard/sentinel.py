"""The guard's second path to the wheels: a small process that stops the base when the guard itself dies or stalls.

The guard starts it with a descriptor of the serial line and the reading end of a pipe, and tells it over the pipe, many
times a second, what the base does: m moving, d docking, r at rest; q ends it. Silence while the base moves, or the end
of the pipe, makes it write the stop bytes. It is run by its path, in a session of its own, and imports nothing of ours.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time

_REPEAT_S = 0.05
# After the guard's death the stop is repeated until the line has taken it so often, or for so long at most: the next
# guard takes the line over then.
_FAREWELLS = 4
_FAREWELL_S = 1.0


def watch(line: int, pipe: int, silence_s: float, stop: bytes, cancel_docking: bytes) -> None:
    """Watch until the pipe ends or says q. `silence_s`: how long the guard may say nothing, seconds."""
    doing = b"r"
    heard = time.monotonic()
    while True:
        ready, _, _ = select.select([pipe], [], [], _REPEAT_S if doing == b"r" else silence_s / 4)
        if ready:
            told = os.read(pipe, 4096)
            if not told:
                _farewell(line, cancel_docking if doing == b"d" else stop)
                return
            doing, heard = told[-1:], time.monotonic()
            if doing == b"q":
                return
        elif doing != b"r" and time.monotonic() - heard > silence_s:
            _write(line, cancel_docking if doing == b"d" else stop)
            time.sleep(_REPEAT_S)


def _farewell(line: int, stop: bytes) -> None:
    give_up = time.monotonic() + _FAREWELL_S
    taken = 0
    while taken < _FAREWELLS and time.monotonic() < give_up:
        taken += _write(line, stop)
        time.sleep(_REPEAT_S / 2)


def _write(line: int, data: bytes) -> bool:
    """Whether the line took all of it. One that is full or gone does not; the next try may reach it."""
    with contextlib.suppress(OSError):
        return os.write(line, data) == len(data)
    return False


def main() -> None:
    """Arguments: line descriptor, pipe descriptor, silence in seconds, stop bytes and docking-end bytes in hex."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it ends with the guard, not before
    line, pipe, silence, stop, cancel = sys.argv[1:6]
    watch(int(line), int(pipe), float(silence), bytes.fromhex(stop), bytes.fromhex(cancel))


if __name__ == "__main__":
    main()
