"""GET /daemons: the processes that form the lab, and whether they live."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from fastapi import APIRouter

from labctl.api.common import Asker, Page, TheDaemon, iso
from labctl.auth import authorise_list
from labctl.store import daemons
from labctl.store.tables import devices

router = APIRouter(prefix="/api/v1/daemons", tags=["daemon"])


@router.get("")
def list_daemons(daemon: TheDaemon, asker: Asker) -> Page:
    """All daemons that the lab has or had; `alive` when heard of in the last seconds, `this` the one that answers."""
    authorise_list(asker, "read", "daemon")
    owned = sa.select(devices.c.daemon, sa.func.count()).where(devices.c.state != "removed").group_by(devices.c.daemon)
    with daemon.store.read() as connection:
        known = daemons.everyone(connection, daemon.store.time(connection))
        counts: dict[str | None, int] = {row[0]: row[1] for row in connection.execute(owned)}
    return Page(items=[_show(each, counts, daemon.store.daemon_id) for each in known.values()], next=None)


def _show(row: daemons.DaemonRow, counts: dict[str | None, int], this: str) -> dict[str, Any]:
    return {
        "id": row.id,
        "name": row.name,
        "url": row.url,
        "version": row.version,
        "alive": row.alive,
        "this": row.id == this,
        "devices": counts.get(row.id, 0),
        "started_at": iso(row.started_at),
        "seen_at": iso(row.seen_at),
    }
