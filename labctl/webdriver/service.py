"""WebDriver in the daemon: the hub over leases and runs, its servers, and what ends sessions from outside."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Coroutine, MutableMapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
import structlog
from sqlalchemy.exc import SQLAlchemyError

from devices.hub import Ending, Hub, HubSettings, Session, Verdict
from devices.hub.asgi import Receive, Send
from devices.recording import Recorder
from labctl.auth import Principal
from labctl.config import Lab
from labctl.errors import LabError, NotFoundError, UnavailableError
from labctl.leases import Leases
from labctl.store import ArtifactStore, Store
from labctl.store.leasing import Grant
from labctl.store.tables import runs
from labctl.webdriver.gate import PREFIX, Asker, PrincipalGate
from labctl.webdriver.placement import Parts, Placed
from labctl.webdriver.placing import LEASE_S, LabProvider
from labctl.webdriver.targets import Targets

Result = TypeVar("Result")
log = structlog.get_logger(__name__)
_RENEW_EVERY_S = LEASE_S / 3
_OPEN_WITHIN_S = 600.0


@dataclass(frozen=True, slots=True)
class OpenSession:
    """A session that a step opened. `path`: below the WebDriver endpoint."""

    id: str
    device: str
    capabilities: dict[str, Any]

    @property
    def path(self) -> str:
        return f"{PREFIX}/session/{self.id}"


class WebDriverService:
    """The WebDriver endpoint of a daemon. Its sessions live in the event loop that serves it."""

    def __init__(
        self, lab: Lab, data: Path, store: Store, leases: Leases, *, artifacts: ArtifactStore, workers: Executor
    ) -> None:
        self._store = store
        self._leases = leases
        self._threads = ThreadPoolExecutor(16, thread_name_prefix="webdriver")
        self._recorder = Recorder(workers)
        self.targets = Targets(lab, data, store)
        self.targets.on_lost = self._lost
        self.gate = PrincipalGate()
        self._parts = Parts(store, leases, artifacts, self.targets, data / "scratch", self._threads)
        provider = LabProvider(self._parts)
        # Clients of BiDi take /session/{id} at the root and nothing else for a websocket's path.
        settings = HubSettings(healing_folder=data / "healing")
        self.hub = Hub(provider, self._recorder, prefix=PREFIX, sockets_below="", settings=settings, gate=self.gate)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._address = ""
        self._over = threading.Event()
        self._heart = threading.Thread(target=self._renew, name="webdriver-leases", daemon=True)
        self._news = threading.Thread(target=self._hear_cancellations, name="webdriver-news", daemon=True)

    # Life

    def start(self) -> None:
        """Start the servers."""
        self.targets.start()
        self._heart.start()
        self._news.start()

    def close(self) -> None:
        """End the servers. The sessions have ended with the loop that served them, see `stop_serving`."""
        self._over.set()
        self._store.bell.ring()
        for thread in (self._heart, self._news):
            if thread.is_alive():
                thread.join()
        self.targets.close()
        self._threads.shutdown(wait=True)
        self._recorder.close()

    def serve(self, loop: asyncio.AbstractEventLoop) -> None:
        """The loop that serves the endpoint runs."""
        self._loop = loop

    def address(self, websockets: str) -> None:
        """Where this daemon is, `ws://host:port`: for the websockets of sessions that steps open."""
        self._address = websockets

    async def stop_serving(self) -> None:
        """End all sessions; the loop is about to end."""
        await self.hub.close()
        self._loop = None

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if self._loop is None:
            self.serve(asyncio.get_running_loop())
        await self.hub(scope, receive, send)

    # For steps, and for the API

    def open(self, principal: Principal, run: str, capabilities: dict[str, Any]) -> OpenSession:
        """Open a session within a run, on one of its devices; `capabilities` as in alwaysMatch.

        Blocks until it is open. Raises `devices.webdriver.WebDriverError`, UnavailableError.
        """
        parameters = {"capabilities": {"alwaysMatch": {**capabilities, "lab:job": run}}}
        opening = self.hub.lifecycle.open(parameters, Asker(principal), self._address)
        session, value = self.in_loop(opening, _OPEN_WITHIN_S)
        return OpenSession(session.id, session.device, value["capabilities"])

    def end(self, session: str, reason: str, verdict: Verdict = Verdict.CANCELLED) -> None:
        """End a session. Raises NotFoundError, UnavailableError."""
        found = self.hub.lifecycle.table.get(session)
        if found is None:
            raise NotFoundError(f"there is no open WebDriver session {session!r}")
        self.in_loop(self.hub.lifecycle.end(found, Ending(verdict, reason)), 60)

    def quit(self, session: str) -> None:
        """End a session as its client does. Raises NotFoundError, UnavailableError."""
        self.end(session, "its steps were done with it", Verdict.PASSED)

    def reserve(self, session: str) -> tuple[str, str]:
        """Where a session is on its own server, (URL before /session, id there), for commands that cannot go through
        the hub; it is not idle until `unreserve`. Raises NotFoundError, UnavailableError."""
        return self.in_loop(self._reserved(session, 1), 10.0)

    def unreserve(self, session: str) -> None:
        """The session is idle again when nobody else uses it; harmless when it has ended."""
        with contextlib.suppress(LabError):
            self.in_loop(self._reserved(session, -1), 10.0)

    async def _reserved(self, name: str, change: int) -> tuple[str, str]:
        session = self.hub.lifecycle.table.get(name)
        if session is None:
            raise NotFoundError(f"there is no open WebDriver session {name!r}")
        session.busy += change
        session.last_used = time.monotonic()
        return _placement(session).target.url, session.target_id

    async def over(self) -> None:
        """Wait until this task is cancelled."""
        await asyncio.Event().wait()

    def sessions(self) -> list[dict[str, Any]]:
        """The open sessions, oldest first."""
        opened = sorted(self.hub.lifecycle.table, key=lambda each: each.began_at)
        return [_shown(each) for each in opened]

    def waiting(self) -> list[dict[str, Any]]:
        """Requests for sessions that wait, longest first, each with what it waits for."""
        waiting = sorted(self.hub.lifecycle.table.waiting, key=lambda each: each.since)
        return [
            {"owner": each.owner, "wanted": each.wanted, "since": each.since, "reason": each.reason} for each in waiting
        ]

    # What ends sessions from outside

    def lease_ended(self, grant: Grant) -> None:
        """A lease is over: so are the sessions on it."""
        for session in self.hub.lifecycle.table:
            if _placement(session).run.lease == grant.lease:
                self._end_soon(session, Ending(Verdict.CANCELLED, f"its lease ended: {grant.reason or 'it is over'}"))

    def _lost(self, device: str, reason: str, gone: bool) -> None:
        for session in self.hub.lifecycle.table:
            if session.device == device:
                lost = Ending(Verdict.ERRORED, f"{device} was lost: {reason}", suspect=not gone)
                self._end_soon(session, lost, gone=gone)

    def _hear_cancellations(self) -> None:
        """Runs that somebody cancelled end their sessions."""
        rings = self._store.bell.rings
        while not self._over.is_set():
            rings = self._store.bell.wait(rings, 30.0, ("runs",))
            own = {_placement(each).run.run: each for each in self.hub.lifecycle.table}
            if not own or self._over.is_set():
                continue
            asked = sa.select(runs.c.id).where(runs.c.id.in_(own), runs.c.cancel_asked)
            try:
                with self._store.read() as connection:
                    cancelled = connection.execute(asked).scalars().all()
            except SQLAlchemyError as exc:
                log.warning("cancelled runs were not looked for", error=str(exc))
                continue
            for run in cancelled:
                self._end_soon(own[run], Ending(Verdict.CANCELLED, "its run was cancelled"))

    def _renew(self) -> None:
        while not self._over.wait(_RENEW_EVERY_S):
            for lease in tuple(self._parts.renewed):
                try:
                    self._leases.renew(lease, LEASE_S)
                except (LabError, SQLAlchemyError) as exc:
                    lost = Ending(Verdict.ERRORED, f"its lease could not be renewed: {exc}")
                    for session in self.hub.lifecycle.table:
                        if _placement(session).run.lease == lease:
                            self._end_soon(session, lost)

    def _end_soon(self, session: Session, ending: Ending, *, gone: bool = False) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has just ended, and all sessions with it
            if self._loop is not None:
                ends = self.hub.lifecycle.end(session, ending, gone=gone)
                asyncio.run_coroutine_threadsafe(ends, self._loop)

    def in_loop(self, work: Coroutine[Any, Any, Result], within_s: float) -> Result:
        """Run something in the loop that serves the endpoint. Raises UnavailableError when none does, or in vain."""
        if self._loop is None:
            work.close()
            raise UnavailableError("the WebDriver endpoint is not served yet, or not any more")
        running = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return running.result(within_s)
        except TimeoutError:
            if running.done():  # of the work's own
                raise
            running.cancel()
            raise UnavailableError(f"the WebDriver endpoint did not come to an end within {within_s:g} s") from None


def _placement(session: Session) -> Placed:
    placement = session.placement
    assert isinstance(placement, Placed)
    return placement


def _shown(session: Session) -> dict[str, Any]:
    placement = _placement(session)
    named = ("browserName", "browserVersion", "platformName")
    return {
        "id": session.id,
        "device": session.device,
        "owner": session.owner,
        "job": placement.run.job,
        "run": placement.run.run,
        "lease": placement.run.lease,
        "began_at": session.began_at,
        "commands": session.commands,
        "idle_timeout_s": session.idle_timeout_s,
        "capabilities": {name: session.capabilities[name] for name in named if name in session.capabilities},
    }
