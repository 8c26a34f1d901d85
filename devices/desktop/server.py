"""The driver's HTTP side: W3C WebDriver's routes as an ASGI application, one session lock each, idle sessions ended."""

from __future__ import annotations

import asyncio
import json
import re
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import uvicorn

from devices.desktop.atspi import AtspiError
from devices.desktop.capabilities import negotiate
from devices.desktop.commands import COMMANDS
from devices.desktop.context import Command, Context
from devices.desktop.interact import Interaction
from devices.desktop.performing import release
from devices.desktop.session import Session
from devices.webdriver import WebDriverError, read_json

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

MAX_BODY = 64 * 2**20
LOCAL_HOSTS = ("127.0.0.1", "localhost", "[::1]")


@dataclass
class _Entry:
    context: Context
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    used: float = field(default_factory=time.monotonic)
    running: asyncio.Task[Any] | None = None


class DesktopDriver:
    """The ASGI application. Requests that a web page could have sent (with an Origin) are refused."""

    def __init__(self, *, max_sessions: int = 16, any_host: bool = False) -> None:
        self._sessions: dict[str, _Entry] = {}
        self._starting = 0
        self._max_sessions = max_sessions
        self._any_host = any_host
        self._routes = [(method, _pattern(path), command) for method, path, command in COMMANDS]
        self._reaper: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            status, body = await self._answer(scope, receive)
            data = json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass")
            headers = [
                (b"content-type", b"application/json; charset=utf-8"),
                (b"cache-control", b"no-cache"),
                (b"content-length", str(len(data)).encode()),
            ]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": data})

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self._reaper = asyncio.create_task(self._end_idle())
                await send({"type": "lifespan.startup.complete"})
            else:
                if self._reaper is not None:
                    self._reaper.cancel()
                await self.end_all()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def end_all(self) -> None:
        """End every session."""
        await asyncio.gather(*(self._end(number) for number in list(self._sessions)), return_exceptions=True)

    async def _end_idle(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            for number, entry in list(self._sessions.items()):
                limit = entry.context.session.settings.idle_timeout_s
                if limit and not entry.lock.locked() and time.monotonic() - entry.used > limit:
                    with suppress(Exception):  # it is out of the list; the next one's turn comes all the same
                        await self._end(number)

    async def _answer(self, scope: Scope, receive: Receive) -> tuple[int, dict[str, Any]]:
        try:
            self._check_sender(scope)
            body = await _read(receive)
            value = await self._dispatch(scope["method"], scope["path"], body)
        except WebDriverError as error:
            return error.http_status, error.body()
        except AtspiError as error:
            code = "stale element reference" if error.gone else "unknown error"
            known = WebDriverError(code, f"the application answered: {error}")
            return known.http_status, known.body()
        except Exception as error:
            # Whatever else goes wrong is ours: the client gets a proper answer, and the name of what it was.
            unknown = WebDriverError("unknown error", f"{type(error).__name__}: {error}")
            return unknown.http_status, unknown.body()
        return 200, {"value": value}

    def _check_sender(self, scope: Scope) -> None:
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        host = re.sub(r":\d+$", "", headers.get(b"host", "localhost"))
        if b"origin" in headers or (not self._any_host and host not in LOCAL_HOSTS):
            raise WebDriverError(
                "unknown error", f"refused: a request from a web page, or for another host than this ({host})"
            )

    async def _dispatch(self, method: str, path: str, raw: bytes) -> Any:
        path = path.rstrip("/") or "/"
        if path.startswith("/wd/hub"):
            path = path[len("/wd/hub") :] or "/"
        if path == "/status" and method == "GET":
            return {"ready": self._room(), "message": f"{len(self._sessions)} sessions of {self._max_sessions}"}
        if path == "/session" and method == "POST":
            return await self._new(_parse(raw))
        deletion = re.fullmatch(r"/session/([^/]+)", path)
        if deletion and method == "DELETE":
            self._entry(deletion[1])
            await self._end(deletion[1])
            return None
        if path in ("/status", "/session") or deletion:
            raise WebDriverError("unknown method", f"{path} does not answer {method}")
        return await self._command(method, path, raw)

    async def _command(self, method: str, path: str, raw: bytes) -> Any:
        matching = [(m, found, command) for m, pattern, command in self._routes if (found := pattern.fullmatch(path))]
        if not matching:
            raise WebDriverError("unknown command", f"no command {method} {path}")
        for known, found, command in matching:
            if known == method:
                parts = found.groupdict()
                entry = self._entry(parts.pop("session"))
                body = _parse(raw) if method == "POST" else {}
                return await self._run(entry, command, parts, body)
        raise WebDriverError("unknown method", f"{path} answers {', '.join(m for m, _, _ in matching)}, not {method}")

    async def _run(self, entry: _Entry, command: Command, parts: dict[str, str], body: dict[str, Any]) -> Any:
        async with entry.lock:
            entry.running = asyncio.ensure_future(command(replace(entry.context, parts=parts, body=body)))
            try:
                return await asyncio.shield(entry.running)
            except asyncio.CancelledError:
                if entry.running.cancelled():
                    raise WebDriverError("invalid session id", "the session was ended while the command ran") from None
                entry.running.cancel()
                raise
            finally:
                entry.used = time.monotonic()

    def _room(self) -> bool:
        return len(self._sessions) + self._starting < self._max_sessions

    async def _new(self, body: dict[str, Any]) -> dict[str, Any]:
        settings, answer = negotiate(body)
        if not self._room():
            raise WebDriverError("session not created", f"all {self._max_sessions} sessions of this driver are taken")
        number = str(uuid.uuid4())
        self._starting += 1
        try:
            session = await Session.start(number, settings)
        except AtspiError as error:
            raise WebDriverError("session not created", f"the application answered: {error}") from error
        finally:
            self._starting -= 1
        self._sessions[number] = _Entry(Context(session, Interaction(session)))
        return {"sessionId": number, "capabilities": answer | {"lab:display": session.desk.display}}

    def _entry(self, number: str) -> _Entry:
        if number not in self._sessions:
            raise WebDriverError("invalid session id", f"no session {number}: it was ended, or never was")
        return self._sessions[number]

    async def _end(self, number: str) -> None:
        entry = self._sessions.pop(number, None)
        if entry is None:
            return
        if entry.running is not None and not entry.running.done():
            entry.running.cancel()
        with suppress(Exception):
            async with asyncio.timeout(2):
                await release(entry.context.input)
        await entry.context.session.end()


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path))


async def _read(receive: Receive) -> bytes:
    parts, size = [], 0
    while True:
        message = await receive()
        part = message.get("body", b"")
        size += len(part)
        if size > MAX_BODY:
            raise WebDriverError("invalid argument", f"a request of more than {MAX_BODY} bytes")
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)


def _parse(raw: bytes) -> dict[str, Any]:
    try:
        body = read_json(raw or b"null")
    except ValueError as error:
        raise WebDriverError("invalid argument", f"the body is no JSON: {error}") from error
    if not isinstance(body, dict):
        raise WebDriverError("invalid argument", f"the body must be a JSON object, not {str(body)[:40]}")
    return body


async def serve(host: str, port: int, *, max_sessions: int = 16, ready: Callable[[str], None] = print) -> None:
    """Serve until SIGINT or SIGTERM, then end every session. `port` 0 takes a free one; `ready` is told the URL."""
    loopback = host in ("127.0.0.1", "localhost", "::1")
    app = DesktopDriver(max_sessions=max_sessions, any_host=not loopback)
    config = uvicorn.Config(
        app, host=host, port=port, log_level="warning", lifespan="on", timeout_graceful_shutdown=5, ws="none"
    )
    server = _Server(config, ready)
    await server.serve()


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Callable[[str], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        if self.started:
            address = self.servers[0].sockets[0].getsockname()
            self._ready(f"http://{address[0]}:{address[1]}")
