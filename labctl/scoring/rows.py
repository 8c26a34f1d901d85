"""Audio files, audio jobs and their scores in the database. Each function is part of a transaction."""

from __future__ import annotations

from collections import Counter
from typing import Any

import sqlalchemy as sa

from labctl.errors import ConflictError, NotFoundError
from labctl.scoring.model import AudioJob
from labctl.store.identifiers import new_id
from labctl.store.tables import audio_files, audio_jobs, audio_scores
from labctl.store.transaction import Transaction

_ORDER = ("passed", "failed", "errored")


def add_file(transaction: Transaction, file: str, owner: str, row: dict[str, Any]) -> None:
    """The row of a file that lies in its place already."""
    transaction.execute(sa.insert(audio_files).values(id=file, owner=owner, created_at=transaction.now, **row))
    transaction.emit("audio.file_stored", file=file, name=row["name"], size=row["size"], owner=owner)


def remove_file(transaction: Transaction, file: str) -> str:
    """Forget a file; returns its location. Raises ConflictError while a job that is not finished names it."""
    row = transaction.execute(sa.select(audio_files).where(audio_files.c.id == file)).one_or_none()
    if row is None:
        raise NotFoundError(f"there is no audio file {file!r}; GET /api/v1/audio/files lists them")
    unfinished = sa.select(audio_jobs.c.id, audio_jobs.c.document).where(audio_jobs.c.state != "finished")
    for job in transaction.execute(unfinished):
        if any(file in pair.values() for pair in job.document["pairs"]):
            raise ConflictError(f"audio file {file} is needed by audio job {job.id}, which is not finished")
    transaction.execute(sa.delete(audio_files).where(audio_files.c.id == file))
    transaction.emit("audio.file_removed", file=file, name=row.name)
    return str(row.location)


def add_job(transaction: Transaction, owner: str, job: AudioJob) -> str:
    """A job that is not started yet; returns its id."""
    made = new_id()
    transaction.execute(
        sa.insert(audio_jobs).values(
            id=made,
            name=job.name,
            owner=owner,
            document=job.model_dump(mode="json"),
            state="created",
            reason="",
            total=len(job.pairs),
            created_at=transaction.now,
        )
    )
    transaction.emit("audio.job_created", audio_job=made, name=job.name, total=len(job.pairs), owner=owner)
    return made


def start_job(transaction: Transaction, job: str) -> None:
    """Raises ConflictError when it was started or cancelled before."""
    row = _job(transaction, job)
    if row.state != "created":
        raise ConflictError(f"audio job {job} is {row.state} already; create another to score again")
    started = {"state": "running", "started_at": transaction.now}
    transaction.execute(sa.update(audio_jobs).where(audio_jobs.c.id == job).values(**started))
    transaction.emit("audio.job_started", audio_job=job)


def add_score(transaction: Transaction, job: str, position: int, row: dict[str, Any]) -> None:
    """What became of one pair."""
    transaction.execute(sa.insert(audio_scores).values(job_id=job, position=position, scored_at=transaction.now, **row))
    done = _done(transaction, job)
    total = _job(transaction, job).total
    verdict, reason = row["verdict"], row["reason"]
    transaction.emit(
        "audio.pair_scored", audio_job=job, position=position, verdict=verdict, reason=reason, done=done, total=total
    )


def finish_job(transaction: Transaction, job: str) -> None:
    """Give a job whose pairs are all scored the worst of their verdicts; one that has a verdict keeps it."""
    row = _job(transaction, job)
    if row.state != "running":
        return
    scored = sa.select(audio_scores.c.verdict).where(audio_scores.c.job_id == job)
    found = Counter(transaction.execute(scored).scalars())
    worst = max(found, key=_ORDER.index)
    reason = "" if worst == "passed" else f"{found[worst]} of {row.total} {worst}"
    _end(transaction, job, worst, reason)


def cancel_job(transaction: Transaction, job: str, reason: str) -> None:
    """End a job that is not finished. What is scored already stays."""
    row = _job(transaction, job)
    if row.state == "finished":
        raise ConflictError(f"audio job {job} is finished already: {row.verdict}", verdict=row.verdict)
    _end(transaction, job, "cancelled", reason)


def _end(transaction: Transaction, job: str, verdict: str, reason: str) -> None:
    ended = {"state": "finished", "verdict": verdict, "reason": reason, "finished_at": transaction.now}
    transaction.execute(sa.update(audio_jobs).where(audio_jobs.c.id == job).values(**ended))
    transaction.emit("audio.job_finished", audio_job=job, verdict=verdict, reason=reason)


def _job(transaction: Transaction, job: str) -> sa.Row[Any]:
    row = transaction.execute(sa.select(audio_jobs).where(audio_jobs.c.id == job)).one_or_none()
    if row is None:
        raise NotFoundError(f"there is no audio job {job!r}; GET /api/v1/audio/jobs lists them")
    return row


def _done(transaction: Transaction, job: str) -> int:
    counted = sa.select(sa.func.count()).select_from(audio_scores).where(audio_scores.c.job_id == job)
    return int(transaction.execute(counted).scalar_one())
