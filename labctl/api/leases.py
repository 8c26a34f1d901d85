"""Leases over HTTP: asked for, held, renewed, released."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Query, Request
from pydantic import Field, model_validator
from starlette.concurrency import run_in_threadpool

from labctl.api.common import Asker, Body, Cursor, Limit, Page, TheDaemon, iso, page
from labctl.auth import Resource, authorise, authorise_list, may
from labctl.daemon import Daemon
from labctl.errors import ConflictError, DeviceTakenError, NotFoundError
from labctl.matching import Requirement
from labctl.store.tables import lease_devices, leases

router = APIRouter(prefix="/api/v1/leases", tags=["leases"])
DurationS = Annotated[float, Field(ge=1, le=7 * 24 * 3600)]
_LOOK_AGAIN_S = 30.0  # should a wake-up be lost


class WantedDevice(Body):
    """Any device of a kind that has all the labels."""

    kind: Annotated[str, Field(min_length=1, max_length=100)]
    labels: dict[str, str] = Field(default={}, max_length=50)


class LeaseRequest(Body):
    """What is wanted: devices by name, or by what they must be; and for how long."""

    devices: list[str] = Field(default=[], max_length=200)
    require: list[WantedDevice] = Field(default=[], max_length=200)
    duration_s: DurationS = 60
    wait_s: Annotated[float, Field(ge=0, le=24 * 3600)] = 0

    @model_validator(mode="after")
    def _wants_something(self) -> LeaseRequest:
        if bool(self.devices) == bool(self.require):
            raise ValueError('give either "devices" (names) or "require" (kinds and labels)')
        if len(set(self.devices)) != len(self.devices):
            raise ValueError('"devices" names a device twice')
        return self

    def requirements(self) -> list[Requirement]:
        """What the scheduler has to find."""
        named = [Requirement(device=name) for name in self.devices]
        return named or [Requirement(kind=each.kind, labels=each.labels) for each in self.require]


class Renewal(Body):
    """How long the lease lasts from now on; its first duration unless given."""

    duration_s: DurationS | None = None


@router.post("", status_code=201)
async def request_lease(wanted: LeaseRequest, request: Request, daemon: TheDaemon, asker: Asker) -> dict[str, Any]:
    """Ask for devices, all or none.

    Answers 201 when granted; 409 with holders and ends when taken and `wait_s` is 0, or when that time is over.
    """
    authorise(asker, "leases.request", Resource("lease"))
    require = wanted.requirements()
    until = time.monotonic() + wanted.wait_s
    lease = await run_in_threadpool(daemon.leases.request, asker.name, require, wanted.duration_s)
    try:
        granted = await _granted_before(daemon, request, lease, until)
    except BaseException:
        await asyncio.shield(run_in_threadpool(_give_up, daemon, lease, "its asker went away"))
        raise
    if granted is not None:
        return granted
    if await run_in_threadpool(daemon.leases.withdraw, lease, "not free in time"):
        obstacles = await run_in_threadpool(daemon.leases.obstacles, require)
        for each in obstacles:
            each["expires_at"] = iso(each.get("expires_at"))
        raise DeviceTakenError(_explain(obstacles, wanted.wait_s), taken=obstacles)
    row = await run_in_threadpool(_read, daemon, lease)
    if row["state"] != "active":
        raise ConflictError(f"the request ended: it is {row['state']} ({row['end_reason']})")
    return row


@router.get("")
def list_leases(
    daemon: TheDaemon,
    asker: Asker,
    state: Annotated[
        str | None, Query(description="active, waiting, released, expired, refused; else the first two")
    ] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page:
    """Leases and requests for leases, newest first."""
    authorise_list(asker, "read", "lease")
    wanted = leases.c.state == state if state else leases.c.state.in_(("active", "waiting"))
    with daemon.store.read() as connection:
        return page(
            connection,
            sa.select(leases).where(wanted),
            leases.c.id,
            lambda row: _show(connection, row),
            limit=limit,
            cursor=cursor,
            visible=lambda row: may(asker, "read", Resource("lease", row.id, row.holder)),
        )


@router.get("/{lease}")
def show_lease(lease: str, daemon: TheDaemon, asker: Asker) -> dict[str, Any]:
    """One lease."""
    authorise_list(asker, "read", "lease")
    shown = _read(daemon, lease)
    authorise(asker, "read", Resource("lease", lease, shown["holder"]))
    return shown


@router.post("/{lease}/renew")
def renew_lease(lease: str, daemon: TheDaemon, asker: Asker, renewal: Renewal | None = None) -> dict[str, Any]:
    """Let an active lease last for its duration from now."""
    authorise_list(asker, "leases.renew", "lease")
    authorise(asker, "leases.renew", Resource("lease", lease, _read(daemon, lease)["holder"]))
    daemon.leases.renew(lease, renewal.duration_s if renewal else None)
    return _read(daemon, lease)


@router.delete("/{lease}")
def release_lease(
    lease: str, daemon: TheDaemon, asker: Asker, reason: Annotated[str, Query(max_length=500)] = ""
) -> dict[str, Any]:
    """End a lease; its devices are free at once."""
    authorise_list(asker, "leases.release", "lease")
    authorise(asker, "leases.release", Resource("lease", lease, _read(daemon, lease)["holder"]))
    if not daemon.leases.withdraw(lease, reason or f"withdrawn by {asker.name}"):
        daemon.leases.release(lease, reason or f"released by {asker.name}")
    return _read(daemon, lease)


async def _granted_before(daemon: Daemon, request: Request, lease: str, until: float) -> dict[str, Any] | None:
    """The lease once it is active; None when it is not by `until`."""
    with daemon.store.bell.listening() as rung:
        gone = asyncio.ensure_future(_disconnected(request))
        try:
            while True:
                rung.clear()
                row = await run_in_threadpool(_read, daemon, lease)
                left = until - time.monotonic()
                if row["state"] == "active":
                    return row
                if row["state"] != "waiting" or left <= 0:
                    return None
                woken = asyncio.ensure_future(rung.wait())
                await asyncio.wait({woken, gone}, timeout=min(left, _LOOK_AGAIN_S), return_when=asyncio.FIRST_COMPLETED)
                woken.cancel()
                if gone.done():
                    raise ConflictError("whoever asked is gone")
        finally:
            gone.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _give_up(daemon: Daemon, lease: str, reason: str) -> None:
    if not daemon.leases.withdraw(lease, reason) and _read(daemon, lease)["state"] == "active":
        daemon.leases.release(lease, reason)


def _read(daemon: Daemon, lease: str) -> dict[str, Any]:
    with daemon.store.read() as connection:
        row = connection.execute(sa.select(leases).where(leases.c.id == lease)).one_or_none()
        if row is None:
            raise NotFoundError(f"there is no lease {lease!r}; GET /api/v1/leases lists them")
        return _show(connection, row)


def _show(connection: sa.Connection, row: sa.Row[Any]) -> dict[str, Any]:
    held = sa.select(lease_devices.c.device).where(lease_devices.c.lease_id == row.id).order_by(lease_devices.c.device)
    return {
        "id": row.id,
        "state": row.state,
        "fencing": row.fencing,
        "holder": row.holder,
        "job": row.job_id,
        "devices": list(connection.execute(held).scalars()),
        "require": row.require,
        "duration_s": row.duration_s,
        "requested_at": iso(row.requested_at),
        "granted_at": iso(row.granted_at),
        "expires_at": iso(row.expires_at),
        "ended_at": iso(row.ended_at),
        "end_reason": row.end_reason,
    }


def _explain(obstacles: list[dict[str, Any]], waited_s: float) -> str:
    told = [
        f"{each['device']} is held by {each['holder']} until {each['expires_at']}"
        if each.get("holder")
        else f"{each['device']} is {each['state']} ({each['reason']})"
        for each in obstacles
    ]
    why = "; ".join(told) or "older requests are waiting for the same devices"
    return f"not granted{f' within {waited_s:g} s' if waited_s else ''}: {why}. Ask again later, or give wait_s"
