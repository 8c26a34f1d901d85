"""Signals over HTTP: any program, in any language, takes part in a run."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import asdict
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response
from pydantic import BeforeValidator
from starlette.concurrency import run_in_threadpool

from labctl.api.common import Asker, Page, TheDaemon, body_of, iso
from labctl.auth import Resource, authorise, authorise_list
from labctl.daemon import Daemon
from labctl.errors import ConflictError, InvalidInputError
from labctl.jobs.durations import seconds
from labctl.jobs.model import NAME_OF_SIGNAL
from labctl.store import signalling
from labctl.store.signalling import Signal, Vain
from labctl.store.tables import jobs

router = APIRouter(prefix="/api/v1/runs/{run}/signals", tags=["signals"])
_LARGEST_PAYLOAD = 1 << 16
_REVIEW_S = 15.0  # should a wake-up be lost
SignalName = Annotated[str, Path(pattern=NAME_OF_SIGNAL, description="of the signal")]
Wait = Annotated[
    float, BeforeValidator(seconds), Query(ge=0, le=300, description="hold the answer so long: 30, or 30s, or 2m")
]


@router.get("")
def list_signals(run: str, daemon: TheDaemon, asker: Asker) -> Page:
    """Every signal of a run, oldest first."""
    _allow(daemon, asker, "read", run)
    with daemon.store.read() as connection:
        signalling.find_run(connection, run)
        return Page(items=[_show(each) for each in signalling.all_of(connection, run)], next=None)


@router.post(
    "/{name}",
    status_code=201,
    openapi_extra={"requestBody": {"required": False, "content": {"application/json": {"schema": {}}}}},
)
async def send_signal(
    run: str,
    name: SignalName,
    request: Request,
    daemon: TheDaemon,
    asker: Asker,
    *,
    sender: Annotated[str | None, Query(max_length=200, description="who says it; the asker unless given")] = None,
) -> dict[str, Any]:
    """Say something to all who wait for it, now or later; the body, if any, is its payload, any JSON.

    A signal stays said, so a repetition does no harm. 409 when the run is over.
    """
    told = f"a payload may have {_LARGEST_PAYLOAD} bytes; keep files as artifacts"
    payload = _payload(await body_of(request, _LARGEST_PAYLOAD, told))
    await run_in_threadpool(_allow, daemon, asker, "runs.signal", run)
    who = sender if sender is not None else asker.name
    if not who.isprintable():
        raise InvalidInputError("sender must be printable text", errors=[{"parameter": "sender"}])
    signal = await run_in_threadpool(
        daemon.store.write, lambda transaction: signalling.send(transaction, run, name, who, payload)
    )
    daemon.sequencer.news.wake(run)  # who waits here need not hear it from the event log
    return _show(signal)


@router.get("/{name}", response_model=None, responses={204: {"description": "Not said in that time: ask again"}})
async def await_signal(
    run: str,
    name: SignalName,
    daemon: TheDaemon,
    asker: Asker,
    *,
    wait: Wait = 0,
    after: Annotated[int, Query(ge=0, le=2**62, description="only one with a larger number, the first such")] = 0,
) -> Response | dict[str, Any]:
    """The newest signal of that name, once there is one.

    Answers 204 when none came in time: ask again, as also after a lost connection. 409 when none can come any more,
    with the reason: the run is over, or whoever would say it has ended.
    """
    await run_in_threadpool(_allow, daemon, asker, "read", run)
    until = time.monotonic() + wait
    with daemon.sequencer.news.following(run) as bell, bell.listening() as rung:
        while True:
            rung.clear()
            found = await run_in_threadpool(_look, daemon, run, name, after)
            if isinstance(found, Signal):
                return _show(found)
            if isinstance(found, Vain):
                raise ConflictError(f"nobody will say {name!r}: {found.reason}", verdict=found.verdict)
            left = until - time.monotonic()
            if left <= 0:
                return Response(status_code=204)
            try:
                await asyncio.wait_for(rung.wait(), min(left, _REVIEW_S))
            except TimeoutError:
                continue


def _look(daemon: Daemon, run: str, name: str, after: int) -> Signal | Vain | None:
    with daemon.store.read() as connection:
        return signalling.latest(connection, run, name, after) or signalling.in_vain(connection, run, name)


def _allow(daemon: Daemon, asker: Asker, action: str, run: str) -> None:
    authorise_list(asker, action, "run")
    with daemon.store.read() as connection:
        job = signalling.find_run(connection, run).job_id
        owner = connection.execute(sa.select(jobs.c.owner).where(jobs.c.id == job)).scalar_one()
    authorise(asker, action, Resource("run", run, owner))


def _payload(body: bytes) -> Any:
    if not body.strip():
        return None
    try:
        payload = json.loads(body, parse_constant=_refuse)
        json.dumps(payload, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as exc:
        raise InvalidInputError(f"the payload is no JSON: {exc}") from None
    if "\\u0000" in json.dumps(payload):
        raise InvalidInputError("the payload holds a NUL character, which no database keeps")
    return payload


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number that JSON has")


def _show(signal: Signal) -> dict[str, Any]:
    return {**asdict(signal), "sent_at": iso(signal.sent_at)}
