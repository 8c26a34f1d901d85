"""ASGI without a framework: bodies in, responses out, and noticing that a client has gone."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
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


@contextmanager
def watching(receive: Receive, after_s: float = _WATCH_AFTER_S) -> Iterator[None]:
    """Within this, after `after_s`, a client that closes its connection ends the work with ClientGoneError.

    The request's body must have been read.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    gone = False
    watcher: asyncio.Task[None] | None = None

    async def watch() -> None:
        nonlocal gone
        while (await receive())["type"] != "http.disconnect":
            pass
        gone = True
        task.cancel()

    def begin() -> None:
        nonlocal watcher
        watcher = loop.create_task(watch())

    timer = loop.call_later(after_s, begin)
    try:
        yield
    except asyncio.CancelledError:
        if gone and task.uncancel() == 0:
            raise ClientGoneError from None
        raise
    finally:
        timer.cancel()
        if watcher is not None:
            watcher.cancel()
