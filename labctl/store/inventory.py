"""The devices in the database: taken over from the lab file at the start, with a state that changes later."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from labctl.config import DeviceConfig
from labctl.errors import ConflictError, NotFoundError
from labctl.store.daemons import DaemonRow, everyone
from labctl.store.tables import daemons, devices, principals, quarantines
from labctl.store.transaction import Transaction

# Set by people or by rules, and only taken off by them: whether the device answers changes nothing about it.
WITHHELD = ("maintenance", "quarantined")

_GONE = "daemon gone: "


class DeviceOwnedError(ConflictError):
    """Another daemon of the lab has this device."""

    title = "Device of another daemon"


def register(transaction: Transaction, configured: Mapping[str, DeviceConfig], starting: set[str]) -> None:
    """Make the rows those of this daemon's lab file; its devices that are no longer named are marked as removed.

    `starting`: devices that are offline until something of ours says that they answer. Raises DeviceOwnedError when a
    living daemon has one of them; those of a daemon that is gone are taken over.
    """
    known = {row.name: row for row in transaction.execute(sa.select(devices))}
    others = everyone(transaction.connection, transaction.now)
    for name, device in configured.items():
        if device.kind != "room" and name in known:
            _refuse_second_owner(transaction, name, others.get(known[name].daemon), known[name].state)
        _take(transaction, name, device, known.get(name), "it is starting" if name in starting else None)
    rooms_used = {row.room for row in known.values() if row.daemon != transaction.daemon and row.state != "removed"}
    for name in known.keys() - configured.keys():
        mine = known[name].daemon in (transaction.daemon, None)
        if mine and name not in rooms_used:
            _change_state(transaction, known[name], "removed", "the lab file does not name it")


def _refuse_second_owner(transaction: Transaction, name: str, owner: DaemonRow | None, state: str) -> None:
    if owner is None or owner.id == transaction.daemon or not owner.alive or state == "removed":
        return
    seen = transaction.now - owner.seen_at
    raise DeviceOwnedError(
        f"device {name!r} belongs to the daemon {owner.name} ({owner.url or owner.id}), heard of {seen:.0f} s ago: "
        "end that daemon, or take the device out of one of the two lab files"
    )


def _take(
    transaction: Transaction, name: str, device: DeviceConfig, row: sa.Row[Any] | None, offline: str | None
) -> None:
    values = {
        "kind": device.kind,
        "labels": device.labels,
        "room": device.room,
        "model": device.model,
        "site": device.site,
        "capabilities": list(device.capabilities),
        "matches": device.offered,
        "daemon": None if device.kind == "room" else transaction.daemon,
        "offline": offline,
        "made_ready": bool(device.hooks.after),
        "prepared": device.kind != "room" and bool(device.hooks.before),
    }
    if row is None:
        state = {"state": "offline" if offline else "good", "state_reason": offline or ""}
        new = {**values, **state, "state_since": transaction.now, "revision": transaction.revision}
        transaction.execute(sa.insert(devices).values(name=name, **new))
        transaction.touched.add(name)
        transaction.emit("device.added", device=name, device_kind=device.kind)
        transaction.emit("device.state", device=name, state=state["state"], reason=state["state_reason"])
        return
    if any(getattr(row, column) != value for column, value in values.items()):
        change = {**values, "revision": transaction.revision}
        transaction.touched.add(name)
        transaction.execute(sa.update(devices).where(devices.c.name == name).values(**change))
    if row.state == "removed" and (why := _quarantined_for(transaction, name)) is not None:
        _change_state(transaction, row, "quarantined", why)
    elif row.state not in WITHHELD:
        _change_state(transaction, row, "offline" if offline else "good", offline or "")


def set_device_state(transaction: Transaction, name: str, state: str, reason: str) -> None:
    """Note a device's state. Raises NotFoundError.

    "good" and "offline" say whether it answers; "suspect" that it answers and is doubted; "maintenance" and
    "quarantined" withhold it until `return_device`; "removed" that the lab has it no more.
    """
    row = find_device(transaction, name)
    offline = reason or "it does not answer" if state == "offline" else None if state == "good" else row.offline
    if offline != row.offline:
        transaction.execute(sa.update(devices).where(devices.c.name == name).values(offline=offline))
    if state in ("good", "offline", "suspect") and row.state in WITHHELD:
        return
    if state == "suspect" and offline is not None:
        return
    _change_state(transaction, row, state, reason)


def return_device(transaction: Transaction, name: str) -> None:
    """Take a device out of maintenance, or out of a quarantine that was ended; it is good, or offline when it does not
    answer. One that was quarantined before its maintenance, or in it, is so again.

    Raises NotFoundError, and ConflictError when it was in neither, or when its quarantine lasts.
    """
    row = find_device(transaction, name)
    if row.state not in WITHHELD:
        raise ConflictError(f"{name} is {row.state}, neither in maintenance nor quarantined", state=row.state)
    if (why := _quarantined_for(transaction, name)) is not None:
        if row.state == "quarantined":
            raise ConflictError(
                f"{name} is quarantined ({why}): it is back when a preflight has passed and a person has acknowledged "
                f"it, with POST /api/v1/devices/{name}/preflight and /acknowledge",
                state=row.state,
            )
        _change_state(transaction, row, "quarantined", why)
        return
    _change_state(transaction, row, "offline" if row.offline else "good", row.offline or "")


def set_facts(transaction: Transaction, name: str, facts: Mapping[str, float]) -> None:
    """Note numbers that requests may have conditions on, such as `battery_ratio`; others stay. Raises NotFoundError."""
    row = find_device(transaction, name)
    merged = {**row.facts, **facts}
    if merged != row.facts:
        change = {"facts": merged, "revision": transaction.revision}
        transaction.touched.add(name)
        transaction.execute(sa.update(devices).where(devices.c.name == name).values(**change))


def note_gone_daemons(transaction: Transaction) -> bool:
    """Devices whose daemon was not heard of in time are offline. Whether there were any."""
    gone = (
        sa.select(daemons.c.id, daemons.c.name, daemons.c.url)
        .where(daemons.c.expires_at <= transaction.now)
        .where(sa.exists().where(devices.c.daemon == daemons.c.id, devices.c.offline.is_(None)))
    )
    rows = transaction.execute(gone).all()
    for row in rows:
        go_offline(transaction, row.id, f"its daemon {row.name} ({row.url or row.id}) does not answer")
    return bool(rows)


def go_offline(transaction: Transaction, daemon: str, reason: str) -> None:
    """All devices of a daemon do not answer, since it is gone; remembers which of them were good before."""
    answering = sa.and_(devices.c.daemon == daemon, devices.c.offline.is_(None), devices.c.state != "removed")
    for name in transaction.execute(sa.select(devices.c.name).where(answering)).scalars().all():
        set_device_state(transaction, name, "offline", _GONE + reason)


def come_back(transaction: Transaction) -> None:
    """The devices of this daemon that were offline only because it was taken for gone are not."""
    mine = sa.and_(devices.c.daemon == transaction.daemon, devices.c.offline.startswith(_GONE, autoescape=True))
    for name in transaction.execute(sa.select(devices.c.name).where(mine)).scalars().all():
        set_device_state(transaction, name, "good", "")


def find_device(transaction: Transaction, name: str) -> sa.Row[Any]:
    """The row of a device. Raises NotFoundError."""
    row = transaction.execute(sa.select(devices).where(devices.c.name == name)).one_or_none()
    if row is None:
        raise NotFoundError(f"there is no device {name!r}; GET /api/v1/devices lists them")
    return row


def add_principal(transaction: Transaction, name: str, kind: str) -> None:
    """Note who may ask; nothing changes when that is known."""
    if transaction.execute(sa.select(principals.c.name).where(principals.c.name == name)).one_or_none() is None:
        transaction.execute(sa.insert(principals).values(name=name, kind=kind, created_at=transaction.now))


def _quarantined_for(transaction: Transaction, name: str) -> str | None:
    """The reason of the quarantine that a device is in, though it may be in maintenance, or removed, beside."""
    lasting = sa.and_(quarantines.c.device == name, quarantines.c.ended_at.is_(None))
    why: str | None = transaction.execute(sa.select(quarantines.c.reason).where(lasting)).scalar()
    return why


def _change_state(transaction: Transaction, row: sa.Row[Any], state: str, reason: str) -> None:
    if (row.state, row.state_reason) != (state, reason):
        change = {"state": state, "state_reason": reason, "state_since": transaction.now}
        change["revision"] = transaction.revision
        transaction.touched.add(row.name)
        transaction.execute(sa.update(devices).where(devices.c.name == row.name).values(**change))
        transaction.emit("device.state", device=row.name, state=state, reason=reason)
