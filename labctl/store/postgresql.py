"""PostgreSQL: any number of daemons form one lab, one of them writing at a time, all told of each commit.

Writers take turns by a transaction-scoped advisory lock, taken first. So a transaction is right here when it is right
on SQLite, events get their sequence numbers in the order of their commits, and there is no deadlock.
"""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import psycopg
import sqlalchemy as sa
import structlog

from labctl.store.bell import EVERYTHING
from labctl.store.outbox import Outbox, driver, write_json

log = structlog.get_logger(__name__)
_READERS = 8
_CHANNEL = "labctl"
_TURN = 0x6C616263  # "labc": the advisory lock of whoever writes
_TOPICS = ("events", "leases", EVERYTHING)
# The server ended the session: connection exceptions, shutdown or crash, a turn that took too long.
_ENDED = ("08", "57P", "25P")
_READ_AGAIN_S = 30.0
_RECONNECT_S = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
# A daemon that stalls while it has the turn loses it after this time; see `labctl.store.writer` for what follows.
_LONGEST_TURN_MS = 10_000
_LONGEST_WAIT_MS = 30_000
_LOCK = f"SELECT pg_advisory_xact_lock({_TURN})"
# Not with the lock: a statement sees what was committed before it began.
_LOOK = "SELECT name, value, extract(epoch FROM clock_timestamp())::double precision FROM counters"
# A number that only this writer counts up, in the transaction itself: after a crash of the server its own transaction
# numbers may be given out again. Nothing is counted, and nobody told, where nothing was written.
_SEAL = """
WITH sealed AS (
  INSERT INTO counters (name, value)
  SELECT %(counter)s::text, %(value)s::bigint
  WHERE %(told)s::boolean OR pg_current_xact_id_if_assigned() IS NOT NULL
  ON CONFLICT (name) DO UPDATE SET value = excluded.value
  RETURNING value
)
SELECT value, pg_notify(%(channel)s::text, %(topics)s::text) FROM sealed
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
        self.dialect: sa.Dialect = self.url.get_dialect()()

    def writing_engine(self) -> sa.Engine:
        return self._engine("READ COMMITTED", pool_size=1)

    def reading_engine(self) -> sa.Engine:
        engine = self._engine("REPEATABLE READ", pool_size=_READERS)
        sa.event.listen(engine, "checkout", _refuse_ended)
        return engine

    def claim(self, connection: sa.Connection) -> None:
        connection.exec_driver_sql(_LOCK)

    def take_turn(self, connection: sa.Connection) -> tuple[float, dict[str, int]]:
        with driver(connection, _lost) as raw, raw.pipeline():
            raw.execute(_LOCK)
            rows = raw.execute(_LOOK).fetchall()
        if not rows:
            return self.time(connection), {}
        return rows[0][2], {name: value for name, value, _ in rows}

    def time(self, connection: sa.Connection) -> float:
        return float(connection.exec_driver_sql("SELECT extract(epoch FROM clock_timestamp())").scalar_one())

    def send(self, connection: sa.Connection, gathered: Sequence[tuple[str, Mapping[str, Any] | None]]) -> None:
        if gathered:
            with driver(connection, _lost) as raw, raw.pipeline():
                for text, values in gathered:
                    raw.execute(text, values)

    def seal(self, outbox: Outbox, counters: Mapping[str, int], topics: Collection[str], writer: str) -> int:
        counter = f"commits of {writer}"
        token = counters.get(counter, 0) + 1
        about = {"counter": counter, "value": token, "told": bool(topics)}
        outbox.say(_SEAL, {**about, "channel": _CHANNEL, "topics": " ".join(sorted(topics))})
        return token

    def commit(self, connection: sa.Connection, gathered: Sequence[tuple[str, Mapping[str, Any] | None]]) -> None:
        with driver(connection, _lost) as raw, raw.pipeline():
            for text, values in gathered:
                raw.execute(text, values)
            raw.commit()

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
            json_serializer=write_json,
            **pool,
        )

    def _connect(self) -> psycopg.Connection[Any]:
        """A connection that listens."""
        engine = sa.create_engine(self.url)
        _, parameters = engine.dialect.create_connect_args(self.url)
        connection = psycopg.connect(**{**parameters, **_CONNECTION, "autocommit": True})
        connection.execute(f"LISTEN {_CHANNEL}")
        return connection


def _refuse_ended(connection: psycopg.Connection[Any], _record: object, _proxy: object) -> None:
    """Not to be read from: a connection that the server ended while nobody used it. Without asking the server, which
    would take as long as a read: nothing comes on an idle connection but its end, or a notice.
    """
    with selectors.DefaultSelector() as selector:
        selector.register(connection.fileno(), selectors.EVENT_READ)
        if selector.select(0):
            raise sa.exc.InvalidatePoolError


def _lost(connection: psycopg.Connection[Any], error: Exception) -> bool:
    """Whether it is not the server that refused a statement: of a commit under way nobody knows then whether it took
    place. A connection that cannot leave its pipeline is of no more use either.
    """
    if connection.pgconn.pipeline_status != psycopg.pq.PipelineStatus.OFF:
        return True
    state = getattr(error, "sqlstate", None)
    return state is None or state.startswith(_ENDED)


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
