"""Keeps pages of other sites from using the daemon through a browser on its machine.

As long as whoever reaches the loopback interface counts as the local administrator, a request must be addressed to the
loopback by name (no DNS rebinding) and must not come from a page of another origin (no cross-site request).
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from labctl.api.problems import problem

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class LocalOnly:
    """ASGI middleware; see above."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            host, origin = headers.get("host", ""), headers.get("origin")
            if _name(f"//{host}") not in LOOPBACK:
                response = problem(403, "Not allowed", f"this daemon answers to localhost only, not to {host!r}")
                await response(scope, receive, send)
                return
            if origin is not None and urlsplit(origin).netloc != host:
                response = problem(403, "Not allowed", f"pages of {origin!r} may not use this daemon")
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _name(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
