"""Device health in the database: checks, lab errors in a row, quarantine, and the way back out of it.

What the end of a lane says of its device is noted in the same transaction, so that a device that has to be quarantined
is never granted in between.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from labctl.errors import ConflictError
from labctl.health.checks import Check
from labctl.steps import SET_OUT
from labctl.store.identifiers import new_id
from labctl.store.inventory import find_device, return_device, set_device_state, set_facts
from labctl.store.tables import (
    device_checks,
    device_health,
    devices,
    lanes,
    lease_devices,
    leases,
    quarantines,
    runs,
    steps,
)
from labctl.store.transaction import Transaction

STANDARD_QUARANTINE_AFTER = 3
BEING_MADE_READY = "it is being made ready after a lease"
# A preflight that passed longer ago than this says too little of the present.
PREFLIGHT_COUNTS_S = 900.0
# Steps that move a robot. Of those, one that did not end well leaves it somewhere in the room.
_MOVING = ("drive.", "robot.")
_MEETINGS = ("notify ", "wait ", "barrier ")


def watch(transaction: Transaction, device: str, quarantine_after: int) -> None:
    """Count the lab errors of a device, and quarantine it after so many in a row."""
    if _row(transaction, device) is None:
        new = {"device": device, "quarantine_after": quarantine_after, "lab_errors": 0, "failed_checks": 0}
        transaction.execute(sa.insert(device_health).values(**new))
    else:
        _note(transaction, device, quarantine_after=quarantine_after)


def lane_over(transaction: Transaction, run: str, lane: str, verdict: str, reason: str) -> None:
    """Draw the conclusions for the device of a lane that ends, before what was under way is noted as broken off."""
    own = sa.and_(lanes.c.run_id == run, lanes.c.name == lane)
    found = sa.select(devices).join(lanes, lanes.c.device == devices.c.name).where(own)
    device = transaction.execute(found).one()
    performed = transaction.execute(sa.select(steps).where(steps.c.run_id == run, steps.c.lane == lane)).all()
    if device.kind == "robot" and (left := [each.what for each in performed if _left_in_the_room(each)]):
        quarantine(transaction, device.name, "aborted", f"{left[-1]} was broken off: {reason}")
    elif verdict == "errored":
        erred = any(each.verdict == "errored" and not each.what.startswith(_MEETINGS) for each in performed)
        if erred and not _ended_from_outside(transaction, run, reason):
            count_lab_error(transaction, device.name, reason)
    elif verdict in ("passed", "failed"):
        _note(transaction, device.name, lab_errors=0)
        if device.state == "suspect":
            set_device_state(transaction, device.name, "good", "")


def _left_in_the_room(step: sa.Row[Any]) -> bool:
    if not step.what.startswith(_MOVING):
        return False
    if step.verdict == "running":  # its daemon died: nobody knows how far it came
        return True
    return step.verdict in ("errored", "cancelled") and bool((step.outputs or {}).get(SET_OUT))


def _ended_from_outside(transaction: Transaction, run: str, reason: str) -> bool:
    """Whether a daemon, another lane or the end of the lease broke the lane off: that says nothing of its device."""
    asked = transaction.execute(sa.select(runs.c.cancel_asked).where(runs.c.id == run)).scalar_one()
    return bool(asked) or reason.startswith(("the daemon ", "its lease "))


def count_lab_error(transaction: Transaction, device: str, reason: str) -> None:
    """A device is suspect after a lab error, and quarantined after so many in a row."""
    row = _row(transaction, device)
    errors = (row.lab_errors if row is not None else 0) + 1
    limit = row.quarantine_after if row is not None else STANDARD_QUARANTINE_AFTER
    _note(transaction, device, lab_errors=errors)
    if errors >= limit:
        quarantine(transaction, device, "lab_errors", f"{errors} lab errors in a row; the last: {reason}")
    else:
        set_device_state(transaction, device, "suspect", f"lab error {errors} of {limit}: {reason}")


def note_checks(transaction: Transaction, device: str, checks: Sequence[Check]) -> None:
    """Keep the results of checks, and what follows: facts; suspect, then quarantined, when they fail in a row."""
    now = transaction.now
    transaction.execute(sa.delete(device_checks).where(device_checks.c.device == device))
    rows = [
        {"device": device, "name": each.name, "well": each.well, "value": each.value, "unit": each.unit,
         "detail": each.detail, "checked_at": now}
        for each in checks
    ]  # fmt: skip
    if rows:
        transaction.execute(sa.insert(device_checks), rows)
    facts = {each.fact: each.value for each in checks if each.fact is not None and each.value is not None}
    if facts:
        set_facts(transaction, device, facts)
    row, state = _row(transaction, device), find_device(transaction, device)
    bad = [f"{each.name}: {each.detail}" for each in checks if not each.well]
    before = row.failed_checks if row is not None else 0
    _note(transaction, device, failed_checks=before + 1 if bad else 0, checked_at=now)
    if not bad:
        if state.state == "suspect" and (row is None or row.lab_errors == 0):
            set_device_state(transaction, device, "good", "")
        return
    limit = row.quarantine_after if row is not None else STANDARD_QUARANTINE_AFTER
    if before + 1 >= limit:
        quarantine(transaction, device, "checks", f"checks failed {before + 1} times in a row: {'; '.join(bad)}")
    else:
        set_device_state(transaction, device, "suspect", "; ".join(bad))


def quarantine(transaction: Transaction, device: str, cause: str, reason: str) -> None:
    """Withhold a device until a preflight passes and a person acknowledges. One in quarantine stays as it is."""
    if find_device(transaction, device).state == "quarantined" and open_quarantine(transaction.connection, device):
        return
    new = {"id": new_id(), "device": device, "cause": cause, "reason": reason, "since": transaction.now}
    transaction.execute(sa.update(quarantines).where(_open(device)).values(ended_at=transaction.now))
    transaction.execute(sa.insert(quarantines).values(**new))
    set_device_state(transaction, device, "quarantined", reason)
    transaction.emit("device.quarantined", device=device, cause=cause, reason=reason)


def note_preflight(transaction: Transaction, device: str, checks: Sequence[Check]) -> bool:
    """Keep the result of a preflight; whether it passed. For a device in quarantine it is half of the way back."""
    bad = [f"{each.name}: {each.detail}" for each in checks if not each.well]
    passed, told = bool(checks) and not bad, "; ".join(bad) or ("all well" if checks else "nothing was checked")
    result = {"preflight_at": transaction.now, "preflight_passed": passed, "preflight_detail": told}
    transaction.execute(sa.update(quarantines).where(_open(device)).values(**result))
    transaction.emit("device.preflight", device=device, passed=passed, detail=told)
    return passed


def acknowledge(transaction: Transaction, device: str, person: str, reason: str) -> None:
    """A person says that the device may be used again. Raises ConflictError when it is not that far."""
    row = find_device(transaction, device)
    open_one = open_quarantine(transaction.connection, device)
    if row.state != "quarantined":
        raise ConflictError(
            f"{device} is {row.state}, not quarantined: there is nothing to acknowledge", state=row.state
        )
    if open_one is not None:
        how = f"run one first: labctl robots preflight {device}"
        if open_one.preflight_at is None:
            raise ConflictError(f"{device} has had no preflight since it was quarantined; {how}", state=row.state)
        if not open_one.preflight_passed:
            told = f"the preflight of {device} did not pass ({open_one.preflight_detail}): mend that and {how}"
            raise ConflictError(told, state=row.state)
        if transaction.now - open_one.preflight_at > PREFLIGHT_COUNTS_S:
            minutes = PREFLIGHT_COUNTS_S / 60
            raise ConflictError(
                f"the preflight of {device} is older than {minutes:.0f} minutes; {how}", state=row.state
            )
        ended = {"ended_at": transaction.now, "ended_by": person, "end_reason": reason}
        transaction.execute(sa.update(quarantines).where(quarantines.c.id == open_one.id).values(**ended))
    _note(transaction, device, lab_errors=0, failed_checks=0)
    return_device(transaction, device)
    transaction.emit("device.acknowledged", device=device, person=person, reason=reason)


def withhold(transaction: Transaction, names: Collection[str]) -> None:
    """Nobody gets these devices until what follows a lease of them is done."""
    for name in sorted(names):
        if find_device(transaction, name).state in ("good", "suspect"):
            set_device_state(transaction, name, "maintenance", BEING_MADE_READY)


def made_ready(transaction: Transaction, device: str) -> None:
    """What follows a lease went well. A device that was withheld for another reason meanwhile stays so."""
    row = find_device(transaction, device)
    if (row.state, row.state_reason) == ("maintenance", BEING_MADE_READY):
        return_device(transaction, device)


def withheld(connection: sa.Connection, daemon: str) -> list[str]:
    """The devices of a daemon that wait to be made ready after a lease."""
    mine = sa.and_(devices.c.daemon == daemon, devices.c.state == "maintenance")
    wanted = sa.select(devices.c.name).where(mine, devices.c.state_reason == BEING_MADE_READY)
    return list(connection.execute(wanted.order_by(devices.c.name)).scalars())


@dataclass(frozen=True, slots=True)
class Unprepared:
    """A device that is held by a lease and not ready for its holder. `lasts_s`: so long after it was renewed."""

    lease: str
    device: str
    fencing: int
    lasts_s: float


def unprepared(connection: sa.Connection, daemon: str) -> list[Unprepared]:
    """What a daemon has to prepare for leases that began."""
    mine = sa.and_(devices.c.daemon == daemon, lease_devices.c.preparing, lease_devices.c.held)
    joined = lease_devices.join(devices, devices.c.name == lease_devices.c.device)
    wanted = sa.select(leases, lease_devices.c.device).select_from(joined.join(leases)).where(mine)
    rows = connection.execute(wanted.order_by(lease_devices.c.device)).all()
    return [
        Unprepared(row.id, row.device, row.fencing, min(row.duration_s, row.heartbeat_s or row.duration_s))
        for row in rows
    ]


def note_prepared(transaction: Transaction, one: Unprepared) -> None:
    """A device is ready for the holder of its lease."""
    own = sa.and_(lease_devices.c.lease_id == one.lease, lease_devices.c.held)
    transaction.execute(
        sa.update(lease_devices).where(own, lease_devices.c.device == one.device).values(preparing=False)
    )
    left = transaction.execute(sa.select(lease_devices.c.preparing).where(own)).scalars().all()
    if left and not any(left):
        transaction.emit("lease.ready", lease=one.lease)


def open_quarantine(connection: sa.Connection, device: str) -> sa.Row[Any] | None:
    """The quarantine that a device is in, if it is."""
    return connection.execute(sa.select(quarantines).where(_open(device))).one_or_none()


def known_checks(connection: sa.Connection, device: str) -> Sequence[sa.Row[Any]]:
    """The latest results of a device's checks, by name."""
    wanted = sa.select(device_checks).where(device_checks.c.device == device).order_by(device_checks.c.name)
    return connection.execute(wanted).all()


def counts(connection: sa.Connection, device: str) -> sa.Row[Any] | None:
    """Lab errors and failed checks in a row, as far as anything was counted."""
    return connection.execute(sa.select(device_health).where(device_health.c.device == device)).one_or_none()


def _open(device: str) -> sa.ColumnElement[bool]:
    return sa.and_(quarantines.c.device == device, quarantines.c.ended_at.is_(None))


def _row(transaction: Transaction, device: str) -> sa.Row[Any] | None:
    return counts(transaction.connection, device)


def _note(transaction: Transaction, device: str, **values: Any) -> None:
    changed = transaction.execute(sa.update(device_health).where(device_health.c.device == device).values(**values))
    if not changed.rowcount:
        new = {"quarantine_after": STANDARD_QUARANTINE_AFTER, "lab_errors": 0, "failed_checks": 0, **values}
        transaction.execute(sa.insert(device_health).values(device=device, **new))
