"""One HTTP/1.1 connection to a target: bytes out as they are given, an answer back whole or as a stream.

A general HTTP client spends more on a command than the hub does on all the rest, and changes header values on the way;
this does what a WebDriver proxy needs and nothing else. Source: RFC 9112.
"""

from __future__ import annotations

import asyncio
import select
from collections import deque
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any, Protocol, cast

import httptools

from devices.hub.target import Reply, TargetError

_HOLD_BACK = 1 << 20  # bytes of a stream that wait for a slow client before the target is made to wait
_ONE_WRITE = 1 << 16


class _Parser(Protocol):
    """What is used of `httptools.HttpResponseParser`."""

    def feed_data(self, data: bytes) -> None: ...

    def get_status_code(self) -> int: ...

    def should_keep_alive(self) -> bool: ...


class Connection(asyncio.Protocol):
    """A connection that carries one exchange at a time. `idle_since`: of the loop's clock, while nobody uses it.

    `free` is called when it may be used again.
    """

    def __init__(self, where: str, free: Callable[[Connection], None]) -> None:
        self.idle_since = 0.0
        self.closed = False
        self._where = where
        self._free = free
        self._transport: asyncio.Transport | None = None
        self._parser: _Parser | None = None
        self._answer: asyncio.Future[Reply] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._reset("", 0)

    def _reset(self, command: str, whole_up_to: int) -> None:
        self._command = command
        self._whole_up_to = whole_up_to
        self._status = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._parts: deque[bytes] = deque()
        self._size = 0
        self._length: int | None = None
        self._framed = False
        self._heard = False
        self._begun = False
        self._complete = False
        self._keep = False
        self._sent = False
        self._failure: TargetError | None = None
        self._streaming = False
        self._more: asyncio.Future[None] | None = None

    # For the hub

    async def exchange(self, head: bytes, body: bytes | AsyncIterator[bytes], command: str, whole_up_to: int) -> Reply:
        """Send a request and wait for its answer, a stream where its body is above `whole_up_to` bytes.

        `head`: without the empty line; a stream of unknown length comes framed already. Raises TargetError.
        """
        assert self._transport is not None
        self._reset(command, whole_up_to)
        self._parser = httptools.HttpResponseParser(self)
        self._answer = asyncio.get_running_loop().create_future()
        if isinstance(body, bytes):
            self._sent = True
            if len(body) <= _ONE_WRITE:
                self._transport.write(head + body)
            else:
                self._transport.write(head)
                self._transport.write(body)
        else:
            self._transport.write(head)
            async for chunk in body:
                if self._answer.done():  # it has heard enough
                    break
                self._transport.write(chunk)
                if self._writable is not None:
                    either: set[asyncio.Future[Any]] = {self._writable, self._answer}
                    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            else:
                self._sent = True
        reply = await self._answer
        if not self._streaming:  # a stream is over when it has been read
            self._over()
        return reply

    def closing(self) -> bool:
        """Whether the target has said something since it was last used, which can only be that it closes.

        A loop that is busy hears of that late, and would send a command after it.
        """
        if self.closed or self._transport is None:
            return True
        poll = select.poll()
        poll.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)
        return bool(poll.poll(0))

    def abort(self) -> None:
        """Drop it, whatever is under way."""
        self.closed = True
        if self._transport is not None:
            self._transport.abort()

    # Of asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are none by name

    def data_received(self, data: bytes) -> None:
        if self._parser is None or self._complete:
            self.abort()  # it speaks without having been asked
            return
        self._heard = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail(f"{self._where} answered {self._command} with an upgrade to another protocol")
        except httptools.HttpParserError as exc:
            if not self._complete:
                self._fail(f"{self._where} answered {self._command} with what is no HTTP: {exc}")

    def eof_received(self) -> None:
        return

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self.resume_writing()
        if self._parser is None or self._complete or self._failure is not None:
            return
        if self._begun and not self._framed and exc is None:
            self.on_message_complete()  # the end of the connection is that of the body
        elif self._begun:
            self._fail(f"{self._where} closed half-way through its answer to {self._command}")
        elif self._heard:
            self._fail(f"{self._where} answered {self._command} with what is no HTTP: it closed within the first lines")
        else:
            self._fail(f"{self._where} closed the connection instead of answering {self._command}")

    def pause_writing(self) -> None:
        if self._writable is None:
            self._writable = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    # Of the parser

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))
        lower = name.lower()
        if lower == b"content-length":
            self._framed = True
            self._length = int(value) if value.isdigit() else None
        elif lower == b"transfer-encoding":
            self._framed = True

    def on_headers_complete(self) -> None:
        assert self._parser is not None
        self._status = self._parser.get_status_code()
        self._begun = self._status >= 200
        if self._begun and self._length is not None and self._length > self._whole_up_to:
            self._stream()

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)
        self._size += len(body)
        if self._streaming:
            self._wake()
            if self._size > _HOLD_BACK and self._transport is not None:
                self._transport.pause_reading()
        elif self._size > self._whole_up_to:
            self._stream()

    def on_message_complete(self) -> None:
        if not self._begun:  # 1xx: the answer itself is still to come
            self._headers = []
            return
        self._complete = True
        self._keep = self._parser is not None and self._parser.should_keep_alive()
        if not self._streaming:
            self._reply(b"".join(self._parts) if len(self._parts) != 1 else self._parts[0])
        else:
            self._wake()

    # Within

    def _stream(self) -> None:
        self._streaming = True
        self._reply(self._chunks())

    def _reply(self, body: bytes | AsyncIterator[bytes]) -> None:
        if self._answer is None or self._answer.done():
            return
        reply = Reply(self._status, self._headers, body)
        if self._streaming:
            reply.close = partial(self._let_go, self._answer)
        self._answer.set_result(reply)

    def _let_go(self, answer: asyncio.Future[Reply]) -> None:
        """Drop a stream that is not read to its end."""
        if answer is self._answer and self._parser is not None:
            self.abort()

    async def _chunks(self) -> AsyncIterator[bytes]:
        while True:
            while self._parts:
                chunk = self._parts.popleft()
                self._size -= len(chunk)
                if self._size <= _HOLD_BACK and self._transport is not None:
                    self._transport.resume_reading()
                yield chunk
            if self._complete:
                self._over()
                return
            if self._failure is not None:
                raise self._failure
            self._more = asyncio.get_running_loop().create_future()
            await self._more

    def _wake(self) -> None:
        if self._more is not None and not self._more.done():
            self._more.set_result(None)

    def _fail(self, message: str) -> None:
        self._failure = TargetError(message)
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(self._failure)
        self._wake()
        self.abort()

    def _over(self) -> None:
        """The exchange is over: the connection is free again, or of no more use."""
        self._parser = None
        if self._sent and self._keep and not self.closed:
            self._free(self)
        else:
            self.abort()
