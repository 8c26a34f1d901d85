"""The lease service: decides under one lock, tells those concerned, and lets leases run out on time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog

from labctl.matching import Requirement
from labctl.store import Store, Transaction, leasing, running
from labctl.store.leasing import Grant

Result = TypeVar("Result")
log = structlog.get_logger(__name__)
# Everything is looked at again this often, should a wake-up be lost.
_REVIEW_S = 30.0
# A holder stops this much before the database would call the lease over.
DEADLINE_MARGIN_S = 0.25


@dataclass(frozen=True)
class Listeners:
    """Who is told of grants, renewals and ends. The deadline is of `time.monotonic()`: stop by then."""

    granted: Callable[[Grant, float], None]
    renewed: Callable[[Grant, float], None]
    ended: Callable[[Grant], None]


class Leases:
    """All changes of leases go through here."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._listeners = Listeners(_to_nobody, _to_nobody, lambda _grant: None)
        self._review = threading.Event()
        self._stopping = False
        self._timer = threading.Thread(target=self._watch, name="lease-expiry", daemon=True)

    def listen(self, listeners: Listeners) -> None:
        """Say who is told from now on."""
        self._listeners = listeners

    def start(self) -> None:
        """Begin to let leases run out."""
        self._timer.start()

    def stop(self) -> None:
        self._stopping = True
        self._review.set()
        if self._timer.is_alive():
            self._timer.join()

    def request(self, holder: str, require: Sequence[Requirement], duration_s: float) -> str:
        """Ask, and grant at once where possible; returns the lease's id, waiting or active."""
        return self.change(lambda transaction: leasing.request(transaction, holder, require, duration_s))

    def release(self, lease: str, reason: str) -> Grant:
        """End an active lease."""
        return self.change(lambda transaction: self._ending(transaction, lease, reason))

    def renew(self, lease: str, duration_s: float | None = None) -> Grant:
        """Count the duration from now."""
        before = time.monotonic()
        grant = self._store.write(lambda transaction: leasing.renew(transaction, lease, duration_s))
        self._listeners.renewed(grant, before + grant.duration_s - DEADLINE_MARGIN_S)
        self._review.set()
        return grant

    def withdraw(self, lease: str, reason: str) -> bool:
        """Take a waiting request back; False when it was granted meanwhile or has ended."""
        return self.change(lambda transaction: leasing.withdraw(transaction, lease, reason))

    def obstacles(self, require: Sequence[Requirement]) -> list[dict[str, Any]]:
        """Who holds what would do, until when."""
        return self._store.write(lambda transaction: leasing.obstacles(transaction, require))

    def schedule(self) -> None:
        """One scheduling pass, after something changed outside of this service."""
        self.change(lambda _transaction: None)

    def change(self, work: Callable[[Transaction], Result]) -> Result:
        """Run `work` and a scheduling pass in one transaction, then tell those concerned."""
        before = time.monotonic()
        ended: list[Grant] = []

        def both(transaction: Transaction) -> tuple[Result, list[Grant], list[Grant]]:
            ended.clear()
            result = work(transaction)
            ended.extend(each for each in (result if isinstance(result, list) else [result]) if isinstance(each, Grant))
            granted, expired = leasing.schedule(transaction)
            for grant in granted:
                if grant.job is not None:
                    running.start_run(transaction, grant)
            return result, granted, [*ended, *expired]

        result, granted, over = self._store.write(both)
        for grant in over:
            self._listeners.ended(grant)
        for grant in granted:
            self._listeners.granted(grant, before + grant.duration_s - DEADLINE_MARGIN_S)
        if granted:
            self._review.set()
        return result

    def _ending(self, transaction: Transaction, lease: str, reason: str) -> Grant:
        return leasing.end(transaction, lease, "released", reason)

    def _watch(self) -> None:
        while not self._stopping:
            self._review.clear()
            with self._store.read() as connection:
                expiry = leasing.next_expiry(connection)
                now = self._store.time(connection)
            wait = _REVIEW_S if expiry is None else min(_REVIEW_S, max(0.0, expiry - now) + 0.005)
            if not self._review.wait(wait) and not self._stopping:
                try:
                    self.schedule()
                except Exception:
                    log.exception("scheduling pass failed; it is tried again")


def _to_nobody(_grant: Grant, _deadline: float) -> None:
    return
