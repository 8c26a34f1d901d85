"""ASGI without a framework: bodies in, responses out, and noticing that a client has gone."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from devices.hub.target import Headers, Reply
from devices.hub.upstream import length_of
from devices.webdriver import WebDriverError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

JSON_TYPE = b"application/json; charset=utf-8"
# Bodies above this go on to the target as they come in.
_WHOLE_UP_TO = 1 << 20
# A client that goes away is noticed for commands that take longer than this; watching costs more than most commands.
_WATCH_AFTER_S = 1.0
_BODILESS = frozenset({204, 304})


class ClientGoneError(Exception):
    """The client closed its connection before it had its answer."""


@dataclass(frozen=True, slots=True)
class Visit:
    """One HTTP request under way. `began`: when it came, of `time.perf_counter()`."""

    scope: Scope
    receive: Receive
    send: Send
    began: float = field(default_factory=time.perf_counter)

    @property
    def method(self) -> str:
        method: str = self.scope["method"]
        return method

    @property
    def headers(self) -> Headers:
        headers: Headers = self.scope["headers"]
        return headers

    async def body(self) -> bytes | AsyncIterator[bytes]:
        """The request's body: whole where it is short, else a stream. Raises ClientGoneError."""
        length = length_of(self.headers)
        if length is not None and length > _WHOLE_UP_TO:
            return _stream(self.receive, b"")
        body, more = await self._read(_WHOLE_UP_TO)
        return _stream(self.receive, body) if more else body

    async def whole_body(self, largest: int) -> bytes:
        """The request's body. Raises ClientGoneError, WebDriverError "invalid argument" above `largest` bytes."""
        body, more = await self._read(largest)
        if more:
            raise WebDriverError("invalid argument", f"the body is larger than {largest >> 20} MiB")
        return body

    async def _read(self, limit: int) -> tuple[bytes, bool]:
        """Up to a little more than `limit` bytes, and whether there is more."""
        parts: list[bytes] = []
        size = 0
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            chunk: bytes = message.get("body", b"")
            parts.append(chunk)
            size += len(chunk)
            if not message.get("more_body", False):
                return b"".join(parts), False
            if size > limit:
                return b"".join(parts), True


async def _stream(receive: Receive, begun: bytes) -> AsyncIterator[bytes]:
    if begun:
        yield begun
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        if chunk := message.get("body", b""):
            yield chunk
        if not message.get("more_body", False):
            return


async def send_reply(send: Send, reply: Reply) -> int:
    """Pass a target's answer on; returns the size of its body in bytes.

    Raises TargetError when a stream breaks off; the connection must then be cut, since its status is said already.
    """
    fields: list[tuple[bytes, bytes]] = list(reply.headers)
    if isinstance(reply.body, bytes):
        if reply.status not in _BODILESS:
            fields.append((b"content-length", b"%d" % len(reply.body)))
        await send({"type": "http.response.start", "status": reply.status, "headers": fields})
        await send({"type": "http.response.body", "body": reply.body})
        return len(reply.body)
    await send({"type": "http.response.start", "status": reply.status, "headers": fields})
    size = 0
    async for chunk in reply.body:
        size += len(chunk)
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
    return size


def json_reply(value: Any, status: int = 200) -> Reply:
    """A response of our own: `value` as W3C WebDriver wraps it."""
    return Reply(status, _OWN_HEADERS, json.dumps({"value": value}).encode())


def error_reply(error: WebDriverError) -> Reply:
    """An error of our own."""
    return Reply(error.http_status, _OWN_HEADERS, json.dumps(error.body()).encode())


_OWN_HEADERS: Headers = ((b"content-type", JSON_TYPE), (b"cache-control", b"no-cache"))


class Watching:
    """Within this, after `after_s`, a client that closes its connection ends the work with ClientGoneError.

    The request's body must have been read. Entered for each command: so it is no generator, which takes twice as long.
    """

    __slots__ = ("_after_s", "_gone", "_receive", "_task", "_timer", "_watcher")

    def __init__(self, receive: Receive, after_s: float = _WATCH_AFTER_S) -> None:
        self._receive = receive
        self._after_s = after_s
        self._gone = False
        self._watcher: asyncio.Task[None] | None = None

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._timer = asyncio.get_running_loop().call_later(self._after_s, self._begin)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
        if self._gone and isinstance(error, asyncio.CancelledError) and self._task.uncancel() == 0:
            raise ClientGoneError from None

    def _begin(self) -> None:
        self._watcher = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        self._task.cancel()
