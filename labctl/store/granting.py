"""The scheduling pass in the database: what ran out ends, slots begin, the queue is served. Part of a transaction."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from labctl.matching import Requirement
from labctl.scheduler import Placement, Request, decide
from labctl.store.leasing import (
    SHORTEST_S,
    Grant,
    expire,
    find,
    grant_now,
    insert_devices,
    memory_of,
    mutate,
    on_rollback,
    withdraw,
)
from labctl.store.memory import Active, Memory
from labctl.store.tables import lease_devices, leases
from labctl.store.transaction import Transaction


@dataclass(slots=True)
class Pass:
    """What a scheduling pass did. `next_at`: when there is something to do next, if nothing happens before."""

    granted: list[Grant] = field(default_factory=list)
    ended: list[Grant] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    now: float = 0.0
    next_at: float | None = None


def schedule(transaction: Transaction, *, everything: bool = False) -> Pass:
    """One scheduling pass: leases that ran out end, slots begin, then the queue is served.

    Looks at what may have changed; with `everything`, at all.
    """
    memory = memory_of(transaction)
    done = Pass(now=transaction.now)
    done.ended.extend(expire(transaction))
    _begin_slots(transaction, memory, done)
    if everything:
        memory.board.changed = -1
    if memory.board.changed:
        on_rollback(transaction, memory)
        placed = decide(memory.board, transaction.now, memory.rules)
        if placed:
            mutate(transaction, memory)
            done.granted.extend(_grant(transaction, each) for each in placed)
    done.next_at = _next_time(memory, transaction.now)
    return done


def _begin_slots(transaction: Transaction, memory: Memory, done: Pass) -> None:
    """Reserved leases whose time has come begin; those whose devices did not come free in it are refused."""
    board, now = memory.board, transaction.now
    for slot in sorted(board.slots.values(), key=lambda each: (each.start, each.lease)):
        if slot.start > now:
            continue
        if slot.end - now < SHORTEST_S:
            withdraw(transaction, slot.lease, "its devices were not free, or not in order, in its time")
            done.refused.append(slot.lease)
        elif not board.mask_of(slot.devices) & ~board.free(rooms=False):
            mutate(transaction, memory)
            row = find(transaction, slot.lease)
            taken = sa.select(lease_devices).where(lease_devices.c.lease_id == slot.lease)
            roles = {each.role: each.device for each in transaction.execute(taken) if each.role is not None}
            transaction.execute(_TAKE, [{"lease": slot.lease, "yes": True}])
            board.remove_slot(slot.lease)
            require = tuple(Requirement(**each) for each in row.require)
            length = slot.end - now
            times = (row.duration_s, length, length, row.priority, row.requested_at)
            asked = Request(row.id, row.holder, require, *times, row.rooms, None, row.heartbeat_s)
            done.granted.append(_begin(transaction, asked, slot.devices, roles, ends_at=slot.end))


def _grant(transaction: Transaction, placed: Placement) -> Grant:
    asked = placed.request
    roles = insert_devices(transaction, asked, placed.devices, placed.rooms, held=True)
    names = tuple(sorted({*placed.devices, *placed.rooms}))
    ends_at = transaction.now + asked.duration_s
    return _begin(transaction, asked, names, roles, ends_at=ends_at, until=placed.until)


def _begin(
    transaction: Transaction,
    asked: Request,
    names: tuple[str, ...],
    roles: dict[str, str],
    *,
    ends_at: float,
    until: float = math.inf,
) -> Grant:
    now, fencing = transaction.now, transaction.count_up("fencing")
    expires_at = min(ends_at, now + (asked.heartbeat_s or math.inf))
    row = {"state": "active", "fencing": fencing, "granted_at": now, "expires_at": expires_at, "ends_at": ends_at}
    row |= {"until": until if math.isfinite(until) else None, "revision": transaction.revision}
    transaction.execute(_BEGIN, [{"lease": asked.id, **row}])
    if asked.job is None and not transaction.memory.prepared.isdisjoint(names):
        first = transaction.memory.prepared.intersection(names)
        being = sa.and_(lease_devices.c.lease_id == asked.id, lease_devices.c.device.in_(first))
        transaction.execute(sa.update(lease_devices).where(being).values(preparing=True))
    about: dict[str, Any] = {"devices": list(names), "holder": asked.owner, "fencing": fencing}
    transaction.emit("lease.granted", lease=asked.id, job=asked.job, expires_at=expires_at, **about)
    active = Active(
        fencing,
        asked.owner,
        names,
        roles,
        asked.duration_s,
        asked.job,
        now,
        expires_at,
        ends_at,
        asked.limit_s,
        asked.heartbeat_s,
        until,
    )
    transaction.memory.hold(asked.id, active, len(asked.require), now + asked.expected_s)
    return grant_now(asked.id, active, now)


def _next_time(memory: Memory, now: float) -> float | None:
    times = [slot.start if slot.start > now else slot.end - SHORTEST_S for slot in memory.board.slots.values()]
    expiry = memory.board.next_expiry()
    if expiry is not None:
        times.append(expiry)
    return min(times, default=None)


_this = leases.c.id == sa.bindparam("lease")
_BEGIN = (
    sa.update(leases)
    .where(_this)
    .values(
        {
            name: sa.bindparam(name)
            for name in ("state", "fencing", "granted_at", "expires_at", "ends_at", "until", "revision")
        }
    )
)
_TAKE = (
    sa.update(lease_devices).where(lease_devices.c.lease_id == sa.bindparam("lease")).values(held=sa.bindparam("yes"))
)
