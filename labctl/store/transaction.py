"""One unit of work: statements, the database's time, and events that become visible together with the change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from labctl.requests import current_request
from labctl.store import tables
from labctl.store.backend import Backend
from labctl.store.memory import Memory


@dataclass(slots=True)
class Turn:
    """What writes that share a commit share as well: the time, the revision, and a memory that is of this turn."""

    now: float | None = None
    revision: int | None = None
    fresh: bool = False


class Transaction:
    """What a write is given. A write may be run again from its beginning when the database was lost meanwhile."""

    def __init__(self, connection: sa.Connection, backend: Backend, daemon: str, memory: Memory, turn: Turn) -> None:
        self.connection = connection
        self.daemon = daemon
        self.memory = memory
        self.turn = turn
        self.counted = False  # whether the revision of the turn was counted up here
        self.touched = memory.touched  # devices changed that `memory` does not know of yet
        self.topics: set[str] = set()  # what changed: "events", "leases"
        self.undo: list[Callable[[], None]] = []  # called when it is rolled back
        self._backend = backend

    @property
    def now(self) -> float:
        """Seconds since 1970 by the database's clock; one value for all that is committed together."""
        if self.turn.now is None:
            self.turn.now = self._backend.time(self.connection)
        return self.turn.now

    @property
    def revision(self) -> int:
        """What the rows of devices and leases that this transaction changes bear, so that others find them."""
        self.topics.add("leases")
        if self.turn.revision is None:
            self.turn.revision = self.count_up("revision")
            self.counted = True
        return self.turn.revision

    def execute(self, statement: sa.Executable, rows: list[dict[str, Any]] | None = None) -> sa.CursorResult[Any]:
        return self.connection.execute(statement, rows)

    def emit(
        self,
        kind: str,
        /,
        *,
        device: str | None = None,
        lease: str | None = None,
        job: str | None = None,
        run: str | None = None,
        **data: Any,
    ) -> None:
        """Append one event. `by` in its data is the principal whose request it comes from, if it comes from one."""
        if principal := current_request().principal:
            data.setdefault("by", principal)
        row = {"time": self.now, "kind": kind, "device": device, "lease_id": lease, "job_id": job, "run_id": run}
        self.connection.execute(_INSERT_EVENT, [{**row, "data": data}])
        self.topics.add("events")

    def count_up(self, counter: str) -> int:
        """The next number of a sequence that never repeats, gaps or not."""
        value = self.connection.execute(_COUNT_UP, {"counter": counter}).scalar()
        if value is None:
            value = 1
            self.connection.execute(sa.insert(tables.counters).values(name=counter, value=value))
        return int(value)


# Made once: to build a statement costs as much as to execute it.
_COUNT_UP = (
    sa.update(tables.counters)
    .where(tables.counters.c.name == sa.bindparam("counter"))
    .values(value=tables.counters.c.value + 1)
    .returning(tables.counters.c.value)
)
_INSERT_EVENT = sa.insert(tables.events).inline()
