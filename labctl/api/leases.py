"""Leases over HTTP: asked for, waited for, renewed, handed over, reserved, released."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from labctl.api.common import Asker, Cursor, Limit, Page, TheDaemon, iso, page
from labctl.api.lease_answers import add_devices, explain, show, show_active, why_not, with_times
from labctl.api.lease_requests import HandOver, LeaseRequest, Renewal
from labctl.api.permitting import leasable, restricted
from labctl.auth import Principal, Resource, authorise, authorise_list, may
from labctl.daemon import Daemon
from labctl.errors import ConflictError, DeviceTakenError, InvalidInputError, NotFoundError
from labctl.health.readiness import until_ready
from labctl.matching import Requirement
from labctl.store import Transaction, asking, leasing, new_id, waiting
from labctl.store.leasing import Grant
from labctl.store.memory import Active
from labctl.store.tables import leases

router = APIRouter(prefix="/api/v1/leases", tags=["leases"])
_LOOK_AGAIN_S = 30.0  # should a wake-up be lost
_OPEN = ("active", "waiting", "reserved")


@router.post("", status_code=201, response_model=None)
async def request_lease(
    wanted: LeaseRequest, request: Request, daemon: TheDaemon, asker: Asker
) -> JSONResponse | dict[str, Any]:
    """Ask for devices, all or none.

    Answers 201 when granted, and when the hooks that come before a lease of its devices are done; 409 with holders and
    ends when taken and `wait_s` is 0, or when that time is over. With `starts_at` they are reserved: 201, or 409 when
    they are not to be had then.
    """
    authorise_list(asker, "leases.request", "device")
    if wanted.starts_at is not None:
        return await run_in_threadpool(_reserve, daemon, asker, wanted, wanted.starts_at)
    lease, require = new_id(), wanted.requirements()
    if restricted(daemon, asker):
        require = await run_in_threadpool(leasable, daemon, asker, require)
    loop = asyncio.get_running_loop()
    decided: asyncio.Future[Grant | None] = loop.create_future()

    def ask(transaction: Transaction) -> None:
        asking.request(transaction, asker.name, require, wanted.duration_s, wish=wanted.wish(), lease=lease)

    def answer(transaction: Transaction, _asked: None) -> dict[str, Any] | list[dict[str, Any]] | None:
        """The lease, or what keeps it, or None while it waits or is prepared."""
        if (active := transaction.memory.active.get(lease)) is not None:
            if not transaction.memory.prepared.isdisjoint(active.devices):
                return None
            return show_active(lease, active)
        if wanted.wait_s:
            return None
        obstacles = waiting.obstacles(transaction, require, wanted.limit_s or wanted.duration_s)
        asking.withdraw(transaction, lease, "not free at once")
        return obstacles

    def settle(grant: Grant | None) -> None:
        if not decided.done():
            decided.set_result(grant)

    def tell(grant: Grant | None) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, grant)

    until = time.monotonic() + wanted.wait_s
    if wanted.wait_s:
        daemon.leases.when_decided(lease, tell)
    try:
        answered = await asyncio.shield(asyncio.ensure_future(daemon.leases.change_soon(ask, answer)))
        if isinstance(answered, dict):
            return JSONResponse(answered, 201)  # plain values already: to look for others in it takes time
        if answered is not None:
            raise DeviceTakenError(why_not(with_times(answered), 0), taken=with_times(answered))
        granted = await _until_decided(daemon, request, lease, decided, until)
        active = daemon.store.memory.active.get(lease)
        # Many that wait are answered at once: the database need not be asked about what was told just now.
        if granted is not None and active is not None and active.fencing == granted.fencing:
            return JSONResponse(show_active(lease, active), 201)
    except DeviceTakenError:
        raise
    except BaseException:
        await asyncio.shield(run_in_threadpool(_give_up, daemon, lease, "its asker went away"))
        raise
    finally:
        daemon.leases.forget_decision(lease)
    return await run_in_threadpool(_outcome, daemon, lease, require, wanted.wait_s)


@router.get("")
def list_leases(
    daemon: TheDaemon,
    asker: Asker,
    state: Annotated[
        str | None, Query(description="active, waiting, reserved, released, expired, refused; else the first three")
    ] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page:
    """Leases, requests and reservations, newest first: who holds what, since when, until when, for which job."""
    authorise_list(asker, "read", "lease")
    wanted = leases.c.state == state if state else leases.c.state.in_(_OPEN)
    with daemon.store.read() as connection:
        found = page(
            connection,
            sa.select(leases).where(wanted),
            leases.c.id,
            show,
            limit=limit,
            cursor=cursor,
            visible=lambda row: may(asker, "read", Resource("lease", row.id, row.holder)),
        )
        add_devices(connection, found.items)
    return found


@router.get("/{lease}")
def show_lease(lease: str, daemon: TheDaemon, asker: Asker) -> dict[str, Any]:
    """One lease; while it waits, also `waits_for`: for each role what would do and who has it until when."""
    authorise_list(asker, "read", "lease")
    shown = _read(daemon, lease)
    authorise(asker, "read", Resource("lease", lease, shown["holder"]))
    if shown["state"] == "waiting":
        shown["waits_for"] = explain(daemon, lease)
    return shown


@router.post("/{lease}/renew")
def renew_lease(lease: str, daemon: TheDaemon, asker: Asker, renewal: Renewal | None = None) -> dict[str, Any]:
    """Let an active lease last for its duration from now; shorter where others were promised its devices."""
    authorise_list(asker, "leases.renew", "lease")
    authorise(asker, "leases.renew", Resource("lease", lease, _read(daemon, lease)["holder"]))
    daemon.leases.renew(lease, renewal.duration_s if renewal else None)
    return _read(daemon, lease)


@router.post("/{lease}/heartbeat")
def keep_lease(lease: str, daemon: TheDaemon, asker: Asker) -> dict[str, Any]:
    """Say that the holder of a lease with `heartbeat_s` lives; its duration goes on as it was."""
    authorise_list(asker, "leases.renew", "lease")
    authorise(asker, "leases.renew", Resource("lease", lease, _read(daemon, lease)["holder"]))
    daemon.leases.beat(lease)
    return _read(daemon, lease)


@router.post("/{lease}/hand-over")
def hand_over_lease(lease: str, to: HandOver, daemon: TheDaemon, asker: Asker) -> dict[str, Any]:
    """Give a lease to somebody else. Its fencing number changes: what the former holder still sends is refused."""
    authorise_list(asker, "leases.hand_over", "lease")
    authorise(asker, "leases.hand_over", Resource("lease", lease, _read(daemon, lease)["holder"]))
    daemon.leases.hand_over(lease, to.to)
    return _read(daemon, lease)


@router.delete("/{lease}", response_model=None)
async def release_lease(
    lease: str, daemon: TheDaemon, asker: Asker, reason: Annotated[str, Query(max_length=500)] = ""
) -> JSONResponse:
    """End a lease, a request or a reservation; the devices are free at once. Of somebody else's: with a reason."""
    authorise_list(asker, "leases.release", "lease")
    holder = daemon.leases.holder(lease) or (await run_in_threadpool(_read, daemon, lease))["holder"]
    authorise(asker, "leases.release", Resource("lease", lease, holder))
    if holder != asker.name and not reason.strip():
        raise InvalidInputError(f"this lease is {holder}'s: give a reason, which is told and kept")

    held: list[Active | None] = []

    def end(transaction: Transaction) -> Grant | None:
        if leasing.holder_of(transaction, lease) not in (holder, None):
            raise ConflictError(f"lease {lease} was handed over just now; look at it again")
        if asking.withdraw(transaction, lease, reason or f"withdrawn by {asker.name}"):
            return None
        held[:] = [transaction.recall().active.get(lease)]
        return leasing.end(transaction, lease, "released", reason or f"released by {asker.name}")

    def shown(transaction: Transaction, ended: Grant | None) -> dict[str, Any]:
        if ended is not None and held[0] is not None:
            over = {"state": "released", "ready": False, "ended_at": iso(transaction.now), "end_reason": ended.reason}
            return {**show_active(lease, held[0]), **over}
        row = show(leasing.find(transaction, lease))
        add_devices(transaction.connection, [row])
        return row

    answer = await daemon.leases.change_soon(end, shown)
    daemon.leases.decided_elsewhere(lease)
    return JSONResponse(answer)


async def _until_decided(
    daemon: Daemon, request: Request, lease: str, decided: asyncio.Future[Grant | None], until: float
) -> Grant | None:
    """Return when the request is granted and its devices are prepared, when it is refused, or its time is over.

    The grant where nothing else came between.
    """
    gone = asyncio.ensure_future(_disconnected(request))
    ready: asyncio.Future[str] | None = None
    try:
        while (left := until - time.monotonic()) > 0 and not decided.done():
            first: set[asyncio.Future[Any]] = {decided, gone}
            await asyncio.wait(first, timeout=min(left, _LOOK_AGAIN_S), return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                raise ConflictError("whoever asked is gone")
            if not decided.done() and (await run_in_threadpool(_read, daemon, lease))["state"] != "waiting":
                break
        granted = decided.result() if decided.done() else None
        if granted is not None and daemon.store.memory.prepared.isdisjoint(granted.devices):
            return granted
        ready = asyncio.ensure_future(until_ready(daemon.store, lease))
        await asyncio.wait({ready, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not ready.done():
            raise ConflictError("whoever asked is gone")
        await ready
        return None
    finally:
        gone.cancel()
        if ready is not None:
            ready.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _outcome(daemon: Daemon, lease: str, require: Sequence[Requirement], waited_s: float) -> dict[str, Any]:
    """The lease, or the error that says why there is none."""
    if _read(daemon, lease)["state"] == "waiting":
        obstacles = with_times(daemon.leases.obstacles(require))
        if daemon.leases.withdraw(lease, "not free in time"):
            raise DeviceTakenError(why_not(obstacles, waited_s), taken=obstacles)
    row = _read(daemon, lease)
    if row["state"] != "active":
        raise ConflictError(f"the request ended: it is {row['state']} ({row['end_reason']})")
    return row


def _give_up(daemon: Daemon, lease: str, reason: str) -> None:
    try:
        if not daemon.leases.withdraw(lease, reason) and _read(daemon, lease)["state"] == "active":
            daemon.leases.release(lease, reason)
    except (NotFoundError, ConflictError):  # it was never asked for, or ended by itself
        return


def _reserve(daemon: Daemon, asker: Principal, wanted: LeaseRequest, starts_at: datetime) -> dict[str, Any]:
    require, start = leasable(daemon, asker, wanted.requirements()), starts_at.timestamp()
    lease = daemon.leases.reserve(asker.name, require, start, wanted.duration_s, wish=wanted.wish())
    return _read(daemon, lease)


def _read(daemon: Daemon, lease: str) -> dict[str, Any]:
    with daemon.store.read() as connection:
        row = connection.execute(sa.select(leases).where(leases.c.id == lease)).one_or_none()
        if row is None:
            raise NotFoundError(f"there is no lease {lease!r}; GET /api/v1/leases lists them")
        shown = show(row)
        add_devices(connection, [shown])
    return shown
