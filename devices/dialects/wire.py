"""A connection to a JSON Wire server, as careful as the oldest of them need.

Winium.Desktop takes one connection at a time, closes it after each answer, gives no Content-Length, reads header names
letter by letter as written and counts a body's characters where HTTP counts its bytes. So: one request at a time, each
on a connection of its own, in a single write, bodies in ASCII. Servers that know HTTP better do not mind.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import h11

from drivers.errors import DeviceSilentError, DeviceUnreachableError, ProtocolError

_BLOCK = 1 << 16
# A screenshot of a wall of 4K screens is some 40 MB of base64.
_LONGEST_ANSWER = 256 << 20


@dataclass(frozen=True, slots=True)
class WireAnswer:
    """What a JSON Wire server said. `status`: 0 is success, 9 an unknown command, see `devices.dialects.errors`."""

    http_status: int
    status: int
    value: Any
    session: str | None = None


class WireLink:
    """Requests to one JSON Wire server, one after the other.

    `url`: `http://host:port` with an optional prefix. `timeout_s`: for each answer.
    """

    def __init__(self, url: str, *, timeout_s: float = 120.0, connect_s: float = 5.0) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"cannot reach a JSON Wire server at {url!r}: give http://host:port")
        self.url = url.rstrip("/")
        self._host = parts.hostname
        self._port = parts.port or 80
        self._prefix = parts.path.rstrip("/")
        self._timeout_s = timeout_s
        self._connect_s = connect_s
        self._turn = asyncio.Lock()

    async def call(self, method: str, path: str, body: Any = None) -> WireAnswer:
        """Ask for `path` ("/session/..."); `body` goes as JSON with each request but GET and DELETE.

        Raises DeviceUnreachableError, DeviceSilentError, ProtocolError for an answer that is no JSON Wire.
        """
        async with self._turn:
            try:
                async with asyncio.timeout(self._timeout_s):
                    http_status, payload = await self._exchange(method, path, body)
            except TimeoutError:
                raise DeviceSilentError(
                    f"{self.url} did not answer {method} {path} within {self._timeout_s:g} s; look whether a dialog of "
                    "the application holds it up, else restart the server"
                ) from None
        return _parse(self.url, method, path, http_status, payload)

    async def _exchange(self, method: str, path: str, body: Any) -> tuple[int, bytes]:
        try:
            async with asyncio.timeout(self._connect_s):
                reader, writer = await asyncio.open_connection(self._host, self._port)
        except (OSError, TimeoutError) as exc:
            raise DeviceUnreachableError(
                f"cannot reach the JSON Wire server {self.url} ({exc or 'no answer'}): check that it runs"
            ) from None
        connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=_BLOCK * 4)
        try:
            writer.write(self._request(connection, method, path, body))
            await writer.drain()
            return await self._answer(connection, reader, method, path)
        except (OSError, h11.RemoteProtocolError) as exc:
            raise ProtocolError(f"{self.url} broke off its answer to {method} {path}: {exc}") from None
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _request(self, connection: h11.Connection, method: str, path: str, body: Any) -> bytes:
        headers = [("Host", f"{self._host}:{self._port}"), ("Accept", "application/json"), ("Connection", "close")]
        payload = b""
        if method not in ("GET", "DELETE"):
            payload = json.dumps({} if body is None else body, ensure_ascii=True).encode("ascii")
            headers.append(("Content-Type", "application/json"))
            headers.append(("Content-Length", str(len(payload))))
        request = h11.Request(method=method, target=self._prefix + path, headers=headers)
        events = [request, *([h11.Data(payload)] if payload else []), h11.EndOfMessage()]
        return b"".join(connection.send(event) or b"" for event in events)

    async def _answer(
        self, connection: h11.Connection, reader: asyncio.StreamReader, method: str, path: str
    ) -> tuple[int, bytes]:
        status, parts, size = 0, [], 0
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await reader.read(_BLOCK))
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                parts.append(bytes(event.data))
                size += len(event.data)
                if size > _LONGEST_ANSWER:
                    raise ProtocolError(
                        f"{self.url} answers {method} {path} with more than {_LONGEST_ANSWER >> 20} MiB"
                    )
            elif isinstance(event, h11.EndOfMessage):
                return status, b"".join(parts)
            elif isinstance(event, h11.ConnectionClosed):
                raise ProtocolError(f"{self.url} closed the connection instead of answering {method} {path}")


def _parse(url: str, method: str, path: str, http_status: int, payload: bytes) -> WireAnswer:
    if http_status == 204:
        return WireAnswer(http_status, 0, None)
    if not payload.strip() and http_status < 300:
        # So Winium's drivers for phones answer when the phone's side did not.
        raise ProtocolError(f"{url} answered {method} {path} with nothing: look whether what it drives still runs")
    text = payload.decode("utf-8-sig", "replace")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        if http_status in (404, 405, 501):  # plain text says that the command is unknown
            return WireAnswer(http_status, 9, text.strip())
        if http_status == 400:  # ... and here what went wrong with it
            return WireAnswer(http_status, 13, text.strip())
        raise ProtocolError(
            f"{url} answered {method} {path} with HTTP {http_status} and no JSON: {text.strip()[:200]!r}"
        ) from None
    if not isinstance(document, dict) or not isinstance(document.get("status", 0), int):
        raise ProtocolError(f"{url} answered {method} {path} with JSON that is no JSON Wire: {text[:200]!r}")
    status = document.get("status", 0 if http_status < 400 else 13)
    return WireAnswer(http_status, status, document.get("value"), document.get("sessionId"))
