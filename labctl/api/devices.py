"""Devices over HTTP: what the lab has, how it is, who holds it; taken out of service and put back."""

from __future__ import annotations

from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter
from pydantic import Field

from labctl.api.common import Asker, Body, Cursor, Limit, Page, TheDaemon, iso, page
from labctl.auth import Resource, authorise, authorise_list, may
from labctl.errors import NotFoundError
from labctl.store import Transaction, inventory, leasing
from labctl.store.leasing import Grant
from labctl.store.tables import devices, lease_devices, leases

router = APIRouter(prefix="/api/v1/devices", tags=["devices"])


class Maintenance(Body):
    """Why, and whether the lease that holds the device ends now."""

    reason: Annotated[str, Field(min_length=1, max_length=500, pattern=r"\S")]
    end_lease: bool = False


@router.get("")
def list_devices(
    daemon: TheDaemon, asker: Asker, limit: Limit = 1000, cursor: Cursor = None, kind: str | None = None
) -> Page:
    """The devices by name, each with the lease that holds it."""
    authorise_list(asker, "read", "device")
    statement = _with_leases().where(devices.c.state != "removed")
    if kind is not None:
        statement = statement.where(devices.c.kind == kind)
    with daemon.store.read() as connection:
        return page(
            connection,
            statement,
            devices.c.name,
            _show,
            limit=limit,
            cursor=cursor,
            newest_first=False,
            visible=lambda row: may(asker, "read", Resource("device", row.name, labels=row.labels)),
        )


@router.get("/{name}")
def show_device(name: str, daemon: TheDaemon, asker: Asker) -> dict[str, Any]:
    """One device."""
    authorise(asker, "read", Resource("device", name))
    with daemon.store.read() as connection:
        row = connection.execute(_with_leases().where(devices.c.name == name)).one_or_none()
    if row is None:
        raise NotFoundError(f"there is no device {name!r}; GET /api/v1/devices lists them")
    return _show(row)


@router.post("/{name}/maintenance")
def maintain_device(name: str, maintenance: Maintenance, daemon: TheDaemon, asker: Asker) -> dict[str, Any]:
    """Take a device out of service. Who holds it keeps it, unless `end_lease` is set; nobody gets it afterwards."""
    authorise(asker, "devices.maintain", Resource("device", name))
    why = f"{maintenance.reason} ({asker.name})"

    def work(transaction: Transaction) -> list[Grant]:
        inventory.set_device_state(transaction, name, "maintenance", why)
        if not maintenance.end_lease:
            return []
        lease = leasing.holding(transaction, name)
        return (
            [] if lease is None else [leasing.end(transaction, lease, "released", f"{name} is in maintenance: {why}")]
        )

    daemon.leases.change(work)
    return show_device(name, daemon, asker)


@router.post("/{name}/return")
def return_device(name: str, daemon: TheDaemon, asker: Asker) -> dict[str, Any]:
    """Put a device back into service after maintenance. A quarantine ends by `preflight` and `acknowledge` alone."""
    authorise(asker, "devices.return", Resource("device", name))
    daemon.leases.change(lambda transaction: inventory.return_device(transaction, name))
    return show_device(name, daemon, asker)


def _with_leases() -> sa.Select[Any]:
    held = sa.and_(lease_devices.c.device == devices.c.name, lease_devices.c.held)
    joined = devices.outerjoin(lease_devices, held).outerjoin(leases, leases.c.id == lease_devices.c.lease_id)
    lease = (leases.c.id.label("lease_id"), leases.c.holder, leases.c.job_id, leases.c.granted_at, leases.c.expires_at)
    return sa.select(devices, *lease).select_from(joined)


def _show(row: sa.Row[Any]) -> dict[str, Any]:
    lease = None
    if row.lease_id is not None:
        lease = {
            "id": row.lease_id,
            "holder": row.holder,
            "job": row.job_id,
            "since": iso(row.granted_at),
            "expires_at": iso(row.expires_at),
        }
    return {
        "name": row.name,
        "kind": row.kind,
        "state": row.state,
        "reason": row.state_reason,
        "since": iso(row.state_since),
        "labels": row.labels,
        "room": row.room,
        "model": row.model,
        "site": row.site,
        "capabilities": row.capabilities,
        "facts": row.facts,
        "daemon": row.daemon,
        "lease": lease,
    }
