"""A W3C WebDriver server in front of a JSON Wire server, so that today's clients drive yesterday's.

Sessions that a JSON Wire client opens (it sends `desiredCapabilities` alone) go through as they are.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import uuid
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote

import structlog
from aiohttp import web

from devices.dialects import extensions
from devices.dialects.elements import to_w3c
from devices.dialects.errors import wire_error
from devices.dialects.flavours import Flavour
from devices.dialects.session import COMMANDS, Command, WireSession
from devices.dialects.wire import WireLink
from devices.webdriver import WebDriverError, read_json
from drivers.errors import DeviceError

log = structlog.get_logger(__name__)
_LONGEST_REQUEST = 64 << 20
_STANDARD = frozenset(
    {"browserName", "browserVersion", "platformName", "acceptInsecureCerts", "pageLoadStrategy", "proxy",
     "setWindowRect", "timeouts", "strictFileInteractability", "unhandledPromptBehavior", "webSocketUrl"}
)  # fmt: skip


@dataclass
class _Open:
    """A session. `legacy`: its client speaks JSON Wire itself. `running`: the commands under way."""

    id: str
    session: WireSession
    capabilities: dict[str, Any]
    legacy: bool
    running: set[asyncio.Task[Any]] = field(default_factory=set)


class Gateway:
    """Serves W3C WebDriver on a port of the loopback interface; see `start`, `close`.

    `url`: where the JSON Wire server is. One session at a time, as these servers have one.
    """

    def __init__(self, url: str, flavour: Flavour, *, timeout_s: float = 120.0) -> None:
        self.flavour = flavour
        self._link = WireLink(url, timeout_s=timeout_s)
        self._open: _Open | None = None
        self._opening = False
        self._runner: web.AppRunner | None = None
        self._routes = [(method, _pattern(path), command) for (method, path), command in COMMANDS.items()]
        self._paths = [_pattern(f"/element/{{element}}{path}") for path in extensions.PATHS]

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Begin to serve; returns the URL. Raises OSError when the port is taken."""
        app = web.Application(client_max_size=_LONGEST_REQUEST)
        app.router.add_route("*", "/{tail:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        address = self._runner.addresses[0]
        return f"http://{address[0]}:{address[1]}"

    async def close(self) -> None:
        """End the session, if any, and stop to serve."""
        if self._open is not None:
            with contextlib.suppress(DeviceError, WebDriverError):  # the server is gone, and its session with it
                await self._quit(self._open)
        if self._runner is not None:
            await self._runner.cleanup()

    async def _serve(self, request: web.Request) -> web.Response:
        try:
            status, document = await self._respond(request)
        except WebDriverError as exc:
            status, document = exc.http_status, exc.body()
        except DeviceError as exc:
            error = WebDriverError("unknown error", str(exc))
            status, document = error.http_status, error.body()
        except Exception as exc:  # a value of a shape that nobody would send
            log.exception("a command failed", method=request.method, path=request.path)
            error = WebDriverError("unknown error", f"{request.method} {request.path} failed: {exc!r}")
            status, document = error.http_status, error.body()
        return web.json_response(
            document, status=status, headers={"Cache-Control": "no-cache"}, content_type="application/json"
        )

    async def _respond(self, request: web.Request) -> tuple[int, dict[str, Any]]:
        path = request.rel_url.raw_path.rstrip("/")
        if path == "/status":
            return 200, {"value": await self._status()}
        if path == "/session" and request.method == "POST":
            return await self._new_session(await _body(request))
        found = re.fullmatch(r"/session/([^/]+)(/.*)?", path)
        if found is None:
            raise WebDriverError("unknown command", f"no command {request.method} {path}")
        current = self._open
        if current is None or found[1] != current.id:
            raise WebDriverError("invalid session id", f"there is no session {found[1]}; it may have been quit")
        body = await _body(request) if request.method == "POST" else {}
        if current.legacy:
            return await self._pass_on(current, request.method, found[2] or "", body)
        if request.method == "DELETE" and found[2] is None:
            await self._quit(current)
            return 200, {"value": None}
        return 200, {"value": await _while_open(current, self._perform(current, request.method, found[2] or "", body))}

    async def _perform(self, current: _Open, method: str, path: str, body: dict[str, Any]) -> Any:
        """The value of a W3C command at a path below the session."""
        if method == "GET" and not path:
            return current.capabilities
        if method == "POST" and any(pattern.fullmatch(path) for pattern in self._paths):
            return await current.session.wire.ask("POST", path, body)
        command, at = self._command(method, path)
        return await command(current.session, body, at)

    def _command(self, method: str, path: str) -> tuple[Command, dict[str, str]]:
        others = False
        for each, pattern, command in self._routes:
            if (found := pattern.fullmatch(path)) is not None:
                if each == method:
                    return command, {key: unquote(value) for key, value in found.groupdict().items()}
                others = True
        if others:
            raise WebDriverError("unknown method", f"{path} does not take {method}")
        if _W3C_ONLY.fullmatch(path):
            raise WebDriverError("unsupported operation", f"{self.flavour.title} has nothing like {method} {path}")
        raise WebDriverError("unknown command", f"no command {method} {path}")

    async def _status(self) -> dict[str, Any]:
        try:
            answer = await self._link.call("GET", "/status")
        except DeviceError as exc:
            return {"ready": False, "message": str(exc)}
        if self._open is not None or self._opening:
            return {"ready": False, "message": f"{self.flavour.title} has one session, which is in use"}
        return {"ready": True, "message": f"{self.flavour.title} answers", "server": answer.value}

    async def _new_session(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        legacy = "capabilities" not in body
        wanted = body.get("desiredCapabilities") if legacy else _w3c_capabilities(body["capabilities"])
        if not isinstance(wanted, dict):
            raise WebDriverError("invalid argument", "a session needs capabilities, an object")
        if self._open is not None or self._opening:
            raise WebDriverError(
                "session not created", f"{self.flavour.title} has one session and that is in use; quit it first"
            )
        self._opening = True
        try:
            answer = await self._link.call("POST", "/session", {"desiredCapabilities": self._bare(wanted)})
        except DeviceError as exc:
            raise WebDriverError("session not created", str(exc)) from None
        finally:
            self._opening = False
        if answer.status:
            error = wire_error(answer, f"{self.flavour.title} did not begin a session")
            raise WebDriverError("session not created", error.message, stacktrace=error.stacktrace)
        if not answer.session:
            raise WebDriverError("session not created", f"{self.flavour.title} began a session without an id")
        session = WireSession(self._link, self.flavour, quote(answer.session, safe=""))
        granted = self._granted(wanted, answer.value)
        self._open = _Open(uuid.uuid4().hex, session, granted, legacy)
        if legacy:
            return 200, {"sessionId": self._open.id, "status": 0, "value": answer.value}
        if isinstance(timeouts := wanted.get("timeouts"), dict):
            await self._set_timeouts(self._open, timeouts)
        return 200, {"value": {"sessionId": self._open.id, "capabilities": granted}}

    async def _set_timeouts(self, current: _Open, timeouts: dict[str, Any]) -> None:
        """Those of a session that was just begun; it is none when they are not taken."""
        try:
            await current.session.set_timeouts(timeouts, {})
        except (DeviceError, WebDriverError) as exc:
            with contextlib.suppress(DeviceError):
                await self._quit(current)
            malformed = isinstance(exc, WebDriverError) and exc.code == "invalid argument"
            code = "invalid argument" if malformed else "session not created"
            raise WebDriverError(code, f"the timeouts were not taken: {exc}") from None

    async def _quit(self, current: _Open) -> None:
        self._open = None
        # What a client left behind, such as actions with long pauses, would go on in the next one's session.
        for each in tuple(current.running):
            each.cancel()
        await current.session.quit({}, {})

    async def _pass_on(
        self, current: _Open, method: str, rest: str, body: dict[str, Any]
    ) -> tuple[int, dict[str, Any]]:
        if method == "DELETE" and not rest:
            self._open = None
        answer = await self._link.call(method, f"/session/{current.session.wire.wire_id}{rest}", body)
        return answer.http_status, {"sessionId": current.id, "status": answer.status, "value": answer.value}

    def _bare(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """Capabilities without the vendor prefixes, which the server does not know."""
        bare = {}
        for key, value in wanted.items():
            prefix, colon, name = key.partition(":")
            if not colon:
                bare[key] = value
            elif prefix in self.flavour.prefixes:
                bare[name] = value
        return bare

    def _granted(self, wanted: dict[str, Any], answered: Any) -> dict[str, Any]:
        granted = {"platformName": self.flavour.platform, "browserName": "", **wanted}
        if isinstance(answered, dict):
            for key, value in to_w3c(answered).items():
                standard = key in _STANDARD or ":" in key
                granted[key if standard else f"{self.flavour.prefixes[-1]}:{key}"] = value
        return granted


# Commands of W3C WebDriver and Appium that no JSON Wire desktop has.
_W3C_ONLY = re.compile(
    r"/(url|forward|refresh|frame|frame/parent|cookie(/.*)?|print|execute/async|window/(new|minimize|fullscreen)|shadow/.*|"
    r"element/[^/]+/shadow|contexts?|appium/.*|log(/types)?|se/.*|goog/.*|chromium/.*|moz/.*)"
)


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path))


async def _while_open(current: _Open, command: Coroutine[Any, Any, Any]) -> Any:
    """What a command of a session gives. Raises WebDriverError "invalid session id" when that ends meanwhile."""
    running = asyncio.create_task(command)
    current.running.add(running)
    running.add_done_callback(current.running.discard)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        if running.cancelled():
            raise WebDriverError("invalid session id", "the session was quit while the command ran") from None
        raise


async def _body(request: web.Request) -> dict[str, Any]:
    text = await request.read()
    if not text.strip():
        return {}
    try:
        document = read_json(text)
    except ValueError as exc:
        raise WebDriverError("invalid argument", f"the body is no JSON: {exc}") from None
    if not isinstance(document, dict):
        raise WebDriverError("invalid argument", "the body must be a JSON object")
    return document


def _w3c_capabilities(given: Any) -> dict[str, Any]:
    """The first merge of alwaysMatch with one of firstMatch (W3C WebDriver section 7.2): the server says no more."""
    if not isinstance(given, dict):
        raise WebDriverError("invalid argument", "capabilities must be an object")
    always, first = given.get("alwaysMatch", {}), given.get("firstMatch", [{}])
    if not isinstance(always, dict) or not isinstance(first, list) or not first:
        raise WebDriverError("invalid argument", "alwaysMatch must be an object, firstMatch a list of at least one")
    for each in first:
        if not isinstance(each, dict) or each.keys() & always.keys():
            raise WebDriverError("invalid argument", "each of firstMatch must be an object that repeats no alwaysMatch")
    return {**always, **first[0]}
