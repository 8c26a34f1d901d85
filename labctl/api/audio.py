"""Audio: files that are uploaded, jobs that score them, and what came of it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse
from starlette.concurrency import run_in_threadpool

from drivers.errors import DeviceError
from labctl.api.common import Asker, Cursor, Limit, Page, TheDaemon, iso, page
from labctl.auth import Principal, Resource, authorise, authorise_list, may
from labctl.config.audio import AudioConfig
from labctl.daemon import Daemon
from labctl.errors import NotFoundError
from labctl.scoring import AudioJob
from labctl.scoring.files import LARGEST_BYTES, FileTooLargeError
from labctl.scoring.references import reference_names
from labctl.store.tables import audio_files, audio_jobs, audio_scores

router = APIRouter(prefix="/api/v1/audio", tags=["audio"])
_WRITTEN_AT_ONCE = 1 << 20
_MEDIA_TYPES = {"WAV": "audio/wav", "FLAC": "audio/flac", "OGG": "audio/ogg"}


@router.post(
    "/files",
    status_code=201,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def upload_file(
    request: Request,
    daemon: TheDaemon,
    asker: Asker,
    name: Annotated[str, Query(min_length=1, max_length=200, description="what people call it")] = "recording",
) -> dict[str, Any]:
    """Upload a WAV, FLAC or OGG file as the body; what is no usable audio is refused and not stored."""
    authorise(asker, "audio.upload", Resource("audio-file"))
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and int(announced) > LARGEST_BYTES:
        raise FileTooLargeError
    with daemon.audio_files.upload() as upload:
        waiting = bytearray()
        async for chunk in request.stream():
            waiting += chunk
            if len(waiting) >= _WRITTEN_AT_ONCE:
                await run_in_threadpool(upload.add, bytes(waiting))
                waiting.clear()
        await run_in_threadpool(upload.add, bytes(waiting))
        file = await run_in_threadpool(daemon.audio_files.keep, upload, name, asker.name)
    return _show_file(daemon.audio_files.row(file))


@router.get("/files")
def list_files(daemon: TheDaemon, asker: Asker, limit: Limit = 100, cursor: Cursor = None) -> Page:
    """Uploaded files, newest first."""
    authorise_list(asker, "read", "audio-file")
    with daemon.store.read() as connection:
        return page(
            connection,
            sa.select(audio_files),
            audio_files.c.id,
            _show_file,
            limit=limit,
            cursor=cursor,
            visible=lambda row: may(asker, "read", Resource("audio-file", row.id, row.owner)),
        )


@router.get("/files/{file}")
def show_file(file: str, daemon: TheDaemon, asker: Asker) -> dict[str, Any]:
    """What is known of one file."""
    authorise_list(asker, "read", "audio-file")
    row = daemon.audio_files.row(file)
    authorise(asker, "read", Resource("audio-file", file, row.owner))
    return _show_file(row)


@router.get("/files/{file}/content", response_class=FileResponse)
def read_file(file: str, daemon: TheDaemon, asker: Asker) -> FileResponse:
    """The file itself; byte ranges may be asked for."""
    authorise_list(asker, "read", "audio-file")
    row = daemon.audio_files.row(file)
    authorise(asker, "read", Resource("audio-file", file, row.owner))
    path, name = daemon.audio_files.path(file)
    headers = {"X-Content-Type-Options": "nosniff"}
    return FileResponse(path, media_type=_MEDIA_TYPES[row.container], filename=name, headers=headers)


@router.delete("/files/{file}", status_code=204)
def delete_file(file: str, daemon: TheDaemon, asker: Asker) -> Response:
    """Delete a file that no unfinished job needs."""
    authorise_list(asker, "audio.delete", "audio-file")
    authorise(asker, "audio.delete", Resource("audio-file", file, daemon.audio_files.row(file).owner))
    daemon.audio_files.remove(file)
    return Response(status_code=204)


@router.get("/references")
def list_references(asker: Asker) -> Page:
    """The references that ship with the program; a job names them like files."""
    authorise_list(asker, "read", "audio-reference")
    names = [name for name in reference_names() if may(asker, "read", Resource("audio-reference", name))]
    return Page(items=[{"name": name} for name in names], next=None)


@router.get("/endpoints")
def list_endpoints(daemon: TheDaemon, asker: Asker) -> Page:
    """The audio devices of this daemon, and what a client needs in its environment to be on one of them."""
    authorise(asker, "read", Resource("audio endpoints"))
    devices = [(name, each) for name, each in daemon.lab.devices.items() if isinstance(each, AudioConfig)]
    return Page(items=[_show_endpoint(name, device) for name, device in devices], next=None)


@router.post("/jobs", status_code=201)
def create_job(job: AudioJob, daemon: TheDaemon, asker: Asker) -> dict[str, Any]:
    """Prepare the scoring of pairs; every file in it is checked now. It waits for its start."""
    authorise(asker, "jobs.submit", Resource("audio-job"))
    return _read(daemon, daemon.audio_jobs.create(job, asker.name))


@router.get("/jobs")
def list_jobs(
    daemon: TheDaemon, asker: Asker, state: str | None = None, limit: Limit = 100, cursor: Cursor = None
) -> Page:
    """Audio jobs, newest first."""
    authorise_list(asker, "read", "audio-job")
    statement = sa.select(audio_jobs) if state is None else sa.select(audio_jobs).where(audio_jobs.c.state == state)
    with daemon.store.read() as connection:
        return page(
            connection,
            statement,
            audio_jobs.c.id,
            _show_job,
            limit=limit,
            cursor=cursor,
            visible=lambda row: may(asker, "read", Resource("audio-job", row.id, row.owner)),
        )


@router.get("/jobs/{job}")
def show_job(job: str, daemon: TheDaemon, asker: Asker) -> dict[str, Any]:
    """One job, and how many of its pairs are done."""
    return _read_as(asker, daemon, job)


@router.post("/jobs/{job}/start", status_code=202)
def start_job(job: str, daemon: TheDaemon, asker: Asker) -> dict[str, Any]:
    """Begin to score."""
    authorise_list(asker, "jobs.start", "audio-job")
    authorise(asker, "jobs.start", Resource("audio-job", job, _read(daemon, job)["owner"]))
    daemon.audio_jobs.start(job)
    return _read(daemon, job)


@router.post("/jobs/{job}/cancel", status_code=202)
def cancel_job(
    job: str, daemon: TheDaemon, asker: Asker, reason: Annotated[str, Query(max_length=500)] = ""
) -> dict[str, Any]:
    """End a job; what is scored already stays."""
    authorise_list(asker, "jobs.cancel", "audio-job")
    authorise(asker, "jobs.cancel", Resource("audio-job", job, _read(daemon, job)["owner"]))
    daemon.audio_jobs.cancel(job, reason or f"cancelled by {asker.name}")
    return _read(daemon, job)


@router.get("/jobs/{job}/result")
async def show_result(
    job: str,
    *,
    response: Response,
    daemon: TheDaemon,
    asker: Asker,
    wait_s: Annotated[float, Query(ge=0, le=60, description="hold the request until the job is finished")] = 0,
    full: Annotated[bool, Query(description="with tracks and all that was measured, not only the measurements")] = True,
) -> dict[str, Any]:
    """Verdict and scores. Answers 200 when the job is finished, and until then 202 with what is there already."""
    until = time.monotonic() + wait_s
    with daemon.store.bell.listening(("audio",)) as rung:
        while True:
            rung.clear()
            found = await run_in_threadpool(_read_as, asker, daemon, job)
            left = until - time.monotonic()
            if found["state"] == "finished" or left <= 0:
                break
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(rung.wait(), left)
    response.status_code = 200 if found["state"] == "finished" else 202
    return await run_in_threadpool(_result, daemon, job, found, full)


def _result(daemon: Daemon, job: str, found: dict[str, Any], full: bool) -> dict[str, Any]:
    with daemon.store.read() as connection:
        scored = sa.select(audio_scores).where(audio_scores.c.job_id == job).order_by(audio_scores.c.position)
        items = [_show_score(row, found["document"]["pairs"][row.position], full) for row in connection.execute(scored)]
    return {**{key: value for key, value in found.items() if key != "document"}, "items": items}


@router.get("/jobs/{job}/reports/{position}", response_class=FileResponse)
def read_report(job: str, position: int, daemon: TheDaemon, asker: Asker) -> FileResponse:
    """The page on one pair: spectrograms, tracks of delay and MOS, reasons."""
    _read_as(asker, daemon, job)
    # A report is a page of somebody's making: it may not act with the rights of this one.
    headers = {"Content-Security-Policy": "sandbox", "X-Content-Type-Options": "nosniff"}
    return FileResponse(daemon.audio_jobs.report(job, position), media_type="text/html", headers=headers)


def _read_as(asker: Principal, daemon: Daemon, job: str) -> dict[str, Any]:
    authorise_list(asker, "read", "audio-job")
    found = _read(daemon, job)
    authorise(asker, "read", Resource("audio-job", job, found["owner"]))
    return found


def _read(daemon: Daemon, job: str) -> dict[str, Any]:
    with daemon.store.read() as connection:
        row = connection.execute(sa.select(audio_jobs).where(audio_jobs.c.id == job)).one_or_none()
        if row is None:
            raise NotFoundError(f"there is no audio job {job!r}; GET /api/v1/audio/jobs lists them")
        done = sa.select(sa.func.count()).select_from(audio_scores).where(audio_scores.c.job_id == job)
        return {**_show_job(row), "done": connection.execute(done).scalar_one(), "document": row.document}


def _show_endpoint(name: str, device: AudioConfig) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "device": name,
        "driver": device.endpoint.driver,
        "client_environment": {},
        "problem": None,
    }
    try:
        shown["client_environment"] = dict(device.endpoint.client_environment())
    except DeviceError as exc:
        shown["problem"] = str(exc)
    return shown


def _show_file(row: sa.Row[Any]) -> dict[str, Any]:
    names = ("id", "name", "owner", "container", "sample_rate", "channels", "duration_s", "silent", "size", "sha256")
    shown = {name: getattr(row, name) for name in names}
    return {**shown, "created_at": iso(row.created_at), "href": f"/api/v1/audio/files/{row.id}/content"}


def _show_job(row: sa.Row[Any]) -> dict[str, Any]:
    shown = {name: getattr(row, name) for name in ("id", "name", "owner", "state", "verdict", "reason", "total")}
    times = {name: iso(getattr(row, name)) for name in ("created_at", "started_at", "finished_at")}
    return {**shown, **times}


def _show_score(row: sa.Row[Any], pair: dict[str, Any], full: bool) -> dict[str, Any]:
    shown = {name: getattr(row, name) for name in ("position", "verdict", "reason", "measurements")}
    shown |= {"pair": pair, "report": f"/api/v1/audio/jobs/{row.job_id}/reports/{row.position}" if row.report else None}
    return {**shown, "result": row.result} if full else shown
