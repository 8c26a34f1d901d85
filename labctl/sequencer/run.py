"""One run as far as this daemon carries it out: its lanes here, side by side, its lease renewed, its time limited."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog
from sqlalchemy.exc import SQLAlchemyError

from labctl.config import Lab
from labctl.errors import LabError, LabFailureError
from labctl.health import hooks
from labctl.jobs import Job, wait_graph
from labctl.jobs.durations import worded
from labctl.leases import Leases
from labctl.registry import ActionRegistry
from labctl.sequencer.lane import LanePerformer, MakeContext, Place
from labctl.sequencer.meeting import Meetings, ParkedError
from labctl.sequencer.news import News
from labctl.steps import Cancellation, Outcome, Sessions, Verdict
from labctl.store import Store, running
from labctl.store.running import Claim

log = structlog.get_logger(__name__)
# A run's lease is short and renewed, so that a daemon that dies loses it soon.
RUN_LEASE_S = 30.0
# So long may a daemon be away, and the runs that only waited there go on after its next start.
RESTART_S = 120.0
_RENEW_EVERY_S = 10.0
_WRITE_AGAIN_S = 2.0


@dataclass(frozen=True, slots=True)
class RunParts:
    """What every run of this daemon needs. `closing`: the daemon is ending."""

    lab: Lab
    store: Store
    leases: Leases
    actions: ActionRegistry
    news: News
    scratch: Path
    make_context: Callable[[Claim], MakeContext]
    sessions: Sessions
    closing: threading.Event


class LocalRun:
    """The lanes of a run that are this daemon's. `over` is called when they are finished."""

    def __init__(self, parts: RunParts, claim: Claim, over: Callable[[LocalRun], None]) -> None:
        self.id = claim.run
        self.claim = claim
        self.cancellation = Cancellation()
        self._parts = parts
        self._over = over
        self._job = Job.model_validate(claim.document)
        self._done = threading.Event()
        self._parking = threading.Event()
        self._parked = False
        self._thread = threading.Thread(target=self._perform, name=f"run {claim.run}", daemon=True)
        self._heart = threading.Thread(target=self._renew, name=f"renew {claim.run}", daemon=True)

    def start(self) -> None:
        self._heart.start()
        self._thread.start()

    def park(self) -> None:
        """Leave lanes that wait as they are, with their devices, for the daemon's next start."""
        self._parking.set()
        self._parts.news.wake(self.id)

    def join(self) -> None:
        self._thread.join()

    def _perform(self) -> None:
        late = (f"the job took longer than its {worded(self._job.timeout)}", Verdict.ERRORED)
        left_s = max(0.0, self._job.timeout - self.claim.since_s)
        limit = threading.Timer(left_s, self.cancellation.ask, late)
        limit.daemon = True
        limit.start()
        threads = [
            threading.Thread(target=self._lane, args=(name,), name=f"lane {name}", daemon=True)
            for name in self.claim.lanes
        ]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            limit.cancel()
            self._done.set()
            self._heart.join()
            if self._parked:
                self._keep_devices()
            self._over(self)

    def _keep_devices(self) -> None:
        try:
            self._parts.leases.renew(self.claim.grant.lease, RESTART_S)
        except (LabError, SQLAlchemyError) as exc:
            log.warning("a run that waits may lose its devices at the restart", run=self.id, error=str(exc))

    def _lane(self, name: str) -> None:
        try:
            outcome = self._performer(name).perform()
        except ParkedError:
            self._parked = True
            return
        except Exception as exc:
            log.exception("lane failed", run=self.id, lane=name)
            outcome = Outcome(Verdict.ERRORED, f"the lab failed: {type(exc).__name__}: {exc}")
        self._close_session(name)
        while not self._written(name, outcome) and not self._parts.closing.wait(_WRITE_AGAIN_S):
            pass

    def _close_session(self, lane: str) -> None:
        """A WebDriver session that the lane opened ends with it, before the device is anybody else's."""
        device = self.claim.grant.roles[self._job.role_of(lane)]
        try:
            self._parts.sessions.close(self.id, device)
        except LabFailureError as exc:
            log.warning("the session of a lane did not end", run=self.id, lane=lane, device=device, error=str(exc))

    def _performer(self, name: str) -> LanePerformer:
        parts, claim, job = self._parts, self.claim, self._job
        meetings = wait_graph.meetings(job)
        barriers = {each.signal for own in meetings.values() for each in own if each.kind == "barrier"}
        counts = {each: wait_graph.barrier_count(meetings, each) for each in barriers}
        roles = claim.grant.roles
        place = Place(self.id, str(claim.grant.job), claim.attempt, name, job.role_of(name), roles, counts)
        names = {
            "vars": job.vars,
            "matrix": claim.combination,
            "run": {"id": self.id, "attempt": claim.attempt, "job": place.job},
            "lane": name,
            "role": place.role,
            "device": place.device,
            "roles": dict(roles),
        }
        return LanePerformer(
            place,
            hooks.around(job, name, parts.lab.devices.get(place.device)),
            names,
            parts.store,
            parts.actions,
            Meetings(parts.store, parts.news, self.id, self._parking),
            parts.make_context(claim),
            self.cancellation,
            parts.scratch,
            claim.before[name],
        )

    def _written(self, lane: str, outcome: Outcome) -> bool:
        """Write the verdict; False when the database takes nothing (a full disk), which somebody will mend."""
        try:
            self._parts.leases.change(
                lambda transaction: running.finish_lane(
                    transaction, self.id, lane, outcome.verdict.value, outcome.reason
                )
            )
        except SQLAlchemyError as exc:
            log.error("the verdict of a lane cannot be written; it is tried again", run=self.id, error=str(exc))
            return False
        except LabError as exc:  # the daemon is shutting down and its store closed: the next start ends the lane
            log.warning("the verdict of a lane was not written", run=self.id, error=str(exc))
        return True

    def _renew(self) -> None:
        while not self._done.wait(_RENEW_EVERY_S):
            try:
                self._parts.leases.renew(self.claim.grant.lease, RUN_LEASE_S)
            except (LabError, SQLAlchemyError) as exc:
                if not self._done.is_set():
                    self.cancellation.ask(f"its lease could not be renewed: {exc}", Verdict.ERRORED)
                if isinstance(exc, LabError):
                    return
                # The database may be back before the lease is over, and the teardown needs it.
