"""A device that is held for a WebDriver session: here, with its books and what it leaves, or at another daemon."""

from __future__ import annotations

import asyncio
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

from devices.hub import Candidate, Ending, Target
from devices.recording import Kept
from devices.webdriver import WebDriverError
from drivers.errors import DeviceError
from labctl.errors import LabError
from labctl.leases import Leases
from labctl.store import ArtifactStore, Store, findings
from labctl.store.tables import leases
from labctl.webdriver import books
from labctl.webdriver.books import SessionRun
from labctl.webdriver.occupancy import Occupancy
from labctl.webdriver.targets import Targets

Result = TypeVar("Result")
log = structlog.get_logger(__name__)
SERVER_LOG, PHONE_LOG = "server.log", "phone.log"


@dataclass(frozen=True)
class Parts:
    """What placing needs of the daemon. `threads`: for what waits for the database.

    `renewed`: the leases that last as long as somebody begins, has or ends a session on them.
    """

    store: Store
    leases: Leases
    artifacts: ArtifactStore
    targets: Targets
    scratch: Path
    threads: Executor
    renewed: set[str] = field(default_factory=set)

    async def run(self, work: Callable[..., Result], *arguments: Any) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self.threads, work, *arguments)


@dataclass(kw_only=True)
class _Held:
    """What every device that is held for a session has. `own_lease`: it ends with the session."""

    parts: Parts
    device: str
    target: Target
    candidates: Sequence[Candidate]
    run: SessionRun
    folder: Path
    own_lease: bool
    about: Mapping[str, Any] = field(default_factory=dict)

    async def give_up_lease(self, reason: str) -> None:
        """Give back the lease of a session that has ended, where it was the session's own."""
        if self.own_lease:
            await self.parts.run(self._release, reason)

    async def ensure_held(self) -> None:
        """Raises WebDriverError when the lease is over: whoever was told of its end knew of no session on it yet."""
        state = await self.parts.run(self._lease_state)
        if state not in (None, "active"):
            told = f"{self.device}: the lease {self.run.lease} ended while the session began: it is {state}"
            raise WebDriverError("session not created", told, data={"device": self.device})

    def _lease_state(self) -> str | None:
        with self.parts.store.read() as connection:
            asked = sa.select(leases.c.state).where(leases.c.id == self.run.lease)
            return connection.execute(asked).scalar_one_or_none()

    def _release(self, reason: str) -> None:
        lease = self.run.lease
        self.parts.renewed.discard(lease)
        try:
            self.parts.leases.release(lease, f"its WebDriver session ended: {reason}")
        except LabError as exc:  # it had run out or was taken away, which may be why the session ended
            log.info("the lease of a session was over", device=self.device, error=str(exc))


@dataclass(kw_only=True)
class LabPlacement(_Held):
    """A device of this daemon. `log_offset`: where the log of its server was; `occupied`: the devices with sessions."""

    log_offset: int
    occupied: Occupancy

    async def began(self, session: str, capabilities: Mapping[str, Any]) -> None:
        await self.ensure_held()
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
        try:
            if ending.suspect:
                await self.parts.run(self.parts.targets.look_after, self.device, ending.reason)
            if self.device in self.parts.targets.phones.sections:
                await self.parts.run(self._leave_phone)
        finally:
            self.occupied.leave(self.device)
            await self.give_up_lease(ending.reason)

    def _leave_phone(self) -> None:
        """Take a phone's log, and make it clean for whoever comes next."""
        targets = self.parts.targets
        try:
            told = targets.phones.end(self.device, lease_over=self.own_lease)
            if told:
                (self.folder / PHONE_LOG).write_text(told, encoding="utf-8")
        except (DeviceError, LabError, OSError) as exc:
            log.warning("a phone was not left as it was found", device=self.device, error=str(exc))
            targets.doubt(self.device, f"it could not be made clean after a session: {exc}")

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


@dataclass(kw_only=True)
class PlacementElsewhere(_Held):
    """A device of another daemon: that daemon's endpoint is the target, which keeps the books and what is recorded.

    `run`: as that daemon says it, its lease alone until the session has begun.
    """

    async def began(self, session: str, capabilities: Mapping[str, Any]) -> None:  # noqa: ARG002 - of the protocol
        job, run, lease = (str(capabilities.get(f"lab:{name}", "")) for name in ("job", "run", "lease"))
        self.run = SessionRun(job, run, lease, joined=True)
        await self.ensure_held()

    async def healed(self, told: Mapping[str, Any]) -> None:
        """The other daemon heals, and notes it."""

    async def free(self, ending: Ending) -> None:
        await self.give_up_lease(ending.reason)

    async def conclude(self, ending: Ending, files: Sequence[Kept]) -> None:  # noqa: ARG002 - of the protocol
        await self.parts.run(lambda: shutil.rmtree(self.folder, ignore_errors=True))


Placed = LabPlacement | PlacementElsewhere
