"""Leases that hold devices, in the database: renewal, handing over and the end. Each function is part of a
transaction; `labctl.store.asking` is about those that wait, `labctl.store.granting` about how they begin.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from labctl.errors import ConflictError, NotFoundError
from labctl.scheduler import Request
from labctl.store import health
from labctl.store.memory import Active, Memory
from labctl.store.outbox import Statement, insertion
from labctl.store.tables import lease_devices, leases
from labctl.store.transaction import Transaction

SHORTEST_S = 1.0  # it is no use to renew for less


@dataclass(frozen=True, slots=True)
class Grant:
    """A lease that began, went on, or ends. `devices`: all that it holds, rooms too; `roles`: role to device.

    `duration_s`: from now until it runs out. Times are of the database's clock.
    """

    lease: str
    fencing: int
    holder: str
    devices: tuple[str, ...]
    roles: dict[str, str]
    duration_s: float
    job: str | None
    reason: str = ""
    granted_at: float = 0.0
    expires_at: float = 0.0


def expire(transaction: Transaction) -> list[Grant]:
    """End the leases whose time is over by the database's clock."""
    memory = transaction.recall()
    over = memory.board.expired(transaction.now)
    return [end(transaction, lease, "expired", _overdue(memory.active[lease])) for lease in over]


def renew(transaction: Transaction, lease: str, duration_s: float | None = None) -> Grant:
    """Count an active lease's duration from now, which is also a sign of life. Raises ConflictError when it has ended,
    or when others were promised its devices.
    """
    memory = transaction.recall()
    active = _find_active(transaction, memory, lease)
    ends_at = transaction.now + (duration_s or active.duration_s)
    latest, whom = active.until, "a request that was there before"
    slot = memory.board.reserved_from(active.devices, lease)
    if slot is not None and slot.start < latest:
        latest, whom = slot.start, slot.owner
    if ends_at > latest:
        if latest - transaction.now < SHORTEST_S:
            raise ConflictError(f"lease {lease} cannot go on: its devices were promised to {whom}", until=latest)
        ends_at = latest
    going_on = replace(active, ends_at=ends_at, duration_s=duration_s or active.duration_s)
    return _go_on(transaction, memory, lease, going_on)


def beat(transaction: Transaction, lease: str) -> Grant:
    """A sign of life of a lease's holder; its duration goes on as it was. Raises ConflictError when it has ended."""
    memory = transaction.recall()
    return _go_on(transaction, memory, lease, _find_active(transaction, memory, lease))


def hand_over(transaction: Transaction, lease: str, holder: str) -> Grant:
    """Make somebody else the holder of an active lease, with a new fencing number: what the old one still sends is
    refused. Raises ConflictError when it has ended or is a job's.
    """
    memory = transaction.recall()
    active = _find_active(transaction, memory, lease)
    if active.job is not None:
        raise ConflictError(f"lease {lease} is that of job {active.job}, which cannot be handed over")
    transaction.mutate()
    fencing = transaction.count_up("fencing")
    change = {"holder": holder, "fencing": fencing, "revision": transaction.revision}
    transaction.put(_HAND_OVER, {"lease": lease, **change})
    about: dict[str, Any] = {"devices": list(active.devices), "holder": holder, "former": active.holder}
    transaction.emit("lease.handed_over", lease=lease, fencing=fencing, **about)
    counted = memory.board.holdings[lease].counted
    active = replace(active, holder=holder, fencing=fencing)
    memory.hold(lease, active, counted)
    return grant_now(lease, active, transaction.now)


def end(transaction: Transaction, lease: str, state: str, reason: str) -> Grant:
    """End a lease ("released" or "expired") and free its devices; raises ConflictError unless it is active."""
    memory = transaction.recall()
    active = memory.active.get(lease)
    if active is None:
        row = find(transaction, lease)
        raise ConflictError(f"lease {lease} is {row.state} already", state=row.state)
    transaction.mutate()
    ending = {"state": state, "ended_at": transaction.now, "end_reason": reason, "revision": transaction.revision}
    transaction.put(END, {"lease": lease, **ending})
    transaction.put(HELD, {"lease": lease, "held": False})
    about: dict[str, Any] = {"devices": list(active.devices), "holder": active.holder, "reason": reason}
    transaction.emit(f"lease.{state}", lease=lease, job=active.job, **about)
    memory.drop(lease)
    if active.job is None and not memory.made_ready.isdisjoint(active.devices):
        health.withhold(transaction, memory.made_ready.intersection(active.devices))
    return replace(grant_now(lease, active, transaction.now), reason=reason)


def find(transaction: Transaction, lease: str) -> sa.Row[Any]:
    """The row of a lease. Raises NotFoundError."""
    row = transaction.execute(sa.select(leases).where(leases.c.id == lease)).one_or_none()
    if row is None:
        raise NotFoundError(f"there is no lease {lease!r}; GET /api/v1/leases lists them")
    return row


def holding(transaction: Transaction, device: str) -> str | None:
    """The lease that holds a device, if one does."""
    board = transaction.recall().board
    return board.holder.get(board.index[device]) if device in board.index else None


def holder_of(transaction: Transaction, lease: str) -> str | None:
    """Who holds an active lease; None when it is not active."""
    active = transaction.recall().active.get(lease)
    return None if active is None else active.holder


def as_grant(transaction: Transaction, row: sa.Row[Any], duration_s: float | None = None, reason: str = "") -> Grant:
    """A granted lease's row as a Grant."""
    return grant_of(transaction.connection, row, duration_s, reason)


def grant_of(connection: sa.Connection, row: sa.Row[Any], duration_s: float | None = None, reason: str = "") -> Grant:
    """A granted lease's row as a Grant."""
    held = connection.execute(
        sa.select(lease_devices).where(lease_devices.c.lease_id == row.id).order_by(lease_devices.c.device)
    ).all()
    roles = {each.role: each.device for each in held if each.role is not None}
    names = tuple(each.device for each in held)
    times = (row.granted_at, row.expires_at)
    duration = row.duration_s if duration_s is None else duration_s
    return Grant(row.id, row.fencing, row.holder, names, roles, duration, row.job_id, reason, *times)


def insert_devices(
    transaction: Transaction,
    asked: Request,
    chosen: Sequence[str],
    rooms: Sequence[str],
    *,
    held: bool,
    preparing: Collection[str] = (),
) -> None:
    """Rows of a lease's devices, and of the rooms it takes with them."""
    roles = {name: each.role for each, name in zip(asked.require, chosen, strict=True)}
    names: dict[str, str | None] = {**dict.fromkeys(rooms), **roles}
    for name, role in names.items():
        row = {"lease_id": asked.id, "device": name, "role": role, "held": held, "preparing": name in preparing}
        transaction.put(_INSERT_DEVICE, row)


def grant_now(lease: str, active: Active, now: float) -> Grant:
    left = active.expires_at - now
    times = (active.granted_at, active.expires_at)
    return Grant(lease, active.fencing, active.holder, active.devices, active.roles, left, active.job, "", *times)


def _go_on(transaction: Transaction, memory: Memory, lease: str, active: Active) -> Grant:
    transaction.mutate()
    expires_at = min(active.ends_at, transaction.now + (active.heartbeat_s or math.inf))
    active = replace(active, expires_at=expires_at)
    change = {"duration_s": active.duration_s, "expires_at": expires_at, "ends_at": active.ends_at}
    transaction.put(_RENEW, {"lease": lease, **change, "revision": transaction.revision})
    holding = memory.board.holdings[lease]
    memory.hold(lease, active, holding.counted, holding.likely if active.job else None)
    return grant_now(lease, active, transaction.now)


def _find_active(transaction: Transaction, memory: Memory, lease: str) -> Active:
    active = memory.active.get(lease)
    if active is None or active.expires_at <= transaction.now:
        state = find(transaction, lease).state if active is None else "expired"
        raise ConflictError(f"lease {lease} is {state}, not active: ask for a new one", state=state)
    return active


def _overdue(active: Active) -> str:
    if active.expires_at < active.ends_at:
        return f"its holder was not heard of for {active.heartbeat_s:g} s"
    return "its time was over"


def change_of(*columns: str) -> Statement:
    """An update of one lease, named by `lease`."""
    values: dict[str, Any] = {name: sa.bindparam(name) for name in columns}
    return Statement(sa.update(leases).where(leases.c.id == sa.bindparam("lease")).values(values))


END = change_of("state", "ended_at", "end_reason", "revision")
_RENEW = change_of("duration_s", "expires_at", "ends_at", "revision")
_HAND_OVER = change_of("holder", "fencing", "revision")
_INSERT_DEVICE = insertion(lease_devices)
_of_lease = lease_devices.c.lease_id == sa.bindparam("lease")
HELD = Statement(sa.update(lease_devices).where(_of_lease).values(held=sa.bindparam("held")))
