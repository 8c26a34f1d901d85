"""How sessions begin and end: from a request, through a device and its target, to the device being free again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import structlog

from devices.healing import HealingMode
from devices.hub.addresses import public_capabilities, sockets_of
from devices.hub.capabilities import Candidate, process, request_for, with_defaults
from devices.hub.gate import Caller
from devices.hub.mending import Mender
from devices.hub.options import LabOptions, RecordOptions
from devices.hub.pictures import Pictures
from devices.hub.provider import Ending, Placement, Provider, Verdict
from devices.hub.sessions import Session, SessionTable, Waiting
from devices.hub.target import JSON_HEADERS, Call, Reply, TargetError
from devices.hub.transfers import DOWNLOADS_ENABLED, preferences_for
from devices.hub.upstream import Client
from devices.recording import Recorder
from devices.webdriver import HTTP_STATUS, WebDriverError, read_json

Result = TypeVar("Result")
log = structlog.get_logger(__name__)
HTTP_OK = 200
_PROBE_S = 5.0
_QUIT_S = 15.0
_SHUTDOWN_S = 20.0
_REAP_AT_LEAST_S = 0.02
_REAP_AT_MOST_S = 5.0
_SHUTTING_DOWN = "the lab is shutting down"


@dataclass(frozen=True, slots=True)
class HubSettings:
    """Defaults of sessions that say nothing else.

    `queue_timeout_s` is below the 120 s after which Selenium's clients give up, so that they hear why they waited.
    `healing_folder`: for what is remembered of locators from session to session; nowhere without it.
    """

    idle_timeout_s: float = 300.0
    queue_timeout_s: float = 100.0
    healing_folder: Path | None = None
    record: RecordOptions = field(default_factory=RecordOptions)


class Lifecycle:
    """Opens and ends sessions. Lives in one event loop."""

    def __init__(self, provider: Provider, recorder: Recorder, settings: HubSettings) -> None:
        self.table = SessionTable()
        self.client = Client()
        self._provider = provider
        self._recorder = recorder
        self._settings = settings
        self._pictures: dict[Session, Pictures] = {}
        self._background: set[asyncio.Task[Any]] = set()
        self._reaper: asyncio.Task[None] | None = None
        self._look = asyncio.Event()
        self._closing = False

    async def ready(self) -> bool:
        """Whether a request for a session would have a device at once."""
        return not self._closing and await self._provider.ready()

    # Beginning

    async def open(self, parameters: Any, caller: Caller, websockets: str) -> tuple[Session, dict[str, Any]]:
        """A session for New Session's parameters, with the answer's value. `websockets`: their base URL, ours.

        Raises WebDriverError. Cancelled, it leaves nothing behind: neither a lease nor a session on a target.
        """
        if self._closing:
            raise WebDriverError("session not created", f"{_SHUTTING_DOWN}; ask again when it is back")
        candidates = process(parameters)
        placement = await self._acquire(candidates, caller)
        # From here on the device is ours. Whatever happens to the client, what was begun is brought to an end.
        beginning = self._spawn(self._begin(placement, caller.name, websockets))
        try:
            return await asyncio.shield(beginning)
        except asyncio.CancelledError:
            self._spawn(self._undo(beginning))
            raise

    async def _acquire(self, candidates: list[Candidate], caller: Caller) -> Placement:
        options = candidates[0].options
        timeout_s = options.queue_timeout_s or self._settings.queue_timeout_s
        waiting = Waiting(caller.name, _describe(candidates))

        def tell(reason: str) -> None:
            waiting.reason = reason

        self.table.waiting.add(waiting)
        try:
            async with asyncio.timeout(timeout_s):
                return await self._provider.acquire(candidates, caller, tell)
        except TimeoutError:
            message = f"no device became free within {timeout_s:g} s: {waiting.reason}"
            hint = "ask again, or give lab:queueTimeout more seconds"
            data = {"waited_s": timeout_s, "reason": waiting.reason}
            raise WebDriverError("session not created", f"{message}; {hint}", data=data) from None
        finally:
            self.table.waiting.discard(waiting)

    async def _begin(self, placement: Placement, owner: str, websockets: str) -> tuple[Session, dict[str, Any]]:
        try:
            session, answer = await self._begin_on_target(placement, owner)
        except BaseException as exc:
            suspect = not isinstance(exc, WebDriverError) or bool((exc.data or {}).get("suspect"))
            await self._give_back(placement, Ending(Verdict.ERRORED, str(exc), suspect))
            raise
        # In the table first: what ends sessions from outside has to find it from now on.
        self.table.add(session)
        pictures = self._pictures[session] = Pictures(session)
        pictures.start(self._record(session.options).film_per_s)
        try:
            await placement.began(session.id, answer)
            if session.why is not None or self._closing:
                raise WebDriverError("session not created", f"{session.device}: {session.why or _SHUTTING_DOWN}")
        except Exception as exc:
            await self.end(session, Ending(Verdict.CANCELLED, str(exc)))
            raise
        self._watch_idle()
        capabilities = public_capabilities(session, answer, websockets)
        return session, {"sessionId": session.id, "capabilities": capabilities}

    async def _begin_on_target(self, placement: Placement, owner: str) -> tuple[Session, dict[str, Any]]:
        target, options = placement.target, placement.candidates[0].options
        record = self._record(options)
        upstream = self.client.upstream(target)
        downloads = None
        defaults = target.defaults
        candidates = list(placement.candidates)
        if target.local and any(each.capabilities.get(DOWNLOADS_ENABLED) for each in candidates):
            downloads = placement.folder / "downloads"
            downloads.mkdir()
            candidates = [_with_downloads(each, placement, target.defaults) for each in candidates]
        if record.console:
            defaults = with_defaults({"goog:loggingPrefs": {"browser": "ALL"}}, defaults)
        body = json.dumps(request_for(candidates, defaults)).encode()
        asked = time.time(), time.perf_counter()
        try:
            reply = await upstream.exchange(
                Call("POST", "/session", JSON_HEADERS, body), target.start_timeout_s, whole=True
            )
        except TargetError as exc:
            message = f"{placement.device}: no session could be begun: {exc}"
            data = {"device": placement.device, "suspect": True}
            raise WebDriverError("session not created", message, data=data) from exc
        target_id, capabilities = _parse_created(reply, placement.device, named=target.hub)
        recording = self._recorder.open(placement.folder, commands=record.commands, mask=record.mask)
        recording.note(
            asked[0],
            "session begun",
            device=placement.device,
            took_ms=round((time.perf_counter() - asked[1]) * 1000, 3),
            requested=[dict(each.capabilities) for each in candidates],
            capabilities=capabilities,
        )
        session = Session(
            id=self.table.name_for(target_id),
            target_id=target_id,
            owner=owner,
            placement=placement,
            upstream=upstream,
            options=options,
            capabilities=capabilities,
            recording=recording,
            idle_timeout_s=options.idle_timeout_s or self._settings.idle_timeout_s,
            sockets=sockets_of(capabilities),
            downloads=downloads,
        )
        if options.healing.mode is not HealingMode.OFF:
            healing = options.healing
            session.mender = Mender(session, healing.mode, healing.threshold, self._settings.healing_folder)
            await session.mender.recall()
        return session, capabilities

    async def _undo(self, beginning: asyncio.Task[tuple[Session, dict[str, Any]]]) -> None:
        with contextlib.suppress(Exception):
            session, _ = await beginning
            await self.end(session, Ending(Verdict.CANCELLED, "its client went away before the session had begun"))

    def _record(self, options: LabOptions) -> RecordOptions:
        return options.record or self._settings.record

    # Ending

    async def quit(self, session: Session, carry: Callable[[], Awaitable[Reply]]) -> Reply:
        """End a session because its client says so. `carry` takes the client's own command to the target.

        Raises TargetError when that got no answer; the session has ended all the same.
        """
        ending = session.verdict or Ending(Verdict.PASSED, "its client ended the session")
        session.why = ending.reason
        await self._take_leave(session, alive=True)
        try:
            reply = await carry()
        except TargetError as exc:
            failed = Ending(Verdict.ERRORED, f"{session.device} did not end the session: {exc}", suspect=True)
            await self._finish(session, failed)
            raise
        if not _over(reply):
            told = f"{session.device} did not end the session: it answered with HTTP {reply.status}"
            ending = Ending(Verdict.ERRORED, told, suspect=True)
        await self._finish(session, ending)
        return reply

    async def end(self, session: Session, ending: Ending, *, gone: bool = False) -> None:
        """End a session for a reason of ours: keys and buttons are let go, then it quits. Does nothing the second time.

        `gone`: the target has ended it already.
        """
        if session.ending:
            return
        session.why = ending.reason
        await self._take_leave(session, alive=not gone and not ending.suspect)
        if not gone:
            ending = await self._quit_for(session, ending)
        await self._finish(session, ending)

    async def _take_leave(self, session: Session, *, alive: bool) -> None:
        """What has to be asked of the target before its session is over."""
        await self._pictures.pop(session).finish(alive=alive)
        if alive and self._record(session.options).console:
            call = Call("POST", f"{session.path}/se/log", JSON_HEADERS, b'{"type": "browser"}')
            with contextlib.suppress(TargetError):
                reply = await session.upstream.exchange(call, _PROBE_S, whole=True)
                if reply.status == HTTP_OK:
                    session.recording.text("console.json", reply.whole(), "application/json")

    async def _quit_for(self, session: Session, ending: Ending) -> Ending:
        limit = _PROBE_S if ending.suspect else _QUIT_S
        try:
            await session.upstream.exchange(Call("DELETE", f"{session.path}/actions"), limit, whole=True)
            reply = await session.upstream.exchange(Call("DELETE", session.path), limit, whole=True)
        except TargetError as exc:
            log.warning("a session could not be ended properly", device=session.device, error=str(exc))
            return replace(ending, suspect=True)
        return ending if _over(reply) else replace(ending, suspect=True)

    async def _finish(self, session: Session, ending: Ending) -> None:
        self.table.remove(session, ending.reason)
        session.closed.set()
        await self._free(session.placement, ending)
        self._spawn(self._conclude(session, ending))

    async def _free(self, placement: Placement, ending: Ending) -> None:
        try:
            await placement.free(ending)
        except Exception:
            log.exception("a device could not be given back", device=placement.device)

    async def _give_back(self, placement: Placement, ending: Ending) -> None:
        await self._free(placement, ending)
        await placement.conclude(ending, [])

    async def _conclude(self, session: Session, ending: Ending) -> None:
        recording = session.recording
        if session.mender is not None:
            await session.mender.keep()
        recording.note(time.time(), "session ended", verdict=ending.verdict, reason=ending.reason)
        try:
            files = await asyncio.wrap_future(recording.finish())
        except Exception as exc:
            log.error("a recording is incomplete", device=session.device, error=str(exc))
            files = recording.kept
        try:
            await session.placement.conclude(ending, files)
        except Exception:
            log.exception("the books of a session could not be closed", device=session.device, session=session.id)

    # While it lasts

    def failed(self, session: Session, command: str) -> None:
        """A command of a session failed: picture it, if that is wanted."""
        if self._record(session.options).screenshots and session in self._pictures:
            self._pictures[session].failed(command)

    async def examine(self, session: Session, error: TargetError) -> bool:
        """After a command without an answer: whether the session lives on. One that does not is ended."""
        probe = "/status" if error.hung else f"{session.path}/timeouts"
        prefix = "" if error.hung else f"{probe} answered "
        try:
            reply = await session.upstream.exchange(Call("GET", probe), _PROBE_S, whole=True)
            if not says_no_such_session(reply):
                return True
            cause = f"{prefix}that there is no such session"
        except TargetError as exc:
            cause = str(exc)
        reason = f"the target of {session.device} was lost: {error}; then {cause}"
        self._spawn(self.end(session, Ending(Verdict.ERRORED, reason, suspect=True)))
        return False

    def _watch_idle(self) -> None:
        if self._reaper is None or self._reaper.done():
            self._reaper = asyncio.get_running_loop().create_task(self._reap())
        self._look.set()

    async def _reap(self) -> None:
        while len(self.table):
            self._look.clear()
            now = time.monotonic()
            due = _REAP_AT_MOST_S
            for session in self.table:
                left = session.last_used + session.idle_timeout_s - now
                if session.busy or session.ending:
                    continue
                if left <= 0:
                    reason = f"no command came for {session.idle_timeout_s:g} s (lab:idleTimeout)"
                    self._spawn(self.end(session, Ending(Verdict.CANCELLED, reason)))
                else:
                    due = min(due, left)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._look.wait(), max(due, _REAP_AT_LEAST_S))

    async def close(self) -> None:
        """End all sessions, then let go of everything."""
        self._closing = True
        reason = Ending(Verdict.CANCELLED, _SHUTTING_DOWN)
        for session in self.table:
            self._spawn(self.end(session, reason))
        if self._reaper is not None:
            self._reaper.cancel()
        deadline = time.monotonic() + _SHUTDOWN_S
        while self._background and (left := deadline - time.monotonic()) > 0:
            await asyncio.wait(tuple(self._background), timeout=left)
        await self.client.close()

    def _spawn(self, work: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._background.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, WebDriverError):
            log.error("a session's work failed", exc_info=error)


def says_no_such_session(reply: Reply) -> bool:
    """Whether a target knows nothing of a session; one that does not know the command says 404 as well."""
    if reply.status != HTTP_STATUS["invalid session id"]:
        return False
    try:
        return bool(read_json(reply.whole())["value"]["error"] == "invalid session id")
    except (ValueError, KeyError, TypeError):
        return False


def _over(quitted: Reply) -> bool:
    """Whether a session is over by a target's answer to Delete Session."""
    return quitted.status in (HTTP_OK, HTTP_STATUS["invalid session id"])


def _describe(candidates: list[Candidate]) -> str:
    told = []
    for each in candidates:
        parts = [f"{name}={value}" for name, value in each.capabilities.items() if isinstance(value, str)]
        parts += [f"device={each.options.device}"] if each.options.device else []
        parts += [f"{name}={value}" for name, value in each.options.labels.items()]
        told.append(", ".join(parts) or "any device")
    return " or ".join(dict.fromkeys(told))


def _with_downloads(candidate: Candidate, placement: Placement, defaults: Mapping[str, Any]) -> Candidate:
    if not candidate.capabilities.get(DOWNLOADS_ENABLED):
        return candidate
    browser = candidate.capabilities.get("browserName", defaults.get("browserName"))
    preferences = preferences_for(browser, placement.folder / "downloads")
    rest = {name: value for name, value in candidate.capabilities.items() if name != DOWNLOADS_ENABLED}
    return replace(candidate, capabilities=with_defaults(preferences, rest))


def _parse_created(reply: Reply, device: str, *, named: bool) -> tuple[str, dict[str, Any]]:
    """The session that a target began. `named`: its errors name the device already."""
    body = reply.whole()
    try:
        value = read_json(body)["value"]
    except (ValueError, KeyError, TypeError):
        value = None
    if isinstance(value, dict) and reply.status == HTTP_OK:
        target_id, capabilities = value.get("sessionId"), value.get("capabilities")
        if isinstance(target_id, str) and target_id and isinstance(capabilities, dict):
            return target_id, capabilities
    if isinstance(value, dict) and isinstance(value.get("error"), str):
        code = value["error"] if value["error"] in HTTP_STATUS else "session not created"
        told = str(value.get("message", ""))
        raise WebDriverError(code, told if named else f"{device}: {told}", data={"device": device})
    message = f"{device}: its target answered New Session with status {reply.status} and no session: {body[:200]!r}"
    raise WebDriverError("session not created", message, data={"device": device, "suspect": True})
