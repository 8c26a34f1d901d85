"""Jobs over HTTP: submitted as YAML or JSON, shown, cancelled, run again."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from fastapi import APIRouter, Header, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from labctl.api.common import Asker, Cursor, Limit, Page, TheDaemon, body_of, iso, page
from labctl.api.lease_answers import explain
from labctl.api.permitting import permitted
from labctl.auth import Resource, authorise, authorise_list, may
from labctl.daemon import Daemon
from labctl.errors import InvalidInputError, NotFoundError
from labctl.matching import Requirement
from labctl.results.junit import junit
from labctl.store.tables import jobs, leases, runs

router = APIRouter(prefix="/api/v1/jobs", tags=["jobs"])
_LARGEST = 1 << 20
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"type": "object"}},
            "application/yaml": {"schema": {"type": "string"}},
        },
    }
}
Source = Annotated[str, Query(max_length=300, description="the file's name, for errors")]
Variables = Annotated[list[str], Query(max_length=100, description='"NAME=VALUE": what one of its vars is instead')]


@router.post("", status_code=201, openapi_extra=_BODY)
async def submit_job(
    request: Request,
    response: Response,
    daemon: TheDaemon,
    asker: Asker,
    *,
    source: Source = "job",
    var: Variables = [],  # noqa: B006  # FastAPI copies it
    idempotency_key: Annotated[
        str | None,
        Header(pattern=r"^[\x21-\x7e]{1,200}$", description="a repetition with the same key queues nothing more"),
    ] = None,
) -> dict[str, Any]:
    """Queue a job, written in YAML or JSON; every error in it is told at once, with its line and column.

    Answers 201, or 200 when it was queued before with the same `Idempotency-Key`; a key that came with another job is
    refused (422). `warnings` names what is doubtful, but accepted.
    """
    authorise(asker, "jobs.submit", Resource("job"))
    text = await _text(request)
    submitted = await run_in_threadpool(
        daemon.submissions.submit,
        text,
        source,
        asker.name,
        key=idempotency_key,
        overrides=_overrides(var),
        permit=partial(permitted, daemon, asker),
    )
    response.status_code = 201 if submitted.new else 200
    response.headers["Location"] = f"/api/v1/jobs/{submitted.job}"
    shown = await run_in_threadpool(_read, daemon, submitted.job)
    return {**shown, "warnings": [str(each) for each in submitted.warnings]}


@router.post("/check", openapi_extra=_BODY)
async def check_job(
    request: Request,
    daemon: TheDaemon,
    asker: Asker,
    *,
    source: Source = "job",
    var: Variables = [],  # noqa: B006  # FastAPI copies it
) -> dict[str, Any]:
    """Say what is wrong with a job, and what it would be; queues nothing."""
    authorise_list(asker, "read", "job")
    text = await _text(request)
    parsed = await run_in_threadpool(daemon.submissions.check, text, source, _overrides(var))
    names = [each.job.name for each in parsed.jobs]
    return {"name": parsed.name, "jobs": names, "warnings": [str(each) for each in parsed.warnings]}


@router.get("")
def list_jobs(
    daemon: TheDaemon,
    asker: Asker,
    *,
    state: Literal["queued", "running", "finished"] | None = None,
    parent: Annotated[str | None, Query(max_length=100, description="only the jobs of this matrix")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page:
    """Jobs, newest first."""
    authorise_list(asker, "read", "job")
    statement = sa.select(jobs)
    if state is not None:
        statement = statement.where(jobs.c.state == state)
    if parent is not None:
        statement = statement.where(jobs.c.parent_id == parent)
    with daemon.store.read() as connection:
        return page(
            connection,
            statement,
            jobs.c.id,
            _show,
            limit=limit,
            cursor=cursor,
            visible=lambda row: may(asker, "read", Resource("job", row.id, row.owner)),
        )


@router.get("/{job}")
def show_job(job: str, daemon: TheDaemon, asker: Asker) -> dict[str, Any]:
    """One job, with its runs and, while it waits, what it waits for."""
    authorise_list(asker, "read", "job")
    shown = _read(daemon, job)
    authorise(asker, "read", Resource("job", job, shown["owner"]))
    return shown


@router.post("/{job}/cancel", status_code=202)
def cancel_job(
    job: str, daemon: TheDaemon, asker: Asker, reason: Annotated[str, Query(max_length=500)] = ""
) -> dict[str, Any]:
    """End a job: at once when it is queued, otherwise after its teardown."""
    authorise_list(asker, "jobs.cancel", "job")
    authorise(asker, "jobs.cancel", Resource("job", job, _read(daemon, job)["owner"]))
    daemon.cancel(job, reason or f"cancelled by {asker.name}")
    return _read(daemon, job)


@router.post("/{job}/rerun", status_code=201)
def rerun_job(job: str, response: Response, daemon: TheDaemon, asker: Asker) -> dict[str, Any]:
    """Queue a finished job anew, as it was; answers with the new job."""
    authorise(asker, "jobs.submit", Resource("job"))
    authorise_list(asker, "read", "job")
    authorise(asker, "read", Resource("job", job, _read(daemon, job)["owner"]))
    again = daemon.submissions.rerun(job, asker.name, partial(permitted, daemon, asker))
    response.headers["Location"] = f"/api/v1/jobs/{again}"
    return _read(daemon, again)


@router.get("/{job}/junit", response_class=Response, responses={200: {"content": {"application/xml": {}}}})
def show_junit(job: str, daemon: TheDaemon, asker: Asker) -> Response:
    """The result as JUnit XML, for CI servers: a suite for each lane, a case for each step and judged measurement."""
    authorise_list(asker, "read", "job")
    with daemon.store.read() as connection:
        row = _row(connection, job)
        authorise(asker, "read", Resource("job", job, row.owner))
        return Response(junit(connection, row), media_type="application/xml")


async def _text(request: Request) -> str:
    body = await body_of(request, _LARGEST, f"a job file may have {_LARGEST} bytes")
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise InvalidInputError(f"the job is not UTF-8 text (byte {exc.start})") from None


def _overrides(given: list[str]) -> dict[str, str]:
    pairs = [each.partition("=") for each in given]
    if wrong := [name for name, sign, _ in pairs if not sign]:
        raise InvalidInputError(f'var is "NAME=VALUE", not {wrong[0]!r}', errors=[{"parameter": "var"}])
    return {name: value for name, _, value in pairs}


def _read(daemon: Daemon, job: str) -> dict[str, Any]:
    with daemon.store.read() as connection:
        row = _row(connection, job)
        parts = connection.execute(sa.select(jobs).where(jobs.c.parent_id == job).order_by(jobs.c.id)).all()
        ids = [job, *(each.id for each in parts)]
        own = connection.execute(sa.select(runs.c.id).where(runs.c.job_id.in_(ids)).order_by(runs.c.id)).scalars().all()
        waiting = sa.select(leases).where(leases.c.job_id == job, leases.c.state == "waiting")
        request = connection.execute(waiting).one_or_none()
    shown = {**_show(row), "runs": list(own), "document": row.document, "waits_for": []}
    shown["jobs"] = [_show(each) for each in parts]
    shown["queue"] = None
    if request is not None:
        shown["queue"] = explain(daemon, request.id)
        obstacles = daemon.leases.obstacles([Requirement(**each) for each in request.require])
        shown["waits_for"] = [{**each, "expires_at": iso(each.get("expires_at"))} for each in obstacles]
    return shown


def _row(connection: sa.Connection, job: str) -> sa.Row[Any]:
    row = connection.execute(sa.select(jobs).where(jobs.c.id == job)).one_or_none()
    if row is None:
        raise NotFoundError(f"there is no job {job!r}; GET /api/v1/jobs lists them")
    return row


def _show(row: sa.Row[Any]) -> dict[str, Any]:
    return {
        "id": row.id,
        "name": row.name,
        "owner": row.owner,
        "priority": row.priority,
        "labels": row.document.get("labels", {}),
        "state": row.state,
        "verdict": row.verdict,
        "reason": row.reason,
        "parent": row.parent_id,
        "combination": row.combination,
        "rerun_of": row.rerun_of,
        "submitted_at": iso(row.submitted_at),
        "finished_at": iso(row.finished_at),
    }
