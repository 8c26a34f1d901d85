"""Takes decisions down for the audit log, without keeping a request waiting for the disk.

A thread writes what has gathered in one transaction, as fast as the database takes it. When it cannot, the rows are
kept and tried again; and when too many wait, nothing more is decided that would have to be written down.
"""

from __future__ import annotations

import queue
import threading

import structlog

from labctl.errors import UnavailableError
from labctl.store import Store, auditing
from labctl.store.auditing import AuditEntry

log = structlog.get_logger(__name__)
_AT_ONCE = 500
_MOST_WAITING = 20_000
_TRY_AGAIN_S = 1.0


class AuditWriter:
    """Appends entries in their order."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: queue.SimpleQueue[AuditEntry | threading.Event | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
        self._thread.start()

    def add(self, entry: AuditEntry, *, must: bool = False) -> None:
        """Write this down soon. Raises UnavailableError when the log has not been taking anything for long, unless it
        `must` go on.
        """
        if not must and self._waiting.qsize() >= _MOST_WAITING:
            raise UnavailableError(
                "the audit log cannot be written, so nothing is done that belongs there: see the log"
            )
        self._waiting.put(entry)

    def flush(self, timeout: float = 30.0) -> bool:
        """Wait until everything added so far is in the database; False when it is not in time."""
        done = threading.Event()
        self._waiting.put(done)
        return done.wait(timeout)

    def close(self) -> None:
        """Write what is left."""
        self._stopping.set()
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        while True:
            entries: list[AuditEntry] = []
            waiters: list[threading.Event] = []
            last = self._gather(entries, waiters)
            if entries and not self._write(entries):
                log.error("audit entries are lost: the database took none before the end", count=len(entries))
            for waiter in waiters:
                waiter.set()
            if last:
                return

    def _gather(self, entries: list[AuditEntry], waiters: list[threading.Event]) -> bool:
        item = self._waiting.get()
        while True:
            if item is None:
                return True
            if isinstance(item, AuditEntry):
                entries.append(item)
            else:
                waiters.append(item)
            if len(entries) >= _AT_ONCE:
                return False
            try:
                item = self._waiting.get_nowait()
            except queue.Empty:
                return False

    def _write(self, entries: list[AuditEntry]) -> bool:
        while True:
            try:
                self._store.write_along(lambda transaction: auditing.append(transaction, entries))
            except Exception:
                log.exception("cannot write the audit log; it is tried again", waiting=self._waiting.qsize())
                if self._stopping.wait(_TRY_AGAIN_S):
                    return False
            else:
                return True
