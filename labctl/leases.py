"""The lease service: decides under one lock, tells those concerned, and lets leases run out on time."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import sqlalchemy as sa
import structlog
from starlette.concurrency import run_in_threadpool

from labctl.errors import LabFailureError
from labctl.matching import Requirement
from labctl.scheduler import Rules
from labctl.store import Store, Transaction, asking, granting, leasing, running, waiting
from labctl.store.asking import Wish
from labctl.store.granting import Pass
from labctl.store.leasing import Grant
from labctl.store.tables import devices, lease_devices, leases
from labctl.store.waiting import Explanation

Result = TypeVar("Result")
Shown = TypeVar("Shown")
log = structlog.get_logger(__name__)
# Everything is looked at again this often, should a wake-up be lost.
_REVIEW_S = 30.0
# A holder stops this much before the database would call the lease over.
DEADLINE_MARGIN_S = 0.25
_LATE_S = 0.005  # so long after its expiry a lease is surely over
_REMEMBERED = 10_000  # leases that are over


@dataclass(frozen=True)
class Listeners:
    """Who is told of grants, renewals and ends, in threads of the askers.

    The deadline is of `time.monotonic()`: stop by then. All daemons are told of the leases that hold one of their
    devices, also of those that another daemon granted; each at least once. `concerned`: whether a grant is of interest.
    """

    granted: Callable[[Grant, float], None]
    renewed: Callable[[Grant, float], None]
    ended: Callable[[Grant], None]
    concerned: Callable[[Grant], bool] = lambda _grant: True


@dataclass(frozen=True, slots=True)
class _Outcome(Generic[Result]):
    """What a change did."""

    result: Result
    done: Pass
    before: float  # of time.monotonic(): no later than the database's time in it


@dataclass(frozen=True, slots=True)
class _Held:
    """A lease on one of this daemon's devices, as its listeners know it."""

    grant: Grant
    deadline: float = field(compare=False)


class Leases:
    """All changes of leases go through here."""

    def __init__(self, store: Store, rules: Rules | None = None) -> None:
        self._store = store
        self._listeners = Listeners(_to_nobody, _to_nobody, lambda _grant: None, lambda _grant: False)
        self._held: dict[str, _Held] = {}
        self._over: dict[str, None] = {}  # leases that ended lately, the oldest first
        self._deciding: dict[str, Callable[[Grant | None], None]] = {}
        self._lock = threading.Lock()
        self._review = threading.Event()
        self._next_at = 0.0  # of time.monotonic(): when to look again
        self._elsewhere = False
        self._stopping = False
        self._timer = threading.Thread(target=self._watch, name="lease-expiry", daemon=True)
        if rules is not None:
            store.write(lambda transaction: setattr(transaction.memory, "rules", rules))

    def listen(self, listeners: Listeners) -> None:
        """Say who is told from now on."""
        self._listeners = listeners

    def start(self) -> None:
        """Begin to let leases run out."""
        self._store.elsewhere.subscribe(self._changed_elsewhere)
        self._next_at = time.monotonic() + _REVIEW_S
        self._compare()
        self._timer.start()

    def stop(self) -> None:
        self._stopping = True
        self._review.set()
        if self._timer.is_alive():
            self._timer.join()

    # Changes

    def request(self, holder: str, require: Sequence[Requirement], duration_s: float, wish: Wish | None = None) -> str:
        """Ask, and grant at once where possible; returns the lease's id, waiting or active."""
        return self.change(lambda transaction: asking.request(transaction, holder, require, duration_s, wish=wish))

    def reserve(
        self,
        holder: str,
        require: Sequence[Requirement],
        starts_at: float,
        duration_s: float,
        *,
        wish: Wish | None = None,
    ) -> str:
        """Reserve devices for a time to come, of the database's clock; returns the lease's id."""
        return self.change(
            lambda transaction: asking.reserve(transaction, holder, require, starts_at, duration_s, wish=wish)
        )

    def release(self, lease: str, reason: str) -> Grant:
        """End an active lease."""
        return self.change(lambda transaction: leasing.end(transaction, lease, "released", reason))

    def renew(self, lease: str, duration_s: float | None = None) -> Grant:
        """Count the duration from now."""
        return self._prolong(lambda transaction: leasing.renew(transaction, lease, duration_s))

    def beat(self, lease: str) -> Grant:
        """Say that the holder of an interactive lease lives."""
        return self._prolong(lambda transaction: leasing.beat(transaction, lease))

    def hand_over(self, lease: str, holder: str) -> Grant:
        """Make somebody else the holder; the fencing number changes."""
        grant = self._prolong(lambda transaction: leasing.hand_over(transaction, lease, holder))
        self.schedule()  # whom the cap made wait may have something now, for he holds less
        return grant

    def withdraw(self, lease: str, reason: str) -> bool:
        """Take a waiting request or a reservation back; False when it was granted meanwhile or has ended."""
        withdrawn = self.change(lambda transaction: asking.withdraw(transaction, lease, reason))
        if withdrawn:
            self._decided(lease, None)
        return withdrawn

    def schedule(self) -> None:
        """One scheduling pass, after something changed outside of this service."""
        self.change(lambda _transaction: None)

    def change(self, work: Callable[[Transaction], Result]) -> Result:
        """Run `work` and a scheduling pass in one transaction, then tell those concerned.

        Leases that `work` ends are those it returns as a Grant, or as a list of them.
        """
        before = time.monotonic()
        result, done = self._store.write(lambda transaction: _with_pass(transaction, work))
        outcome = _Outcome(result, done, before)
        self._tell(outcome)
        self._plan(outcome)
        return result

    async def change_soon(
        self, work: Callable[[Transaction], Result], then: Callable[[Transaction, Result], Shown]
    ) -> Shown:
        """As `change`, without a thread of its own while it waits for the disk. `then` follows the scheduling pass in
        the same transaction; what it returns is returned.
        """
        before = time.monotonic()

        def both(transaction: Transaction) -> tuple[Shown, Pass]:
            result, done = _with_pass(transaction, work)
            return then(transaction, result), done

        shown, done = await asyncio.wrap_future(self._store.submit(both))
        outcome = _Outcome(shown, done, before)
        if any(self._listeners.concerned(grant) for grant in (*done.ended, *done.granted)):
            await run_in_threadpool(self._tell, outcome)
        else:
            self._tell(outcome)
        self._plan(outcome)
        return shown

    def when_decided(self, lease: str, call: Callable[[Grant | None], None]) -> None:
        """Call back, from some thread, once a request is granted, or with None when it never will be."""
        self._deciding[lease] = call

    def decided_elsewhere(self, lease: str) -> None:
        """A request was withdrawn by somebody else: tell who waits for it."""
        self._decided(lease, None)

    def forget_decision(self, lease: str) -> None:
        """Do not call back any more."""
        self._deciding.pop(lease, None)

    # Questions

    def obstacles(self, require: Sequence[Requirement]) -> list[dict[str, Any]]:
        """Who holds what would do, until when."""
        return self._store.write(lambda transaction: waiting.obstacles(transaction, require))

    def explain(self, lease: str) -> Explanation | None:
        """Why a request waits; None when it does not."""
        return self._store.write(lambda transaction: waiting.explain(transaction, lease))

    def holder(self, lease: str) -> str | None:
        """Who holds, or waits for, an open lease, as far as this daemon has it in mind."""
        memory = self._store.memory
        if (active := memory.active.get(lease)) is not None:
            return active.holder
        asked = memory.board.requests.get(lease)
        return None if asked is None else asked.owner

    def deadline(self, device: str, fencing: int) -> float:
        """Until when, of `time.monotonic()`, the lease with that number may command a device of this daemon.

        In the past when the lease is over, or when it could not be renewed in time.
        """
        for held in tuple(self._held.values()):
            if device in held.grant.devices:
                return held.deadline if held.grant.fencing == fencing else 0.0
        return 0.0

    def ensure(self, device: str, fencing: int) -> None:
        """To be called before each command. Raises LabFailureError when the lease with that number is over."""
        if time.monotonic() >= self.deadline(device, fencing):
            raise LabFailureError(f"the lease with fencing number {fencing} no longer holds {device}: command refused")

    # Telling

    def _prolong(self, work: Callable[[Transaction], Grant]) -> Grant:
        before = time.monotonic()
        grant = self._store.write(work)
        self._note(grant, before, self._listeners.renewed)
        self._look_at(before + grant.duration_s + _LATE_S)  # it may end sooner now than it would have
        return grant

    def _tell(self, outcome: _Outcome[Any]) -> None:
        for grant in outcome.done.ended:
            self._end(grant)
        for grant in outcome.done.granted:
            self._note(grant, outcome.before, self._listeners.granted)
            self._decided(grant.lease, grant)
        for lease in outcome.done.refused:
            self._decided(lease, None)

    def _note(self, grant: Grant, before: float, tell: Callable[[Grant, float], None]) -> None:
        deadline = before + grant.duration_s - DEADLINE_MARGIN_S
        with self._lock:
            known = self._held.get(grant.lease)
            if known is not None and known.grant.fencing > grant.fencing:
                return  # handed over meanwhile
            self._held[grant.lease] = _Held(grant, deadline)
        try:
            tell(grant, deadline)
        except Exception:  # the lease is granted; who waits for it has to hear of it
            log.exception("who has to know of a lease could not be told", lease=grant.lease)
        with self._lock:
            ended = grant.lease in self._over
        if ended:  # another thread was faster: the last word has to be that it is over
            self._end(grant)

    def _end(self, grant: Grant) -> None:
        with self._lock:
            self._over[grant.lease] = None
            if len(self._over) > _REMEMBERED:
                del self._over[next(iter(self._over))]
            self._held.pop(grant.lease, None)
        try:
            self._listeners.ended(grant)
        except Exception:  # the others have to be told too
            log.exception("who has to know of a lease's end could not be told", lease=grant.lease)

    def _decided(self, lease: str, grant: Grant | None) -> None:
        call = self._deciding.pop(lease, None)
        if call is not None:
            call(grant)

    # Time, and other daemons

    def _plan(self, outcome: _Outcome[Any]) -> None:
        """Look again when the next lease runs out."""
        if outcome.done.next_at is None:
            return
        self._look_at(outcome.before + (outcome.done.next_at - outcome.done.now) + _LATE_S)

    def _look_at(self, at: float) -> None:
        """Look again at that time of `time.monotonic()`, if not before."""
        with self._lock:
            if at >= self._next_at:
                return
            self._next_at = at
        self._review.set()

    def _changed_elsewhere(self) -> None:
        self._elsewhere = True
        self._review.set()

    def _watch(self) -> None:
        full_at = time.monotonic() + _REVIEW_S
        while not self._stopping:
            self._review.wait(max(0.0, min(self._next_at, full_at) - time.monotonic()))
            self._review.clear()
            if self._stopping:
                return
            try:
                if self._elsewhere:
                    self._elsewhere = False
                    try:
                        self._compare()
                    except Exception:
                        self._elsewhere = True
                        raise
                now = time.monotonic()
                if now >= full_at:
                    full_at = now + _REVIEW_S
                    self._pass(everything=True)
                elif now >= self._next_at:
                    self._pass(everything=False)
            except Exception as exc:
                log.warning("a look at the leases failed; it is tried again", error=str(exc).strip())
                self._next_at = time.monotonic() + 1.0

    def _pass(self, *, everything: bool) -> None:
        before = time.monotonic()
        with self._lock:
            self._next_at = before + _REVIEW_S
        done = self._store.write(lambda transaction: _pass(transaction, everything=everything))
        outcome = _Outcome(None, done, before)
        self._tell(outcome)
        self._plan(outcome)

    def _compare(self) -> None:
        """Find out what other daemons did: to leases of our devices, and to requests that somebody waits for here."""
        before = time.monotonic()
        mine = sa.and_(devices.c.daemon == self._store.daemon_id, lease_devices.c.held)
        joined = leases.join(lease_devices, lease_devices.c.lease_id == leases.c.id)
        held = sa.select(leases.c.id).select_from(joined.join(devices, devices.c.name == lease_devices.c.device))
        waited_for = tuple(self._deciding)
        with self._store.read() as connection:
            now = self._store.time(connection)
            found = sa.select(leases).where(leases.c.id.in_(held.where(mine)))
            grants = [leasing.grant_of(connection, row, row.expires_at - now) for row in connection.execute(found)]
            decided = sa.select(leases).where(leases.c.id.in_(waited_for), leases.c.state != "waiting")
            rows = connection.execute(decided).all() if waited_for else ()
            answers = {
                row.id: leasing.grant_of(connection, row, row.expires_at - now) if row.state == "active" else None
                for row in rows
            }
            next_at = connection.execute(_NEXT_EXPIRY).scalar()
        self._take_over(grants, before)
        for lease, grant in answers.items():
            self._decided(lease, grant)
        if next_at is not None:
            self._look_at(before + max(0.0, next_at - now) + _LATE_S)

    def _take_over(self, grants: list[Grant], before: float) -> None:
        """Make what the listeners know that which the database says."""
        present = {grant.lease for grant in grants}
        for lease, known in tuple(self._held.items()):
            if lease not in present and self._store_says_over(lease):
                self._end(known.grant)
        for grant in grants:
            told = self._held.get(grant.lease)
            if told is None or told.grant.fencing != grant.fencing:
                self._note(grant, before, self._listeners.granted)
            elif told.grant.expires_at < grant.expires_at:
                self._note(grant, before, self._listeners.renewed)

    def _store_says_over(self, lease: str) -> bool:
        """It may have been granted here while we looked."""
        with self._store.read() as connection:
            return connection.execute(sa.select(leases.c.state).where(leases.c.id == lease)).scalar() != "active"


def _with_pass(transaction: Transaction, work: Callable[[Transaction], Result]) -> tuple[Result, Pass]:
    result = work(transaction)
    done = _pass(transaction)
    given = result if isinstance(result, list) else [result]
    done.ended[:0] = [each for each in given if isinstance(each, Grant)]
    return result, done


def _pass(transaction: Transaction, *, everything: bool = False) -> Pass:
    done = granting.schedule(transaction, everything=everything)
    for grant in done.granted:
        if grant.job is not None:
            running.start_run(transaction, grant)
    return done


def _to_nobody(_grant: Grant, _deadline: float) -> None:
    return


_NEXT_EXPIRY = sa.select(sa.func.min(leases.c.expires_at)).where(leases.c.state == "active")
