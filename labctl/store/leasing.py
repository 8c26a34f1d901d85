"""Leases in the database: asking, renewal, handing over and the end. Each function is part of a transaction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import sqlalchemy as sa

from labctl.errors import ConflictError, InvalidInputError, NotFoundError
from labctl.matching import Requirement
from labctl.scheduler import (
    Board,
    Lack,
    Outlook,
    Request,
    Slot,
    can_ever,
    fits_cap,
    lacks,
    look_ahead,
    other_reason,
)
from labctl.store import health
from labctl.store.identifiers import new_id
from labctl.store.memory import Active, Memory
from labctl.store.tables import jobs, lease_devices, leases, runs
from labctl.store.transaction import Transaction

_JOB_TIMEOUT_S = 3600.0  # unless the job says otherwise
_TEARDOWN_S = 300.0  # a run may go on for so long after its time
_PAST_RUNS = 20
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


@dataclass(frozen=True, slots=True)
class Wish:
    """How a lease is wanted, apart from the devices.

    `priority`: each step is worth a minute of waiting. `rooms`: whether the devices' rooms are taken too.
    `heartbeat_s`: over when not heard of for so long. `limit_s`: held, with renewals, for so long at most, its duration
    unless given; `expected_s`: likely. What is not given of a job's lease is found out from the job.
    """

    priority: int | None = None
    rooms: bool = True
    heartbeat_s: float | None = None
    limit_s: float | None = None
    expected_s: float | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a request waits. `ahead`: so many come before it; `why`: where every role has a free device."""

    lacks: list[Lack]
    ahead: int
    why: str
    outlook: Outlook


def request(
    transaction: Transaction,
    holder: str,
    require: Sequence[Requirement],
    duration_s: float,
    job: str | None = None,
    *,
    wish: Wish | None = None,
    lease: str | None = None,
) -> str:
    """Put a request into the queue; returns the lease's id (`lease`, if given).

    Raises NotFoundError when a named device does not exist, InvalidInputError when no devices of the lab could ever
    fill the requirements.
    """
    memory = memory_of(transaction)
    asked = _asked(transaction, holder, require, duration_s, job=job, wish=wish or Wish(), lease=lease)
    _check_possible(memory, asked)
    mutate(transaction, memory)
    transaction.execute(sa.insert(leases), [_row(transaction, asked, state="waiting")])
    memory.board.add_request(asked)
    return asked.id


def reserve(
    transaction: Transaction,
    holder: str,
    require: Sequence[Requirement],
    starts_at: float,
    duration_s: float,
    *,
    wish: Wish | None = None,
) -> str:
    """Reserve devices for a time to come; the lease begins by itself then. Returns its id.

    Raises ConflictError when they are not to be had then, else as `request`.
    """
    memory = memory_of(transaction)
    if starts_at < transaction.now:
        raise InvalidInputError("a reservation starts in the future; ask for a lease instead")
    asked = _asked(transaction, holder, require, duration_s, job=None, wish=wish or Wish())
    _check_possible(memory, asked)
    chosen, rooms = _choose_slot(memory.board, asked, starts_at, starts_at + duration_s)
    mutate(transaction, memory)
    transaction.execute(sa.insert(leases), [_row(transaction, asked, state="reserved", starts_at=starts_at)])
    insert_devices(transaction, asked, chosen, rooms, held=False)
    names = tuple(sorted({*chosen, *rooms}))
    memory.board.put_slot(Slot(asked.id, holder, names, starts_at, starts_at + duration_s))
    about: dict[str, Any] = {"devices": list(names), "holder": holder, "starts_at": starts_at, "duration_s": duration_s}
    transaction.emit("lease.reserved", lease=asked.id, **about)
    return asked.id


def expire(transaction: Transaction) -> list[Grant]:
    """End the leases whose time is over by the database's clock."""
    memory = memory_of(transaction)
    over = memory.board.expired(transaction.now)
    return [end(transaction, lease, "expired", _overdue(memory.active[lease])) for lease in over]


def renew(transaction: Transaction, lease: str, duration_s: float | None = None) -> Grant:
    """Count an active lease's duration from now, which is also a sign of life. Raises ConflictError when it has ended,
    or when others were promised its devices.
    """
    memory = memory_of(transaction)
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
    memory = memory_of(transaction)
    return _go_on(transaction, memory, lease, _find_active(transaction, memory, lease))


def hand_over(transaction: Transaction, lease: str, holder: str) -> Grant:
    """Make somebody else the holder of an active lease, with a new fencing number: what the old one still sends is
    refused. Raises ConflictError when it has ended or is a job's.
    """
    memory = memory_of(transaction)
    active = _find_active(transaction, memory, lease)
    if active.job is not None:
        raise ConflictError(f"lease {lease} is that of job {active.job}, which cannot be handed over")
    mutate(transaction, memory)
    fencing = transaction.count_up("fencing")
    change = {"holder": holder, "fencing": fencing, "revision": transaction.revision}
    transaction.execute(sa.update(leases).where(leases.c.id == lease).values(**change))
    about: dict[str, Any] = {"devices": list(active.devices), "holder": holder, "former": active.holder}
    transaction.emit("lease.handed_over", lease=lease, fencing=fencing, **about)
    counted = memory.board.holdings[lease].counted
    active = replace(active, holder=holder, fencing=fencing)
    memory.hold(lease, active, counted)
    return grant_now(lease, active, transaction.now)


def end(transaction: Transaction, lease: str, state: str, reason: str) -> Grant:
    """End a lease ("released" or "expired") and free its devices; raises ConflictError unless it is active."""
    memory = memory_of(transaction)
    active = memory.active.get(lease)
    if active is None:
        row = find(transaction, lease)
        raise ConflictError(f"lease {lease} is {row.state} already", state=row.state)
    mutate(transaction, memory)
    ending = {"state": state, "ended_at": transaction.now, "end_reason": reason, "revision": transaction.revision}
    transaction.execute(_UPDATE, [{"lease": lease, **ending}])
    transaction.execute(_LET_GO, [{"lease": lease, "no": False}])
    about: dict[str, Any] = {"devices": list(active.devices), "holder": active.holder, "reason": reason}
    transaction.emit(f"lease.{state}", lease=lease, job=active.job, **about)
    memory.drop(lease)
    if active.job is None and not memory.made_ready.isdisjoint(active.devices):
        health.withhold(transaction, memory.made_ready.intersection(active.devices))
    return replace(grant_now(lease, active, transaction.now), reason=reason)


def withdraw(transaction: Transaction, lease: str, reason: str) -> bool:
    """Take a request, or a reservation, back; False when it is neither any more."""
    memory = memory_of(transaction)
    if lease not in memory.board.requests and lease not in memory.board.slots:
        return False
    mutate(transaction, memory)
    refusing = {"state": "refused", "ended_at": transaction.now, "end_reason": reason, "revision": transaction.revision}
    transaction.execute(_UPDATE, [{"lease": lease, **refusing}])
    if lease in memory.board.slots:
        slot = memory.board.slots[lease]
        transaction.emit("lease.refused", lease=lease, devices=list(slot.devices), holder=slot.owner, reason=reason)
    memory.drop(lease)
    return True


def find(transaction: Transaction, lease: str) -> sa.Row[Any]:
    """The row of a lease. Raises NotFoundError."""
    row = transaction.connection.execute(_FIND, {"lease": lease}).one_or_none()
    if row is None:
        raise NotFoundError(f"there is no lease {lease!r}; GET /api/v1/leases lists them")
    return row


def holding(transaction: Transaction, device: str) -> str | None:
    """The lease that holds a device, if one does."""
    board = memory_of(transaction).board
    return board.holder.get(board.index[device]) if device in board.index else None


def holder_of(transaction: Transaction, lease: str) -> str | None:
    """Who holds an active lease; None when it is not active."""
    active = memory_of(transaction).active.get(lease)
    return None if active is None else active.holder


def obstacles(transaction: Transaction, require: Sequence[Requirement], limit_s: float = 0.0) -> list[dict[str, Any]]:
    """Why a request waits: each device that would do, with its holder and end, or why it is not usable."""
    found: dict[str, dict[str, Any]] = {}
    for lack in lacks(memory_of(transaction).board, require, True, transaction.now, limit_s):
        for each in lack.obstacles:
            told: dict[str, Any] = {"device": each.device}
            if each.holder is not None:
                told |= {"lease": each.lease, "holder": each.holder, "expires_at": each.until}
            else:
                told |= {"state": each.state, "reason": each.reason}
            found.setdefault(each.device, told)
    return list(found.values())


def explain(transaction: Transaction, lease: str) -> Explanation | None:
    """Why a request waits, and what its likely start follows from; None when it does not wait."""
    memory = memory_of(transaction)
    asked = memory.board.requests.get(lease)
    if asked is None:
        return None
    now = transaction.now
    missing = lacks(memory.board, asked.require, asked.rooms, now, asked.limit_s)
    why = "" if any(not each.free for each in missing) else other_reason(memory.board, asked, memory.rules, now)
    return Explanation(missing, memory.board.ahead_of(asked), why, look_ahead(memory.board, asked, now))


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


def memory_of(transaction: Transaction) -> Memory:
    if not transaction.turn.fresh or transaction.touched:  # no other writer comes between
        if transaction.touched or transaction.turn.revision is not None:  # what is read is not committed yet
            on_rollback(transaction, transaction.memory)
        transaction.memory.refresh(transaction.connection)
        transaction.turn.fresh = True
    return transaction.memory


def mutate(transaction: Transaction, memory: Memory) -> None:
    """What is known changes with the database, or not at all."""
    on_rollback(transaction, memory)
    memory.revision = transaction.revision


def on_rollback(transaction: Transaction, memory: Memory) -> None:
    """What is known may then not be so."""
    if not transaction.undo:
        transaction.undo.append(memory.forget)


def _asked(
    transaction: Transaction,
    holder: str,
    require: Sequence[Requirement],
    duration_s: float,
    *,
    job: str | None,
    wish: Wish,
    lease: str | None = None,
) -> Request:
    limit_s, expected_s, priority = wish.limit_s, wish.expected_s, wish.priority
    if job is not None:
        row = transaction.execute(sa.select(jobs).where(jobs.c.id == job)).one()
        priority = row.priority if priority is None else priority
        limit_s = limit_s or float(row.document.get("timeout", _JOB_TIMEOUT_S)) + _TEARDOWN_S
        expected_s = expected_s or _past_length(transaction, row.name)
    limit_s = max(limit_s or 0.0, duration_s)
    return Request(
        lease or new_id(),
        holder,
        tuple(require),
        duration_s,
        limit_s,
        min(expected_s or limit_s, limit_s),
        priority or 0,
        transaction.now,
        wish.rooms,
        job,
        wish.heartbeat_s,
    )


def _past_length(transaction: Transaction, name: str) -> float | None:
    """How long runs of jobs of that name took: the median of the last ones."""
    ended = sa.and_(jobs.c.name == name, runs.c.state == "finished")
    times = sa.select(runs.c.started_at, runs.c.finished_at).join(jobs, jobs.c.id == runs.c.job_id).where(ended)
    rows = transaction.execute(times.order_by(runs.c.id.desc()).limit(_PAST_RUNS)).all()
    return median(row.finished_at - row.started_at for row in rows) if rows else None


def _check_possible(memory: Memory, asked: Request) -> None:
    board = memory.board
    known = [device.name for device in board.devices if device.state != "removed"]
    for number, each in enumerate(asked.require):
        if each.device is not None and not board.admitted(each):
            raise NotFoundError(
                f"there is no device {each.device!r}; devices are: {', '.join(sorted(known))}", pointer=f"/{number}"
            )
    if can_ever(board, asked, memory.rules):
        return
    wanted = ", ".join(map(str, asked.require))
    if not fits_cap(asked, memory.rules):
        cap = memory.rules.devices_per_owner
        raise InvalidInputError(f"nobody may hold more than {cap} devices of this lab at a time; asked for: {wanted}")
    never = [str(each) for each in asked.require if not board.admitted(each)]
    told = f"; it has none that is {'; '.join(never)}" if never else ""
    raise InvalidInputError(f"the lab has no devices that could fill this, even if all were free: {wanted}{told}")


def _row(transaction: Transaction, asked: Request, *, state: str, starts_at: float | None = None) -> dict[str, Any]:
    return {
        "id": asked.id,
        "state": state,
        "holder": asked.owner,
        "job_id": asked.job,
        "require": [each.as_json() for each in asked.require],
        "duration_s": asked.duration_s,
        "requested_at": asked.requested_at,
        "priority": asked.priority,
        "rooms": asked.rooms,
        "heartbeat_s": asked.heartbeat_s,
        "limit_s": asked.limit_s,
        "expected_s": asked.expected_s,
        "starts_at": starts_at,
        "revision": transaction.revision,
    }


def insert_devices(
    transaction: Transaction, asked: Request, chosen: Sequence[str], rooms: Sequence[str], *, held: bool
) -> dict[str, str]:
    """Rows of a lease's devices; returns role to device."""
    roles = {name: each.role for each, name in zip(asked.require, chosen, strict=True)}
    names: dict[str, str | None] = {**dict.fromkeys(rooms), **roles}
    rows = [{"lease_id": asked.id, "device": name, "role": role, "held": held} for name, role in names.items()]
    transaction.execute(_INSERT_DEVICES, rows)
    return {role: name for name, role in names.items() if role is not None}


def _go_on(transaction: Transaction, memory: Memory, lease: str, active: Active) -> Grant:
    mutate(transaction, memory)
    expires_at = min(active.ends_at, transaction.now + (active.heartbeat_s or math.inf))
    active = replace(active, expires_at=expires_at)
    change = {"duration_s": active.duration_s, "expires_at": expires_at, "ends_at": active.ends_at}
    transaction.execute(_RENEW, [{"lease": lease, **change, "revision": transaction.revision}])
    holding = memory.board.holdings[lease]
    memory.hold(lease, active, holding.counted, holding.likely if active.job else None)
    return grant_now(lease, active, transaction.now)


def _find_active(transaction: Transaction, memory: Memory, lease: str) -> Active:
    active = memory.active.get(lease)
    if active is None or active.expires_at <= transaction.now:
        state = find(transaction, lease).state if active is None else "expired"
        raise ConflictError(f"lease {lease} is {state}, not active: ask for a new one", state=state)
    return active


def _choose_slot(board: Board, asked: Request, start: float, end_at: float) -> tuple[list[str], list[str]]:
    """Devices that nobody else has between the two times, and their rooms."""
    taken = 0
    for slot in board.slots.values():
        if slot.start < end_at and slot.end > start:
            taken |= board.mask_of(slot.devices)
    for holding in board.holdings.values():
        if holding.bound > start:
            taken |= board.mask_of(holding.devices)
    free = board.vacant(taken, asked.rooms)
    chosen = board.assign(asked.require, free)
    if chosen is None:
        kept = ", ".join(board.names(taken & board.wanted(asked.require, asked.rooms)))
        raise ConflictError(f"not to be had then: {kept or 'too few devices'} are held or reserved in that time")
    rooms = board.with_rooms(board.mask_of(chosen)) if asked.rooms else board.mask_of(chosen)
    return chosen, board.names(rooms & ~board.mask_of(chosen))


def grant_now(lease: str, active: Active, now: float) -> Grant:
    left = active.expires_at - now
    times = (active.granted_at, active.expires_at)
    return Grant(lease, active.fencing, active.holder, active.devices, active.roles, left, active.job, "", *times)


def _overdue(active: Active) -> str:
    if active.expires_at < active.ends_at:
        return f"its holder was not heard of for {active.heartbeat_s:g} s"
    return "its time was over"


_this = leases.c.id == sa.bindparam("lease")
_FIND = sa.select(leases).where(_this)
_UPDATE = (
    sa.update(leases)
    .where(_this)
    .values({name: sa.bindparam(name) for name in ("state", "ended_at", "end_reason", "revision")})
)
_RENEW = (
    sa.update(leases)
    .where(_this)
    .values({name: sa.bindparam(name) for name in ("duration_s", "expires_at", "ends_at", "revision")})
)
_INSERT_DEVICES = sa.insert(lease_devices)
_LET_GO = (
    sa.update(lease_devices).where(lease_devices.c.lease_id == sa.bindparam("lease")).values(held=sa.bindparam("no"))
)
