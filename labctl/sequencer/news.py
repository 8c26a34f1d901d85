"""Reads the event log by its cursor, in one thread, and wakes those who wait for something in a run."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import sqlalchemy as sa
import structlog

from labctl.store import Store
from labctl.store.bell import Bell
from labctl.store.tables import events

log = structlog.get_logger(__name__)
_AT_ONCE = 1000
_REVIEW_S = 30.0  # should a wake-up be lost
_AGAIN_S = 0.5


class News:
    """Calls `heard` with kind, run and lease of every event of a job or a run, in order; `review` every 30 s at the
    latest.
    """

    def __init__(
        self, store: Store, heard: Callable[[str, str | None, str | None], None], review: Callable[[], None]
    ) -> None:
        self._store = store
        self._heard = heard
        self._review = review
        self._lock = threading.Lock()
        self._bells: dict[str, tuple[Bell, int]] = {}  # of each run: its bell, and how many follow it
        self._stopping = False
        self._cursor = 0
        self._thread = threading.Thread(target=self._read_on, name="news", daemon=True)

    def start(self) -> None:
        """Begin with the next event."""
        with self._store.read() as connection:
            self._cursor = connection.execute(sa.select(sa.func.max(events.c.sequence))).scalar() or 0
        self._thread.start()

    def stop(self) -> None:
        self._stopping = True
        self._store.bell.ring()
        if self._thread.is_alive():
            self._thread.join()

    @contextmanager
    def following(self, run: str) -> Iterator[Bell]:
        """A bell that rings at each event of the run, on whatever daemon it happened."""
        with self._lock:
            bell, followers = self._bells.get(run) or (Bell(), 0)
            self._bells[run] = (bell, followers + 1)
        try:
            yield bell
        finally:
            with self._lock:
                bell, followers = self._bells[run]
                if followers > 1:
                    self._bells[run] = (bell, followers - 1)
                else:
                    del self._bells[run]

    def wake(self, run: str) -> None:
        """Let those who wait for something in a run look again."""
        with self._lock:
            known = self._bells.get(run)
        if known is not None:
            known[0].ring()

    def _read_on(self) -> None:
        seen = self._store.bell.rings
        review_at = time.monotonic() + _REVIEW_S
        while not self._stopping:
            try:
                if time.monotonic() >= review_at:  # also while there is something new all the time
                    self._review()
                    self._skip_what_is_of_no_run()
                    review_at = time.monotonic() + _REVIEW_S
                if not self._read():
                    seen = self._store.bell.wait(seen, max(0.0, review_at - time.monotonic()), ("runs",))
            except Exception:  # the database may be away for a while
                if not self._stopping:
                    log.exception("the event log could not be read; it is tried again")
                    threading.Event().wait(_AGAIN_S)
                    review_at = 0.0  # an event that was read then may not have had its effect

    def _skip_what_is_of_no_run(self) -> None:
        with self._store.read() as connection:
            newest = connection.execute(sa.select(sa.func.max(events.c.sequence))).scalar() or 0
            if connection.execute(_NEXT, {"cursor": self._cursor}).first() is None:
                self._cursor = newest

    def _read(self) -> bool:
        """Tell of the next events; False when there are none."""
        with self._store.read() as connection:
            rows = connection.execute(_NEXT, {"cursor": self._cursor}).all()
        with self._lock:
            bells = {row.run_id: self._bells[row.run_id][0] for row in rows if row.run_id in self._bells}
        for bell in bells.values():
            bell.ring()
        for row in rows:
            self._cursor = row.sequence
            self._heard(row.kind, row.run_id, row.lease_id)
        return bool(rows)


# Made once: to build a statement takes as long as to carry it out.
_NEXT = (
    sa.select(events.c.sequence, events.c.kind, events.c.run_id, events.c.lease_id)
    .where(events.c.sequence > sa.bindparam("cursor"))
    .where(sa.or_(events.c.run_id.is_not(None), events.c.job_id.is_not(None)))
    .order_by(events.c.sequence)
    .limit(_AT_ONCE)
)
