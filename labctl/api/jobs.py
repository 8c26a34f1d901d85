"""Jobs over HTTP: submitted as YAML or JSON, shown, cancelled."""

from __future__ import annotations

from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool

from labctl.api.common import Asker, Cursor, Limit, Page, TheDaemon, iso, page
from labctl.auth import Resource, authorise
from labctl.daemon import Daemon
from labctl.errors import InvalidInputError, LabError, NotFoundError
from labctl.matching import Requirement
from labctl.store.tables import jobs, leases, runs

router = APIRouter(prefix="/api/v1/jobs", tags=["jobs"])
_LARGEST = 1 << 20


class TooLargeError(LabError):
    """A request's body is larger than anything sensible."""

    status = 413
    title = "Too large"


@router.post(
    "",
    status_code=201,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"type": "object"}},
                "application/yaml": {"schema": {"type": "string"}},
            },
        }
    },
)
async def submit_job(
    request: Request,
    daemon: TheDaemon,
    asker: Asker,
    source: Annotated[str, Query(max_length=300, description="the file's name, for errors")] = "job",
) -> dict[str, Any]:
    """Queue a job, written in YAML or JSON; every error in it is told at once, with its line and column."""
    authorise(asker, "jobs.submit", Resource("job"))
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LARGEST:
            raise TooLargeError(f"a job file may have {_LARGEST} bytes")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise InvalidInputError(f"the job is not UTF-8 text (byte {exc.start})") from None
    job = await run_in_threadpool(daemon.submit, text, source, asker.name)
    return await run_in_threadpool(_read, daemon, job)


@router.get("")
def list_jobs(
    daemon: TheDaemon, asker: Asker, state: str | None = None, limit: Limit = 100, cursor: Cursor = None
) -> Page:
    """Jobs, newest first."""
    authorise(asker, "read", Resource("jobs"))
    statement = sa.select(jobs) if state is None else sa.select(jobs).where(jobs.c.state == state)
    with daemon.store.read() as connection:
        return page(connection, statement, jobs.c.id, _show, limit=limit, cursor=cursor)


@router.get("/{job}")
def show_job(job: str, daemon: TheDaemon, asker: Asker) -> dict[str, Any]:
    """One job, with its runs and, while it waits, what it waits for."""
    authorise(asker, "read", Resource("job", job))
    return _read(daemon, job)


@router.post("/{job}/cancel", status_code=202)
def cancel_job(
    job: str, daemon: TheDaemon, asker: Asker, reason: Annotated[str, Query(max_length=500)] = ""
) -> dict[str, Any]:
    """End a job: at once when it is queued, otherwise after its teardown."""
    authorise(asker, "jobs.cancel", Resource("job", job, _read(daemon, job)["owner"]))
    daemon.cancel(job, reason or f"cancelled by {asker.name}")
    return _read(daemon, job)


def _read(daemon: Daemon, job: str) -> dict[str, Any]:
    with daemon.store.read() as connection:
        row = connection.execute(sa.select(jobs).where(jobs.c.id == job)).one_or_none()
        if row is None:
            raise NotFoundError(f"there is no job {job!r}; GET /api/v1/jobs lists them")
        own = connection.execute(sa.select(runs.c.id).where(runs.c.job_id == job).order_by(runs.c.id)).scalars().all()
        waiting = sa.select(leases.c.require).where(leases.c.job_id == job, leases.c.state == "waiting")
        require = connection.execute(waiting).scalar()
    shown = {**_show(row), "runs": list(own), "document": row.document, "waits_for": []}
    if require is not None:
        obstacles = daemon.leases.obstacles([Requirement(**each) for each in require])
        shown["waits_for"] = [{**each, "expires_at": iso(each.get("expires_at"))} for each in obstacles]
    return shown


def _show(row: sa.Row[Any]) -> dict[str, Any]:
    return {
        "id": row.id,
        "name": row.name,
        "owner": row.owner,
        "priority": row.priority,
        "state": row.state,
        "verdict": row.verdict,
        "reason": row.reason,
        "submitted_at": iso(row.submitted_at),
        "finished_at": iso(row.finished_at),
    }
