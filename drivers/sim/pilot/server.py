"""Serves the pilot's page and drives a base by what it sends.

One pilot at a time. A velocity lasts as long as the page repeats it: a closed socket, silence for `HEARTBEAT_S`, or a
page that lost the focus (it says so) stops the base. The guard behind the base holds beside all this.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from dataclasses import asdict
from typing import Any, Protocol

from aiohttp import WSMsgType, web

from drivers.errors import DeviceError
from drivers.sim.served_app import ServedApp, page
from drivers.types import BaseState, MotionStatus

# Seconds of the machine's clock. The page repeats itself every 50 ms.
HEARTBEAT_S = 0.25
_TELL_EVERY_S = 0.04
_LONGEST_MESSAGE = 4096
# A page that asks for more is wrong; the guard's own limits are lower.
_FASTEST_M_S, _FASTEST_RAD_S = 1.0, 3.0


class PilotedBase(Protocol):
    """What the page drives."""

    def drive(self, linear: float, angular: float) -> None: ...

    def stop(self) -> None: ...

    def state(self) -> BaseState: ...

    def status(self) -> MotionStatus: ...


class PilotServer(ServedApp):
    """Serves on the loopback interface from entry to exit, in a thread of its own. `stops`: why the server itself
    stopped the base, in order. `origins`: pages of others that may drive too, such as `https://vendor.example`."""

    def __init__(
        self, base: PilotedBase, *, host: str = "127.0.0.1", port: int = 0, origins: tuple[str, ...] = ()
    ) -> None:
        super().__init__(name="pilot", host=host, port=port)
        self._base = base
        self._origins = origins
        self.stops: list[str] = []
        self._halted: str | None = None  # why, until the page drives again
        self._pilot: web.WebSocketResponse | None = None
        self._driven = False
        self._heard = -math.inf

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/", self._page), web.get("/ws", self._socket)]

    async def ending(self) -> None:
        if self._pilot is not None:
            await self._pilot.close()

    async def _page(self, _request: web.Request) -> web.Response:
        return page(__package__)

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        own = self.url.rstrip("/")
        if request.headers.get("Origin", own) not in (own, *self._origins):
            raise web.HTTPForbidden(text="only the pilot's own page may drive")
        socket = web.WebSocketResponse(max_msg_size=_LONGEST_MESSAGE, heartbeat=5.0)
        await socket.prepare(request)
        if self._pilot is not None:
            await socket.close(code=1013, message=b"somebody else drives this robot")
            return socket
        self._pilot = socket
        teller = asyncio.create_task(self._tell(socket))
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    self._hear(message.data)
        finally:
            teller.cancel()
            self._pilot = None
            self._halt("the pilot's socket was closed")
        return socket

    def _hear(self, text: str) -> None:
        try:
            message = json.loads(text)
            operation = message["op"]
            if operation == "drive":
                self._drive(float(message["linear"]), float(message["angular"]))
            elif operation == "stop":
                self._halt(str(message.get("why") or "the pilot's page says stop")[:100])
        except (ValueError, KeyError, TypeError):
            self._halt("the pilot's page sent something else than a command")

    def _drive(self, linear: float, angular: float) -> None:
        if not (abs(linear) <= _FASTEST_M_S and abs(angular) <= _FASTEST_RAD_S):
            self._halt(f"the pilot's page asked for {linear} m/s, {angular} rad/s")
            return
        self._heard = self._loop.time()
        self._driven = bool(linear or angular)
        if self._driven:
            self._halted = None
        with contextlib.suppress(DeviceError):  # the link to the guard is lost: the guard has stopped the base
            self._base.drive(linear, angular)

    def _halt(self, why: str) -> None:
        if not self._driven:
            return
        self._driven = False
        self._halted = why
        self.stops.append(why)
        with contextlib.suppress(DeviceError):
            self._base.stop()

    async def beside(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_S / 5)
            if self._driven and self._loop.time() - self._heard > HEARTBEAT_S:
                self._halt(f"the pilot's page was silent for {HEARTBEAT_S:g} s")

    async def _tell(self, socket: web.WebSocketResponse) -> None:
        while not socket.closed:
            with contextlib.suppress(ConnectionError):
                await socket.send_json(self._telemetry())
            await asyncio.sleep(_TELL_EVERY_S)

    def _telemetry(self) -> dict[str, Any]:
        try:
            state, status = self._base.state(), self._base.status()
        except DeviceError as exc:
            return {"op": "silent", "why": str(exc)}
        told = {"allowed": status.allowed, "reason": status.reason and status.reason.value, "detail": status.detail}
        return {"op": "state", "state": asdict(state), "status": told, "halted": self._halted}
