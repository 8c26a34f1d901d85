"""Which devices have a session now: a lease may be used by many requests at once, a device takes one session."""

from __future__ import annotations

import threading


class Occupancy:
    """The devices that have a session, from before it begins until all of it is over. Thread-safe."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._left = threading.Condition()

    def take(self, device: str, within_s: float = 0.0) -> bool:
        """Take a device for a session; False when another still had it after that time."""
        with self._left:
            if not self._left.wait_for(lambda: device not in self._taken, within_s):
                return False
            self._taken.add(device)
            return True

    def leave(self, device: str) -> None:
        """Its session is over."""
        with self._left:
            self._taken.discard(device)
            self._left.notify_all()
