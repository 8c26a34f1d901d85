"""What differs between the two databases: how to connect, who may write, whose clock counts, how others are told."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Protocol

import sqlalchemy as sa


class Backend(Protocol):
    """One kind of database. `shared`: several daemons may use it at a time."""

    shared: bool
    url: sa.URL

    def writing_engine(self) -> sa.Engine:
        """For the one connection that writes."""

    def reading_engine(self) -> sa.Engine:
        """For readers, each of whom sees one consistent state."""

    def claim(self, connection: sa.Connection) -> None:
        """Inside a transaction: wait until no other writer of the lab is at work; kept until its end."""

    def time(self, connection: sa.Connection) -> float:
        """Seconds since 1970 by the clock of the database."""

    def seal(self, connection: sa.Connection, topics: Collection[str], writer: str) -> int | None:
        """The last statement before the commit: what other daemons are told with it. Returns what `settled` asks by."""

    def settled(self, connection: sa.Connection, token: int, writer: str) -> bool:
        """Whether what `writer` sealed with `token` was committed; asked when the connection was lost in between."""

    def listen(self, heard: Callable[[Collection[str]], None], own: Callable[[], int | None]) -> Callable[[], None]:
        """Call `heard` with the topics that other daemons seal, from a thread; `own`: the writer's session.

        All topics are called after a gap. Returns what ends the thread.
        """
