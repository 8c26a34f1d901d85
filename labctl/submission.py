"""Takes jobs in: reads and checks the text, queues what it asks for, queues a finished job anew."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from drivers.documents import Problem
from labctl.errors import ConflictError
from labctl.jobs import Job, ParsedFile, ParsedJob, parse_job_file
from labctl.leases import Leases
from labctl.registry import ActionRegistry
from labctl.sequencer import RUN_LEASE_S
from labctl.store import Store, Transaction, submitting
from labctl.store.memory import candidate
from labctl.store.submitting import Key, NewJob
from labctl.store.tables import devices

Permit = Callable[[NewJob], NewJob]


@dataclass(frozen=True, slots=True)
class Submitted:
    """A job in the queue. `new`: False when the same submission was made before. `warnings`: what is doubtful in it."""

    job: str
    new: bool
    warnings: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class Submissions:
    """The way into the queue."""

    store: Store
    leases: Leases
    actions: ActionRegistry

    def submit(
        self,
        text: str,
        source: str,
        owner: str,
        *,
        key: str | None = None,
        overrides: Mapping[str, str] | None = None,
        permit: Permit = lambda job: job,
    ) -> Submitted:
        """Queue the job in a YAML or JSON text, once for each `key` of an owner.

        `overrides`: values for its `vars`. `permit`: gives the job as its owner may have it, or raises.
        Raises `drivers.documents.DocumentError` with all that is wrong, NotFoundError or InvalidInputError for devices
        that the lab does not have, InvalidInputError for a key that was used for another job.
        """
        parsed = self.check(text, source, overrides)
        said = None
        if key is not None:
            told = "\0".join([text, *(f"{name}={value}" for name, value in sorted((overrides or {}).items()))])
            said = Key(key, hashlib.sha256(told.encode()).hexdigest())
        wanted = [permit(_new_job(each)) for each in parsed.jobs]

        def work(transaction: Transaction) -> tuple[str, bool]:
            return submitting.submit(transaction, owner, parsed.name, wanted, matrix=parsed.matrix, key=said)

        job, new = self.leases.change(work)
        return Submitted(job, new, parsed.warnings)

    def check(self, text: str, source: str, overrides: Mapping[str, str] | None = None) -> ParsedFile:
        """The jobs in a text, with their actions' parameters and their roles checked; changes nothing."""
        with self.store.read() as connection:
            present = connection.execute(sa.select(devices).where(devices.c.state != "removed"))
            candidates = [candidate(each) for each in present]
        return parse_job_file(text, source, self.actions.check, overrides, devices=candidates)

    def rerun(self, job: str, owner: str, permit: Permit = lambda job: job) -> str:
        """Queue a finished job, or matrix, anew as it was; returns the new job. Raises ConflictError while it lasts."""

        def work(transaction: Transaction) -> str:
            row = submitting.find(transaction, job)
            if row.state != "finished":
                raise ConflictError(
                    f"job {job} is {row.state}: it can be run again once it is finished", state=row.state
                )
            parts = submitting.parts(transaction, job)
            again = [permit(_as_it_was(each)) for each in parts or [row]]
            return submitting.submit(transaction, owner, row.name, again, matrix=bool(parts), rerun_of=job)[0]

        return self.leases.change(work)


def _as_it_was(row: sa.Row[Any]) -> NewJob:
    return _new_job(ParsedJob(Job.model_validate(row.document), row.combination or {}))


def _new_job(parsed: ParsedJob) -> NewJob:
    job = parsed.job
    document = job.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return NewJob(job.name, document, job.requirements(), job.priority, RUN_LEASE_S, parsed.combination or None)
