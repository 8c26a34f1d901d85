"""PostgreSQL: any number of daemons form one lab, one of them writing at a time, all told of each commit.

Writers take turns by a transaction-scoped advisory lock, taken first. So a transaction is right here when it is right
on SQLite, events get their sequence numbers in the order of their commits, and there is no deadlock.
"""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Callable, Collection, Iterable
from typing import Any

import psycopg
import sqlalchemy as sa
import structlog

log = structlog.get_logger(__name__)
_READERS = 8
_CHANNEL = "labctl"
_TURN = 0x6C616263  # "labc": the advisory lock of whoever writes
_TOPICS = ("events", "leases")
_READ_AGAIN_S = 30.0
_RECONNECT_S = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
# A daemon that stalls while it has the turn loses it after this time; see `labctl.store.writer` for what follows.
_LONGEST_TURN_MS = 10_000
_LONGEST_WAIT_MS = 30_000
_SEAL = """
WITH sealed AS (
  INSERT INTO counters (name, value)
  SELECT %s, 1 WHERE %s OR pg_current_xact_id_if_assigned() IS NOT NULL
  ON CONFLICT (name) DO UPDATE SET value = counters.value + 1
  RETURNING value
)
SELECT value, pg_notify(%s, %s) FROM sealed
"""
_CONNECTION: dict[str, Any] = {
    "application_name": "labctl",
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
    "options": f"-c idle_in_transaction_session_timeout={_LONGEST_TURN_MS} -c lock_timeout={_LONGEST_WAIT_MS}"
    " -c client_min_messages=warning -c synchronous_commit=on -c timezone=UTC",
}


class Postgresql:
    """A database shared by daemons; see `labctl.store.backend.Backend`."""

    shared = True

    def __init__(self, url: sa.URL) -> None:
        self.url = url.set(drivername="postgresql+psycopg")

    def writing_engine(self) -> sa.Engine:
        return self._engine("READ COMMITTED", pool_size=1)

    def reading_engine(self) -> sa.Engine:
        return self._engine("REPEATABLE READ", pool_size=_READERS, pool_pre_ping=True)

    def claim(self, connection: sa.Connection) -> None:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_TURN})")

    def time(self, connection: sa.Connection) -> float:
        return float(connection.exec_driver_sql("SELECT extract(epoch FROM clock_timestamp())").scalar_one())

    def seal(self, connection: sa.Connection, topics: Collection[str], writer: str) -> int | None:
        # A number that only this writer counts up, in the transaction itself: after a crash of the server its own
        # transaction numbers may be given out again. Nothing is counted where nothing was written.
        told = connection.exec_driver_sql(
            _SEAL, (f"commits of {writer}", bool(topics), _CHANNEL, " ".join(sorted(topics)))
        )
        row = told.one_or_none()
        return None if row is None else int(row[0])

    def settled(self, connection: sa.Connection, token: int, writer: str) -> bool:
        self.claim(connection)  # the server may still be at it, when only the connection was lost
        statement = "SELECT value FROM counters WHERE name = %s"
        value = connection.exec_driver_sql(statement, (f"commits of {writer}",)).scalar()
        return value is not None and int(value) >= token

    def listen(self, heard: Callable[[Collection[str]], None], own: Callable[[], int | None]) -> Callable[[], None]:
        listener = _Listener(self._connect, heard, own)
        listener.start()
        return listener.stop

    def _engine(self, isolation: Any, **pool: Any) -> sa.Engine:
        return sa.create_engine(
            self.url,
            connect_args=_CONNECTION,
            isolation_level=isolation,
            max_overflow=0,
            pool_timeout=60,
            **pool,
        )

    def _connect(self) -> psycopg.Connection[Any]:
        """A connection that listens."""
        engine = sa.create_engine(self.url)
        _, parameters = engine.dialect.create_connect_args(self.url)
        connection = psycopg.connect(**{**parameters, **_CONNECTION, "autocommit": True})
        connection.execute(f"LISTEN {_CHANNEL}")
        return connection


class _Listener:
    """Reads notifications in a thread, and takes it that everything changed after each gap."""

    def __init__(
        self,
        connect: Callable[[], psycopg.Connection[Any]],
        heard: Callable[[Collection[str]], None],
        own: Callable[[], int | None],
    ) -> None:
        self._connect = connect
        self._heard = heard
        self._own = own
        self._stopping = False
        self._nudge, self._nudged = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="store-listener", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping = True
        self._nudge.send(b"x")
        self._thread.join()
        self._nudge.close()
        self._nudged.close()

    def _run(self) -> None:
        failures = 0
        while not self._stopping:
            try:
                with self._connect() as connection, selectors.DefaultSelector() as selector:
                    selector.register(connection.fileno(), selectors.EVENT_READ)
                    selector.register(self._nudged, selectors.EVENT_READ)
                    failures = 0
                    self._heard(_TOPICS)  # whatever happened before we listened
                    self._follow(connection, selector)
            except (sa.exc.DBAPIError, psycopg.Error, OSError) as exc:
                if not self._stopping:
                    log.warning("not told of other daemons' commits until reconnected", error=str(exc).strip())
                    self._wait(_RECONNECT_S[min(failures, len(_RECONNECT_S) - 1)])
                    failures += 1

    def _follow(self, connection: psycopg.Connection[Any], selector: selectors.BaseSelector) -> None:
        while not self._stopping:
            if not selector.select(_READ_AGAIN_S):
                connection.execute("SELECT 1")  # finds a connection that died silently
                self._heard(_TOPICS)
                continue
            if self._stopping:
                return
            topics = set(self._of_others(connection.notifies(timeout=0)))
            if topics:
                self._heard(topics)

    def _of_others(self, notifications: Iterable[psycopg.Notify]) -> Iterable[str]:
        own = self._own()
        for notification in notifications:
            if notification.pid != own:
                yield from notification.payload.split()

    def _wait(self, seconds: float) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._nudged, selectors.EVENT_READ)
            selector.select(seconds)
