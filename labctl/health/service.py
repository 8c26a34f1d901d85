"""Looks after this daemon's devices: checks on a schedule and on request, what is done before and after leases."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import sqlalchemy as sa
import structlog
from sqlalchemy.exc import SQLAlchemyError

from labctl.config import DeviceConfig
from labctl.errors import LabError
from labctl.health.checks import Check, CheckRegistry, Subject
from labctl.health.hooking import Hooking
from labctl.health.looking import look
from labctl.health.preparing import Preparing
from labctl.health.returning import Returning
from labctl.health.steps_alone import AloneParts
from labctl.leases import Leases
from labctl.robots import Fleet
from labctl.steps import Cancellation, Verdict
from labctl.store import Store, Transaction, health
from labctl.store.leasing import Grant
from labctl.store.tables import devices, lease_devices

log = structlog.get_logger(__name__)
_LOOK_EVERY_S = 0.5
_REVIEW_S = 30.0  # should what is to be done with a device have been lost
_AT_ONCE = 4  # devices that are checked side by side
# What follows a lease moves a robot only while this is renewed, so that a daemon that dies does not leave it driving.
_HOLD_S = 2.0


class Health:
    """One for a daemon. `changed` is called when a device became usable or unusable."""

    def __init__(self, parts: AloneParts, store: Store, fleet: Fleet, leases: Leases) -> None:
        self.returning = Returning(parts, store, fleet)
        self.changed: Callable[[], None] = lambda: None
        self._parts = parts
        self._store = store
        self._fleet = fleet
        self._registry = CheckRegistry()
        self._configs: dict[str, DeviceConfig] = {
            name: device for name, device in parts.lab.devices.items() if device.kind != "room"
        }
        self._due = {name: 0.0 for name, device in self._configs.items() if device.checks.every_s is not None}
        self._busy: set[str] = set()
        self._missed: set[str] = set()  # was busy when something was to be done with it
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._hooking = Hooking(parts, store, Cancellation())
        self._preparing = Preparing(store, leases, self._configs, self._hooking, self._take, self._let_go)
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="health")
        self._thread = threading.Thread(target=self._watch, name="health", daemon=True)

    def start(self) -> None:
        """Begin to look, and finish what an earlier process left undone."""

        def register(transaction: Transaction) -> None:
            for name, device in self._configs.items():
                health.watch(transaction, name, device.checks.quarantine_after)

        self._store.write(register)
        self._make_ready()
        self._preparing.begin()
        self._thread.start()

    def close(self) -> None:
        self.returning.close()
        self._closing.set()
        self._hooking.closing.ask("the daemon is shutting down", Verdict.ERRORED)
        self._preparing.close()
        if self._thread.is_alive():
            self._thread.join()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def concerned(self, grant: Grant) -> bool:
        """Whether something is to be done before or after a lease."""
        return self._preparing.concerned(grant) or self._follows(grant)

    def granted(self, grant: Grant, _deadline: float) -> None:
        """A lease began: see to those of its devices that are prepared before its holder gets them."""
        self._preparing.granted(grant)

    def ended(self, grant: Grant) -> None:
        """A lease is over: see to those of its devices that are made ready before anybody else gets them."""
        self._preparing.ended(grant)
        if self._follows(grant):
            self._make_ready()

    def _follows(self, grant: Grant) -> bool:
        return grant.job is None and any(
            name in self._configs and self._configs[name].hooks.after for name in grant.devices
        )

    def preflight(self, device: str) -> tuple[bool, list[Check]]:
        """Look at everything, now, and note what was found. Takes seconds."""
        checks = self._look(device, preflight=True)

        def note(transaction: Transaction) -> bool:
            passed = health.note_preflight(transaction, device, checks)
            health.note_checks(transaction, device, checks)
            return passed

        passed = self._store.write(note)
        self.changed()
        return passed, checks

    def acknowledge(self, device: str, person: str, reason: str) -> None:
        """A person takes a device out of quarantine. Raises ConflictError when it is not that far."""
        self._store.write(lambda transaction: health.acknowledge(transaction, device, person, reason))
        self.changed()

    def quarantine(self, device: str, person: str, reason: str) -> None:
        """A person puts a device into quarantine; whoever holds it goes on until the lease is over."""
        why = f"{person}: {reason}"
        self._store.write(lambda transaction: health.quarantine(transaction, device, "person", why))
        self.changed()

    # On a schedule

    def _watch(self) -> None:
        review_at = time.monotonic() + _REVIEW_S
        while not self._closing.wait(_LOOK_EVERY_S):
            now = time.monotonic()
            if now >= review_at:
                review_at = now + _REVIEW_S
                self._review()
            due = [name for name, at in self._due.items() if at <= now]
            if not due:
                continue
            try:
                free = self._free(due)
            except SQLAlchemyError as exc:
                log.warning("devices could not be looked after", error=str(exc).strip())
                continue
            for name in due:
                self._due[name] = now + (self._configs[name].checks.every_s or 0.0)
                if name in free and self._take(name):
                    self._pool.submit(self._check, name)

    def _review(self) -> None:
        """Another daemon may have ended a lease that this one never heard of, or the database may have been away."""
        try:
            self._make_ready()
            self._preparing.begin()
        except (LabError, SQLAlchemyError) as exc:
            log.warning("devices could not be looked after", error=str(exc).strip())

    def _free(self, names: list[str]) -> set[str]:
        """Those that nobody holds, and that answer."""
        held = sa.select(lease_devices.c.device).where(lease_devices.c.held)
        wanted = sa.select(devices.c.name).where(devices.c.name.in_(names), devices.c.name.not_in(held))
        with self._store.read() as connection:
            return set(connection.execute(wanted.where(devices.c.offline.is_(None))).scalars())

    def _check(self, name: str) -> None:
        try:
            checks = self._look(name, preflight=False)
            if checks and not self._closing.is_set() and name in self._free([name]):
                self._store.write(lambda transaction: health.note_checks(transaction, name, checks))
                self.changed()
        except (LabError, SQLAlchemyError) as exc:
            log.warning("the checks of a device could not be noted", device=name, error=str(exc).strip())
        finally:
            self._let_go(name)

    def _look(self, name: str, *, preflight: bool) -> list[Check]:
        robot = self._fleet.robots.get(name)
        base = None if robot is None else robot.observed_at()
        parts = self._parts
        subject = Subject(parts.lab, name, parts.workers, parts.hosts, base)
        return look(self._registry, subject, preflight=preflight)

    # After leases

    def _make_ready(self) -> None:
        with self._store.read() as connection:
            waiting = health.withheld(connection, self._store.daemon_id)
        for name in waiting:
            if name in self._configs and self._take(name):
                self._pool.submit(self._after, name)

    def _after(self, name: str) -> None:
        try:
            fencing = self._store.write(lambda transaction: transaction.count_up("fencing"))
            with Held(self._fleet, name, fencing):
                outcome = self._hooking.perform(name, self._configs[name].hooks.after, fencing).outcome
            if self._closing.is_set():
                return  # it stays withheld; the next start makes it ready

            def note(transaction: Transaction) -> None:
                if outcome.verdict is Verdict.PASSED:
                    health.made_ready(transaction, name)
                else:
                    health.quarantine(transaction, name, "hook", f"it could not be made ready: {outcome.reason}")

            self._store.write(note)
            self.changed()
        except (LabError, SQLAlchemyError) as exc:
            log.warning("a device could not be made ready", device=name, error=str(exc).strip())
        finally:
            self._let_go(name)

    def _take(self, name: str) -> bool:
        with self._lock:
            if name in self._busy or self._closing.is_set():
                self._missed.add(name)
                return False
            self._busy.add(name)
            return True

    def _let_go(self, name: str) -> None:
        with self._lock:
            self._busy.discard(name)
            again = name in self._missed and not self._closing.is_set()
            self._missed.discard(name)
        if again:
            self._make_ready()
            self._preparing.begin()


class Held:
    """Holds a robot for the lab itself, while the context lasts; devices without a guard need no holding."""

    def __init__(self, fleet: Fleet, device: str, fencing: int) -> None:
        self._robot = fleet.robots.get(device)
        self._fencing = fencing
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._hold, name=f"hold {device}", daemon=True)

    def __enter__(self) -> None:
        if self._robot is not None:
            self._robot.grant(self._fencing, time.monotonic() + _HOLD_S)
            self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._robot is not None:
            self._thread.join()
            self._robot.release(self._fencing)

    def _hold(self) -> None:
        assert self._robot is not None
        while not self._over.wait(_HOLD_S / 4):
            self._robot.grant(self._fencing, time.monotonic() + _HOLD_S)
