"""The devices in the database: taken over from the lab file at the start, with a state that changes later."""

from __future__ import annotations

import sqlalchemy as sa

from labctl.config import DeviceConfig
from labctl.errors import NotFoundError
from labctl.store.database import Transaction
from labctl.store.tables import devices, principals


def register(transaction: Transaction, configured: dict[str, DeviceConfig], starting: set[str]) -> None:
    """Make the rows those of the lab file; devices that it no longer names are marked as removed.

    `starting`: devices that are offline until something of ours says that they answer.
    """
    known = {row.name: row for row in transaction.execute(sa.select(devices))}
    for name, device in configured.items():
        state, reason = ("offline", "it is starting") if name in starting else ("good", "")
        values = {"kind": device.kind, "labels": device.labels, "room": device.room}
        if name in known:
            transaction.execute(sa.update(devices).where(devices.c.name == name).values(**values))
        else:
            row = {"name": name, "state": state, "state_reason": reason, "state_since": transaction.now}
            transaction.execute(sa.insert(devices).values(**values, **row))
            transaction.emit("device.added", device=name, device_kind=device.kind)
        set_device_state(transaction, name, state, reason)
    for name in known.keys() - configured.keys():
        set_device_state(transaction, name, "removed", "the lab file does not name it")


def set_device_state(transaction: Transaction, name: str, state: str, reason: str) -> None:
    """Note a device's state: good, offline or removed. Raises NotFoundError."""
    row = transaction.execute(sa.select(devices).where(devices.c.name == name)).one_or_none()
    if row is None:
        raise NotFoundError(f"there is no device {name!r}")
    if (row.state, row.state_reason) != (state, reason):
        change = {"state": state, "state_reason": reason, "state_since": transaction.now}
        transaction.execute(sa.update(devices).where(devices.c.name == name).values(**change))
        transaction.emit("device.state", device=name, state=state, reason=reason)


def add_principal(transaction: Transaction, name: str, kind: str) -> None:
    """Note who may ask; nothing changes when that is known."""
    if transaction.execute(sa.select(principals.c.name).where(principals.c.name == name)).one_or_none() is None:
        transaction.execute(sa.insert(principals).values(name=name, kind=kind, created_at=transaction.now))
