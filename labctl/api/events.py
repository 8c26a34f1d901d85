"""The event log over HTTP: by cursor, held until there is something, or as a stream of server-sent events."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response, StreamingResponse
from starlette.concurrency import run_in_threadpool

from labctl.api.common import Asker, Limit, TheDaemon, iso
from labctl.auth import Resource, authorise
from labctl.daemon import Daemon
from labctl.errors import InvalidInputError
from labctl.store.tables import events

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
    job: Annotated[str | None, Query(max_length=100, description="only events of this job")] = None,
    wait_s: Annotated[float, Query(ge=0, le=300, description="hold the answer until there is an event")] = 0,
    limit: Limit = 100,
) -> Response | dict[str, Any]:
    """Events in order; `next` is the cursor to go on from, and never skips an event.

    With `Accept: text/event-stream` the events come as a stream, which goes on from `Last-Event-ID`.
    """
    authorise(asker, "read", Resource("events"))
    where = _Filter(run, job)
    if "text/event-stream" in request.headers.get("accept", ""):
        start = after if after is not None else _last_event_id(request)
        return StreamingResponse(_stream(daemon, where, start), media_type="text/event-stream")
    items = await _wait_for(daemon, where, after or 0, limit, wait_s)
    return {"items": items, "next": str(items[-1]["sequence"] if items else after or 0)}


class _Filter:
    """Which events are wanted."""

    def __init__(self, run: str | None, job: str | None) -> None:
        self.run = run
        self.job = job

    def read(self, daemon: Daemon, after: int, limit: int) -> list[dict[str, Any]]:
        statement = sa.select(events).where(events.c.sequence > after).order_by(events.c.sequence).limit(limit)
        if self.run is not None:
            statement = statement.where(events.c.run_id == self.run)
        if self.job is not None:
            statement = statement.where(events.c.job_id == self.job)
        with daemon.store.read() as connection:
            return [_show(row) for row in connection.execute(statement)]


async def _wait_for(daemon: Daemon, where: _Filter, after: int, limit: int, wait_s: float) -> list[dict[str, Any]]:
    until = time.monotonic() + wait_s
    with daemon.store.bell.listening() as rung:
        while True:
            rung.clear()
            items = await run_in_threadpool(where.read, daemon, after, limit)
            left = until - time.monotonic()
            if items or left <= 0:
                return items
            try:
                await asyncio.wait_for(rung.wait(), left)
            except TimeoutError:
                return []


async def _stream(daemon: Daemon, where: _Filter, after: int) -> AsyncIterator[str]:
    while True:
        items = await _wait_for(daemon, where, after, 500, _KEEP_ALIVE_S)
        if not items:
            yield ": nothing new\n\n"
        for item in items:
            after = item["sequence"]
            yield f"id: {after}\nevent: {item['kind']}\ndata: {json.dumps(item)}\n\n"


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
