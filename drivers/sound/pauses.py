"""Notes when this process itself did not run, so that late sound is not blamed on the sound server."""

from __future__ import annotations

import threading

from drivers.clock import Clock


class PauseWatch:
    """A thread that should wake every 20 ms and writes down when it could not for 50 ms and more."""

    def __init__(self, clock: Clock, every_s: float = 0.02, tolerance_s: float = 0.05) -> None:
        self._clock = clock
        self._every_s = every_s
        self._tolerance_s = tolerance_s
        self._end = threading.Event()
        self.pauses: list[tuple[float, float]] = []
        self._thread = threading.Thread(target=self._watch, name="pause-watch", daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        last = self._clock.now()
        while not self._end.wait(self._every_s):
            now = self._clock.now()
            if now - last > self._every_s + self._tolerance_s:
                self.pauses.append((last, now))
            last = now

    def stop(self) -> None:
        """End the watch."""
        self._end.set()
        self._thread.join()
