"""How much faster than real time the bench may run on this machine, as busy as it is now."""

from __future__ import annotations

import hashlib
import os
import threading
import time

FASTEST = 4.0
_LOOK_FOR_S = 0.3
# The demonstration keeps a good core busy at four times real time, and its scans must not wait for one.
_PACE_PER_CORE = 2.2
_BLOCK = bytes(1 << 18)  # hashed without the interpreter's lock, so that threads run side by side


def fitting_pace() -> float:
    """A time scale, 1 .. 4, for which this machine has cores to spare at the moment."""
    return pace_for(free_cores())


def pace_for(cores: float) -> float:
    """The time scale for a number of cores that nobody else uses."""
    return round(min(FASTEST, max(1.0, _PACE_PER_CORE * cores)), 1)


def free_cores(seconds: float = _LOOK_FOR_S) -> float:
    """How many cores' time this process gets when it asks for all it may use, for `seconds`.

    Unlike the load average that counts quotas and other containers on the machine, and is of now.
    """
    asked = len(os.sched_getaffinity(0))
    got = [0.0] * asked
    begun = time.monotonic()

    def work(number: int) -> None:
        while time.monotonic() - begun < seconds:
            hashlib.sha256(_BLOCK)
            got[number] = time.thread_time()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(asked)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(got) / (time.monotonic() - begun)
