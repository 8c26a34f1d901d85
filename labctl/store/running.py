"""Jobs and runs in the database: submission, the start and the one end of a run. Each is part of a transaction."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from labctl.errors import ConflictError, NotFoundError
from labctl.matching import Requirement
from labctl.store import leasing
from labctl.store.identifiers import new_id
from labctl.store.leasing import Grant
from labctl.store.tables import artifacts, jobs, leases, measurements, runs
from labctl.store.transaction import Transaction


def submit(
    transaction: Transaction,
    *,
    owner: str,
    name: str,
    document: dict[str, Any],
    require: list[Requirement],
    priority: int,
    lease_s: float,
) -> str:
    """A job row, with the request for its devices in the queue; returns the job's id."""
    job = new_id()
    transaction.execute(
        sa.insert(jobs).values(
            id=job,
            name=name,
            owner=owner,
            document=document,
            priority=priority,
            state="queued",
            reason="",
            submitted_at=transaction.now,
        )
    )
    leasing.request(transaction, owner, require, lease_s, job)
    transaction.emit("job.submitted", job=job, name=name, owner=owner)
    return job


def start_run(transaction: Transaction, grant: Grant) -> tuple[str, dict[str, Any]] | None:
    """The run of a job whose lease was granted: its id and the job's document. None when the job is not queued."""
    row = transaction.execute(sa.select(jobs).where(jobs.c.id == grant.job)).one()
    if row.state != "queued":
        return None
    run = new_id()
    attempts = transaction.execute(sa.select(sa.func.count()).where(runs.c.job_id == row.id)).scalar_one()
    transaction.execute(
        sa.insert(runs).values(
            id=run,
            job_id=row.id,
            lease_id=grant.lease,
            attempt=attempts + 1,
            state="running",
            reason="",
            cancel_asked=False,
            started_at=transaction.now,
        )
    )
    transaction.execute(sa.update(jobs).where(jobs.c.id == row.id).values(state="running"))
    transaction.emit("run.started", job=row.id, run=run, lease=grant.lease, roles=grant.roles)
    return run, row.document


def finish_run(transaction: Transaction, run: str, verdict: str, reason: str) -> bool:
    """Give a run its verdict; False when it has one already."""
    ended = {"state": "finished", "verdict": verdict, "reason": reason, "finished_at": transaction.now}
    open_run = sa.and_(runs.c.id == run, runs.c.state == "running")
    if not transaction.execute(sa.update(runs).where(open_run).values(**ended)).rowcount:
        return False
    row = transaction.execute(sa.select(runs).where(runs.c.id == run)).one()
    transaction.execute(sa.update(jobs).where(jobs.c.id == row.job_id).values(**ended))
    transaction.emit("run.finished", job=row.job_id, run=run, verdict=verdict, reason=reason)
    return True


def cancel_job(transaction: Transaction, job: str, reason: str) -> str | None:
    """Cancel a queued job at once; of a running one, note the wish and return its run."""
    row = transaction.execute(sa.select(jobs).where(jobs.c.id == job)).one_or_none()
    if row is None:
        raise NotFoundError(f"there is no job {job!r}")
    if row.state == "finished":
        raise ConflictError(f"job {job} is finished already: {row.verdict}", verdict=row.verdict)
    if row.state == "running":
        running = sa.and_(runs.c.job_id == job, runs.c.state == "running")
        run: str = transaction.execute(sa.select(runs.c.id).where(running)).scalar_one()
        transaction.execute(sa.update(runs).where(runs.c.id == run).values(cancel_asked=True))
        transaction.emit("run.cancel_asked", job=job, run=run, reason=reason)
        return run
    for lease in transaction.execute(sa.select(leases.c.id).where(leases.c.job_id == job)).scalars().all():
        leasing.withdraw(transaction, lease, reason)
    ended = {"state": "finished", "verdict": "cancelled", "reason": reason, "finished_at": transaction.now}
    transaction.execute(sa.update(jobs).where(jobs.c.id == job).values(**ended))
    transaction.emit("job.cancelled", job=job, reason=reason)
    return None


def recover(transaction: Transaction) -> list[Grant]:
    """After a start: close what a dead daemon left open. Returns the leases that are still active, with
    what is left of their durations.

    Its runs become errored and their leases end, since nobody carries them on; jobs that had not started wait anew.
    """
    why = "the daemon ended while this run was under way; its robots were stopped"
    for run in transaction.execute(sa.select(runs.c.id).where(runs.c.state == "running")).scalars().all():
        finish_run(transaction, run, "errored", why)
    leasing.expire(transaction)
    active = transaction.execute(sa.select(leases).where(leases.c.state == "active")).all()
    for row in active:
        if row.job_id is not None:
            leasing.end(transaction, row.id, "released", "the daemon was restarted")
    for job in transaction.execute(sa.select(jobs).where(jobs.c.state == "queued")).all():
        asked = transaction.execute(sa.select(leases).where(leases.c.job_id == job.id).order_by(leases.c.id)).all()
        if not any(row.state == "waiting" for row in asked):
            require = [Requirement(**each) for each in asked[-1].require]
            leasing.request(transaction, job.owner, require, asked[-1].duration_s, job.id)
    held = [row for row in active if row.job_id is None]
    return [leasing.as_grant(transaction, row, row.expires_at - transaction.now) for row in held]


def add_measurements(transaction: Transaction, run: str, step: str, rows: list[dict[str, Any]]) -> None:
    """Append measurements of a run; one event for all of them."""
    if rows:
        common = {"run_id": run, "step": step, "taken_at": transaction.now}
        transaction.execute(sa.insert(measurements), [{**row, **common} for row in rows])
        transaction.emit("run.measured", job=_job_of(transaction, run), run=run, step=step, measurements=rows)


def add_artifact(transaction: Transaction, run: str, row: dict[str, Any]) -> str:
    """The row of a file that is in the artifact store already; returns its id."""
    artifact = new_id()
    transaction.execute(sa.insert(artifacts).values(id=artifact, run_id=run, created_at=transaction.now, **row))
    transaction.emit(
        "run.artifact", job=_job_of(transaction, run), run=run, artifact=artifact, name=row["name"], size=row["size"]
    )
    return artifact


def artifact_named(connection: sa.Connection, run: str, name: str) -> str | None:
    """Where the newest artifact of a run with that name lies in the artifact store."""
    named = sa.select(artifacts.c.location).where(artifacts.c.run_id == run, artifacts.c.name == name)
    location: str | None = connection.execute(named.order_by(artifacts.c.id.desc()).limit(1)).scalar()
    return location


def artifact_names(connection: sa.Connection, run: str) -> set[str] | None:
    """Names of the files that a run left; None when there is no such run."""
    if connection.execute(sa.select(runs.c.id).where(runs.c.id == run)).scalar() is None:
        return None
    return set(connection.execute(sa.select(artifacts.c.name).where(artifacts.c.run_id == run)).scalars())


def _job_of(transaction: Transaction, run: str) -> str:
    return str(transaction.execute(sa.select(runs.c.job_id).where(runs.c.id == run)).scalar_one())
