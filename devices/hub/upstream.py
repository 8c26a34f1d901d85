"""Commands over HTTP to a target: bodies and header values as they are, connections kept, large bodies as streams."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from urllib.parse import unquote, urlsplit

import aiohttp

from devices.hub import headers
from devices.hub.connection import Connection
from devices.hub.target import Call, Headers, Reply, Target, TargetError

# A body up to here is read before the client sees any of it, so that one that breaks off becomes a proper error.
WHOLE_UP_TO = 4 << 20
_WITHOUT_LIMIT = 1 << 40
_SILENCE_S = 60.0
# Shorter than servers keep idle connections (Node: 5 s), so that none is used that they are about to close.
_KEEP_IDLE_S = 3.0
# One that was used so lately is not looked at before it is used again.
_SURE_S = 0.2
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})


class Client:
    """The connections to all targets; belongs to the event loop it is first used in."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._pools: dict[str, _Pool] = {}

    @property
    def session(self) -> aiohttp.ClientSession:
        """For websockets."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                cookie_jar=aiohttp.DummyCookieJar(), timeout=aiohttp.ClientTimeout(total=None)
            )
        return self._session

    async def close(self) -> None:
        for pool in self._pools.values():
            pool.close()
        self._pools.clear()
        if self._session is not None:
            await self._session.close()
            self._session = None

    def upstream(self, target: Target) -> HttpUpstream:
        """A target that speaks W3C WebDriver over HTTP."""
        parts = urlsplit(target.url)
        origin = f"{parts.scheme}://{target.authority}"
        pool = self._pools.get(origin)
        if pool is None:
            secure = parts.scheme == "https"
            port = parts.port or (443 if secure else 80)
            pool = self._pools[origin] = _Pool(parts.hostname or "", port, secure, target.authority)
        return HttpUpstream(pool, target)


class HttpUpstream:
    """`Upstream` over HTTP/1.1."""

    def __init__(self, pool: _Pool, target: Target) -> None:
        self._pool = pool
        parts = urlsplit(target.url)
        self._base = parts.path.encode("latin-1")
        self._common = b"host: " + target.authority.encode("latin-1") + b"\r\n"
        if parts.username is not None:
            credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
            self._common += b"authorization: Basic " + base64.b64encode(credentials) + b"\r\n"
        self._where = target.authority

    async def exchange(self, call: Call, timeout_s: float, *, whole: bool = False) -> Reply:
        """Carry one command. Raises TargetError."""
        command = f"{call.method} {call.path}"
        connection: Connection | None = None
        head, body = self._request(call)
        try:
            async with asyncio.timeout(timeout_s):
                connection = await self._pool.get()
                reply = await connection.exchange(head, body, command, _WITHOUT_LIMIT if whole else WHOLE_UP_TO)
        except TimeoutError:
            if connection is not None:
                connection.abort()
                told = f"{self._where} took {command} and did not answer within {timeout_s:g} s"
            else:
                told = f"{self._where} cannot be reached for {command} within {timeout_s:g} s"
            raise TargetError(told, hung=True) from None
        except OSError as exc:
            if connection is not None:
                connection.abort()
            raise TargetError(f"{self._where} cannot be reached for {command}: {exc}") from exc
        except BaseException:
            if connection is not None:
                connection.abort()
            raise
        reply.headers = headers.to_client(reply.headers)
        if not isinstance(reply.body, bytes):
            reply.body = self._patiently(reply.body)
        return reply

    def _request(self, call: Call) -> tuple[bytes, bytes | AsyncIterator[bytes]]:
        lines = [
            call.method.encode("latin-1") + b" " + self._base + call.path.encode("latin-1") + b" HTTP/1.1\r\n",
            self._common,
        ]
        lines += [name + b": " + value + b"\r\n" for name, value in call.headers]
        body = call.body
        if isinstance(body, bytes):
            if body or call.method in _WITH_BODY:
                lines.append(b"content-length: %d\r\n" % len(body))
        elif call.length is not None:
            lines.append(b"content-length: %d\r\n" % call.length)
        else:
            lines.append(b"transfer-encoding: chunked\r\n")
            body = _framed(body)
        lines.append(b"\r\n")
        return b"".join(lines), body

    async def _patiently(self, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """A stream, unless it falls silent."""
        chunks = aiter(body)
        while True:
            try:
                async with asyncio.timeout(_SILENCE_S):
                    chunk = await anext(chunks)
            except StopAsyncIteration:
                return
            except TimeoutError:
                message = f"{self._where} fell silent for {_SILENCE_S:g} s in the middle of a body"
                raise TargetError(message, hung=True) from None
            yield chunk


class _Pool:
    """The connections to one server."""

    def __init__(self, host: str, port: int, secure: bool, where: str) -> None:
        self._address = (host, port)
        self._ssl = ssl.create_default_context() if secure else None
        self._where = where
        self._idle: list[Connection] = []
        self._sweeper: asyncio.TimerHandle | None = None

    async def get(self) -> Connection:
        """A connection for one exchange. Raises OSError."""
        loop = asyncio.get_running_loop()
        while self._idle:
            connection = self._idle.pop()
            idle_s = loop.time() - connection.idle_since
            if idle_s < _KEEP_IDLE_S and not (connection.closing() if idle_s > _SURE_S else connection.closed):
                return connection
            connection.abort()
        _, made = await loop.create_connection(
            lambda: Connection(self._where, self._take_back), *self._address, ssl=self._ssl
        )
        return made

    def close(self) -> None:
        for connection in self._idle:
            connection.abort()
        self._idle.clear()
        if self._sweeper is not None:
            self._sweeper.cancel()

    def _take_back(self, connection: Connection) -> None:
        loop = asyncio.get_running_loop()
        connection.idle_since = loop.time()
        self._idle.append(connection)
        if self._sweeper is None:
            self._sweeper = loop.call_later(_KEEP_IDLE_S, self._sweep)

    def _sweep(self) -> None:
        """Close what nobody has used for a while."""
        loop = asyncio.get_running_loop()
        old = loop.time() - _KEEP_IDLE_S
        for connection in self._idle:
            if connection.idle_since <= old:
                connection.abort()
        self._idle = [each for each in self._idle if not each.closed]
        self._sweeper = loop.call_later(_KEEP_IDLE_S, self._sweep) if self._idle else None


async def _framed(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """A body of unknown length in chunks, as RFC 9112, section 7.1, has them."""
    async for chunk in body:
        yield b"%x\r\n%b\r\n" % (len(chunk), chunk)
    yield b"0\r\n\r\n"


def length_of(fields: Headers) -> int | None:
    """The Content-Length among headers, None where there is none or it makes no sense."""
    value = headers.first(fields, b"content-length")
    return int(value) if value is not None and value.isdigit() else None
