"""SQLite: one daemon, in WAL mode with `synchronous=FULL`, so what was answered survives a power cut."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects import sqlite

from labctl.store.outbox import Outbox, driver, write_json

_READERS = 8


class Sqlite:
    """A database in a file; see `labctl.store.backend.Backend`."""

    shared = False

    def __init__(self, url: sa.URL) -> None:
        self.url = url
        self.dialect: sa.Dialect = sqlite.dialect(paramstyle="named")

    def writing_engine(self) -> sa.Engine:
        return _engine(self.url, "BEGIN IMMEDIATE", 1)

    def reading_engine(self) -> sa.Engine:
        return _engine(self.url, "BEGIN", _READERS)

    def claim(self, connection: sa.Connection) -> None:
        """Done by BEGIN IMMEDIATE."""

    def take_turn(self, connection: sa.Connection) -> tuple[float, dict[str, int]]:
        with driver(connection) as raw:
            counters = dict(raw.execute("SELECT name, value FROM counters").fetchall())
        return self.time(connection), counters

    def time(self, connection: sa.Connection) -> float:  # noqa: ARG002  # of the protocol
        return round(time.time(), 3)  # what SQLite's 'now' is

    def send(self, connection: sa.Connection, gathered: Sequence[tuple[str, Mapping[str, Any] | None]]) -> None:
        if gathered:
            with driver(connection) as raw:
                for text, values in gathered:
                    raw.execute(text, values or ())

    def seal(self, outbox: Outbox, counters: Mapping[str, int], topics: Collection[str], writer: str) -> None:
        """Nobody else uses the file."""

    def commit(self, connection: sa.Connection, gathered: Sequence[tuple[str, Mapping[str, Any] | None]]) -> None:
        self.send(connection, gathered)
        with driver(connection) as raw:
            raw.commit()

    def settled(self, connection: sa.Connection, token: int, writer: str) -> bool:  # noqa: ARG002  # of the protocol
        raise AssertionError("a connection to a file is not lost")

    def listen(
        self,
        heard: Callable[[Collection[str]], None],  # noqa: ARG002  # of the protocol
        own: Callable[[], int | None],  # noqa: ARG002
    ) -> Callable[[], None]:
        """Nobody else commits."""
        return lambda: None


def _engine(url: sa.URL, begin: str, pool_size: int) -> sa.Engine:
    engine = sa.create_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=60,
        poolclass=sa.QueuePool,
        json_serializer=write_json,
    )

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=30000"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def start(connection: sa.Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine
