"""The event log over HTTP: by cursor, held until there is something, or as a stream of server-sent events."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response, StreamingResponse
from starlette.concurrency import run_in_threadpool

from labctl.api.common import Asker, Limit, TheDaemon, iso
from labctl.auth import Principal, Resource, authorise_list, may
from labctl.daemon import Daemon
from labctl.errors import InvalidInputError
from labctl.store.tables import events, jobs

router = APIRouter(prefix="/api/v1/events", tags=["events"])
_KEEP_ALIVE_S = 15.0


@router.get("", response_model=None)
async def list_events(
    request: Request,
    daemon: TheDaemon,
    asker: Asker,
    *,
    after: Annotated[int | None, Query(ge=0, le=2**62, description="only events with a larger sequence number")] = None,
    run: Annotated[str | None, Query(max_length=100, description="only events of this run")] = None,
    job: Annotated[
        str | None, Query(max_length=100, description="only events of this job, or of a matrix's jobs")
    ] = None,
    from_now: Annotated[
        bool, Query(description="leave out what has been: unless it is held, the answer is where to go on from")
    ] = False,
    wait_s: Annotated[float, Query(ge=0, le=300, description="hold the answer until there is an event")] = 0,
    limit: Limit = 100,
) -> Response | dict[str, Any]:
    """Events in order; `next` is the cursor to go on from, and never skips an event.

    With `Accept: text/event-stream` the events come as a stream, which goes on from `Last-Event-ID`.
    """
    authorise_list(asker, "read", "event")
    where = _Filter(asker, run, job)
    if from_now:
        after = await run_in_threadpool(_newest, daemon)
    if "text/event-stream" in request.headers.get("accept", ""):
        start = after if after is not None else _last_event_id(request)
        return StreamingResponse(_stream(daemon, where, start), media_type="text/event-stream")
    items, reached = await _wait_for(daemon, where, after or 0, limit, wait_s)
    return {"items": items, "next": str(reached)}


def _newest(daemon: Daemon) -> int:
    with daemon.store.read() as connection:
        return int(connection.execute(sa.select(sa.func.coalesce(sa.func.max(events.c.sequence), 0))).scalar_one())


class _Filter:
    """Which events are wanted."""

    def __init__(self, asker: Principal, run: str | None, job: str | None) -> None:
        self.asker = asker
        self.run = run
        self.job = job
        self._owners: dict[str, str | None] = {}

    def read(self, daemon: Daemon, after: int, limit: int) -> tuple[list[dict[str, Any]], int]:
        """Up to `limit` events that the asker may read, and the number up to which there are no others."""
        while True:
            rows, items = self._some(daemon, after, limit)
            after = rows[-1].sequence if rows else after
            if items or len(rows) < limit:
                return items, after

    def _some(self, daemon: Daemon, after: int, limit: int) -> tuple[Sequence[sa.Row[Any]], list[dict[str, Any]]]:
        statement = sa.select(events).where(events.c.sequence > after).order_by(events.c.sequence).limit(limit)
        if self.run is not None:
            statement = statement.where(events.c.run_id == self.run)
        if self.job is not None:
            parts = sa.select(jobs.c.id).where(jobs.c.parent_id == self.job)
            statement = statement.where(sa.or_(events.c.job_id == self.job, events.c.job_id.in_(parts)))
        with daemon.store.read() as connection:
            rows = connection.execute(statement).all()
            return rows, [_show(row) for row in rows if self._visible(connection, row)]

    def _visible(self, connection: sa.Connection, row: sa.Row[Any]) -> bool:
        """Whoever may read an event's kind reads it, if he may also read what it names."""
        named = [Resource("event", row.kind)]
        if row.device is not None:
            named.append(Resource("device", row.device))
        if row.job_id is not None:
            named.append(Resource("job", row.job_id, self._owner(connection, row.job_id)))
        elif row.lease_id is not None:
            named.append(Resource("lease", row.lease_id, row.data.get("holder")))
        return all(may(self.asker, "read", each) for each in named)

    def _owner(self, connection: sa.Connection, job: str) -> str | None:
        if job not in self._owners:
            self._owners[job] = connection.execute(sa.select(jobs.c.owner).where(jobs.c.id == job)).scalar()
        return self._owners[job]


async def _wait_for(
    daemon: Daemon, where: _Filter, after: int, limit: int, wait_s: float
) -> tuple[list[dict[str, Any]], int]:
    """The next events, and the number to go on from."""
    until = time.monotonic() + wait_s
    with daemon.store.bell.listening() as rung:
        while True:
            rung.clear()
            items, after = await run_in_threadpool(where.read, daemon, after, limit)
            left = until - time.monotonic()
            if items or left <= 0:
                return items, after
            try:
                await asyncio.wait_for(rung.wait(), left)
            except TimeoutError:
                return [], after


async def _stream(daemon: Daemon, where: _Filter, after: int) -> AsyncIterator[str]:
    while True:
        items, after = await _wait_for(daemon, where, after, 500, _KEEP_ALIVE_S)
        if not daemon.authority.stands(where.asker):
            return
        if not items:
            yield ": nothing new\n\n"
        for item in items:
            yield f"id: {item['sequence']}\nevent: {item['kind']}\ndata: {json.dumps(item)}\n\n"


def _last_event_id(request: Request) -> int:
    text = request.headers.get("last-event-id", "0")
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise InvalidInputError(f"Last-Event-ID is {text!r}, must be a sequence number")
    return int(text)


def _show(row: sa.Row[Any]) -> dict[str, Any]:
    return {
        "sequence": row.sequence,
        "time": iso(row.time),
        "kind": row.kind,
        "device": row.device,
        "lease": row.lease_id,
        "job": row.job_id,
        "run": row.run_id,
        "data": row.data,
    }
