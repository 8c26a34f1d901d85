"""Refuses addresses with a NUL character before anything sees them: nothing is called so, and no database keeps one."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from labctl.api.problems import problem


class RefuseNul:
    """ASGI: answers 400 when path or query hold a NUL."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and ("\0" in scope["path"] or b"%00" in scope["query_string"]):
            answer = problem(400, "Bad request", "the address holds a NUL character (%00); nothing is called so")
            await answer(scope, receive, send)
            return
        await self._app(scope, receive, send)
