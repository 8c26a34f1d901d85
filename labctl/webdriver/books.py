"""A WebDriver session in the lab's history: a job with one run and one lane. Each function is part of a transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from labctl.errors import ConflictError, NotFoundError
from labctl.store import submitting
from labctl.store.identifiers import new_id
from labctl.store.leasing import Grant, as_grant
from labctl.store.tables import jobs, lanes, leases, runs, steps
from labctl.store.transaction import Transaction

LANE = "session"


@dataclass(frozen=True, slots=True)
class SessionRun:
    """The run that a session belongs to. `joined`: it is another job's, which goes on when the session ends."""

    job: str
    run: str
    lease: str
    joined: bool = False


def begin(transaction: Transaction, grant: Grant, device: str, owner: str, document: dict[str, Any]) -> SessionRun:
    """The job and the run of a session on a device that was granted."""
    job, run = new_id(), new_id()
    now = transaction.now
    transaction.execute(
        sa.insert(jobs).values(
            id=job,
            name=f"WebDriver session on {device}",
            owner=owner,
            document=document,
            priority=0,
            state="running",
            reason="",
            submitted_at=now,
        )
    )
    transaction.execute(
        sa.insert(runs).values(
            id=run,
            job_id=job,
            lease_id=grant.lease,
            attempt=1,
            state="running",
            reason="",
            cancel_asked=False,
            started_at=now,
        )
    )
    transaction.execute(
        sa.insert(lanes).values(
            run_id=run,
            name=LANE,
            role=LANE,
            device=device,
            daemon=transaction.daemon,
            state="running",
            done=0,
            total=1,
            reason="",
            started_at=now,
        )
    )
    # A run without a step counts as one that never began, and its job would be queued again.
    step = {"title": LANE, "what": "webdriver.session", "attempt": 1, "verdict": "running", "reason": "", "outputs": {}}
    transaction.execute(sa.insert(steps).values(run_id=run, lane=LANE, number=0, started_at=now, **step))
    about = {"roles": {LANE: device}, "attempt": 1}
    transaction.emit("run.started", job=job, run=run, lease=grant.lease, device=device, **about)
    return SessionRun(job, run, grant.lease)


def finish(transaction: Transaction, session: SessionRun, verdict: str, reason: str) -> None:
    """Give the run of a session its verdict; does nothing when it has one, or is another job's."""
    if session.joined:
        return
    ended = {"state": "finished", "verdict": verdict, "reason": reason, "finished_at": transaction.now}
    open_run = sa.and_(runs.c.id == session.run, runs.c.state == "running")
    if not transaction.execute(sa.update(runs).where(open_run).values(**ended)).rowcount:
        return
    lane = sa.and_(lanes.c.run_id == session.run, lanes.c.name == LANE)
    transaction.execute(sa.update(lanes).where(lane).values(done=1, **ended))
    step = sa.and_(steps.c.run_id == session.run, steps.c.lane == LANE)
    over = {key: value for key, value in ended.items() if key != "state"}
    transaction.execute(sa.update(steps).where(step).values(**over))
    transaction.emit("run.finished", job=session.job, run=session.run, verdict=verdict, reason=reason)
    submitting.finish(transaction, session.job, verdict, reason)


def join(transaction: Transaction, name: str) -> tuple[SessionRun, Grant, str]:
    """The run under way of a job, named by either's id, with its lease and owner.

    Raises NotFoundError, and ConflictError when it is not running.
    """
    named = sa.or_(runs.c.job_id == name, runs.c.id == name)
    found = sa.select(runs, jobs.c.owner).join(jobs, jobs.c.id == runs.c.job_id).where(named)
    row = transaction.execute(found.order_by(runs.c.attempt.desc()).limit(1)).one_or_none()
    if row is None:
        raise NotFoundError(f"there is no run of a job {name!r}; lab:job takes the id of a job or of its run")
    if row.state != "running":
        raise ConflictError(f"run {row.id} of job {row.job_id} is {row.state}: a session can join it no more")
    lease = transaction.execute(sa.select(leases).where(leases.c.id == row.lease_id)).one()
    return SessionRun(row.job_id, row.id, row.lease_id, joined=True), as_grant(transaction, lease), row.owner


def held(transaction: Transaction, lease: str) -> Grant:
    """An active lease. Raises NotFoundError, and ConflictError when it is not active."""
    row = transaction.execute(sa.select(leases).where(leases.c.id == lease)).one_or_none()
    if row is None:
        raise NotFoundError(f"there is no lease {lease!r}; GET /api/v1/leases lists them")
    if row.state != "active":
        raise ConflictError(f"lease {lease} is {row.state}, not active")
    return as_grant(transaction, row)
