"""What is answered about leases over HTTP: each as it is, and why one waits."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from labctl.api.common import iso
from labctl.daemon import Daemon
from labctl.scheduler import expected_start
from labctl.store.memory import Active
from labctl.store.tables import lease_devices


def show(row: sa.Row[Any]) -> dict[str, Any]:
    """A lease's row; its devices are to be added."""
    return {
        "id": row.id,
        "state": row.state,
        "fencing": row.fencing,
        "holder": row.holder,
        "job": row.job_id,
        "devices": [],
        "ready": row.state == "active",
        "require": row.require,
        "priority": row.priority,
        "rooms": row.rooms,
        "duration_s": row.duration_s,
        "heartbeat_s": row.heartbeat_s,
        "requested_at": iso(row.requested_at),
        "starts_at": iso(row.starts_at),
        "granted_at": iso(row.granted_at),
        "expires_at": iso(row.expires_at),
        "ends_at": iso(row.ends_at),
        "ended_at": iso(row.ended_at),
        "end_reason": row.end_reason,
    }


def show_active(lease: str, active: Active) -> dict[str, Any]:
    """As `show`, of a lease that holds devices now, which are ready for its holder."""
    asked = active.asked
    return {
        "id": lease,
        "state": "active",
        "fencing": active.fencing,
        "holder": active.holder,
        "job": asked.job,
        "devices": list(active.devices),
        "ready": True,
        "require": [each.as_json() for each in asked.require],
        "priority": asked.priority,
        "rooms": asked.rooms,
        "duration_s": active.duration_s,
        "heartbeat_s": asked.heartbeat_s,
        "requested_at": iso(asked.requested_at),
        "starts_at": None,
        "granted_at": iso(active.granted_at),
        "expires_at": iso(active.expires_at),
        "ends_at": iso(active.ends_at),
        "ended_at": None,
        "end_reason": None,
    }


def add_devices(connection: sa.Connection, shown: list[dict[str, Any]]) -> None:
    """Fill in what each lease holds, or held, and whether hooks before it are still at them."""
    by_id = {each["id"]: each for each in shown}
    held = sa.select(lease_devices).where(lease_devices.c.lease_id.in_(by_id))
    for row in connection.execute(held.order_by(lease_devices.c.device)):
        by_id[row.lease_id]["devices"].append(row.device)
        if row.preparing:
            by_id[row.lease_id]["ready"] = False


def with_times(obstacles: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**each, "expires_at": iso(each.get("expires_at"))} for each in obstacles]


def why_not(obstacles: list[dict[str, Any]], waited_s: float) -> str:
    told = [
        f"{each['device']} is held by {each['holder']} until {each['expires_at']}"
        if each.get("holder")
        else f"{each['device']} is {each['state']} ({each['reason']})"
        for each in obstacles
    ]
    why = "; ".join(told) or "older requests are waiting for the same devices"
    return f"not granted{f' within {waited_s:g} s' if waited_s else ''}: {why}. Ask again later, or give wait_s"


def explain(daemon: Daemon, lease: str) -> dict[str, Any] | None:
    """Why a request waits, for people and programs; None when it does not wait (any more)."""
    found = daemon.leases.explain(lease)
    if found is None:
        return None
    roles = [
        {
            "role": lack.role,
            "wants": lack.wants,
            "free": list(lack.free),
            "obstacles": [
                {
                    "device": each.device,
                    "lease": each.lease,
                    "holder": each.holder,
                    "job": each.job,
                    "until": iso(each.until),
                    "state": each.state,
                    "reason": each.reason,
                }
                for each in lack.obstacles
            ],
        }
        for lack in found.lacks
    ]
    return {
        "ahead": found.ahead,
        "expected_start": iso(expected_start(found.outlook)),
        "why": found.why,
        "roles": roles,
    }
