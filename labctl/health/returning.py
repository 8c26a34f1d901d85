"""The supervised way back to the dock: a robot moves only as long as a person holds a key.

The robot is withheld from everybody (quarantined, or in maintenance), so no lease of the scheduler can be active on it.
Each sign of the person's hand lets the guard go on for one second; without one the guard stops the base by itself, even
if this daemon is dead.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

import sqlalchemy as sa

from labctl.errors import ConflictError, NotFoundError
from labctl.health.steps_alone import AloneParts, perform
from labctl.robots import Fleet
from labctl.steps import Cancellation, Outcome, Verdict
from labctl.store import Store, Transaction, inventory
from labctl.store.identifiers import new_id
from labctl.store.tables import lease_devices

ACTION = "robot.return_to_dock"
HOLD_S = 1.0
_KEPT = 20  # sessions that are over and may still be asked about


@dataclass
class Session:
    """One way back. `outcome`: None while it lasts."""

    id: str
    robot: str
    person: str
    fencing: int
    told: str = "setting out"
    outcome: Outcome | None = None
    cancellation: Cancellation = field(default_factory=Cancellation)


class Returning:
    """The supervised ways back of this daemon's robots."""

    def __init__(self, parts: AloneParts, store: Store, fleet: Fleet) -> None:
        self._parts = parts
        self._store = store
        self._fleet = fleet
        self._sessions: dict[str, Session] = {}
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []

    def start(self, robot: str, person: str, reason: str) -> Session:
        """Set out. Raises NotFoundError, and ConflictError when the robot is not withheld or is on its way already."""
        self._fleet.get(robot)
        with self._lock:
            if any(each.robot == robot and each.outcome is None for each in self._sessions.values()):
                raise ConflictError(f"{robot} is on its way back already")
            session = Session(
                new_id(), robot, person, self._store.write(lambda tx: _fencing(tx, robot, person, reason))
            )
            self._sessions[session.id] = session
            for old in list(self._sessions)[:-_KEPT]:
                if self._sessions[old].outcome is not None:
                    del self._sessions[old]
        self.hold(robot, session.id)
        thread = threading.Thread(target=self._perform, args=(session,), name=f"return {robot}", daemon=True)
        self._threads = [*(each for each in self._threads if each.is_alive()), thread]
        thread.start()
        return session

    def hold(self, robot: str, session: str) -> Session:
        """The person still holds the key: go on for another second. Raises NotFoundError."""
        found = self.get(robot, session)
        if found.outcome is None:
            self._fleet.get(robot).grant(found.fencing, time.monotonic() + HOLD_S)
        return found

    def get(self, robot: str, session: str) -> Session:
        """How a way back goes, or went. Raises NotFoundError."""
        found = self._sessions.get(session)
        if found is None or found.robot != robot:
            raise NotFoundError(f"{robot} has no way back {session!r}")
        return found

    def active(self, robot: str) -> bool:
        """Whether it is on its way."""
        return any(each.robot == robot and each.outcome is None for each in tuple(self._sessions.values()))

    def close(self) -> None:
        """End all of them; the robots stop."""
        for session in tuple(self._sessions.values()):
            session.cancellation.ask("the daemon is shutting down", Verdict.ERRORED)
        for thread in self._threads:
            thread.join()

    def _perform(self, session: Session) -> None:
        def tell(what: str) -> None:
            session.told = what

        outcome = Outcome(Verdict.ERRORED, "it ended in disorder; see the daemon's log")
        try:
            outcome = perform(
                self._parts, session.robot, session.fencing, ACTION, {}, cancellation=session.cancellation, tell=tell
            )
        finally:
            self._fleet.get(session.robot).release(session.fencing)
            about = {"session": session.id, "verdict": outcome.verdict.value, "reason": outcome.reason}
            self._store.submit(
                lambda tx: tx.emit("robot.return_ended", device=session.robot, person=session.person, **about)
            )
            session.outcome = outcome


def _fencing(transaction: Transaction, robot: str, person: str, reason: str) -> int:
    """A fencing number above all others, for a robot that nobody holds and nobody can be given."""
    row = inventory.find_device(transaction, robot)
    if row.state not in inventory.WITHHELD:
        raise ConflictError(
            f"{robot} is {row.state}: the supervised way back is for a robot in quarantine or maintenance. Quarantine "
            "it first, or let a job use robot.return_to_dock",
            state=row.state,
        )
    held = sa.select(lease_devices.c.lease_id).where(lease_devices.c.device == robot, lease_devices.c.held)
    if (lease := transaction.execute(held).scalar()) is not None:
        raise ConflictError(f"{robot} is still held by lease {lease}; release that first")
    fencing = transaction.count_up("fencing")
    transaction.emit("robot.return_started", device=robot, person=person, reason=reason, fencing=fencing)
    return fencing
