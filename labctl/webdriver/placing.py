"""Leases for WebDriver sessions: finds the devices that would do, here or at another daemon, and waits for one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import sqlalchemy as sa
import structlog

from devices.hub import Caller, Candidate, Ending, LabOptions, Target, Verdict
from devices.hub.options import NOTHING
from devices.webdriver import WebDriverError
from drivers.errors import DeviceError
from labctl.auth import Principal, Resource, authorise, may
from labctl.errors import LabError, UnavailableError
from labctl.health.readiness import until_ready
from labctl.matching import Requirement
from labctl.store import leasing
from labctl.store.identifiers import new_id
from labctl.store.leasing import Grant
from labctl.store.tables import leases
from labctl.store.transaction import Transaction
from labctl.store.waiting import obstacles
from labctl.webdriver import books
from labctl.webdriver.books import LANE, SessionRun
from labctl.webdriver.catalogue import (
    Catalogue,
    any_free,
    document,
    offers_elsewhere,
    own_offers,
    why_none,
    worded,
)
from labctl.webdriver.gate import PREFIX, Asker, asker
from labctl.webdriver.occupancy import Occupancy
from labctl.webdriver.placement import LabPlacement, Parts, Placed, PlacementElsewhere

Result = TypeVar("Result")
log = structlog.get_logger(__name__)
# As a run's: short and renewed, so that a daemon that dies loses it soon.
LEASE_S = 30.0
_EXPLAIN_EVERY_S = 5.0  # what a request waits for changes, and a wake-up may be lost
# The daemon of the device has time limits of its own and says what came of them; these are for a daemon that is stuck.
_ELSEWHERE_START_S, _ELSEWHERE_COMMAND_S = 900.0, 3600.0
# A device that changed hands may have a session of its last lease that still quits: longer than the hub gives that.
_LEFT_WITHIN_S = 25.0
_NOBODY_WAITS = "its client went away, or waited long enough"
_NOT_PASSED_ON = frozenset({"lab:device", "lab:labels", "lab:queueTimeout"})


@dataclass(frozen=True)
class _Request:
    """A request for a session."""

    asker: Asker
    candidates: Sequence[Candidate]
    catalogue: Catalogue

    @property
    def principal(self) -> Principal:
        return self.asker.principal

    def fitting(self) -> list[list[str]]:
        """The devices that would do, for each candidate. Raises WebDriverError when there are none."""
        offers = self.catalogue.items()
        found = [[name for name, offer in offers if offer.fits(name, each)] for each in self.candidates]
        if not any(found):
            raise WebDriverError("session not created", why_none(self.catalogue, self.candidates))
        return found

    def allowed(self, fitting: list[list[str]]) -> list[list[str]]:
        """Those of the devices that the client may have sessions on. Raises NotAllowedError when there are none."""
        who = self.principal
        found = [[each for each in names if may(who, "webdriver.open", Resource("device", each))] for names in fitting]
        chosen = next(names for names in (*found, *fitting) if names)
        authorise(who, "webdriver.open", Resource("device", chosen[0]))
        return found

    def admitted(self, device: str) -> list[Candidate]:
        """The candidates that a device is for, with the options of the first of them."""
        admitted = [each for each in self.candidates if self.catalogue[device].fits(device, each)]
        return [each for each in admitted if each.options == admitted[0].options]


class LabProvider:
    """`devices.hub.Provider` over the lab's leases."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._own = own_offers(parts.targets.configs)
        self._occupied = Occupancy()
        self._undoing: set[asyncio.Task[None]] = set()

    async def acquire(self, candidates: Sequence[Candidate], caller: Caller, waiting: Callable[[str], None]) -> Placed:
        """A device for the first candidate that has one. Raises WebDriverError."""
        run = self._parts.run
        try:
            catalogue = {**await run(self._elsewhere), **self._own}
            request = _Request(asker(caller), candidates, catalogue)
            fitting = request.fitting()
            options = next(each for each, devices in zip(candidates, fitting, strict=True) if devices).options
            if options.job is not None:
                return await self._placed(self._join, request, options)
            if options.lease is not None:
                return await self._placed(self._on_lease, request, options)
            return await self._leased(request, fitting, waiting)
        except LabError as exc:
            raise WebDriverError("session not created", exc.detail) from exc
        except DeviceError as exc:
            raise WebDriverError("session not created", str(exc)) from exc

    async def ready(self) -> bool:
        return await self._parts.run(self._any_free)

    def _elsewhere(self) -> Catalogue:
        store = self._parts.store
        with store.read() as connection:
            return offers_elsewhere(connection, store.daemon_id)

    def _any_free(self) -> bool:
        with self._parts.store.read() as connection:
            return any_free(connection)

    async def _leased(self, request: _Request, fitting: list[list[str]], waiting: Callable[[str], None]) -> Placed:
        parts = self._parts
        fitting = request.allowed(fitting)
        first = next(names for names in fitting if names)
        everything = list(dict.fromkeys(name for names in fitting for name in names))
        lease = await self._kept(parts.run(self._ask, request, first), self._withdraw)
        try:
            wider = everything != first and await parts.run(self._state, lease) == "waiting"
            # It may be granted just now, and is then what was wanted most.
            if wider and await parts.run(parts.leases.withdraw, lease, "it may be another device as well"):
                lease = await self._kept(parts.run(self._ask, request, everything), self._withdraw)
            return await self._once_granted(request, lease, waiting)
        except BaseException:
            await asyncio.shield(parts.run(self._give_up, lease))
            raise

    def _ask(self, request: _Request, devices: Sequence[str]) -> str:
        require = [Requirement(one_of=tuple(devices), role=LANE)]
        return self._parts.leases.request(request.principal.name, require, LEASE_S)

    async def _once_granted(self, request: _Request, lease: str, waiting: Callable[[str], None]) -> Placed:
        parts, loop = self._parts, asyncio.get_running_loop()
        decided = asyncio.Event()

        def tell(_grant: Grant | None) -> None:
            loop.call_soon_threadsafe(decided.set)

        parts.leases.when_decided(lease, tell)
        try:
            # It may have been decided before anybody listened.
            while (state := await parts.run(self._state, lease)) == "waiting":
                waiting(await parts.run(self._obstacles, lease))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(decided.wait(), _EXPLAIN_EVERY_S)
        finally:
            parts.leases.forget_decision(lease)
        if state == "active":
            parts.renewed.add(lease)  # what makes the device ready, and the target's start, may take minutes
            state = await until_ready(parts.store, lease)
        if state != "active":
            raise WebDriverError("session not created", f"the request for a device was ended: it is {state}")
        return await self._placed(self._begin, request, lease)

    async def _placed(self, place: Callable[..., Placed], *arguments: Any) -> Placed:
        return await self._kept(self._parts.run(place, *arguments), _give_back)

    async def _kept(self, work: Awaitable[Result], undo: Callable[[Result], Awaitable[object]]) -> Result:
        """What a thread gives. It cannot be cancelled: what nobody waits for any more is undone, however often that
        nobody is said."""
        working = asyncio.ensure_future(work)
        try:
            return await asyncio.shield(working)
        except asyncio.CancelledError:
            undoing = asyncio.ensure_future(_undone(working, undo))
            self._undoing.add(undoing)
            undoing.add_done_callback(self._undoing.discard)
            await asyncio.shield(undoing)
            raise

    async def _withdraw(self, lease: str) -> None:
        await self._parts.run(self._give_up, lease)

    def _begin(self, request: _Request, lease: str) -> Placed:
        device = self._parts.store.write(lambda transaction: books.held(transaction, lease)).roles[LANE]
        if request.catalogue[device].daemon is not None:
            return self._placement_elsewhere(device, request, lease, own_lease=True)
        if not self._occupied.take(device, _LEFT_WITHIN_S):
            message = f"{device}: the session of the lease before has not ended within {_LEFT_WITHIN_S:g} s"
            raise WebDriverError("session not created", message, data={"device": device})
        with self._leaving_on_failure(device):
            run = self._book(request, lease, device)
            return self._placement(device, request, run, own_lease=True)

    def _book(self, request: _Request, lease: str, device: str) -> SessionRun:
        """A run of the session's own in the history, on an active lease."""
        told, owner = document(request.admitted(device)), request.principal.name

        def write(transaction: Transaction) -> SessionRun:
            return books.begin(transaction, books.held(transaction, lease), device, owner, told)

        return self._parts.store.write(write)

    @contextlib.contextmanager
    def _leaving_on_failure(self, device: str) -> Iterator[None]:
        """For what comes between a device being taken and its placement, which leaves it."""
        try:
            yield
        except BaseException:
            self._occupied.leave(device)
            raise

    def _on_lease(self, request: _Request, options: LabOptions) -> Placed:
        """A session on a lease that its client holds already."""
        lease, who = str(options.lease), request.principal
        grant = self._parts.store.write(lambda transaction: books.held(transaction, lease))
        authorise(who, "leases.use", Resource("lease", lease, grant.holder))
        device = self._free_one(grant.devices, request, f"lease {lease}")
        if request.catalogue[device].daemon is not None:
            return self._placement_elsewhere(device, request, lease, own_lease=False)
        with self._leaving_on_failure(device):
            run = self._book(request, lease, device)
            return self._placement(device, request, run, own_lease=False)

    def _join(self, request: _Request, options: LabOptions) -> Placed:
        """A session within the run of a job, on one of the job's devices."""
        name = str(options.job)
        run, grant, owner = self._parts.store.write(lambda transaction: books.join(transaction, name))
        authorise(request.principal, "jobs.join", Resource("job", run.job, owner))
        device = self._free_one(grant.devices, request, f"the job {run.job}")
        if request.catalogue[device].daemon is not None:
            return self._placement_elsewhere(device, request, None, own_lease=False)
        with self._leaving_on_failure(device):
            return self._placement(device, request, run, own_lease=False)

    def _free_one(self, held: Sequence[str], request: _Request, holder: str) -> str:
        """A device among those held that would do and has no session. One of this daemon's is taken by this."""
        offers = {name: request.catalogue[name] for name in held if name in request.catalogue}
        fitting = [name for name, offer in offers.items() if any(offer.fits(name, each) for each in request.candidates)]
        if not fitting:
            there = ", ".join(held)
            raise WebDriverError("session not created", f"{holder} holds no device that would do; it holds {there}")
        for device in fitting:
            elsewhere = offers[device].daemon is not None  # that daemon knows whether it has one, and refuses
            if elsewhere or self._occupied.take(device):
                return device
        message = f"{', '.join(fitting)}: there is a session already, and the device takes one; end that one first"
        raise WebDriverError("session not created", message, data={"device": fitting[0]})

    def _placement(self, device: str, request: _Request, run: SessionRun, *, own_lease: bool) -> LabPlacement:
        folder = self._parts.scratch / f"{new_id()}-webdriver-{device}"
        try:
            self._parts.targets.phones.begin(device, run.lease)
            folder.mkdir(parents=True)
        except (DeviceError, LabError, OSError) as exc:
            reason = f"{device}: {exc}"
            self._parts.store.write(lambda transaction: books.finish(transaction, run, "errored", reason))
            raise WebDriverError("session not created", reason, data={"device": device}) from exc
        return LabPlacement(
            parts=self._parts,
            device=device,
            target=self._parts.targets.target(device),
            candidates=request.admitted(device),
            run=run,
            folder=folder,
            own_lease=own_lease,
            log_offset=self._parts.targets.log_size(device),
            occupied=self._occupied,
            about={"lab:job": run.job, "lab:run": run.run, "lab:lease": run.lease},
        )

    def _placement_elsewhere(
        self, device: str, request: _Request, lease: str | None, *, own_lease: bool
    ) -> PlacementElsewhere:
        """A device of another daemon, which gets the request as its client made it, for this device and lease."""
        url = request.catalogue[device].url
        if url is None:
            raise UnavailableError(f"{device} belongs to another daemon of the lab, which says no address of its own")
        admitted = request.admitted(device)
        for_lab = {name: value for name, value in admitted[0].options.asked.items() if name not in _NOT_PASSED_ON}
        for_lab |= {"lab:device": device, **({"lab:lease": lease} if lease else {})}
        # Recording, healing and limits are with the other daemon; only that a client has vanished is noticed here too.
        here = LabOptions(record=NOTHING, idle_timeout_s=admitted[0].options.idle_timeout_s)
        folder = self._parts.scratch / f"{new_id()}-webdriver-{device}"
        folder.mkdir(parents=True)
        return PlacementElsewhere(
            parts=self._parts,
            device=device,
            target=Target(
                url=_endpoint(url, request.asker.token),
                hub=True,
                start_timeout_s=_ELSEWHERE_START_S,
                command_timeout_s=_ELSEWHERE_COMMAND_S,
            ),
            candidates=[Candidate({**each.capabilities, **for_lab}, here) for each in admitted],
            run=SessionRun("", "", lease or "", joined=True),
            folder=folder,
            own_lease=own_lease,
        )

    def _state(self, lease: str) -> str:
        with self._parts.store.read() as connection:
            return str(connection.execute(sa.select(leases.c.state).where(leases.c.id == lease)).scalar_one())

    def _obstacles(self, lease: str) -> str:
        def work(transaction: Transaction) -> list[dict[str, Any]]:
            require = leasing.find(transaction, lease).require
            return obstacles(transaction, [Requirement(**each) for each in require])

        return worded(self._parts.store.write(work))

    def _give_up(self, lease: str) -> None:
        self._parts.renewed.discard(lease)
        if not self._parts.leases.withdraw(lease, _NOBODY_WAITS):
            try:
                self._parts.leases.release(lease, _NOBODY_WAITS)
            except LabError as exc:
                log.info("a lease that nobody wants was over", lease=lease, error=str(exc))


async def _undone(working: asyncio.Future[Result], undo: Callable[[Result], Awaitable[object]]) -> None:
    with contextlib.suppress(Exception):
        await undo(await working)


async def _give_back(placement: Placed) -> None:
    ending = Ending(Verdict.CANCELLED, _NOBODY_WAITS)
    await placement.free(ending)
    await placement.conclude(ending, [])


def _endpoint(url: str, token: str | None) -> str:
    """The WebDriver endpoint of another daemon, with the token of whoever asks."""
    parts = urlsplit(url)
    login = f"token:{quote(token, safe='')}@" if token else ""
    return f"{parts.scheme}://{login}{parts.netloc}{parts.path.rstrip('/')}{PREFIX}"
