"""BiDi and DevTools websockets between a client and a target, message by message as they are."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from urllib.parse import urlsplit, urlunsplit

import aiohttp

from devices.hub.addresses import reached
from devices.hub.asgi import Receive, Send, Visit
from devices.hub.lifecycle import Lifecycle, says_no_such_session
from devices.hub.provider import Ending, Verdict
from devices.hub.sessions import Session
from devices.hub.target import Call, TargetError
from devices.webdriver import read_json

# Enough for a screenshot of a very large page; below it nobody notices that there is a limit.
LARGEST_MESSAGE = 256 << 20
_CONNECT_S = 15.0
_GOING_AWAY, _NORMAL, _POLICY, _FAILED = 1001, 1000, 1008, 1011
# Codes that say why there was no close message; they must not be sent.
_NEVER_SENT = frozenset({1005, 1006, 1015})


async def refuse(receive: Receive, send: Send) -> None:
    """Turn a websocket away, with HTTP status 403."""
    await receive()
    await send({"type": "websocket.close", "code": _POLICY})


async def proxy(lifecycle: Lifecycle, session: Session, kind: str, visit: Visit) -> None:
    """Join a client's websocket with the target's of that kind, until either ends or the session does."""
    receive, send = visit.receive, visit.send
    await receive()  # websocket.connect
    try:
        async with asyncio.timeout(_CONNECT_S):
            socket = await _connect(lifecycle, session, kind, visit.scope.get("subprotocols", ()))
    except (aiohttp.ClientError, OSError, ValueError, KeyError, TimeoutError) as exc:
        session.recording.note(time.time(), f"{kind} websocket failed", error=str(exc))
        await send({"type": "websocket.close", "code": _FAILED, "reason": "the target's websocket cannot be reached"})
        return
    session.busy += 1
    session.recording.note(time.time(), f"{kind} websocket opened")
    try:
        async with socket:
            await send({"type": "websocket.accept", "subprotocol": socket.protocol})
            by_target = await _join(session, socket, receive, send)
    finally:
        session.busy -= 1
        session.last_used = time.monotonic()
        session.recording.note(time.time(), f"{kind} websocket closed")
    if by_target and not session.ending:
        await _look_after(lifecycle, session)


async def _connect(
    lifecycle: Lifecycle, session: Session, kind: str, protocols: Sequence[str]
) -> aiohttp.ClientWebSocketResponse:
    target, client = session.placement.target, lifecycle.client.session
    url = await reached(session.sockets[kind], target)
    if url.startswith("http"):  # the DevTools' front door, which knows where the browser's websocket is
        # They answer to addresses only by number or as localhost.
        async with client.get(f"{url}/json/version") as response:
            door = urlsplit(read_json(await response.read())["webSocketDebuggerUrl"])
        url = urlunsplit(door._replace(netloc=urlsplit(url).netloc))
    return await client.ws_connect(url, protocols=protocols, max_msg_size=LARGEST_MESSAGE, compress=0)


async def _join(session: Session, socket: aiohttp.ClientWebSocketResponse, receive: Receive, send: Send) -> bool:
    """Carry messages both ways; returns whether the target closed."""

    async def to_target() -> None:
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                code = message.get("code") or _NORMAL
                await socket.close(code=_NORMAL if code in _NEVER_SENT else code)
                return
            session.last_used = time.monotonic()
            if (text := message.get("text")) is not None:
                await socket.send_str(text)
            else:
                await socket.send_bytes(message["bytes"])

    async def to_client() -> None:
        async for message in socket:
            if message.type is aiohttp.WSMsgType.TEXT:
                await send({"type": "websocket.send", "text": message.data})
            elif message.type is aiohttp.WSMsgType.BINARY:
                await send({"type": "websocket.send", "bytes": message.data})

    up, down = asyncio.ensure_future(to_target()), asyncio.ensure_future(to_client())
    over = asyncio.ensure_future(session.closed.wait())
    try:
        await asyncio.wait({up, down, over}, return_when=asyncio.FIRST_COMPLETED)
        if up.done():
            return False
        code = _GOING_AWAY if over.done() else socket.close_code or _NORMAL
        await send({"type": "websocket.close", "code": _GOING_AWAY if code in _NEVER_SENT else code})
        return down.done() and not over.done()
    finally:
        for task in (up, down, over):
            task.cancel()
        await asyncio.gather(up, down, over, return_exceptions=True)


async def _look_after(lifecycle: Lifecycle, session: Session) -> None:
    """The target closed a socket: perhaps because the session is over (BiDi's session.end), perhaps because it died."""
    try:
        reply = await session.upstream.exchange(Call("GET", f"{session.path}/timeouts"), _CONNECT_S, whole=True)
    except TargetError as exc:
        await lifecycle.examine(session, exc)
        return
    if says_no_such_session(reply):
        ending = session.verdict or Ending(Verdict.PASSED, "its client ended the session over its websocket")
        await lifecycle.end(session, ending, gone=True)
