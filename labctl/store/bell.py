"""Wakes those who wait for new events: threads and coroutines, without polling."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

import structlog

log = structlog.get_logger(__name__)
# Rung where anything may have happened: everybody looks.
EVERYTHING = "everything"


class Bell:
    """Rung after each commit that appended events. A ring while nobody looks is remembered by its count.

    Topics say what it is about, so that nobody is woken by what does not concern him: "runs" (events of a job or a
    run), and the first word of each event's kind, such as "lease" or "webhook".
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rings = 0
        self._latest: dict[str, int] = {}  # the count at the last ring of each topic
        self._waiting: dict[threading.Event, frozenset[str]] = {}
        self._listeners: dict[Callable[[], None], frozenset[str]] = {}

    @property
    def rings(self) -> int:
        """How often it rang so far."""
        return self._rings

    def ring(self, topics: Collection[str] = (EVERYTHING,)) -> None:
        with self._lock:
            self._rings += 1
            self._latest.update(dict.fromkeys(topics, self._rings))
            everybody = EVERYTHING in topics

            def concerned(wanted: frozenset[str]) -> bool:
                return everybody or not wanted or not wanted.isdisjoint(topics)

            woken = [event for event, wanted in self._waiting.items() if concerned(wanted)]
            listeners = [listener for listener, wanted in self._listeners.items() if concerned(wanted)]
        for event in woken:
            event.set()
        for listener in listeners:
            try:
                listener()
            except Exception:  # whoever rings writes, or listens to the database, for everybody
                log.exception("who waits for events could not be woken")

    def wait(self, seen: int, timeout: float, topics: Collection[str] = ()) -> int:
        """Block until it has rung more than `seen` times, or for `timeout` seconds; returns the count.

        With `topics`: rings about other things do not count, and `seen` is returned when there were no others.
        """
        woken, wanted = threading.Event(), frozenset(topics)
        with self._lock:
            if (count := self._count(seen, wanted)) > seen:
                return count
            self._waiting[woken] = wanted
        woken.wait(timeout)
        with self._lock:
            del self._waiting[woken]
            return self._count(seen, wanted)

    def _count(self, seen: int, wanted: frozenset[str]) -> int:
        if not wanted:
            return self._rings
        concerned = max(self._latest.get(topic, 0) for topic in (EVERYTHING, *wanted))
        return self._rings if concerned > seen else seen

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Call back at each ring, in the thread that rings it."""
        with self._lock:
            self._listeners[listener] = frozenset()

    @contextmanager
    def listening(self, topics: Collection[str] = ()) -> Iterator[asyncio.Event]:
        """For coroutines: an event that is set at each ring, or each about `topics`; clear it before reading, then wait
        for it."""
        loop, event = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)

        with self._lock:
            self._listeners[wake] = frozenset(topics)
        try:
            yield event
        finally:
            with self._lock:
                self._listeners.pop(wake, None)
