"""A WebDriver server that does nothing, quickly, and misbehaves on request: for measurements and for tests of faults.

`python benchmarks/_webdriver_target.py [PORT]` serves it on a loopback port, free unless given, and prints its URL.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import threading
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvloop

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True)
class Request:
    """A request as it came over the wire."""

    method: str
    path: str
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes

    def header(self, name: bytes) -> bytes | None:
        return next((value for key, value in self.headers if key.lower() == name), None)


@dataclass
class TrivialTarget:
    """The server. `scripted` overrides the answers to "POST /session", "GET /status", "DELETE /session/*" and
    "METHOD /path/behind/the/session"."""

    capabilities: dict[str, Any] = field(default_factory=lambda: {"browserName": "trivial"})
    session_id: Callable[[], str] = lambda: str(uuid.uuid4())
    keep: bool = True  # remember what came
    requests: list[Request] = field(default_factory=list)
    sessions: set[str] = field(default_factory=set)
    scripted: dict[str, Answer] = field(default_factory=dict)
    port: int = 0
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def commands(self) -> list[str]:
        """What came, as "METHOD /path" with the session's id left out."""
        told = []
        for each in tuple(self.requests):
            parts = each.path.split("/", 3)
            tail = f"/{parts[3]}" if len(parts) == 4 else ""
            told.append(f"{each.method} {f'/session/*{tail}' if len(parts) > 2 else each.path}")
        return told

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, backlog=256, limit=1 << 26)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Die: the port closes and all connections break."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in tuple(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while (request := await _read(reader)) is not None:
                if self.keep:
                    self.requests.append(request)
                await self._answer(request, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _answer(self, request: Request, writer: asyncio.StreamWriter) -> None:
        parts = request.path.split("/", 3)
        tail = f"/{parts[3]}" if len(parts) == 4 else ""
        key = f"{request.method} {tail or ('/session/*' if len(parts) == 3 else request.path)}"
        if (scripted := self.scripted.get(key)) is not None:
            await scripted(writer)
            return
        if request.path == "/status":
            await answer({"ready": True, "message": ""})(writer)
        elif request.path == "/session" and request.method == "POST":
            session = self.session_id()
            self.sessions.add(session)
            await answer({"sessionId": session, "capabilities": self.capabilities})(writer)
        elif len(parts) < 3 or parts[2] not in self.sessions:
            await answer({"error": "invalid session id", "message": "no such session", "stacktrace": ""}, 404)(writer)
        else:
            if request.method == "DELETE" and not tail:
                self.sessions.discard(parts[2])
            await _OK(writer)


def raw(data: bytes, *, close: bool = False) -> Answer:
    """These very bytes; `close`: and then no more."""

    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        if close:
            writer.close()

    return write


def answer(value: Any, status: int = 200) -> Answer:
    """A proper answer."""
    body = json.dumps({"value": value}).encode()
    return raw(http(body, status))


def http(body: bytes, status: int = 200, content_type: bytes = b"application/json; charset=utf-8") -> bytes:
    """An HTTP response."""
    head = b"HTTP/1.1 %d Some\r\ncontent-type: %s\r\ncontent-length: %d\r\n\r\n" % (status, content_type, len(body))
    return head + body


async def hang(_writer: asyncio.StreamWriter) -> None:
    """Take the command and say nothing."""
    await asyncio.Event().wait()


_OK = answer(None)


async def _read(reader: asyncio.StreamReader) -> Request | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head[:-4].split(b"\r\n")
    method, path, _ = first.decode("latin-1").split(" ", 2)
    headers = tuple((name, value.lstrip()) for name, _, value in (line.partition(b":") for line in lines))
    fields = {name.lower(): value for name, value in headers}
    if fields.get(b"transfer-encoding") == b"chunked":
        body = b""
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readline()
    else:
        body = await reader.readexactly(int(fields.get(b"content-length", 0)))
    return Request(method, path, headers, body)


@contextmanager
def in_thread(target: TrivialTarget) -> Iterator[Callable[[Awaitable[Any]], Any]]:
    """Serve the target in a thread; what is given runs coroutines there."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def run(work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(10)

    run(target.start())
    try:
        yield run
    finally:
        run(target.stop())
        run(_end_tasks())
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def _end_tasks() -> None:
    tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _main() -> None:
    target = TrivialTarget(keep=False, port=int(sys.argv[1]) if len(sys.argv) > 1 else 0)
    await target.start()
    print(target.url, flush=True)
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.Event().wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(_main())  # so that what stands before it is what is measured
