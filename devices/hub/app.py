"""The WebDriver endpoint: a raw ASGI application that routes by hand and passes commands on as they are."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from secrets import compare_digest
from typing import Any

import structlog

from devices.hub import asgi, sockets, transfers
from devices.hub.addresses import BIDI, CDP, KEY
from devices.hub.asgi import ClientGoneError, Receive, Scope, Send, Visit, error_reply, json_reply
from devices.hub.gate import Caller, Gate, OpenGate, RefusedError
from devices.hub.headers import first, to_target
from devices.hub.lifecycle import HTTP_OK, HubSettings, Lifecycle, says_no_such_session
from devices.hub.provider import Ending, Provider, Verdict
from devices.hub.sessions import Session
from devices.hub.target import Call, Reply, TargetError
from devices.hub.upstream import length_of
from devices.recording import Command, Recorder
from devices.webdriver import WebDriverError, read_json

log = structlog.get_logger(__name__)
_LARGEST_NEW_SESSION = 64 << 20  # capabilities carry browser profiles and extensions
_OLD_PREFIX = b"/wd/hub"  # where Selenium 3 and Appium 1 had everything, as many addresses in test suites still say
_CUT = "the target's body broke off; the connection is cut, since the status is out already"


class Hub:
    """ASGI application. `prefix`: the path it is mounted at, such as "/webdriver"; `sockets_below`: where clients find
    its websockets, if not there.
    """

    def __init__(
        self,
        provider: Provider,
        recorder: Recorder,
        *,
        prefix: str = "",
        sockets_below: str | None = None,
        settings: HubSettings | None = None,
        gate: Gate | None = None,
    ) -> None:
        self.lifecycle = Lifecycle(provider, recorder, settings or HubSettings())
        self._prefix = prefix
        self._sockets_below = prefix if sockets_below is None else sockets_below
        self._raw_prefix = prefix.encode()
        self._gate = gate or OpenGate()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._socket(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(Visit(scope, receive, send))

    async def close(self) -> None:
        """End all sessions."""
        await self.lifecycle.close()

    async def _http(self, visit: Visit) -> None:
        try:
            reply = await self._route(visit)
        except RefusedError as exc:
            reply = error_reply(exc.error)
            reply = Reply(exc.status, [*reply.headers, *exc.headers], reply.body)
        except WebDriverError as exc:
            reply = error_reply(exc)
        except ClientGoneError:
            return
        except ConnectionError:  # of ours: the connection has to be cut
            raise
        except Exception as exc:
            log.exception("a WebDriver request failed", method=visit.method, path=visit.scope["path"])
            told = f"the lab failed at {visit.method} {visit.scope['path']}, and says in its log how: {exc!r}"
            reply = error_reply(WebDriverError("unknown error", told))
        if reply is not None:
            await asgi.send_reply(visit.send, reply)

    async def _route(self, visit: Visit) -> Reply | None:
        """An answer of our own, or None when a target's was sent."""
        caller = await self._gate.enter(visit.scope)
        path = visit.scope["raw_path"].removeprefix(self._raw_prefix).removeprefix(_OLD_PREFIX).decode("latin-1")
        parts = path.split("/", 3)
        if len(parts) > 2 and parts[1] == "session" and parts[2]:
            session = self._session(parts[2], caller)
            return await self._in_session(session, f"/{parts[3]}" if len(parts) == 4 else "", visit)
        if path in ("/session", "/session/"):
            if visit.method != "POST":
                raise WebDriverError("unknown method", f"{visit.method} {path}: a session is opened with POST")
            return await self._new_session(caller, visit)
        if path == "/status":
            return json_reply(await self._status())
        known = "POST /session, GET /status and what is below /session/{id}"
        raise WebDriverError("unknown command", f"{visit.method} {self._prefix}{path} is not known; known are {known}")

    def _session(self, identifier: str, caller: Caller) -> Session:
        session = self.lifecycle.table.get(identifier)
        if session is None or session.ending:
            why = session.why if session else self.lifecycle.table.how_it_ended(identifier)
            told = f"session {identifier} has ended: {why}" if why else f"there is no session {identifier}"
            raise WebDriverError("invalid session id", told)
        if not self._gate.may_use(caller, session.owner):
            raise WebDriverError("invalid session id", f"session {identifier} belongs to somebody else")
        return session

    async def _status(self) -> dict[str, Any]:
        """`ready`: a request for a session need not wait. It may come all the same, and is queued then."""
        table = self.lifecycle.table
        waiting, count = len(table.waiting), len(table)
        message = f"{count} sessions open, {waiting} requests waiting for a device"
        return {
            "ready": await self.lifecycle.ready(),
            "message": message,
            "lab": {"sessions": count, "waiting": waiting},
        }

    # New Session

    async def _new_session(self, caller: Caller, visit: Visit) -> Reply:
        body = await visit.whole_body(_LARGEST_NEW_SESSION)
        try:
            parameters = read_json(body)
        except ValueError as exc:
            raise WebDriverError("invalid argument", f"the body is no JSON: {exc}") from None
        with asgi.Watching(visit.receive, after_s=0):
            _, value = await self.lifecycle.open(parameters, caller, self._websockets(visit.scope))
        return json_reply(value)

    def _websockets(self, scope: Scope) -> str:
        secure = scope.get("scheme") in ("https", "wss")
        host = first(scope["headers"], b"host")
        if host is None:
            address, port = scope.get("server") or ("127.0.0.1", 80)
            host = f"{address}:{port}".encode()
        return f"{'wss' if secure else 'ws'}://{host.decode('latin-1')}{self._sockets_below}"

    # Commands

    async def _in_session(self, session: Session, tail: str, visit: Visit) -> Reply | None:
        session.busy += 1
        session.commands += 1
        try:
            if tail == "" and visit.method == "DELETE":
                return await self._quit(session, visit)
            if tail == "/lab/verdict" and visit.method == "POST" and not session.placement.target.hub:
                return self._declare(session, await visit.whole_body(1 << 20))
            if tail.startswith("/se/file") and (own := await self._transfer(session, tail, visit)) is not None:
                return own
            await self._command(session, tail, visit)
            return None
        finally:
            session.busy -= 1
            session.last_used = time.monotonic()

    async def _command(self, session: Session, tail: str, visit: Visit) -> None:
        call = self._call(session, tail, visit, await visit.body())
        asked = time.perf_counter()
        try:
            # What still comes in as a stream notices by itself when the client goes.
            with asgi.Watching(visit.receive) if isinstance(call.body, bytes) else contextlib.nullcontext():
                reply = await session.upstream.exchange(call, session.placement.target.command_timeout_s)
            if session.mender is not None:
                reply = await session.mender.after_find(call, tail, reply)
        except TargetError as exc:
            reply = await self._lost(session, exc)
        target_s = time.perf_counter() - asked
        try:
            size = await asgi.send_reply(visit.send, reply)
        except TargetError as exc:
            session.recording.note(time.time(), "answer broke off", path=tail, error=str(exc))
            await self.lifecycle.examine(session, exc)
            raise ConnectionError(f"{session.device}: {exc}; {_CUT}") from None
        finally:
            reply.close()
        total_s = time.perf_counter() - visit.began
        session.recording.command(
            Command(
                at=time.time() - total_s,
                method=call.method,
                path=tail,
                request=call.body if isinstance(call.body, bytes) else b"",
                status=reply.status,
                response=reply.whole(),
                size=size,
                target_ms=target_s * 1000,
                total_ms=total_s * 1000,
            )
        )
        await self._after(session, call.method, tail, reply)

    def _call(self, session: Session, tail: str, visit: Visit, body: bytes | AsyncIterator[bytes]) -> Call:
        query = visit.scope["query_string"]
        path = f"{session.path}{tail}" + (f"?{query.decode('latin-1')}" if query else "")
        return Call(visit.method, path, to_target(visit.headers), body, length_of(visit.headers))

    async def _lost(self, session: Session, error: TargetError) -> Reply:
        alive = await self.lifecycle.examine(session, error)
        code = "timeout" if error.hung else "unknown error"
        told = f"{session.device}: {error}"
        told += "" if alive else "; the session has ended, and the device is looked after before anybody gets it"
        return error_reply(WebDriverError(code, told, data={"device": session.device, "session_ended": not alive}))

    async def _after(self, session: Session, method: str, tail: str, reply: Reply) -> None:
        """What an answer says about the session itself."""
        if reply.status == HTTP_OK:
            if method == "DELETE" and tail == "/window" and _value(reply) == []:
                ending = session.verdict or Ending(Verdict.PASSED, "its client closed the last window")
                # Browsers' drivers have ended the session by this; Appium, desktops and JSON Wire servers have not.
                await self.lifecycle.end(session, ending)
            return
        if says_no_such_session(reply):
            reason = f"the target of {session.device} has no such session any more"
            ending = session.verdict or Ending(Verdict.ERRORED, reason)
            await self.lifecycle.end(session, ending, gone=True)
            return
        if reply.status >= 400:
            self.lifecycle.failed(session, f"{method} {tail}")

    async def _quit(self, session: Session, visit: Visit) -> Reply:
        call = self._call(session, "", visit, await visit.whole_body(1 << 20))

        async def carry() -> Reply:
            return await session.upstream.exchange(call, session.placement.target.command_timeout_s, whole=True)

        try:
            return await self.lifecycle.quit(session, carry)
        except TargetError as exc:
            told = f"{session.device}: {exc}; the session has ended all the same"
            raise WebDriverError("unknown error", told, data={"device": session.device, "session_ended": True}) from exc

    # What the hub answers itself

    def _declare(self, session: Session, body: bytes) -> Reply:
        """The client's own verdict on what it tested: POST /session/{id}/lab/verdict."""
        try:
            document = read_json(body)
            verdict, reason = document["verdict"], document.get("reason", "")
        except (ValueError, KeyError, TypeError, AttributeError):
            verdict, reason = None, ""
        if verdict not in (Verdict.PASSED, Verdict.FAILED) or not isinstance(reason, str):
            raise WebDriverError("invalid argument", 'a verdict is {"verdict": "passed" or "failed", "reason": "..."}')
        session.verdict = Ending(Verdict(verdict), reason[:1000] or f"its client says that it {verdict}")
        return json_reply(None)

    async def _transfer(self, session: Session, tail: str, visit: Visit) -> Reply | None:
        """Uploads and downloads of browsers on this machine; None leaves the command to the target."""
        if tail == "/se/file" and visit.method == "POST" and session.placement.target.local:
            body = await visit.whole_body(transfers.LARGEST_UPLOAD)
            return json_reply(await asyncio.to_thread(transfers.receive_upload, body, session.placement.folder))
        if tail != "/se/files" or session.downloads is None:
            return None
        if visit.method == "GET":
            return json_reply({"names": await asyncio.to_thread(transfers.list_downloads, session.downloads)})
        if visit.method == "POST":
            body = await visit.whole_body(1 << 20)
            return json_reply(await asyncio.to_thread(transfers.send_download, session.downloads, body))
        if visit.method == "DELETE":
            await asyncio.to_thread(transfers.clear_downloads, session.downloads)
            return json_reply(None)
        return None

    # Websockets

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """/session/{id}?key={key} for BiDi, /session/{id}/ws/{key}/cdp for DevTools."""
        parts = scope["path"].removeprefix(self._prefix).split("/")
        try:
            await self._gate.enter(scope)
        except RefusedError:
            await sockets.refuse(receive, send)
            return
        match parts:
            case ["", "session", name]:
                kind, key = BIDI, scope["query_string"].decode("latin-1").removeprefix(f"{KEY}=")
            case ["", "session", name, "ws", key, kind] if kind == CDP:
                pass
            case _:
                name = kind = key = ""
        session = self.lifecycle.table.get(name)
        shown = key.encode(errors="replace")
        if session and not session.ending and kind in session.sockets and compare_digest(session.key.encode(), shown):
            await sockets.proxy(self.lifecycle, session, kind, Visit(scope, receive, send))
        else:
            await sockets.refuse(receive, send)


def _value(reply: Reply) -> Any:
    try:
        return read_json(reply.whole())["value"]
    except (ValueError, KeyError, TypeError):
        return None
