"""Requests and reservations in the database: put into the queue, taken back. Each function is part of a transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import sqlalchemy as sa

from labctl.errors import ConflictError, InvalidInputError, NotFoundError
from labctl.matching import Requirement
from labctl.scheduler import Board, Request, Slot, can_ever, fits_cap
from labctl.store.identifiers import new_id
from labctl.store.leasing import END, insert_devices
from labctl.store.memory import Memory
from labctl.store.tables import jobs, runs
from labctl.store.transaction import INSERT_LEASE, Transaction

_JOB_TIMEOUT_S = 3600.0  # unless the job says otherwise
_TEARDOWN_S = 300.0  # a run may go on for so long after its time
_PAST_RUNS = 20
# What is known of a lease only once it began, or ended.
_NOT_YET = dict.fromkeys(("fencing", "granted_at", "expires_at", "ends_at", "until", "ended_at", "end_reason"))


@dataclass(frozen=True, slots=True)
class Wish:
    """How a lease is wanted, apart from the devices.

    `priority`: each step is worth a minute of waiting. `rooms`: whether the devices' rooms are taken too.
    `heartbeat_s`: over when not heard of for so long. `limit_s`: needed, with renewals, for so long at most, its
    duration unless given: a request that passed others is held for no longer; `expected_s`: likely. What is not given
    of a job's lease is found out from the job.
    """

    priority: int | None = None
    rooms: bool = True
    heartbeat_s: float | None = None
    limit_s: float | None = None
    expected_s: float | None = None


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
    memory = transaction.recall()
    asked = _asked(transaction, holder, require, duration_s, job=job, wish=wish or Wish(), lease=lease)
    _check_possible(memory, asked)
    transaction.mutate()
    transaction.requested[asked.id] = _row(transaction, asked, state="waiting")  # it may be granted at once
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
    memory = transaction.recall()
    if starts_at < transaction.now:
        raise InvalidInputError("a reservation starts in the future; ask for a lease instead")
    asked = _asked(transaction, holder, require, duration_s, job=None, wish=wish or Wish())
    _check_possible(memory, asked)
    chosen, rooms = _choose_slot(memory.board, asked, starts_at, starts_at + duration_s)
    transaction.mutate()
    transaction.put(INSERT_LEASE, _row(transaction, asked, state="reserved", starts_at=starts_at))
    insert_devices(transaction, asked, chosen, rooms, held=False)
    names = tuple(sorted({*chosen, *rooms}))
    memory.board.put_slot(Slot(asked.id, holder, names, starts_at, starts_at + duration_s))
    about: dict[str, Any] = {"devices": list(names), "holder": holder, "starts_at": starts_at, "duration_s": duration_s}
    transaction.emit("lease.reserved", lease=asked.id, **about)
    return asked.id


def withdraw(transaction: Transaction, lease: str, reason: str) -> bool:
    """Take a request, or a reservation, back; False when it is neither any more."""
    memory = transaction.recall()
    if lease not in memory.board.requests and lease not in memory.board.slots:
        return False
    transaction.mutate()
    refusing = {"state": "refused", "ended_at": transaction.now, "end_reason": reason, "revision": transaction.revision}
    if lease in transaction.requested:
        transaction.requested[lease] |= refusing
    else:
        transaction.put(END, {"lease": lease, **refusing})
    if lease in memory.board.slots:
        slot = memory.board.slots[lease]
        transaction.emit("lease.refused", lease=lease, devices=list(slot.devices), holder=slot.owner, reason=reason)
    memory.drop(lease)
    return True


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
    for number, each in enumerate(asked.require):
        if each.device is not None and not board.admitted(each):
            known = sorted(device.name for device in board.devices if device.state != "removed")
            raise NotFoundError(
                f"there is no device {each.device!r}; devices are: {', '.join(known)}", pointer=f"/{number}"
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
        **_NOT_YET,
    }


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
