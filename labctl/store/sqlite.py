"""SQLite: one daemon, in WAL mode with `synchronous=FULL`, so what was answered survives a power cut."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event

_EPOCH_IN_JULIAN_DAYS = 2440587.5
_READERS = 8


class Sqlite:
    """A database in a file; see `labctl.store.backend.Backend`."""

    shared = False

    def __init__(self, url: sa.URL) -> None:
        self.url = url

    def writing_engine(self) -> sa.Engine:
        return _engine(self.url, "BEGIN IMMEDIATE", 1)

    def reading_engine(self) -> sa.Engine:
        return _engine(self.url, "BEGIN", _READERS)

    def claim(self, connection: sa.Connection) -> None:
        """Done by BEGIN IMMEDIATE."""

    def time(self, connection: sa.Connection) -> float:
        days = connection.exec_driver_sql("SELECT julianday('now')").scalar_one()
        return round((float(days) - _EPOCH_IN_JULIAN_DAYS) * 86400.0, 3)

    def seal(self, connection: sa.Connection, topics: Collection[str], writer: str) -> None:
        """Nobody else uses the file."""

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
