"""Leases for WebDriver sessions: finds the devices that would do, waits for one, and keeps the books of its session."""

from __future__ import annotations

import asyncio
import contextlib
import json
import mimetypes
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
import structlog
from sqlalchemy.exc import SQLAlchemyError

from devices.hub import Candidate, Ending, LabOptions, Target, admits, misfit
from devices.recording import Kept
from devices.webdriver import WebDriverError
from drivers.errors import DeviceError
from labctl.auth import Principal, Resource, authorise, may
from labctl.config.webdriver import WebDriverConfig
from labctl.errors import LabError
from labctl.leases import Leases
from labctl.matching import Requirement
from labctl.store import ArtifactStore, Store, findings, leasing
from labctl.store.leasing import Grant
from labctl.store.tables import leases
from labctl.webdriver import books
from labctl.webdriver.books import LANE, SessionRun
from labctl.webdriver.targets import Targets

Result = TypeVar("Result")
log = structlog.get_logger(__name__)
# As a run's: short and renewed, so that a daemon that dies loses it soon.
LEASE_S = 30.0
SERVER_LOG, PHONE_LOG = "server.log", "phone.log"
_EXPLAIN_EVERY_S = 5.0  # what a request waits for changes, and a wake-up may be lost


@dataclass(frozen=True)
class Parts:
    """What placing needs of the daemon. `threads`: for what waits for the database."""

    store: Store
    leases: Leases
    artifacts: ArtifactStore
    targets: Targets
    scratch: Path
    threads: Executor

    async def run(self, work: Callable[..., Result], *arguments: Any) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self.threads, work, *arguments)


@dataclass(frozen=True)
class LabPlacement:
    """A leased device. `own_lease`: it ends with the session."""

    parts: Parts
    device: str
    target: Target
    candidates: Sequence[Candidate]
    run: SessionRun
    folder: Path
    own_lease: bool
    log_offset: int
    sessions: dict[str, int]  # of each device
    about: Mapping[str, Any] = field(default_factory=dict)

    async def began(self, session: str, capabilities: Mapping[str, Any]) -> None:
        told = {name: capabilities.get(name) for name in ("browserName", "browserVersion", "platformName")}
        self._emit("webdriver.opened", session=session, **{name: value for name, value in told.items() if value})

    async def healed(self, told: Mapping[str, Any]) -> None:
        kind = "webdriver.healed" if told["healed"] else "webdriver.healing_suggested"
        self._emit(kind, **told)
        await self.parts.run(self._measure_healing, told)

    def _measure_healing(self, told: Mapping[str, Any]) -> None:
        low = told["threshold"] if told["healed"] else None
        row = {
            "name": f"healing of {told['broken']}, now {told['replacement']}",
            "value": told["confidence"],
            "unit": "1",
            "low": low,
            "high": None,
            "verdict": None,
        }
        place = {"lane": None, "number": None, "attempt": None}
        step = f"WebDriver on {self.device}"
        self.parts.store.write(
            lambda transaction: findings.add_measurements(transaction, self.run.run, place, step, [row])
        )

    async def free(self, ending: Ending) -> None:
        """Raises LabError when the database takes nothing; the lease then runs out by itself."""
        if ending.suspect:
            await self.parts.run(self.parts.targets.look_after, self.device, ending.reason)
        self.sessions[self.device] -= 1
        if self.device in self.parts.targets.phones.sections:
            await self.parts.run(self._leave_phone)
        if self.own_lease:
            await self.parts.run(self._release, ending.reason)

    def _leave_phone(self) -> None:
        """Take a phone's log, and make it clean for whoever comes next."""
        targets = self.parts.targets
        try:
            told = targets.phones.end(self.device, lease_over=self.own_lease)
            if told:
                (self.folder / PHONE_LOG).write_text(told, encoding="utf-8")
        except (DeviceError, OSError) as exc:
            log.warning("a phone was not left as it was found", device=self.device, error=str(exc))
            targets.doubt(self.device, f"it could not be made clean after a session: {exc}")

    def _release(self, reason: str) -> None:
        try:
            self.parts.leases.release(self.run.lease, f"its WebDriver session ended: {reason}")
        except LabError as exc:  # it had run out or was taken away, which may be why the session ended
            log.info("the lease of a session was over", device=self.device, error=str(exc))

    async def conclude(self, ending: Ending, files: Sequence[Kept]) -> None:
        self._emit("webdriver.closed", verdict=ending.verdict, reason=ending.reason)
        await self.parts.run(self._conclude, ending, files)

    def _conclude(self, ending: Ending, files: Sequence[Kept]) -> None:
        parts, verdict, reason = self.parts, ending.verdict.value, ending.reason
        try:
            server_log = parts.targets.log_since(self.device, self.log_offset)
            for each in files:
                self._keep(each)
            if server_log:
                (self.folder / SERVER_LOG).write_bytes(server_log)
            for name in (SERVER_LOG, PHONE_LOG):
                if (self.folder / name).is_file():
                    self._keep(Kept(self.folder / name, name, "text/plain"))
        except (OSError, SQLAlchemyError) as exc:
            log.error("what a session recorded was not kept", run=self.run.run, error=str(exc))
            reason = f"{reason}; what was recorded is not complete: {exc}"
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)
            parts.store.write(lambda transaction: books.finish(transaction, self.run, verdict, reason))

    def _keep(self, kept: Kept) -> None:
        prefix = f"{self.device}-" if self.run.joined else ""
        media_type = kept.media_type or mimetypes.guess_type(kept.name)[0] or "application/octet-stream"
        stored = asdict(self.parts.artifacts.put(self.run.run, kept.file))
        row = {"name": prefix + kept.name, "media_type": media_type, **stored}
        self.parts.store.write(lambda transaction: findings.add_artifact(transaction, self.run.run, row))

    def _emit(self, kind: str, **data: Any) -> None:
        about = {"device": self.device, "job": self.run.job, "run": self.run.run, "lease": self.run.lease}
        self.parts.store.submit(lambda transaction: transaction.emit(kind, **about, **data))


class LabProvider:
    """`devices.hub.Provider` over the lab's leases. `principals`: those who asked lately, by name."""

    def __init__(self, parts: Parts, principals: Mapping[str, Principal]) -> None:
        self._parts = parts
        self._principals = principals
        self._sessions: dict[str, int] = dict.fromkeys(parts.targets.configs, 0)

    async def acquire(
        self, candidates: Sequence[Candidate], owner: str, waiting: Callable[[str], None]
    ) -> LabPlacement:
        """A device for the first candidate that has one. Raises WebDriverError."""
        principal = self._principals[owner]
        try:
            fitting = self._fitting(candidates)
            options = next(each for each, devices in zip(candidates, fitting, strict=True) if devices).options
            if options.job is not None:
                return await self._parts.run(self._join, principal, candidates, options)
            if options.lease is not None:
                return await self._parts.run(self._on_lease, principal, candidates, options)
            return await self._leased(principal, candidates, fitting, waiting)
        except LabError as exc:
            raise WebDriverError("session not created", exc.detail) from exc
        except DeviceError as exc:
            raise WebDriverError("session not created", str(exc)) from exc

    def _fitting(self, candidates: Sequence[Candidate]) -> list[list[str]]:
        """The devices that would do, for each candidate."""
        configs = self._parts.targets.configs
        fitting = [[name for name, config in configs.items() if _fits(name, config, each)] for each in candidates]
        if not any(fitting):
            raise WebDriverError("session not created", _why_none(configs, candidates))
        return fitting

    async def _leased(
        self,
        principal: Principal,
        candidates: Sequence[Candidate],
        fitting: list[list[str]],
        waiting: Callable[[str], None],
    ) -> LabPlacement:
        parts = self._parts
        fitting = _allowed(principal, fitting)
        first = next(names for names in fitting if names)
        everything = list(dict.fromkeys(name for names in fitting for name in names))
        lease = await parts.run(self._ask, principal, first)
        try:
            if everything != first and await parts.run(self._state, lease) == "waiting":
                await parts.run(parts.leases.withdraw, lease, "it may be another device as well")
                lease = await parts.run(self._ask, principal, everything)
            return await self._once_granted(principal, candidates, lease, waiting)
        except BaseException:
            await asyncio.shield(parts.run(self._give_up, lease))
            raise

    def _ask(self, principal: Principal, devices: Sequence[str]) -> str:
        require = [Requirement(one_of=tuple(devices), role=LANE)]
        return self._parts.leases.request(principal.name, require, LEASE_S)

    async def _once_granted(
        self,
        principal: Principal,
        candidates: Sequence[Candidate],
        lease: str,
        waiting: Callable[[str], None],
    ) -> LabPlacement:
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
        if state != "active":
            raise WebDriverError("session not created", f"the request for a device was ended: it is {state}")
        return await parts.run(self._begin, principal, candidates, lease)

    def _begin(self, principal: Principal, candidates: Sequence[Candidate], lease: str) -> LabPlacement:
        def write(transaction: Any) -> tuple[Grant, SessionRun, str]:
            grant = books.held(transaction, lease)
            device = grant.roles[LANE]
            document = _document(self._admitted(device, candidates))
            run = books.begin(transaction, grant, device, principal.name, document)
            return grant, run, device

        _, run, device = self._parts.store.write(write)
        return self._placement(device, candidates, run, own_lease=True)

    def _on_lease(self, principal: Principal, candidates: Sequence[Candidate], options: LabOptions) -> LabPlacement:
        """A session on a lease that its client holds already."""
        lease = str(options.lease)
        grant = self._parts.store.write(lambda transaction: books.held(transaction, lease))
        authorise(principal, "leases.use", Resource("lease", lease, grant.holder))
        device = self._free_one(grant.devices, candidates, f"lease {lease}")
        document = _document(self._admitted(device, candidates))
        run = self._parts.store.write(
            lambda transaction: books.begin(transaction, grant, device, principal.name, document)
        )
        return self._placement(device, candidates, run, own_lease=False)

    def _join(self, principal: Principal, candidates: Sequence[Candidate], options: LabOptions) -> LabPlacement:
        """A session within the run of a job, on one of the job's devices."""
        name = str(options.job)
        run, grant, owner = self._parts.store.write(lambda transaction: books.join(transaction, name))
        authorise(principal, "jobs.join", Resource("job", run.job, owner))
        device = self._free_one(grant.devices, candidates, f"the job {run.job}")
        return self._placement(device, candidates, run, own_lease=False)

    def _free_one(self, held: Sequence[str], candidates: Sequence[Candidate], holder: str) -> str:
        configs = self._parts.targets.configs
        fitting = [
            each for each in held if each in configs and any(_fits(each, configs[each], one) for one in candidates)
        ]
        if not fitting:
            there = ", ".join(held)
            raise WebDriverError("session not created", f"{holder} holds no device that would do; it holds {there}")
        for device in fitting:
            if not self._sessions[device]:
                return device
        message = f"{', '.join(fitting)}: there is a session already, and the device takes one; end that one first"
        raise WebDriverError("session not created", message, data={"device": fitting[0]})

    def _placement(
        self, device: str, candidates: Sequence[Candidate], run: SessionRun, *, own_lease: bool
    ) -> LabPlacement:
        folder = self._parts.scratch / f"{run.run}-webdriver-{device}-{self._sessions[device]}"
        try:
            self._parts.targets.phones.begin(device, run.lease)
        except DeviceError as exc:
            reason = f"{device}: {exc}"
            self._parts.store.write(lambda transaction: books.finish(transaction, run, "errored", reason))
            raise
        folder.mkdir(parents=True)
        self._sessions[device] += 1
        return LabPlacement(
            parts=self._parts,
            device=device,
            target=self._parts.targets.target(device),
            candidates=self._admitted(device, candidates),
            run=run,
            folder=folder,
            own_lease=own_lease,
            log_offset=self._parts.targets.log_size(device),
            sessions=self._sessions,
            about={"lab:job": run.job, "lab:run": run.run, "lab:lease": run.lease},
        )

    def _admitted(self, device: str, candidates: Sequence[Candidate]) -> list[Candidate]:
        """The candidates that a device is for, with the options of the first of them."""
        config = self._parts.targets.configs[device]
        admitted = [each for each in candidates if _fits(device, config, each)]
        return [each for each in admitted if each.options == admitted[0].options]

    def _state(self, lease: str) -> str:
        with self._parts.store.read() as connection:
            return str(connection.execute(sa.select(leases.c.state).where(leases.c.id == lease)).scalar_one())

    def _obstacles(self, lease: str) -> str:
        def work(transaction: Any) -> list[dict[str, Any]]:
            require = leasing.find(transaction, lease).require
            return leasing.obstacles(transaction, [Requirement(**each) for each in require])

        found = self._parts.store.write(work)
        return "; ".join(map(_worded, found)) or "older requests wait for the same devices"

    def _give_up(self, lease: str) -> None:
        reason = "its client went away, or waited long enough"
        if not self._parts.leases.withdraw(lease, reason):
            try:
                self._parts.leases.release(lease, reason)
            except LabError as exc:
                log.info("a lease that nobody wants was over", lease=lease, error=str(exc))


def _allowed(principal: Principal, fitting: list[list[str]]) -> list[list[str]]:
    """Those of the devices that somebody may have sessions on. Raises NotAllowedError when there are none."""
    allowed = [
        [each for each in names if may(principal, "webdriver.open", Resource("device", each))] for names in fitting
    ]
    chosen = next(names for names in (*allowed, *fitting) if names)
    authorise(principal, "webdriver.open", Resource("device", chosen[0]))
    return allowed


def _fits(name: str, config: WebDriverConfig, candidate: Candidate) -> bool:
    options = candidate.options
    labelled = all(config.labels.get(key) == value for key, value in options.labels.items())
    return options.device in (None, name) and labelled and admits(config.offered, candidate.capabilities)


def _why_none(configs: Mapping[str, WebDriverConfig], candidates: Sequence[Candidate]) -> str:
    """What each device lacks, or that a device or label is not known."""
    if not configs:
        return "the lab has no phone, browser or desktop"
    options = candidates[0].options
    if options.device is not None and options.device not in configs:
        return f"there is no device {options.device!r} with WebDriver; there are: {', '.join(sorted(configs))}"
    told = []
    for name, config in configs.items():
        if options.device in (None, name):
            lacking = [
                f"{key} is not {value}" for key, value in options.labels.items() if config.labels.get(key) != value
            ]
            reasons = lacking or [misfit(config.offered, each.capabilities) for each in candidates]
            told.append(f"{name}: {', '.join(dict.fromkeys(filter(None, reasons)))}")
    return f"no device of the lab would do: {'; '.join(told[:20])}"


def _document(candidates: Sequence[Candidate]) -> dict[str, Any]:
    """What the history keeps of a request."""
    wanted = [json.loads(json.dumps(dict(each.capabilities))) for each in candidates]
    return {"name": "WebDriver session", "webdriver": wanted, "lanes": {LANE: {"steps": []}}}


def _worded(obstacle: Mapping[str, Any]) -> str:
    if obstacle.get("holder"):
        return f"{obstacle['device']} is held by {obstacle['holder']}"
    return f"{obstacle['device']} is {obstacle.get('state')} ({obstacle.get('reason')})"
