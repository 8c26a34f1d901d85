"""Signals in the database: sent, found, and whether one can still come. Each function is part of a transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from labctl.errors import ConflictError, NotFoundError
from labctl.store.tables import jobs, lanes, runs, signals
from labctl.store.transaction import Transaction


@dataclass(frozen=True, slots=True)
class Signal:
    """What was said in a run. `number` grows with each signal of the lab."""

    number: int
    name: str
    sender: str
    payload: Any
    sent_at: float


@dataclass(frozen=True, slots=True)
class Vain:
    """Why a signal cannot come any more. `verdict`: what a lane ends as that waited for it."""

    verdict: str
    reason: str


def send(transaction: Transaction, run: str, name: str, sender: str, payload: Any) -> Signal:
    """Say something in a run; it stays said. Raises NotFoundError, or ConflictError when the run is over."""
    values = {"run": run, "name": name, "sender": sender, "payload": payload, "sent_at": transaction.now}
    added = transaction.execute(_SEND, [values]).one_or_none()
    if added is None:
        row = find_run(transaction.connection, run)
        raise ConflictError(f"run {run} is over: {row.verdict}", verdict=row.verdict)
    transaction.emit("run.signal", job=added.job_id, run=run, name=name, sender=sender, number=added.number)
    return Signal(added.number, name, sender, payload, transaction.now)


def arrive(transaction: Transaction, run: str, barrier: str, lane: str, payload: Any) -> None:
    """Note that a lane came to a barrier; only once, however often it says so."""
    here = sa.and_(_at(run, barrier), signals.c.sender == lane)
    if transaction.execute(sa.select(signals.c.number).where(here)).first() is not None:
        return
    values = {"run_id": run, "name": barrier, "sender": lane, "payload": payload, "sent_at": transaction.now}
    transaction.execute(sa.insert(signals).values(kind="arrival", **values))
    job = transaction.execute(sa.select(runs.c.job_id).where(runs.c.id == run)).scalar_one()
    transaction.emit("run.arrival", job=job, run=run, barrier=barrier, lane=lane)


def latest(connection: sa.Connection, run: str, name: str, after: int = 0) -> Signal | None:
    """The newest signal of that name; with `after`, the first with a larger number."""
    asked = {"run": run, "name": name, "after": after}
    row = connection.execute(_FOLLOWING if after else _LATEST, asked).one_or_none()
    return None if row is None else _signal(row)


def all_of(connection: sa.Connection, run: str) -> list[Signal]:
    """Every signal of a run in order."""
    said = sa.select(signals).where(signals.c.run_id == run, signals.c.kind == "signal").order_by(signals.c.number)
    return [_signal(row) for row in connection.execute(said)]


def arrivals(connection: sa.Connection, run: str, barrier: str) -> dict[str, Any]:
    """The lanes that came to a barrier, in order, each with its payload."""
    came = sa.select(signals).where(_at(run, barrier)).order_by(signals.c.number)
    return {row.sender: row.payload for row in connection.execute(came)}


def in_vain(connection: sa.Connection, run: str, name: str, wanted: int = 1) -> Vain | None:
    """Why waiting for a signal, or at a barrier for `wanted` lanes, is in vain; None while it may be worth it."""
    row = find_run(connection, run)
    if row.state == "finished":
        return Vain(row.verdict, f"the run is over: {row.verdict}" + (f" ({row.reason})" if row.reason else ""))
    document = connection.execute(sa.select(jobs.c.document).where(jobs.c.id == row.job_id)).scalar_one()
    if name in document.get("signals", ()):  # may come from outside as long as the run lasts
        return None
    own = connection.execute(sa.select(lanes).where(lanes.c.run_id == run).order_by(lanes.c.name)).all()
    kind = "barrier" if wanted > 1 else "notify"
    # Who says it, and whether in the teardown too, which a lane goes through even when it fails.
    parts = {each.name: _parts(document, each.name, kind, name) for each in own}
    came = arrivals(connection, run, name) if wanted > 1 else {}
    missing = [each for each in own if parts[each.name] and each.name not in came]
    ended = [
        each
        for each in missing
        if each.state == "finished" or (each.state == "ending" and "always" not in parts[each.name])
    ]
    if wanted > 1:
        if len(came) + len(missing) - len(ended) >= wanted:
            return None
    elif not missing or len(ended) < len(missing):
        return None
    blamed = next((each for each in ended if each.verdict != "passed"), ended[0] if ended else None)
    if blamed is None:
        return None
    verdict = blamed.verdict if blamed.verdict != "passed" else "failed"
    told = blamed.verdict + (f": {blamed.reason}" if blamed.reason else "")
    missed = f"came to the barrier {name!r}" if wanted > 1 else f"notified {name!r}"
    return Vain(verdict, f"the lane {blamed.name} ended ({told}) before it {missed}")


def find_run(connection: sa.Connection, run: str) -> sa.Row[Any]:
    """The row of a run. Raises NotFoundError."""
    row = connection.execute(_RUN, {"run": run}).one_or_none()
    if row is None:
        raise NotFoundError(f"there is no run {run!r}; GET /api/v1/runs lists them")
    return row


def _parts(document: dict[str, Any], lane: str, kind: str, name: str) -> list[str]:
    """The parts of a lane, "steps" and "always", that have such a meeting."""
    own = document["lanes"][lane]
    return [part for part in ("steps", "always") if any(each.get(kind) == name for each in own.get(part, ()))]


def _at(run: str, barrier: str) -> sa.ColumnElement[bool]:
    return sa.and_(signals.c.run_id == run, signals.c.name == barrier, signals.c.kind == "arrival")


# Made once: to build a statement takes as long as to carry it out.
_RUN = sa.select(runs).where(runs.c.id == sa.bindparam("run"))
_SAID = sa.select(signals).where(
    signals.c.run_id == sa.bindparam("run"),
    signals.c.name == sa.bindparam("name"),
    signals.c.kind == "signal",
    signals.c.number > sa.bindparam("after"),
)
_LATEST = _SAID.order_by(signals.c.number.desc()).limit(1)
_FOLLOWING = _SAID.order_by(signals.c.number).limit(1)
# Nothing is said in a run that is over.
_SEND = (
    sa.insert(signals)
    .from_select(
        ["run_id", "kind", "name", "sender", "payload", "sent_at"],
        sa.select(
            runs.c.id,
            sa.literal("signal"),
            *(sa.bindparam(each, type_=signals.c[each].type) for each in ("name", "sender", "payload", "sent_at")),
        ).where(runs.c.id == sa.bindparam("run"), runs.c.state != "finished"),
    )
    .returning(
        signals.c.number,
        sa.select(runs.c.job_id).where(runs.c.id == sa.bindparam("run")).scalar_subquery().label("job_id"),
    )
)


def _signal(row: sa.Row[Any]) -> Signal:
    return Signal(row.number, row.name, row.sender, row.payload, row.sent_at)
