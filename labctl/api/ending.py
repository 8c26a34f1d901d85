"""What is still held open when the daemon shuts down gets an answer: ask again, when it is back.

The server lets requests go on for a moment and cancels the rest: long polls, waits for leases, event streams.
"""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from labctl.api.problems import problem
from labctl.errors import UnavailableError

_STREAM = "text/event-stream"
_RETRY_AFTER_S = 5


class AnswerAtEnd:
    """ASGI: 503 for a request that the server cancels before its answer began, and an end for a stream of events.

    Any other answer that had begun breaks off: who reads it must not take a part for the whole.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun: Message | None = None

        async def sending(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = message
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except asyncio.CancelledError:
            if begun is None:
                answer = problem(
                    UnavailableError.status,
                    UnavailableError.title,
                    "the daemon is shutting down; ask again when it is back",
                )
                answer.headers["retry-after"] = str(_RETRY_AFTER_S)
                answer.headers["connection"] = "close"
                await answer(scope, receive, send)
            elif Headers(raw=list(begun["headers"])).get("content-type", "").startswith(_STREAM):
                await send({"type": "http.response.body", "body": b""})
            else:
                raise
