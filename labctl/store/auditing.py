"""The audit log in the database: a chain of hashes, so that a row that was changed, left out or put in shows.

A row's hash covers its content and the hash of the row before. Whoever can write to the database could build a new
chain; so `verify` tells the newest hash, to be kept elsewhere and compared later.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import sqlalchemy as sa

from labctl.store import Transaction
from labctl.store.access_tables import audit
from labctl.store.outbox import insertion
from labctl.store.tables import counters

GENESIS = "0" * 64
_COUNTER = "audit"
_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One decision: who, what, on what, how and by which statement, in which request, from which address."""

    principal: str
    token: str | None
    action: str
    resource: str
    allowed: bool
    statement: str
    policies: str
    request: str
    address: str


@dataclass(frozen=True, slots=True)
class Verification:
    """`rows` that were looked at, the newest one's `head` hash, and the first `problem`, if any."""

    rows: int
    head: str
    problem: str | None


_SAID = tuple(each.name for each in fields(AuditEntry))
_INSERT = insertion(audit)


def append(transaction: Transaction, entries: Sequence[AuditEntry]) -> None:
    """Put entries at the end of the log."""
    last = transaction.execute(
        sa.select(audit.c.sequence, audit.c.hash).order_by(audit.c.sequence.desc()).limit(1)
    ).first()
    sequence, head = (0, GENESIS) if last is None else (last.sequence, last.hash)
    for entry in entries:
        sequence += 1
        row = {"sequence": sequence, "time": transaction.now, **{name: getattr(entry, name) for name in _SAID}}
        head = _hash(row, head)
        transaction.put(_INSERT, {**row, "hash": head})
    # The number of the newest row stands elsewhere too, so that rows missing at the end show.
    transaction.count_to(_COUNTER, sequence)


def verify(connection: sa.Connection, known: tuple[int, str] | None = None) -> Verification:
    """Compute the chain anew. `known`: number and hash of a row, noted down earlier."""
    head, number = GENESIS, 0
    for row in _rows(connection):
        number += 1
        if row["sequence"] != number:
            return Verification(number - 1, head, f"row {number} is missing; row {row['sequence']} follows")
        expected = _hash({name: value for name, value in row.items() if name != "hash"}, head)
        if row["hash"] != expected:
            return Verification(number - 1, head, f"row {number} or the one before it was changed")
        head = expected
        if known is not None and known[0] == number and known[1] != head:
            return Verification(number, head, f"row {number} had the hash {known[1]}: the log was written anew")
    counted = connection.execute(sa.select(counters.c.value).where(counters.c.name == _COUNTER)).scalar() or 0
    newest = max(counted, known[0] if known else 0)
    if newest != number:
        return Verification(number, head, f"the log ends with row {number}, but it had {newest}")
    return Verification(number, head, None)


def _rows(connection: sa.Connection) -> Iterator[dict[str, Any]]:
    after = -1
    while True:
        some = sa.select(audit).where(audit.c.sequence > after).order_by(audit.c.sequence).limit(_AT_ONCE)
        rows = connection.execute(some).mappings().all()
        yield from (dict(row) for row in rows)
        if len(rows) < _AT_ONCE:
            return
        after = rows[-1]["sequence"]


def _hash(row: dict[str, Any], before: str) -> str:
    written = {**row, "time": round(row["time"] * 1000), "allowed": bool(row["allowed"])}
    text = json.dumps(written, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(f"{before}\n{text}".encode()).hexdigest()
