"""Runs jobs whose lease was granted: lanes side by side, steps in order, teardown always, exactly one verdict."""

from __future__ import annotations

import mimetypes
import shutil
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy.exc import SQLAlchemyError

from drivers.errors import DeviceError
from labctl.config import Lab
from labctl.errors import LabError, LabFailureError
from labctl.jobs import Job, Lane, Step
from labctl.leases import Leases
from labctl.registry import ActionRegistry
from labctl.steps import Bases, Cancellation, Measurement, Outcome, StepContext, Verdict
from labctl.store import ArtifactStore, Store, running
from labctl.store.leasing import Grant

log = structlog.get_logger(__name__)
# A run's lease is short and renewed, so that a daemon that dies loses it soon.
RUN_LEASE_S = 30.0
_RENEW_EVERY_S = 10.0
_WRITE_AGAIN_S = 2.0


@dataclass(frozen=True)
class Sequencer:
    """Starts a thread for each run. `active`: the runs under way, with what cancels them."""

    lab: Lab
    store: Store
    artifacts: ArtifactStore
    actions: ActionRegistry
    bases: Bases
    workers: Executor
    leases: Leases
    scratch: Path
    uploaded: Callable[[str], Path]  # an uploaded file by its id; raises NotFoundError
    active: dict[str, _Run]
    closing: threading.Event = field(default_factory=threading.Event)

    def start(self, grant: Grant) -> None:
        """Begin the run of a job whose devices were just granted."""
        begun = self.store.write(lambda transaction: running.start_run(transaction, grant))
        if begun is None:  # cancelled in the meantime
            self.leases.release(grant.lease, "its job was cancelled")
            return
        run_id, document = begun
        run = _Run(self, run_id, grant, Job.model_validate(document))
        self.active[run_id] = run
        run.start()

    def adopt_leftovers(self) -> None:
        """Keep, as artifacts of their runs, the files that steps were writing when an earlier daemon was killed."""
        for folder in self.scratch.iterdir():
            try:
                self._adopt(folder)
                shutil.rmtree(folder)
            except OSError as exc:
                log.warning("files of a killed daemon were left where they are", folder=str(folder), error=str(exc))

    def _adopt(self, folder: Path) -> None:
        run = folder.name.partition("-")[0]
        with self.store.read() as connection:
            known = running.artifact_names(connection, run)
        if known is None:
            return
        for file in sorted(folder.iterdir()):
            if file.is_file() and file.stat().st_size and file.name not in known:
                self.keep(run, file, file.name, mimetypes.guess_type(file.name)[0] or "application/octet-stream")

    def keep(self, run: str, file: Path, name: str, media_type: str) -> None:
        """Store a file as an artifact of a run."""
        row = {"name": name, "media_type": media_type, **asdict(self.artifacts.put(run, file))}
        self.store.write(lambda transaction: running.add_artifact(transaction, run, row))

    def cancel(self, run: str, reason: str) -> None:
        """Ask a run to end early; it tears down and ends as cancelled."""
        if (under_way := self.active.get(run)) is not None:
            under_way.cancellation.ask(reason)

    def lease_ended(self, grant: Grant) -> None:
        """A lease is over; a run that lives on it cannot go on."""
        for run in tuple(self.active.values()):
            if run.grant.lease == grant.lease:
                run.cancellation.ask(f"its lease ended: {grant.reason}", Verdict.ERRORED)

    def close(self) -> None:
        """Cancel all runs and wait for their ends."""
        self.closing.set()
        for run in tuple(self.active.values()):
            run.cancellation.ask("the daemon is shutting down")
        for run in tuple(self.active.values()):
            run.join()


class _Run:
    """One run under way."""

    def __init__(self, sequencer: Sequencer, run_id: str, grant: Grant, job: Job) -> None:
        self.sequencer = sequencer
        self.id = run_id
        self.grant = grant
        self.job = job
        self.cancellation = Cancellation()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._perform, name=f"run {run_id}", daemon=True)
        self._heart = threading.Thread(target=self._renew, name=f"renew {run_id}", daemon=True)

    def start(self) -> None:
        self._heart.start()
        self._thread.start()

    def join(self) -> None:
        self._thread.join()

    def _perform(self) -> None:
        outcome = Outcome(Verdict.ERRORED, "the run ended without an outcome")
        limit = threading.Timer(
            self.job.timeout_s,
            self.cancellation.ask,
            (f"the job took longer than its {self.job.timeout_s:g} s", Verdict.ERRORED),
        )
        limit.daemon = True
        limit.start()
        try:
            outcome = self._lanes()
        except Exception as exc:
            log.exception("run failed", run=self.id)
            outcome = Outcome(Verdict.ERRORED, f"the lab failed: {type(exc).__name__}: {exc}")
        finally:
            limit.cancel()
            self._done.set()
            self._finish(outcome)

    def _finish(self, outcome: Outcome) -> None:
        sequencer = self.sequencer
        try:
            while not self._written(outcome) and not sequencer.closing.wait(_WRITE_AGAIN_S):
                pass
            sequencer.leases.release(self.grant.lease, "its run ended")
        except (LabError, SQLAlchemyError) as exc:  # the lease had run out, or cannot be ended: it runs out
            log.info("lease of a run was over", run=self.id, error=str(exc))
        finally:
            sequencer.active.pop(self.id, None)

    def _written(self, outcome: Outcome) -> bool:
        """Write the verdict; False when the database takes nothing (a full disk), which somebody will mend."""
        try:
            self.sequencer.store.write(
                lambda transaction: running.finish_run(transaction, self.id, outcome.verdict, outcome.reason)
            )
        except SQLAlchemyError as exc:
            log.error("the verdict of a run cannot be written; it is tried again", run=self.id, error=str(exc))
            return False
        return True

    def _lanes(self) -> Outcome:
        outcomes: list[Outcome] = []

        def perform(name: str, lane: Lane) -> None:
            try:
                outcomes.extend(self._lane(name, lane))
            except Exception as exc:
                log.exception("lane failed", run=self.id, lane=name)
                outcomes.append(Outcome(Verdict.ERRORED, f"the lab failed: {type(exc).__name__}: {exc}"))

        threads = [
            threading.Thread(target=perform, args=each, name=f"lane {each[0]}", daemon=True)
            for each in self.job.lanes.items()
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        verdict = Verdict.worst([each.verdict for each in outcomes])
        reasons = [each.reason for each in outcomes if each.verdict is verdict and each.reason]
        return Outcome(verdict, "; ".join(dict.fromkeys(reasons)))

    def _lane(self, role: str, lane: Lane) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for step in lane.steps:
            outcomes.append(self._step(role, step, self.cancellation))
            if outcomes[-1].verdict is not Verdict.PASSED:
                break
        # Teardown is not cancelled with the run; its own time limits end it.
        outcomes.extend(self._step(role, step, Cancellation()) for step in lane.always)
        return outcomes

    def _step(self, role: str, step: Step, cancellation: Cancellation) -> Outcome:
        own = Cancellation()
        cancellation.on_asked(lambda reason: own.ask(reason, cancellation.verdict))
        limit = threading.Timer(
            step.timeout_s, own.ask, (f"{step.title} took longer than its {step.timeout_s:g} s", Verdict.ERRORED)
        )
        limit.daemon = True
        self._emit("step.started", {"step": step.title, "role": role})
        limit.start()
        try:
            with tempfile.TemporaryDirectory(dir=self.sequencer.scratch, prefix=f"{self.id}-") as folder:
                outcome = self._act(role, step, own, Path(folder))
        except (LabFailureError, LabError, DeviceError, LookupError) as exc:
            outcome = Outcome(Verdict.ERRORED, str(exc))
        except Exception as exc:
            log.exception("step failed", run=self.id, step=step.title)
            outcome = Outcome(Verdict.ERRORED, f"{step.uses} failed in itself: {type(exc).__name__}: {exc}")
        finally:
            limit.cancel()
        if own.asked and outcome.verdict is not Verdict.PASSED:
            outcome = Outcome(own.verdict, own.reason)
        ended = {"step": step.title, "role": role, "verdict": outcome.verdict, "reason": outcome.reason}
        self._emit("step.finished", ended)
        return outcome

    def _act(self, role: str, step: Step, cancellation: Cancellation, folder: Path) -> Outcome:
        if cancellation.asked:
            return Outcome(cancellation.verdict, cancellation.reason)
        sequencer = self.sequencer
        action = sequencer.actions.get(step.uses)
        context = StepContext(
            lab=sequencer.lab,
            device=self.grant.roles[role],
            roles=self.grant.roles,
            fencing=self.grant.fencing,
            folder=folder,
            workers=sequencer.workers,
            bases=sequencer.bases,
            cancellation=cancellation,
            emit=lambda kind, data: self._emit(f"step.{kind}", {"step": step.title, "role": role, **data}),
            measure=lambda values: self._measure(step.title, values),
            keep=lambda file, name, media_type: sequencer.keep(self.id, file, name, media_type),
            find=self._find,
        )
        outcome: Outcome = action.run(context, action.parameters.model_validate(step.parameters))
        return outcome

    def _emit(self, kind: str, data: dict[str, Any]) -> None:
        """Append an event without waiting for the disk: who drives must not stall. The order is kept."""
        self.sequencer.store.submit(lambda transaction: transaction.emit(kind, job=self.grant.job, run=self.id, **data))

    def _measure(self, step: str, values: Sequence[Measurement]) -> None:
        rows = [asdict(each) for each in values]
        self.sequencer.store.write(lambda transaction: running.add_measurements(transaction, self.id, step, rows))

    def _find(self, name: str) -> Path:
        sequencer = self.sequencer
        with sequencer.store.read() as connection:
            location = running.artifact_named(connection, self.id, name)
        if location is not None:
            return sequencer.artifacts.path(location)
        return sequencer.uploaded(name)

    def _renew(self) -> None:
        while not self._done.wait(_RENEW_EVERY_S):
            try:
                self.sequencer.leases.renew(self.grant.lease, RUN_LEASE_S)
            except (LabError, SQLAlchemyError) as exc:
                self.cancellation.ask(f"its lease could not be renewed: {exc}", Verdict.ERRORED)
                return
