"""The scheduling pass in the database: what ran out ends, slots begin, the queue is served. Part of a transaction."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from labctl.matching import Requirement
from labctl.scheduler import Placement, Request, decide
from labctl.store.asking import withdraw
from labctl.store.leasing import HELD, SHORTEST_S, Grant, change_of, expire, find, grant_now, insert_devices
from labctl.store.memory import Active, Memory
from labctl.store.outbox import Statement
from labctl.store.tables import lease_devices
from labctl.store.transaction import INSERT_LEASE, Transaction


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
    memory = transaction.recall()
    done = Pass(now=transaction.now)
    done.ended.extend(expire(transaction))
    _begin_slots(transaction, memory, done)
    if everything:
        memory.board.changed = -1
    if memory.board.changed:
        transaction.forget_when_undone()
        placed = decide(memory.board, transaction.now, memory.rules)
        if placed:
            transaction.mutate()
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
            transaction.mutate()
            row = find(transaction, slot.lease)
            taken = sa.select(lease_devices).where(lease_devices.c.lease_id == slot.lease)
            roles = {each.role: each.device for each in transaction.execute(taken) if each.role is not None}
            transaction.put(HELD, {"lease": slot.lease, "held": True})
            for name in transaction.memory.prepared.intersection(slot.devices):
                transaction.put(_PREPARE, {"lease": slot.lease, "name": name, "preparing": True})
            board.remove_slot(slot.lease)
            require = tuple(Requirement(**each) for each in row.require)
            length = slot.end - now
            times = (row.duration_s, length, length, row.priority, row.requested_at)
            asked = Request(row.id, row.holder, require, *times, row.rooms, None, row.heartbeat_s)
            done.granted.append(_begin(transaction, asked, slot.devices, roles, ends_at=slot.end))


def _grant(transaction: Transaction, placed: Placement) -> Grant:
    asked = placed.request
    names = tuple(sorted({*placed.devices, *placed.rooms}))
    roles = {each.role: name for each, name in zip(asked.require, placed.devices, strict=True) if each.role is not None}
    ends_at = transaction.now + asked.duration_s
    grant = _begin(transaction, asked, names, roles, ends_at=ends_at, until=placed.until)
    # Hooks come before the holder has these; a job's lanes see to that themselves.
    preparing = set() if asked.job is not None else transaction.memory.prepared.intersection(names)
    insert_devices(transaction, asked, placed.devices, placed.rooms, held=True, preparing=preparing)
    return grant


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
    requested = transaction.requested.pop(asked.id, None)
    if requested is None:
        transaction.put(_BEGIN, {"lease": asked.id, **row})
    else:
        transaction.put(INSERT_LEASE, requested | row)
    about: dict[str, Any] = {"devices": list(names), "holder": asked.owner, "fencing": fencing}
    transaction.emit("lease.granted", lease=asked.id, job=asked.job, expires_at=expires_at, **about)
    times = (asked.duration_s, now, expires_at, ends_at, until)
    active = Active(asked, fencing, asked.owner, names, roles, *times)
    transaction.memory.hold(asked.id, active, len(asked.require), now + asked.expected_s)
    return grant_now(asked.id, active, now)


def _next_time(memory: Memory, now: float) -> float | None:
    times = [slot.start if slot.start > now else slot.end - SHORTEST_S for slot in memory.board.slots.values()]
    expiry = memory.board.next_expiry()
    if expiry is not None:
        times.append(expiry)
    return min(times, default=None)


_this_device = sa.and_(
    lease_devices.c.lease_id == sa.bindparam("lease"), lease_devices.c.device == sa.bindparam("name")
)
_PREPARE = Statement(sa.update(lease_devices).where(_this_device).values(preparing=sa.bindparam("preparing")))
_BEGIN = change_of("state", "fencing", "granted_at", "expires_at", "ends_at", "until", "revision")
