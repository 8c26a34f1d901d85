"""Makes devices ready for leases that are no job's: hooks come first, under the lease, then its holder.

A job does the same in the steps of its lanes. Each daemon prepares its own devices, whoever granted the lease; the
database says which are left, so that a restart leaves none out.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import structlog
from sqlalchemy.exc import SQLAlchemyError

from labctl.config import DeviceConfig
from labctl.errors import LabError
from labctl.health.hooking import Hooked, Hooking
from labctl.leases import Leases
from labctl.steps import Cancellation, Verdict
from labctl.store import Store, Transaction, health, leasing
from labctl.store.health import Unprepared
from labctl.store.leasing import Grant

log = structlog.get_logger(__name__)
_RENEW_AFTER = 1 / 3  # of what a lease lasts


@dataclass
class Preparing:
    """Of one daemon. `take` and `let_go`: nothing else is done with a device meanwhile."""

    store: Store
    leases: Leases
    configs: Mapping[str, DeviceConfig]
    hooking: Hooking
    take: Callable[[str], bool]
    let_go: Callable[[str], None]
    _cancellations: dict[tuple[str, str], Cancellation] = field(default_factory=dict)
    _threads: list[threading.Thread] = field(default_factory=list)

    def concerned(self, grant: Grant) -> bool:
        """Whether a lease that begins has to wait for any of its devices."""
        return grant.job is None and any(
            name in self.configs and self.configs[name].hooks.before for name in grant.devices
        )

    def granted(self, grant: Grant) -> None:
        """A lease began, or goes on."""
        if self.concerned(grant):
            self.begin()

    def ended(self, grant: Grant) -> None:
        """A lease is over; what is done for it ends."""
        for (lease, _), cancellation in tuple(self._cancellations.items()):
            if lease == grant.lease:
                cancellation.ask(f"the lease ended: {grant.reason}", Verdict.ERRORED)

    def begin(self) -> None:
        """Prepare what is left to prepare."""
        with self.store.read() as connection:
            left = health.unprepared(connection, self.store.daemon_id)
        for one in left:
            if self.take(one.device):
                thread = threading.Thread(target=self._prepare, args=(one,), name=f"prepare {one.device}", daemon=True)
                self._threads = [*(each for each in self._threads if each.is_alive()), thread]
                thread.start()

    def close(self) -> None:
        """Return when nothing is being prepared any more; `hooking.closing` was asked before."""
        for thread in self._threads:
            thread.join()

    def _prepare(self, one: Unprepared) -> None:
        cancellation = self._cancellations[one.lease, one.device] = Cancellation()
        try:
            with self._kept(one):
                hooked = self.hooking.perform(
                    one.device, self.configs[one.device].hooks.before, one.fencing, cancellation
                )
            if self.hooking.closing.asked:
                return  # the next start prepares it anew
            if hooked.outcome.verdict is not Verdict.PASSED:
                self.leases.change(lambda transaction: self._failed(transaction, one, hooked))
            else:
                self._renew(one.lease)  # the time that was asked for counts from now
                self.store.write(lambda transaction: health.note_prepared(transaction, one))
        except (LabError, SQLAlchemyError) as exc:
            log.warning("a device could not be prepared", device=one.device, lease=one.lease, error=str(exc).strip())
        finally:
            del self._cancellations[one.lease, one.device]
            self.let_go(one.device)

    def _failed(self, transaction: Transaction, one: Unprepared, hooked: Hooked) -> Grant | None:
        holds = leasing.holder_of(transaction, one.lease) is not None
        why = f"{one.device} could not be prepared: {hooked.outcome.reason}"
        if hooked.left:  # it stands anywhere, whatever became of the lease
            health.quarantine(transaction, one.device, "hook", why)
        elif holds:
            health.count_lab_error(transaction, one.device, why)
        return leasing.end(transaction, one.lease, "released", why) if holds else None

    @contextmanager
    def _kept(self, one: Unprepared) -> Iterator[None]:
        """Its holder does not have it yet, and cannot renew it."""
        done = threading.Event()

        def keep() -> None:
            while not done.wait(one.lasts_s * _RENEW_AFTER):
                self._renew(one.lease)

        thread = threading.Thread(target=keep, name=f"keep {one.lease}", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def _renew(self, lease: str) -> None:
        try:
            self.leases.renew(lease)
        except (LabError, SQLAlchemyError) as exc:
            log.info("a lease could not be renewed while its devices are prepared", lease=lease, error=str(exc).strip())
