"""Where lanes meet: waits for signals and at barriers, woken by what happens in the run."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import sqlalchemy as sa

from labctl.jobs.durations import worded
from labctl.sequencer.news import News
from labctl.steps import Cancellation, Outcome, Verdict
from labctl.store import Store, signalling
from labctl.store.signalling import Signal, Vain

Found = TypeVar("Found")
_REVIEW_S = 30.0  # should a wake-up be lost


class ParkedError(BaseException):
    """The daemon ends while a lane only waits: the lane is left as it is, and goes on after the next start.

    No Exception, for it is no way in which a step could end.
    """


@dataclass(frozen=True, slots=True)
class Meetings:
    """The meetings of one run. `parking`: the daemon ends, and lanes that wait are left waiting."""

    store: Store
    news: News
    run: str
    parking: threading.Event = field(default_factory=threading.Event)

    def notify(self, name: str, lane: str, payload: Any) -> None:
        """Say something to all who wait for it, now or later."""
        self.store.write(lambda transaction: signalling.send(transaction, self.run, name, f"lane {lane}", payload))
        self.news.wake(self.run)  # who waits here need not hear it from the event log

    def wait(
        self, name: str, timeout_s: float, cancellation: Cancellation, *, waited_s: float = 0.0
    ) -> Signal | Outcome:
        """The newest signal of that name, or how the wait ended without. `waited_s`: before the daemon restarted."""

        def look(connection: sa.Connection) -> Signal | Vain | None:
            return signalling.latest(connection, self.run, name) or signalling.in_vain(connection, self.run, name)

        late = f"{name!r} was not notified within {worded(timeout_s)}"
        return self._until(look, timeout_s - waited_s, cancellation, lambda: late)

    def meet(
        self,
        barrier: str,
        lane: str,
        payload: Any,
        *,
        wanted: int,
        timeout_s: float,
        cancellation: Cancellation,
        waited_s: float = 0.0,
    ) -> dict[str, Any] | Outcome:
        """Stand at a barrier until `wanted` lanes are there: their payloads by lane, or how it ended otherwise."""
        self.store.write(lambda transaction: signalling.arrive(transaction, self.run, barrier, lane, payload))
        self.news.wake(self.run)
        came: dict[str, Any] = {}

        def look(connection: sa.Connection) -> dict[str, Any] | Vain | None:
            came.clear()
            came.update(signalling.arrivals(connection, self.run, barrier))
            return dict(came) if len(came) >= wanted else signalling.in_vain(connection, self.run, barrier, wanted)

        def late() -> str:
            return (
                f"only {', '.join(came)} came to the barrier {barrier!r} within {worded(timeout_s)}, not {wanted} lanes"
            )

        return self._until(look, timeout_s - waited_s, cancellation, late)

    def _until(
        self,
        look: Callable[[sa.Connection], Found | Vain | None],
        timeout_s: float,
        cancellation: Cancellation,
        late: Callable[[], str],
    ) -> Found | Outcome:
        give_up = time.monotonic() + timeout_s
        with self.news.following(self.run) as bell:
            cancellation.on_asked(lambda _reason: bell.ring())
            while True:
                seen = bell.rings
                with self.store.read() as connection:
                    found = look(connection)
                if isinstance(found, Vain):
                    return Outcome(Verdict(found.verdict), found.reason)
                if found is not None:
                    return found
                if self.parking.is_set():
                    raise ParkedError
                if cancellation.asked:
                    return Outcome(cancellation.verdict, cancellation.reason)
                left = give_up - time.monotonic()
                if left <= 0:
                    return Outcome(Verdict.FAILED, late())
                bell.wait(seen, min(left, _REVIEW_S))
