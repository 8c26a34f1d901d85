"""Wakes those who wait for new events: threads and coroutines, without polling."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Bell:
    """Rung after each commit that appended events. A ring while nobody looks is remembered by its count."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._rings = 0
        self._listeners: set[Callable[[], None]] = set()

    @property
    def rings(self) -> int:
        """How often it rang so far."""
        return self._rings

    def ring(self) -> None:
        with self._changed:
            self._rings += 1
            self._changed.notify_all()
            listeners = tuple(self._listeners)
        for listener in listeners:
            listener()

    def wait(self, seen: int, timeout: float) -> int:
        """Block until it has rung more than `seen` times, or for `timeout` seconds; returns the count."""
        with self._changed:
            self._changed.wait_for(lambda: self._rings > seen, timeout)
            return self._rings

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Call back at each ring, in the thread that rings it."""
        with self._changed:
            self._listeners.add(listener)

    @contextmanager
    def listening(self) -> Iterator[asyncio.Event]:
        """For coroutines: an event that is set at each ring; clear it before reading, then wait for it."""
        loop, event = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)

        with self._changed:
            self._listeners.add(wake)
        try:
            yield event
        finally:
            with self._changed:
                self._listeners.discard(wake)
