"""What is still held open when the daemon shuts down gets an answer: ask again, when it is back.

The server lets requests go on for a moment and cancels the rest: long polls, waits for leases, event streams.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from devices.webdriver import WebDriverError
from labctl.api.problems import problem
from labctl.errors import UnavailableError

_STREAM = "text/event-stream"
_RETRY_AFTER_S = 5
_TOLD = "the daemon is shutting down; ask again when it is back"


def as_problem(_scope: Scope) -> Response:
    """The answer of the API."""
    return problem(UnavailableError.status, UnavailableError.title, _TOLD)


def as_webdriver(scope: Scope) -> Response:
    """The answer of the WebDriver endpoint."""
    begins = scope["method"] == "POST" and scope["path"].endswith("/session")
    error = WebDriverError("session not created" if begins else "unknown error", _TOLD)
    return JSONResponse(error.body(), error.http_status)


class AnswerAtEnd:
    """ASGI: `answer` for a request that the server cancels before its answer began, and an end for a stream of events.

    Any other answer that had begun breaks off: who reads it must not take a part for the whole.
    """

    def __init__(self, app: ASGIApp, answer: Callable[[Scope], Response] = as_problem) -> None:
        self._app = app
        self._answer = answer

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
                answer = self._answer(scope)
                answer.headers["retry-after"] = str(_RETRY_AFTER_S)
                answer.headers["connection"] = "close"
                await answer(scope, receive, send)
            elif Headers(raw=list(begun["headers"])).get("content-type", "").startswith(_STREAM):
                await send({"type": "http.response.body", "body": b""})
            else:
                raise
