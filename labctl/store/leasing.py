"""Leases in the database: asking, the scheduling pass, renewal and the end. Each function is part of a transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from labctl.errors import ConflictError, InvalidInputError, NotFoundError
from labctl.matching import Candidate, Requirement, match
from labctl.store.identifiers import new_id
from labctl.store.tables import devices, lease_devices, leases
from labctl.store.transaction import Transaction


@dataclass(frozen=True, slots=True)
class Grant:
    """A lease that began, or ends. `devices`: all that it holds, rooms too; `roles`: role to device."""

    lease: str
    fencing: int
    holder: str
    devices: tuple[str, ...]
    roles: dict[str, str]
    duration_s: float
    job: str | None
    reason: str = ""


def request(
    transaction: Transaction, holder: str, require: Sequence[Requirement], duration_s: float, job: str | None = None
) -> str:
    """Put a request into the queue; returns the lease's id.

    Raises NotFoundError when a named device does not exist, InvalidInputError when no devices of the lab could ever
    fill the requirements.
    """
    known = _candidates(transaction, states=None)
    names = {device.name for device in known}
    for index, each in enumerate(require):
        if each.device is not None and each.device not in names:
            raise NotFoundError(
                f"there is no device {each.device!r}; devices are: {', '.join(sorted(names))}", pointer=f"/{index}"
            )
    if match(require, known) is None:
        wanted = ", ".join(map(str, require))
        raise InvalidInputError(f"the lab has no devices that could fill this, even if all were free: {wanted}")
    lease = new_id()
    transaction.execute(
        sa.insert(leases).values(
            id=lease,
            state="waiting",
            holder=holder,
            job_id=job,
            require=[each.as_json() for each in require],
            duration_s=duration_s,
            requested_at=transaction.now,
        )
    )
    return lease


def schedule(transaction: Transaction) -> tuple[list[Grant], list[Grant]]:
    """One scheduling pass: leases that ran out end, then waiting requests are granted, oldest first.

    A named device that an older request waits for is not given to a younger one. Returns what began and what ended.
    """
    ended = expire(transaction)
    waiting = transaction.execute(sa.select(leases).where(leases.c.state == "waiting").order_by(leases.c.id)).all()
    if not waiting:
        return [], ended
    held = set(transaction.execute(sa.select(lease_devices.c.device).where(lease_devices.c.held)).scalars())
    free = [device for device in _candidates(transaction, ("good",)) if device.name not in held]
    granted: list[Grant] = []
    for row in waiting:
        require = [Requirement(**each) for each in row.require]
        chosen = match(require, free)
        if chosen is None:
            spoken_for = {each.device for each in require}
        else:
            grant = _grant(transaction, row, require, chosen)
            spoken_for = set(grant.devices)
            granted.append(grant)
        free = [device for device in free if device.name not in spoken_for]
    return granted, ended


def expire(transaction: Transaction) -> list[Grant]:
    """End the leases whose time is over by the database's clock."""
    over = sa.select(leases.c.id).where(leases.c.state == "active", leases.c.expires_at <= transaction.now)
    return [end(transaction, lease, "expired", "its time was over") for lease in transaction.execute(over).scalars()]


def renew(transaction: Transaction, lease: str, duration_s: float | None = None) -> Grant:
    """Count an active lease's duration from now. Raises ConflictError when it has ended."""
    row = find(transaction, lease)
    if row.state != "active" or row.expires_at <= transaction.now:
        raise ConflictError(f"lease {lease} is {row.state}, not active: ask for a new one", state=row.state)
    duration = duration_s or row.duration_s
    change = {"duration_s": duration, "expires_at": transaction.now + duration}
    transaction.execute(sa.update(leases).where(leases.c.id == lease).values(**change))
    return as_grant(transaction, row, duration)


def end(transaction: Transaction, lease: str, state: str, reason: str) -> Grant:
    """End a lease ("released" or "expired") and free its devices; raises ConflictError unless it is active."""
    row = find(transaction, lease)
    if row.state != "active":
        raise ConflictError(f"lease {lease} is {row.state} already", state=row.state)
    ending = {"state": state, "ended_at": transaction.now, "end_reason": reason}
    transaction.execute(sa.update(leases).where(leases.c.id == lease).values(**ending))
    transaction.execute(sa.update(lease_devices).where(lease_devices.c.lease_id == lease).values(held=False))
    grant = as_grant(transaction, row, row.duration_s, reason)
    about = {"devices": list(grant.devices), "holder": row.holder, "reason": reason}
    transaction.emit(f"lease.{state}", lease=lease, job=row.job_id, **about)
    return grant


def withdraw(transaction: Transaction, lease: str, reason: str) -> bool:
    """Take a request out of the queue; False when it is not waiting any more."""
    refusing = {"state": "refused", "ended_at": transaction.now, "end_reason": reason}
    waiting = sa.and_(leases.c.id == lease, leases.c.state == "waiting")
    return bool(transaction.execute(sa.update(leases).where(waiting).values(**refusing)).rowcount)


def find(transaction: Transaction, lease: str) -> sa.Row[Any]:
    """The row of a lease. Raises NotFoundError."""
    row = transaction.execute(sa.select(leases).where(leases.c.id == lease)).one_or_none()
    if row is None:
        raise NotFoundError(f"there is no lease {lease!r}")
    return row


def obstacles(transaction: Transaction, require: Sequence[Requirement]) -> list[dict[str, Any]]:
    """Why a request waits: each device that would do, with its holder and end, or why it is not usable."""
    holders = {
        row.device: {"device": row.device, "lease": row.id, "holder": row.holder, "expires_at": row.expires_at}
        for row in transaction.execute(
            sa.select(lease_devices.c.device, leases.c.id, leases.c.holder, leases.c.expires_at)
            .join(leases, leases.c.id == lease_devices.c.lease_id)
            .where(lease_devices.c.held)
        )
    }
    states = {row.name: row for row in transaction.execute(sa.select(devices))}
    found: dict[str, dict[str, Any]] = {}
    for device in _candidates(transaction, states=None):
        if not any(each.admits(device) for each in require):
            continue
        for name in (device.name, *((device.room,) if device.room else ())):
            if name in holders:
                found[name] = holders[name]
            elif states[name].state != "good":
                found[name] = {"device": name, "state": states[name].state, "reason": states[name].state_reason}
    return list(found.values())


def next_expiry(connection: sa.Connection) -> float | None:
    """When the next active lease runs out, by the database's clock."""
    value = connection.execute(sa.select(sa.func.min(leases.c.expires_at)).where(leases.c.state == "active")).scalar()
    return None if value is None else float(value)


def _grant(
    transaction: Transaction, row: sa.Row[Any], require: Sequence[Requirement], chosen: Sequence[Candidate]
) -> Grant:
    fencing = transaction.count_up("fencing")
    roles: dict[str, str | None] = {device.room: None for device in chosen if device.room is not None}
    roles.update({device.name: each.role for each, device in zip(require, chosen, strict=True)})
    expires_at = transaction.now + row.duration_s
    transaction.execute(
        sa.insert(lease_devices),
        [{"lease_id": row.id, "device": name, "role": role, "held": True} for name, role in roles.items()],
    )
    active = {"state": "active", "fencing": fencing, "granted_at": transaction.now, "expires_at": expires_at}
    transaction.execute(sa.update(leases).where(leases.c.id == row.id).values(**active))
    about = {"devices": sorted(roles), "holder": row.holder, "fencing": fencing, "expires_at": expires_at}
    transaction.emit("lease.granted", lease=row.id, job=row.job_id, **about)
    filled = {role: name for name, role in roles.items() if role is not None}
    return Grant(row.id, fencing, row.holder, tuple(sorted(roles)), filled, row.duration_s, row.job_id)


def as_grant(transaction: Transaction, row: sa.Row[Any], duration_s: float | None = None, reason: str = "") -> Grant:
    """A granted lease's row as a Grant."""
    held = transaction.execute(
        sa.select(lease_devices).where(lease_devices.c.lease_id == row.id).order_by(lease_devices.c.device)
    ).all()
    roles = {each.role: each.device for each in held if each.role is not None}
    names = tuple(each.device for each in held)
    return Grant(row.id, row.fencing, row.holder, names, roles, duration_s or row.duration_s, row.job_id, reason)


def _candidates(transaction: Transaction, states: tuple[str, ...] | None) -> list[Candidate]:
    usable = devices.c.state.in_(states) if states else devices.c.state != "removed"
    rows = transaction.execute(sa.select(devices).where(usable).order_by(devices.c.name))
    return [Candidate(row.name, row.kind, row.labels, row.room) for row in rows]
