"""Commands over HTTP to a target: bodies and header values as they are, connections kept, large bodies as streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from devices.hub import headers
from devices.hub.target import Call, Headers, Reply, Target, TargetError

# A body up to here is read before the client sees any of it, so that one that breaks off becomes a proper error.
WHOLE_UP_TO = 4 << 20
_SILENCE_S = 60.0
# Shorter than servers keep idle connections (Node: 5 s), so that none is used that they are about to close.
_KEEP_IDLE_S = 3.0
_LONGEST_HEADER = 1 << 16


class Client:
    """The connections to all targets; belongs to the event loop it is first used in."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    @property
    def session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_IDLE_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),
                auto_decompress=False,
                skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
                max_line_size=_LONGEST_HEADER,
                max_field_size=_LONGEST_HEADER,
            )
        return self._session

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def upstream(self, target: Target) -> HttpUpstream:
        """A target that speaks W3C WebDriver over HTTP."""
        return HttpUpstream(self, target)


class HttpUpstream:
    """`Upstream` over HTTP/1.1."""

    def __init__(self, client: Client, target: Target) -> None:
        self._client = client
        self._target = target

    async def exchange(self, call: Call, timeout_s: float, *, whole: bool = False) -> Reply:
        """Carry one command. Raises TargetError."""
        try:
            async with asyncio.timeout(timeout_s):
                response = await self._send(call)
                try:
                    body = await self._body(response, whole)
                except BaseException:
                    response.close()
                    raise
        except TimeoutError:
            raise TargetError(
                f"{self._target.authority} took {call.method} {call.path} and did not answer within {timeout_s:g} s",
                hung=True,
            ) from None
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            raise TargetError(self._explain(call, exc)) from exc
        return Reply(response.status, headers.to_client(response.raw_headers), body, response.close)

    async def _send(self, call: Call) -> aiohttp.ClientResponse:
        fields = CIMultiDict((_text(name), _text(value)) for name, value in call.headers)
        if not isinstance(call.body, bytes) and call.length is not None:
            fields["Content-Length"] = str(call.length)
        return await self._client.session.request(
            call.method,
            URL(self._target.url + call.path, encoded=True),
            headers=fields,
            data=call.body or None,
            allow_redirects=False,
        )

    async def _body(self, response: aiohttp.ClientResponse, whole: bool) -> bytes | AsyncIterator[bytes]:
        length = response.content_length
        if whole or (length is not None and length <= WHOLE_UP_TO):
            return await response.read()
        begun = bytearray()
        if length is None:
            while len(begun) <= WHOLE_UP_TO:
                chunk = await response.content.readany()
                if not chunk:
                    response.release()
                    return bytes(begun)
                begun += chunk
        return self._stream(response, bytes(begun))

    async def _stream(self, response: aiohttp.ClientResponse, begun: bytes) -> AsyncIterator[bytes]:
        try:
            if begun:
                yield begun
            while True:
                async with asyncio.timeout(_SILENCE_S):
                    chunk = await response.content.readany()
                if not chunk:
                    return
                yield chunk
        except TimeoutError:
            message = f"{self._target.authority} fell silent for {_SILENCE_S:g} s in the middle of a body"
            raise TargetError(message, hung=True) from None
        except aiohttp.ClientError as exc:
            raise TargetError(f"{self._target.authority} closed half-way through a body ({exc})") from exc
        finally:
            response.close()

    def _explain(self, call: Call, error: Exception) -> str:
        where, command = self._target.authority, f"{call.method} {call.path}"
        if isinstance(error, aiohttp.ClientConnectorError):
            return f"{where} cannot be reached for {command}: {error.os_error}"
        if isinstance(error, aiohttp.ClientPayloadError):
            return f"{where} closed half-way through its answer to {command}"
        if isinstance(error, aiohttp.ServerDisconnectedError | ConnectionError):
            return f"{where} closed the connection instead of answering {command}"
        return f"{where} answered {command} with what is no HTTP: {error}"


def length_of(fields: Headers) -> int | None:
    """The Content-Length among headers, None where there is none or it makes no sense."""
    value = headers.first(fields, b"content-length")
    return int(value) if value is not None and value.isdigit() else None


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
