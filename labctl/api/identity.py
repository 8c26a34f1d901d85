"""Finds out who asks, before anything else looks at a request, and gives each request an id.

A token comes as `Authorization: Bearer TOKEN`, or as Basic credentials, which clients make of the user part of a URL
(`http://user:TOKEN@host/`) where they cannot set headers: WebDriver, server-sent events, web sockets. The token is the
password, or the user name where there is no password; the other part is not looked at.

As long as whoever reaches the loopback interface counts as the local administrator, a request must be addressed to the
loopback by name (no DNS rebinding), must not come through a proxy, and must not come from a page of another origin (no
cross-site request). A page of another origin cannot make a browser send a Bearer token, so one that comes with it is
welcome from anywhere.
"""

from __future__ import annotations

import re
import secrets
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from labctl.api.problems import problem
from labctl.auth import Principal
from labctl.auth.authority import Authority
from labctl.auth.tokens import presented
from labctl.errors import LabError, NotAllowedError, NotAuthenticatedError
from labctl.requests import RequestInfo, begin_request

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
# Whether the daemon is alive is no secret, and load balancers have no token.
_OPEN = frozenset({"/healthz", "/readyz"})
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_CHALLENGE = 'Basic realm="labctl: the token is the password", charset="UTF-8", Bearer realm="labctl"'
_WEBSOCKET_REFUSED = 1008


class Identify:
    """ASGI middleware: puts the principal into the scope as `principal`, or answers 401 (503 where nobody can know)."""

    def __init__(self, app: ASGIApp, authority: Authority) -> None:
        self._app = app
        self._authority = authority

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        client = scope.get("client")
        request = _request_id(scope["headers"])
        begin_request(RequestInfo(request, "", client[0] if client else ""))
        try:
            if scope["path"] not in _OPEN:
                principal = await self._authority.find_out(presented(scope["headers"]))
                scope["principal"] = principal
                begin_request(RequestInfo(request, str(principal), client[0] if client else ""))
        except LabError as exc:
            await refuse(exc, scope, receive, send)
            return
        await self._app(scope, receive, _with_header(send, request))


class SameOrigin:
    """ASGI middleware behind `Identify`; see above."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket") and "principal" in scope:
            try:
                check_origin(scope["principal"], Headers(scope=scope))
            except NotAllowedError as exc:
                await refuse(exc, scope, receive, send)
                return
        await self._app(scope, receive, send)


async def refuse(error: LabError, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with a problem document; a web socket is closed before it is open, which clients see as 403."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": _WEBSOCKET_REFUSED, "reason": error.title})
        return
    response = problem(error.status, error.title, error.detail, **error.extra)
    if error.status == NotAuthenticatedError.status:
        response.headers["www-authenticate"] = _CHALLENGE
    await response(scope, receive, send)


def check_origin(principal: Principal, headers: Headers) -> None:
    """Raises NotAllowedError for what comes from other sites, or by a detour while there are no tokens; see above."""
    host, origin = headers.get("host", ""), headers.get("origin")
    if principal.token is None:
        if _name(f"//{host}") not in LOOPBACK:
            raise NotAllowedError(f"this daemon answers to localhost only, not to {host!r}")
        if "forwarded" in headers or "x-forwarded-for" in headers:
            raise NotAllowedError(
                "a proxy forwarded this, so who asks is unknown: start the daemon with --behind-proxy, and issue tokens"
            )
    bearer = headers.get("authorization", "").lower().startswith("bearer ")
    if origin is not None and not bearer and _place(origin) != host:
        raise NotAllowedError(f"pages of {origin!r} may not use this daemon")


def _request_id(headers: list[tuple[bytes, bytes]]) -> str:
    for name, value in headers:
        if name == b"x-request-id":
            given = value.decode("latin-1")
            if _REQUEST_ID.fullmatch(given):
                return given
    return secrets.token_hex(8)


def _with_header(send: Send, request: str) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), (b"x-request-id", request.encode())]
        await send(message)

    return sending


def _place(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def _name(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
