"""Runs and what they left: measurements and artifacts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from fastapi import APIRouter
from fastapi.responses import FileResponse

from labctl.api.common import Asker, Cursor, Limit, Page, TheDaemon, iso, page
from labctl.auth import Principal, Resource, authorise, authorise_list, may
from labctl.daemon import Daemon
from labctl.errors import NotFoundError, UnavailableError
from labctl.store.tables import artifacts, jobs, lanes, measurements, runs, steps

router = APIRouter(prefix="/api/v1", tags=["runs"])
_OF_MEASUREMENT = ("lane", "step", "attempt", "name", "value", "unit", "low", "high", "verdict")


@router.get("/runs")
def list_runs(
    daemon: TheDaemon, asker: Asker, job: str | None = None, limit: Limit = 100, cursor: Cursor = None
) -> Page:
    """Runs, newest first."""
    authorise_list(asker, "read", "run")
    statement = _runs() if job is None else _runs().where(runs.c.job_id == job)
    with daemon.store.read() as connection:
        return page(
            connection,
            statement,
            runs.c.id,
            _show_run,
            limit=limit,
            cursor=cursor,
            visible=lambda row: may(asker, "read", Resource("run", row.id, row.owner)),
        )


@router.get("/runs/{run}")
def show_run(run: str, daemon: TheDaemon, asker: Asker) -> dict[str, Any]:
    """One run with its lanes and their steps, measurements, artifacts and outputs."""
    with daemon.store.read() as connection:
        row = connection.execute(_runs().where(runs.c.id == run)).one_or_none()
        authorise(asker, "read", Resource("run", run, row.owner if row is not None else None))
        if row is None:
            raise NotFoundError(f"there is no run {run!r}; GET /api/v1/runs lists them")
        taken = connection.execute(
            sa.select(measurements).where(measurements.c.run_id == run).order_by(measurements.c.id)
        )
        kept = connection.execute(sa.select(artifacts).where(artifacts.c.run_id == run).order_by(artifacts.c.id))
        own = connection.execute(sa.select(lanes).where(lanes.c.run_id == run).order_by(lanes.c.name)).all()
        done = connection.execute(sa.select(steps).where(steps.c.run_id == run).order_by(steps.c.lane, steps.c.number))
        return {
            **_show_run(row),
            "outputs": row.outputs,
            "lanes": _show_lanes(own, done.all()),
            "measurements": [_show_measurement(each) for each in taken],
            "artifacts": [_show_artifact(each) for each in kept],
        }


@router.get("/artifacts")
def list_artifacts(
    daemon: TheDaemon, asker: Asker, run: str | None = None, limit: Limit = 100, cursor: Cursor = None
) -> Page:
    """Files that runs left behind, newest first."""
    authorise_list(asker, "read", "artifact")
    statement = _artifacts() if run is None else _artifacts().where(artifacts.c.run_id == run)
    with daemon.store.read() as connection:
        return page(
            connection,
            statement,
            artifacts.c.id,
            _show_artifact,
            limit=limit,
            cursor=cursor,
            visible=lambda row: may(asker, "read", Resource("artifact", row.id, row.owner)),
        )


@router.get("/artifacts/{artifact}")
def show_artifact(artifact: str, daemon: TheDaemon, asker: Asker) -> dict[str, Any]:
    """What is known of one file."""
    return _show_artifact(_readable(daemon, asker, artifact))


@router.get("/artifacts/{artifact}/content", response_class=FileResponse)
def read_artifact(artifact: str, daemon: TheDaemon, asker: Asker) -> FileResponse:
    """The file itself; byte ranges may be asked for."""
    row = _readable(daemon, asker, artifact)
    try:
        path = daemon.artifacts.path(row.location)
    except FileNotFoundError:
        raise NotFoundError(f"the file of artifact {artifact} was removed from where artifacts are kept") from None
    except OSError as exc:
        raise UnavailableError(f"the file of artifact {artifact} cannot be read: {exc}") from exc
    # A report is a page of somebody's making: it may not act with the rights of this one.
    headers = {"Content-Security-Policy": "sandbox allow-scripts", "X-Content-Type-Options": "nosniff"}
    return FileResponse(
        path, media_type=row.media_type, filename=row.name, content_disposition_type="inline", headers=headers
    )


def _runs() -> sa.Select[Any]:
    """All runs, each with the `owner` of its job."""
    return sa.select(runs, jobs.c.owner).join(jobs, jobs.c.id == runs.c.job_id)


def _artifacts() -> sa.Select[Any]:
    """All artifacts, each with the `owner` of its run's job."""
    joined = artifacts.join(runs, runs.c.id == artifacts.c.run_id).join(jobs, jobs.c.id == runs.c.job_id)
    return sa.select(artifacts, jobs.c.owner).select_from(joined)


def _readable(daemon: Daemon, asker: Principal, artifact: str) -> sa.Row[Any]:
    with daemon.store.read() as connection:
        row = connection.execute(_artifacts().where(artifacts.c.id == artifact)).one_or_none()
    authorise(asker, "read", Resource("artifact", artifact, row.owner if row is not None else None))
    if row is None:
        raise NotFoundError(f"there is no artifact {artifact!r}; GET /api/v1/artifacts lists them")
    return row


def _show_run(row: sa.Row[Any]) -> dict[str, Any]:
    return {
        "id": row.id,
        "job": row.job_id,
        "lease": row.lease_id,
        "attempt": row.attempt,
        "state": row.state,
        "verdict": row.verdict,
        "reason": row.reason,
        "started_at": iso(row.started_at),
        "finished_at": iso(row.finished_at),
    }


def _show_lanes(own: Sequence[sa.Row[Any]], done: Sequence[sa.Row[Any]]) -> dict[str, Any]:
    shown = {}
    for lane in own:
        names = ("role", "device", "daemon", "state", "step", "done", "total", "verdict", "reason")
        times = {"started_at": iso(lane.started_at), "finished_at": iso(lane.finished_at)}
        listed = [_show_step(each) for each in done if each.lane == lane.name]
        shown[lane.name] = {**{name: getattr(lane, name) for name in names}, **times, "steps": listed}
    return shown


def _show_step(row: sa.Row[Any]) -> dict[str, Any]:
    shown = {
        name: getattr(row, name) for name in ("number", "title", "what", "attempt", "verdict", "reason", "outputs")
    }
    return {"id": row.step_id, **shown, "started_at": iso(row.started_at), "finished_at": iso(row.finished_at)}


def _show_measurement(row: sa.Row[Any]) -> dict[str, Any]:
    shown = {name: getattr(row, name) for name in _OF_MEASUREMENT}
    return {**shown, "taken_at": iso(row.taken_at)}


def _show_artifact(row: sa.Row[Any]) -> dict[str, Any]:
    shown = {name: getattr(row, name) for name in ("id", "name", "media_type", "size", "sha256")}
    return {
        **shown,
        "run": row.run_id,
        "created_at": iso(row.created_at),
        "href": f"/api/v1/artifacts/{row.id}/content",
    }
