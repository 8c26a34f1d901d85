"""The lab's state: writes through one thread, reads beside it, a bell that rings after each commit of any daemon."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import copy_context
from pathlib import Path
from typing import IO, TypeVar

import sqlalchemy as sa

from labctl.errors import UnavailableError
from labctl.store.backend import Backend
from labctl.store.bell import Bell
from labctl.store.identifiers import new_id
from labctl.store.memory import Memory
from labctl.store.migrate import migrate
from labctl.store.sqlite import Sqlite
from labctl.store.transaction import Transaction
from labctl.store.writer import Writer

Result = TypeVar("Result")
# How long a request waits for a database that does not answer, before it is told so.
_PATIENCE_S = 20.0
_RECONNECT_S = 0.1


class StoreError(Exception):
    """The database or the data folder cannot be used."""


class Store:
    """The lab's state: `write` and `read` from any thread.

    `bell` rings after events were committed by any daemon; `elsewhere` when another daemon may have changed leases or
    devices. `daemon_id` names this daemon, also after a restart in the same data folder. `shared`: other daemons may
    use the database.
    """

    def __init__(
        self, backend: Backend, daemon_id: str, lock: IO[str] | None = None, patience_s: float = _PATIENCE_S
    ) -> None:
        self.backend = backend
        self.shared = backend.shared
        self.daemon_id = daemon_id
        self.bell = Bell()
        self.elsewhere = Bell()
        self._lock = lock
        self._patience_s = patience_s
        self._reading = backend.reading_engine()
        self._closed = False
        self._writer = Writer(backend, daemon_id, self._committed, patience_s)
        migrating = backend.writing_engine()
        try:
            with migrating.connect() as connection, connection.begin():
                backend.claim(connection)
                migrate(connection)
        finally:
            migrating.dispose()
        self._writer.start()
        self._unlisten = backend.listen(self._heard, lambda: self._writer.session)

    def submit(self, work: Callable[[Transaction], Result]) -> Future[Result]:
        """Queue a write; the future ends once it is durable, or with the exception that undid it.

        `work` may be called more than once: what counts is its last call.
        """
        if self._closed:
            raise UnavailableError("the daemon is shutting down; ask again when it is back")
        # The writer's thread works for whoever asked: its events and audit entries name the request.
        context = copy_context()
        return self._writer.put(lambda transaction: context.run(work, transaction))

    def write(self, work: Callable[[Transaction], Result]) -> Result:
        """Run `work` in a transaction of its own and wait until it is durable."""
        return self.submit(work).result()

    def write_along(self, work: Callable[[Transaction], Result]) -> Result:
        """As `write`, for what nobody waits for: goes to the disk with the next write, or after a little while."""
        if self._closed:
            raise UnavailableError("the daemon is shutting down; ask again when it is back")
        return self._writer.put(work, along=True).result()

    @property
    def memory(self) -> Memory:
        """What the writing thread has in mind. Elsewhere: only to look something up, which may have just changed."""
        return self._writer.memory

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A connection that sees one consistent state. Raises `sqlalchemy.exc.OperationalError` without a database."""
        with self._reader() as connection, connection.begin():
            yield connection

    def time(self, connection: sa.Connection) -> float:
        """Seconds since 1970 by the clock of the database."""
        return self.backend.time(connection)

    def close(self) -> None:
        """Finish what was queued, then let go of the database and its folder."""
        if self._closed:
            return
        self._closed = True
        self._unlisten()
        self._writer.stop()
        self._reading.dispose()
        if self._lock is not None:
            self._lock.close()

    def _reader(self) -> sa.Connection:
        give_up = time.monotonic() + self._patience_s
        while True:
            try:
                return self._reading.connect()
            except sa.exc.OperationalError:
                if self._closed or time.monotonic() > give_up:
                    raise
                time.sleep(_RECONNECT_S)

    def _committed(self, topics: Collection[str]) -> None:
        if "events" in topics:
            self.bell.ring(topics)

    def _heard(self, topics: Collection[str]) -> None:
        if "leases" in topics:
            self.elsewhere.ring()
        if "events" in topics:
            self.bell.ring(topics)


def open_store(data: Path, url: str | None = None) -> Store:
    """The store of the daemon whose folder is `data`, migrated to this version; at most one process at a time.

    `url`: sqlite:/// or postgresql://, DATA/lab.db unless given. Raises StoreError when the folder or the database
    cannot be used, or another daemon has the folder.
    """
    backend = _backend(sa.make_url(url or f"sqlite:///{(data / 'lab.db').resolve()}"))
    lock = _lock(data)
    try:
        return Store(backend, _daemon_id(data), lock)
    except (sa.exc.DBAPIError, sqlite3.Error, OSError) as exc:
        lock.close()
        shown = backend.url.render_as_string()
        raise StoreError(f"cannot use the database {shown}: {str(exc).strip()}") from None
    except BaseException:
        lock.close()
        raise


def _backend(url: sa.URL) -> Backend:
    kind = url.get_backend_name()
    if kind == "sqlite":
        return Sqlite(url)
    if kind != "postgresql":
        raise StoreError(f"cannot keep the lab's state in {url.render_as_string()}: give sqlite:/// or postgresql://")
    try:
        from labctl.store.postgresql import Postgresql  # noqa: PLC0415  # needed, and installed, for this one only
    except ImportError as exc:
        raise StoreError(f"PostgreSQL needs another package: pip install 'labctl[postgres]' ({exc})") from None
    return Postgresql(url)


def _lock(data: Path) -> IO[str]:
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
    return lock


def _daemon_id(data: Path) -> str:
    """What the daemon of this folder is called in the database; made once."""
    path = data / "daemon-id"
    if not path.exists():
        partial = path.with_suffix(".partial")
        partial.write_text(new_id() + "\n", encoding="utf-8")
        partial.replace(path)
    return path.read_text(encoding="utf-8").strip()
