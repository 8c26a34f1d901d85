"""What differs between the two databases: how to connect, who may write, whose clock counts, how others are told."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

import sqlalchemy as sa

from labctl.store.outbox import Outbox


class Backend(Protocol):
    """One kind of database. `shared`: several daemons may use it at a time. `dialect`: of statements in an outbox."""

    shared: bool
    url: sa.URL
    dialect: sa.Dialect

    def writing_engine(self) -> sa.Engine:
        """For the one connection that writes."""

    def reading_engine(self) -> sa.Engine:
        """For readers, each of whom sees one consistent state."""

    def claim(self, connection: sa.Connection) -> None:
        """Inside a transaction: wait until no other writer of the lab is at work; kept until its end."""

    def take_turn(self, connection: sa.Connection) -> tuple[float, dict[str, int]]:
        """As `claim`; returns the time by the clock of the database, and all counters."""

    def time(self, connection: sa.Connection) -> float:
        """Seconds since 1970 by the clock of the database."""

    def send(self, connection: sa.Connection, gathered: Sequence[tuple[str, Mapping[str, Any] | None]]) -> None:
        """Carry out statements in order, as few round trips as can be."""

    def seal(self, outbox: Outbox, counters: Mapping[str, int], topics: Collection[str], writer: str) -> int | None:
        """Put the last statements before the commit: what other daemons are told with it. Returns what `settled` asks
        by, where a connection can be lost."""

    def commit(self, connection: sa.Connection, gathered: Sequence[tuple[str, Mapping[str, Any] | None]]) -> None:
        """As `send`, then commit what was done since `take_turn`."""

    def settled(self, connection: sa.Connection, token: int, writer: str) -> bool:
        """Whether what `writer` sealed with `token` was committed; asked when the connection was lost in between."""

    def listen(self, heard: Callable[[Collection[str]], None], own: Callable[[], int | None]) -> Callable[[], None]:
        """Call `heard` with the topics that other daemons seal, from a thread; `own`: the writer's session.

        All topics are called after a gap. Returns what ends the thread.
        """
