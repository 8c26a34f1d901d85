"""One unit of work: statements, the database's time, and events that become visible together with the change."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from labctl.requests import current_request
from labctl.store import tables
from labctl.store.backend import Backend
from labctl.store.memory import Memory
from labctl.store.outbox import Outbox, Statement, insertion


@dataclass(slots=True)
class Turn:
    """What writes that share a commit share as well.

    `now`: the time; `counters` as they are in it, `counted` those that it changed; `outbox`: what is not written yet;
    `fresh`: whether the memory is of this turn; `revision`: that changes of this turn bear.
    """

    now: float
    counters: dict[str, int]
    outbox: Outbox
    counted: set[str] = field(default_factory=set)
    revision: int | None = None
    fresh: bool = False


class Transaction:
    """What a write is given. A write may be run again from its beginning when the database was lost meanwhile."""

    def __init__(self, connection: sa.Connection, backend: Backend, daemon: str, memory: Memory, turn: Turn) -> None:
        self.daemon = daemon
        self.memory = memory
        self.turn = turn
        self.now = turn.now  # seconds since 1970 by the database's clock; one value for all that is committed together
        self.touched = memory.touched  # devices changed that `memory` does not know of yet
        self.topics: set[str] = set()  # what changed: "leases"; "events", with the topics of the bell
        self.undo: list[Callable[[], None]] = []  # called when it is rolled back
        self.requested: dict[str, dict[str, Any]] = {}  # rows of leases, of which more may be known in a moment
        self._connection = connection
        self._backend = backend

    @property
    def connection(self) -> sa.Connection:
        """To read by: what was changed here shows."""
        self.settle()
        self._backend.send(self._connection, self.turn.outbox.take())
        return self._connection

    @property
    def revision(self) -> int:
        """What the rows of devices and leases that this transaction changes bear, so that others find them."""
        self.topics.add("leases")
        if self.turn.revision is None:
            self.turn.revision = self.count_up("revision")
        return self.turn.revision

    def recall(self) -> Memory:
        """What the writing thread keeps of devices and leases, as this transaction sees them."""
        if not self.turn.fresh or self.touched:  # no other writer comes between
            if self.touched or self.turn.revision is not None:  # what is read is not committed yet
                self.forget_when_undone()
            present = self.counted("revision")
            if self.touched or self.memory.revision != present:
                self.memory.refresh(self.connection, present)
            self.turn.fresh = True
        return self.memory

    def mutate(self) -> None:
        """What is known of devices and leases changes with the database, or not at all."""
        self.forget_when_undone()
        self.memory.revision = self.revision

    def forget_when_undone(self) -> None:
        """What is known may then not be so."""
        if not self.undo:
            self.undo.append(self.memory.forget)

    def execute(self, statement: sa.Executable, rows: list[dict[str, Any]] | None = None) -> sa.CursorResult[Any]:
        return self.connection.execute(statement, rows)

    def put(self, statement: Statement, row: Mapping[str, Any]) -> None:
        """Write something whose result is of no interest, together with what else there is."""
        self.turn.outbox.put(statement, row)

    def settle(self) -> None:
        """No more is going to be known of leases that were asked for here."""
        for row in self.requested.values():
            self.put(INSERT_LEASE, row)
        self.requested.clear()

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
        self.put(_INSERT_EVENT, {**row, "data": data})
        self.topics.update(("events", kind.partition(".")[0]))
        if job is not None or run is not None:
            self.topics.add("runs")

    def counted(self, counter: str) -> int:
        """The last number of a sequence that never repeats; 0 of one that has not begun."""
        return self.turn.counters.get(counter, 0)

    def count_up(self, counter: str) -> int:
        """The next number of a sequence that never repeats, gaps or not."""
        return self.count_to(counter, self.counted(counter) + 1)

    def count_to(self, counter: str, value: int) -> int:
        """Go on with a sequence after `value`, which is returned."""
        self.turn.counters[counter] = value
        self.turn.counted.add(counter)
        return value


INSERT_LEASE = insertion(tables.leases)
_INSERT_EVENT = insertion(tables.events, "sequence")
