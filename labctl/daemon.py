"""Puts the daemon together: store, leases, robots, sequencer; starts and stops them in order."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from drivers import documents
from labctl.auth import LOCAL_ADMINISTRATOR
from labctl.config import Lab
from labctl.jobs import Job, Step, parse_job
from labctl.leases import DEADLINE_MARGIN_S, Leases, Listeners
from labctl.registry import ActionRegistry
from labctl.robots import Fleet
from labctl.scoring import AudioFiles, AudioJobs, AudioPool
from labctl.sequencer import RUN_LEASE_S, Sequencer
from labctl.store import ArtifactStore, Store, inventory, open_store, running
from labctl.store.leasing import Grant
from labctl.workers import worker_pool

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Daemon:
    """All parts of a running daemon. What the API does, it does through these."""

    lab: Lab
    store: Store
    artifacts: ArtifactStore
    actions: ActionRegistry
    fleet: Fleet
    leases: Leases
    sequencer: Sequencer
    audio_files: AudioFiles
    audio_jobs: AudioJobs

    def submit(self, text: str, source: str, owner: str) -> str:
        """Queue the job in a YAML or JSON text; returns its id. Raises `drivers.documents.DocumentError`."""
        job = self.check(text, source)
        return self.leases.change(
            lambda transaction: running.submit(
                transaction,
                owner=owner,
                name=job.name,
                document=job.model_dump(mode="json", by_alias=True),
                require=job.requirements(),
                priority=job.priority,
                lease_s=RUN_LEASE_S,
            )
        )

    def check(self, text: str, source: str) -> Job:
        """The job in a text, with its actions' parameters checked; changes nothing."""
        return parse_job(text, source, self._check_step)

    def cancel(self, job: str, reason: str) -> None:
        """End a job: a queued one at once, a running one after its teardown."""
        run = self.leases.change(lambda transaction: running.cancel_job(transaction, job, reason))
        if run is not None:
            self.sequencer.cancel(run, reason)

    def _check_step(self, step: Step) -> list[tuple[documents.Location, str]]:
        return list(self.actions.check(step))


@contextmanager
def run_daemon(lab: Lab, data: Path, database: str | None = None) -> Iterator[Daemon]:
    """A daemon, from entry to exit. Raises `labctl.store.database.StoreError` when its state cannot be used."""
    with contextlib.ExitStack() as stack:
        store = open_store(data, database)
        stack.callback(store.close)
        fleet = Fleet(lab, data, store)
        store.write(lambda transaction: inventory.register(transaction, lab.devices, set(fleet.robots)))
        local = LOCAL_ADMINISTRATOR
        store.write(lambda transaction: inventory.add_principal(transaction, local.name, local.kind))
        scratch = data / "scratch"
        scratch.mkdir(parents=True, exist_ok=True)
        workers = worker_pool()
        stack.callback(workers.shutdown, wait=True, cancel_futures=True)
        artifacts = ArtifactStore(data / "artifacts")
        audio_pool = AudioPool()
        audio_files = AudioFiles(data / "audio" / "files", store, audio_pool)
        audio_jobs = AudioJobs(data / "audio" / "reports", store, audio_files, audio_pool)
        stack.callback(audio_jobs.close)
        actions = ActionRegistry()
        leases = Leases(store)
        sequencer = Sequencer(
            lab, store, artifacts, actions, fleet, workers, leases, scratch, lambda file: audio_files.path(file)[0], {}
        )
        leases.listen(_relay(fleet, sequencer))
        for grant in store.write(running.recover):
            fleet.granted(grant, time.monotonic() + grant.duration_s - DEADLINE_MARGIN_S)
        sequencer.adopt_leftovers()
        fleet.on_change = leases.schedule
        stack.callback(leases.stop)
        stack.callback(fleet.close)
        stack.callback(sequencer.close)
        fleet.start()
        leases.start()
        leases.schedule()
        audio_jobs.resume()
        yield Daemon(lab, store, artifacts, actions, fleet, leases, sequencer, audio_files, audio_jobs)


def _relay(fleet: Fleet, sequencer: Sequencer) -> Listeners:
    """The guards hear of a lease before anything drives on it, and of its end before anybody else gets the robot."""

    def granted(grant: Grant, deadline: float) -> None:
        fleet.granted(grant, deadline)
        if grant.job is not None:
            sequencer.start(grant)

    def ended(grant: Grant) -> None:
        fleet.ended(grant)
        sequencer.lease_ended(grant)

    return Listeners(granted, fleet.granted, ended)
