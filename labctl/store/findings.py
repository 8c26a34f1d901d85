"""What runs leave behind, in the database: measurements and artifacts. Each function is part of a transaction."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from labctl.store.identifiers import new_id
from labctl.store.tables import artifacts, measurements, runs
from labctl.store.transaction import Transaction


def add_measurements(
    transaction: Transaction, run: str, place: dict[str, Any], step: str, rows: list[dict[str, Any]]
) -> None:
    """Append measurements of a run; one event for all of them. `place`: `lane`, `number`, `attempt` of the step."""
    if rows:
        common = {"run_id": run, "step": step, "taken_at": transaction.now, **place}
        transaction.execute(sa.insert(measurements), [{**row, **common} for row in rows])
        told: dict[str, Any] = {"step": step, "lane": place.get("lane"), "measurements": rows}
        transaction.emit("run.measured", job=_job_of(transaction, run), run=run, **told)


def add_artifact(transaction: Transaction, run: str, row: dict[str, Any]) -> str:
    """The row of a file that is in the artifact store already; returns its id."""
    artifact = new_id()
    transaction.execute(sa.insert(artifacts).values(id=artifact, run_id=run, created_at=transaction.now, **row))
    told = {"artifact": artifact, "name": row["name"], "size": row["size"]}
    transaction.emit("run.artifact", job=_job_of(transaction, run), run=run, **told)
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
