"""Jobs in the database: submission, at most once for a key; matrices; cancellation; the end. Parts of transactions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from labctl.errors import ConflictError, InvalidInputError, NotFoundError
from labctl.matching import Requirement
from labctl.store import asking
from labctl.store.identifiers import new_id
from labctl.store.tables import jobs, leases, runs, submissions
from labctl.store.transaction import Transaction

_WORST_FIRST = ("errored", "cancelled", "failed", "passed")


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to be queued. `combination`: the values of the matrix that it is for."""

    name: str
    document: dict[str, Any]
    require: list[Requirement]
    priority: int
    lease_s: float
    combination: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Key:
    """What the asker calls a submission, so that a repetition is recognised. `digest`: of all that was sent."""

    key: str
    digest: str


def submit(
    transaction: Transaction,
    owner: str,
    name: str,
    wanted: list[NewJob],
    *,
    matrix: bool = False,
    key: Key | None = None,
    rerun_of: str | None = None,
) -> tuple[str, bool]:
    """Queue jobs; the id of the job, or of the matrix that they are part of, and whether it is new.

    Raises InvalidInputError when the key was used for something else, or devices could never be found.
    """
    if key is not None and (known := _known(transaction, owner, key)) is not None:
        return known, False
    if not matrix:
        job = _queue(transaction, owner, wanted[0], None, rerun_of)
    else:
        job = new_id()
        values = {"id": job, "owner": owner, "name": name, "document": {"name": name}, "priority": wanted[0].priority}
        common = {"state": "queued", "reason": "", "submitted_at": transaction.now, "rerun_of": rerun_of}
        transaction.execute(sa.insert(jobs).values(**values, **common))
        transaction.emit("job.submitted", job=job, name=name, owner=owner, matrix=len(wanted))
        for each in wanted:
            _queue(transaction, owner, each, job, None)
    if key is not None:
        row = {"owner": owner, "key": key.key, "digest": key.digest, "job_id": job, "submitted_at": transaction.now}
        transaction.execute(sa.insert(submissions).values(**row))
    return job, True


def requeue(transaction: Transaction, job: str, reason: str) -> None:
    """Let a job whose run was lost wait for devices again.

    Raises NotFoundError or InvalidInputError, and changes nothing, when the lab could not satisfy it any more.
    """
    asked = sa.select(leases).where(leases.c.job_id == job).order_by(leases.c.id.desc()).limit(1)
    last = transaction.execute(asked).one()
    owner = transaction.execute(sa.select(jobs.c.owner).where(jobs.c.id == job)).scalar_one()
    asking.request(transaction, owner, [Requirement(**each) for each in last.require], last.duration_s, job)
    transaction.execute(sa.update(jobs).where(jobs.c.id == job).values(state="queued"))
    transaction.emit("job.queued_again", job=job, reason=reason)


def begin(transaction: Transaction, job: str) -> None:
    """A queued job runs, and with it the matrix that it is part of."""
    transaction.execute(sa.update(jobs).where(jobs.c.id == job).values(state="running"))
    parent = sa.select(jobs.c.parent_id).where(jobs.c.id == job).scalar_subquery()
    waiting = sa.and_(jobs.c.id == parent, jobs.c.state == "queued")
    transaction.execute(sa.update(jobs).where(waiting).values(state="running"))


def finish(transaction: Transaction, job: str, verdict: str, reason: str) -> None:
    """Give a job its verdict; a matrix ends with the last of its jobs."""
    ended = {"state": "finished", "verdict": verdict, "reason": reason, "finished_at": transaction.now}
    transaction.execute(sa.update(jobs).where(jobs.c.id == job).values(**ended))
    transaction.emit("job.finished", job=job, verdict=verdict, reason=reason)
    parent = transaction.execute(sa.select(jobs.c.parent_id).where(jobs.c.id == job)).scalar_one()
    if parent is None:
        return
    own = parts(transaction, parent)
    if all(each.state == "finished" for each in own):
        worst = min((each.verdict for each in own), key=_WORST_FIRST.index)
        bad = [each.name for each in own if each.verdict == worst]
        told = "" if worst == "passed" else f"{len(bad)} of {len(own)} {worst}: {', '.join(bad[:5])}"
        finish(transaction, parent, worst, told + (" ..." if len(bad) > 5 and told else ""))


def cancel(transaction: Transaction, job: str, reason: str) -> list[str]:
    """Cancel what is queued of a job at once; of what is running, note the wish. Returns those runs.

    Raises NotFoundError, or ConflictError when it is finished.
    """
    row = find(transaction, job)
    if row.state == "finished":
        raise ConflictError(f"job {job} is finished already: {row.verdict}", verdict=row.verdict)
    asked = []
    for each in parts(transaction, job) or [row]:
        if each.state == "finished":
            continue
        if each.state == "running":
            asked.append(ask_to_end(transaction, each.id, reason, "cancelled"))
            continue
        for lease in transaction.execute(sa.select(leases.c.id).where(leases.c.job_id == each.id)).scalars().all():
            asking.withdraw(transaction, lease, reason)
        transaction.emit("job.cancelled", job=each.id, reason=reason)
        finish(transaction, each.id, "cancelled", reason)
    return asked


def ask_to_end(transaction: Transaction, job: str, reason: str, verdict: str) -> str:
    """Note the wish that the run of a job ends early, as what; returns the run. The first wish counts."""
    run: str = transaction.execute(
        sa.select(runs.c.id).where(runs.c.job_id == job, runs.c.state == "running")
    ).scalar_one()
    first = sa.and_(runs.c.id == run, sa.not_(runs.c.cancel_asked))
    wish = {"cancel_asked": True, "cancel_reason": reason, "cancel_verdict": verdict}
    if transaction.execute(sa.update(runs).where(first).values(**wish)).rowcount:
        transaction.emit("run.cancel_asked", job=job, run=run, reason=reason, verdict=verdict)
    return run


def parts(transaction: Transaction, job: str) -> Sequence[sa.Row[Any]]:
    """The jobs that a matrix consists of, in order; none of any other job."""
    own = sa.select(jobs).where(jobs.c.parent_id == job).order_by(jobs.c.id)
    return transaction.execute(own).all()


def find(transaction: Transaction, job: str) -> sa.Row[Any]:
    """The row of a job. Raises NotFoundError."""
    row = transaction.execute(sa.select(jobs).where(jobs.c.id == job)).one_or_none()
    if row is None:
        raise NotFoundError(f"there is no job {job!r}; GET /api/v1/jobs lists them")
    return row


def _known(transaction: Transaction, owner: str, key: Key) -> str | None:
    said = sa.and_(submissions.c.owner == owner, submissions.c.key == key.key)
    row = transaction.execute(sa.select(submissions).where(said)).one_or_none()
    if row is None:
        return None
    if row.digest != key.digest:
        raise InvalidInputError(
            f"the Idempotency-Key {key.key!r} was used for another job ({row.job_id}); take a new one for this",
            job=row.job_id,
        )
    return str(row.job_id)


def _queue(transaction: Transaction, owner: str, wanted: NewJob, parent: str | None, rerun_of: str | None) -> str:
    job = new_id()
    transaction.execute(
        sa.insert(jobs).values(
            id=job,
            name=wanted.name,
            owner=owner,
            document=wanted.document,
            priority=wanted.priority,
            state="queued",
            reason="",
            submitted_at=transaction.now,
            parent_id=parent,
            combination=wanted.combination,
            rerun_of=rerun_of,
        )
    )
    transaction.emit("job.submitted", job=job, name=wanted.name, owner=owner)
    asking.request(transaction, owner, wanted.require, wanted.lease_s, job)
    return job
