"""Carries out the lanes that are this daemon's, and ends those of daemons that are gone."""

from __future__ import annotations

import mimetypes
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy.exc import SQLAlchemyError

from labctl.config import Lab
from labctl.errors import LabError
from labctl.leases import Leases
from labctl.registry import ActionRegistry
from labctl.sequencer.lane import SHUTTING_DOWN, MakeContext, Place
from labctl.sequencer.news import News
from labctl.sequencer.run import RESTART_S, RUN_LEASE_S, LocalRun, RunParts
from labctl.steps import Bases, Cancellation, LabHosts, Measurement, Sessions, StepContext, Verdict
from labctl.store import ArtifactStore, Store, Transaction, daemons, findings, inventory, running
from labctl.store.leasing import Grant
from labctl.store.running import Claim
from labctl.store.tables import leases as leases_table
from labctl.store.tables import runs

log = structlog.get_logger(__name__)
_LOOK_FOR_DAEMONS_S = 5.0


class Sequencer:
    """Starts threads for the lanes of this daemon's devices. `active`: the runs that it has a part in."""

    def __init__(
        self,
        lab: Lab,
        store: Store,
        leases: Leases,
        *,
        artifacts: ArtifactStore,
        actions: ActionRegistry,
        bases: Bases,
        hosts: LabHosts,
        workers: Executor,
        scratch: Path,
        uploaded: Callable[[str], Path],  # an uploaded file by its id; raises NotFoundError
        sessions: Sessions,
    ) -> None:
        self.active: dict[str, LocalRun] = {}
        self._lab = lab
        self._store = store
        self._artifacts = artifacts
        self._bases = bases
        self._hosts = hosts
        self._workers = workers
        self._leases = leases
        self._scratch = scratch
        self._uploaded = uploaded
        self._sessions = sessions
        self._claiming = threading.Lock()
        self._closing = threading.Event()
        self.news = News(store, self._heard, self._review)
        self._parts = RunParts(lab, store, leases, actions, self.news, scratch, self._contexts, sessions, self._closing)
        self._watch = threading.Thread(target=self._look_for_daemons, name="lost-daemons", daemon=True)

    def start(self) -> None:
        """Begin to carry out lanes."""
        self.news.start()
        self._review()
        if self._store.shared:
            self._watch.start()

    def close(self) -> None:
        """End all runs here and wait for their teardown. Their jobs are errored, or queued again if they say so.

        Runs that only wait here go on after the next start, if that is within RESTART_S.
        """
        with self._claiming:
            self._closing.set()
        waiting = self._store.write(lambda transaction: running.waiting_runs(transaction, transaction.daemon))
        for run in tuple(self.active.values()):
            if run.id in waiting:
                run.park()
            else:
                run.cancellation.ask(SHUTTING_DOWN, Verdict.ERRORED)
        for run in tuple(self.active.values()):
            run.join()
        self.news.stop()
        if self._watch.is_alive():
            self._watch.join()

    def recover(self) -> None:
        """End what an earlier process of this daemon left open, and keep the files that its steps were writing."""
        why = "the daemon ended while this run was under way; its robots were stopped"
        self._leases.change(lambda transaction: running.recover(transaction, why))
        for folder in self._scratch.iterdir():
            try:
                self._adopt(folder)
                shutil.rmtree(folder)
            except (OSError, UnicodeError, SQLAlchemyError) as exc:
                log.warning("files of a killed daemon were left where they are", folder=str(folder), error=str(exc))

    def keep(self, run: str, file: Path, name: str, media_type: str) -> None:
        """Store a file as an artifact of a run."""
        name = name.encode(errors="replace").decode()  # a file's name is bytes, and these may be no text
        row = {"name": name, "media_type": media_type, **asdict(self._artifacts.put(run, file))}
        self._store.write(lambda transaction: findings.add_artifact(transaction, run, row))

    # What happens in the lab

    def _heard(self, kind: str, run: str | None, lease: str | None) -> None:
        if kind == "run.started":
            self._take_up()
        elif kind == "run.cancel_asked" and run in self.active:
            self._cancel(self.active[run])
        elif kind in ("lease.released", "lease.expired"):
            for each in tuple(self.active.values()):
                if each.claim.grant.lease == lease:
                    self._lease_ended(each)

    def _review(self) -> None:
        """Look at everything, should a wake-up have been lost."""
        self._take_up()
        for each in tuple(self.active.values()):
            self._cancel(each)
            self._lease_ended(each)

    def _take_up(self) -> None:
        """Start the lanes that are ready for this daemon."""
        with self._claiming:
            if self._closing.is_set():
                return
            unread: Exception | None = None
            for claim in self._store.write(running.claim_lanes):
                try:
                    run = LocalRun(self._parts, claim, self._over)
                except ValueError as exc:
                    self._refuse(claim, f"this daemon does not understand the job: {exc}")
                    continue
                self.active[claim.run] = run
                try:
                    self._cancel(run)
                except SQLAlchemyError as exc:  # its lanes are taken by now: nobody else carries them out, or ends them
                    unread = exc
                self._tell_of_lease(run)
                run.start()
            if unread is not None:
                raise unread

    def _refuse(self, claim: Claim, why: str) -> None:
        """End lanes that cannot be begun here, such as those of a job that a newer daemon has taken."""

        def end(transaction: Transaction) -> list[Grant]:
            ended = [running.finish_lane(transaction, claim.run, lane, "errored", why) for lane in claim.lanes]
            running.break_off(transaction, claim.run, why)
            return [each for each in ended if each is not None]

        self._leases.change(end)

    def _tell_of_lease(self, run: LocalRun) -> None:
        """Let this daemon's guards know of a lease that another daemon granted, before anything drives on it."""
        try:
            self._leases.renew(run.claim.grant.lease, RUN_LEASE_S)
        except (LabError, SQLAlchemyError) as exc:
            run.cancellation.ask(f"its lease is over: {exc}", Verdict.ERRORED)

    def _cancel(self, run: LocalRun) -> None:
        with self._store.read() as connection:
            row = connection.execute(sa.select(runs).where(runs.c.id == run.id)).one()
        if row.cancel_asked:
            run.cancellation.ask(row.cancel_reason, Verdict(row.cancel_verdict))

    def _lease_ended(self, run: LocalRun) -> None:
        with self._store.read() as connection:
            wanted = sa.select(leases_table).where(leases_table.c.id == run.claim.grant.lease)
            row = connection.execute(wanted).one()
        if row.state != "active":
            run.cancellation.ask(f"its lease ended: {row.end_reason}", Verdict.ERRORED)

    def _over(self, run: LocalRun) -> None:
        self.active.pop(run.id, None)

    def _look_for_daemons(self) -> None:
        while not self._closing.wait(_LOOK_FOR_DAEMONS_S):
            try:
                with self._store.read() as connection:
                    known = daemons.everyone(connection, self._store.time(connection))
                    gone = {each.id for each in known.values() if not each.alive} - {self._store.daemon_id}
                    lost = running.lost_daemons(connection, gone)
                for daemon in lost:
                    why = f"the daemon {known[daemon].name} is gone"
                    self._leases.change(partial(_lose, daemon=daemon, why=why))
            except (LabError, SQLAlchemyError) as exc:
                log.warning("could not look for daemons that are gone", error=str(exc))

    # What steps are given

    def _contexts(self, claim: Claim) -> MakeContext:
        return partial(self._context, claim)

    def _context(
        self,
        claim: Claim,
        place: Place,
        folder: Path,
        cancellation: Cancellation,
        *,
        emit: Callable[[str, dict[str, Any]], None],
        measure: Callable[[list[Measurement]], None],
        keep: Callable[[Path, str, str], None],
        output: Callable[[str, Any], None],
    ) -> StepContext:
        def keep_here(file: Path, name: str, media_type: str) -> None:
            self.keep(claim.run, file, name, media_type)
            keep(file, name, media_type)

        return StepContext(
            lab=self._lab,
            device=place.device,
            roles=place.roles,
            fencing=claim.grant.fencing,
            folder=folder,
            workers=self._workers,
            bases=self._bases,
            hosts=self._hosts,
            cancellation=cancellation,
            emit=emit,
            measure=measure,
            keep=keep_here,
            find=partial(self._find, claim.run),
            run=claim.run,
            lane=place.lane,
            output=output,
            sessions=self._sessions,
            holder=claim.grant.holder,
        )

    def _find(self, run: str, name: str) -> Path:
        with self._store.read() as connection:
            location = findings.artifact_named(connection, run, name)
        if location is not None:
            return self._artifacts.path(location)
        return self._uploaded(name)

    def _adopt(self, folder: Path) -> None:
        run = folder.name.partition("-")[0]
        with self._store.read() as connection:
            known = findings.artifact_names(connection, run)
        if known is None:
            return
        for file in sorted(folder.iterdir()):
            if file.is_file() and file.stat().st_size and file.name not in known:
                self.keep(run, file, file.name, mimetypes.guess_type(file.name)[0] or "application/octet-stream")


def _lose(transaction: Transaction, daemon: str, why: str) -> list[Grant]:
    known = daemons.everyone(transaction.connection, transaction.now)[daemon]
    if known.alive:  # it came back meanwhile
        return []
    # First, so that a job that is queued again is not given the same devices at once.
    inventory.note_gone_daemons(transaction)
    restarting = transaction.now < known.expires_at + RESTART_S
    waiting = running.waiting_runs(transaction, daemon) if restarting else set()
    return running.lose_daemon(transaction, daemon, why, spared=waiting)
