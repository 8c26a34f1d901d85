"""Transactions on the database: one writer thread, readers beside it, events appended with the change they tell of.

SQLite in WAL mode with `synchronous=FULL`: what was answered survives a power cut. A write is a function that gets a
`Transaction`; it runs under `BEGIN IMMEDIATE`, so it never loses a race half-way.
"""

from __future__ import annotations

import fcntl
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import event

from labctl.errors import UnavailableError
from labctl.store import tables
from labctl.store.bell import Bell
from labctl.store.migrate import migrate

Result = TypeVar("Result")
_EPOCH_IN_JULIAN_DAYS = 2440587.5


class StoreError(Exception):
    """The database or the data folder cannot be used."""


class Transaction:
    """One unit of work: statements, the database's time, and events that become visible together with the change."""

    def __init__(self, connection: sa.Connection) -> None:
        self.connection = connection
        self.appended = 0
        self._now: float | None = None

    @property
    def now(self) -> float:
        """Seconds since 1970 by the database's clock; one value for the whole transaction."""
        if self._now is None:
            self._now = database_time(self.connection)
        return self._now

    def execute(self, statement: sa.Executable, rows: list[dict[str, Any]] | None = None) -> sa.CursorResult[Any]:
        return self.connection.execute(statement, rows)

    def emit(
        self,
        kind: str,
        *,
        device: str | None = None,
        lease: str | None = None,
        job: str | None = None,
        run: str | None = None,
        **data: Any,
    ) -> None:
        """Append one event."""
        row = {"time": self.now, "kind": kind, "device": device, "lease_id": lease, "job_id": job, "run_id": run}
        self.connection.execute(sa.insert(tables.events).values(**row, data=data))
        self.appended += 1

    def count_up(self, counter: str) -> int:
        """The next number of a sequence that never repeats, gaps or not."""
        update = sa.update(tables.counters).where(tables.counters.c.name == counter)
        value = self.connection.execute(
            update.values(value=tables.counters.c.value + 1).returning(tables.counters.c.value)
        ).scalar()
        if value is None:
            value = 1
            self.connection.execute(sa.insert(tables.counters).values(name=counter, value=value))
        return int(value)


class Store:
    """The lab's state. `write` from any thread; `read` from any thread; `bell` rings after events were committed."""

    def __init__(self, url: str, lock: IO[str] | None = None) -> None:
        self.url = url
        self.bell = Bell()
        self._lock = lock
        self._writing = _sqlite_engine(url, "BEGIN IMMEDIATE", pool_size=1)
        self._reading = _sqlite_engine(url, "BEGIN", pool_size=8)
        self._work: queue.SimpleQueue[Callable[[sa.Connection], None] | None] = queue.SimpleQueue()
        self._closed = False
        with self._writing.connect() as connection:
            migrate(connection)
        self._writer = threading.Thread(target=self._write_all, name="store-writer", daemon=True)
        self._writer.start()

    def submit(self, work: Callable[[Transaction], Result]) -> Future[Result]:
        """Queue a write; the future ends once it is durable, or with the exception that undid it."""
        if self._closed:
            raise UnavailableError("the daemon is shutting down; ask again when it is back")
        future: Future[Result] = Future()

        def perform(connection: sa.Connection) -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                with connection.begin():
                    transaction = Transaction(connection)
                    result = work(transaction)
            except BaseException as exc:
                future.set_exception(exc)
                return
            future.set_result(result)
            if transaction.appended:
                self.bell.ring()

        self._work.put(perform)
        return future

    def write(self, work: Callable[[Transaction], Result]) -> Result:
        """Run `work` in a transaction of its own and wait until it is durable."""
        return self.submit(work).result()

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A connection that sees one consistent state."""
        with self._reading.connect() as connection, connection.begin():
            yield connection

    def close(self) -> None:
        """Finish what was queued, then let go of the database and its folder."""
        if self._closed:
            return
        self._closed = True
        self._work.put(None)
        self._writer.join()
        self._writing.dispose()
        self._reading.dispose()
        if self._lock is not None:
            self._lock.close()

    def _write_all(self) -> None:
        with self._writing.connect() as connection:
            while (perform := self._work.get()) is not None:
                perform(connection)


def open_store(data: Path, url: str | None = None) -> Store:
    """The store in the folder `data`, migrated to this version; at most one process at a time.

    Raises StoreError when the folder cannot be used, another daemon has it, or `url` names another kind of database.
    """
    url = url or f"sqlite:///{(data / 'lab.db').resolve()}"
    if sa.make_url(url).get_backend_name() != "sqlite":
        raise StoreError(
            f"cannot keep the lab's state in {sa.make_url(url).render_as_string()}: give an sqlite:/// URL"
        )
    try:
        data.mkdir(parents=True, exist_ok=True)
        lock = (data / "lock").open("a+", encoding="utf-8")
    except OSError as exc:
        raise StoreError(f"cannot use the data folder {data}: {exc.strerror}; choose one with --data") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.seek(0)
        holder = lock.read().strip() or "unknown"
        lock.close()
        raise StoreError(
            f"the data folder {data} is in use by the daemon with process id {holder}; "
            "stop that one or choose another --data"
        ) from None
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    try:
        return Store(url, lock)
    except (sa.exc.DatabaseError, sqlite3.Error) as exc:
        lock.close()
        raise StoreError(f"cannot use the database {url}: {exc}") from None


def database_time(connection: sa.Connection) -> float:
    """Seconds since 1970 by the clock of the database."""
    days = connection.exec_driver_sql("SELECT julianday('now')").scalar_one()
    return round((float(days) - _EPOCH_IN_JULIAN_DAYS) * 86400.0, 3)


def _sqlite_engine(url: str, begin: str, pool_size: int) -> sa.Engine:
    engine = sa.create_engine(url, pool_size=pool_size, max_overflow=0, pool_timeout=60, poolclass=sa.QueuePool)

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=30000"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def start(connection: sa.Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine
