"""The vendor's robot: serves its client's page, drives the motor board by itself, has a stop of its own.

Not through the motion guard, and on purpose no better than such robots are: the last velocity holds until another one
comes, whatever became of the page. `python -m drivers.sim.vendor --base URL` runs one.

| request | does |
|---|---|
| GET / | the pilot's client |
| GET /link | its websocket: {"v": m/s, "w": rad/s} goes in; left, right (metres), battery (ratio), halted come out |
| POST /api/halt | the vendor's stop: holds until it is undone |
| POST /api/resume | undoes it |
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass

from aiohttp import WSMsgType, web

from drivers.create2 import Create2
from drivers.errors import DeviceError
from drivers.sim.served_app import ServedApp, page
from drivers.types import BaseMode

_EVERY_S = 0.03
_FASTEST_M_S, _FASTEST_RAD_S = 0.5, 2.0
_START_ANEW_S = 0.6


@dataclass
class VendorFaults:
    """What is wrong with it; may be set at any time.

    `stop_ignored`: the stop is confirmed and does nothing. `stop_fails`: it answers 500. `stop_lapses`: the next
    velocity moves the robot all the same. `slow_stop_s`: how late it stops. `runs_away`: m/s that it drives by itself.
    """

    stop_ignored: bool = False
    stop_fails: bool = False
    stop_lapses: bool = False
    slow_stop_s: float = 0.0
    runs_away: float = 0.0


class VendorRobot(ServedApp):
    """The robot's own computer, on the serial line of its motor board, from entry to exit. `halts`: how often it was
    told to stop."""

    def __init__(self, base_url: str, *, host: str = "127.0.0.1", port: int = 0) -> None:
        super().__init__(name="vendor's robot", host=host, port=port)
        self.faults = VendorFaults()
        self.halts = 0
        self._base_url = base_url
        self._wanted = (0.0, 0.0)
        self._halted = False
        self._pilots: set[web.WebSocketResponse] = set()
        self._shown = {"left": 0.0, "right": 0.0, "battery": 0.0}
        self._way_before = (0.0, 0.0)  # of the wheels, as the robot's computer counts, until its board began anew

    def restart(self) -> None:
        """At rest, not halted, and nothing is wrong with it, as after it was switched on."""
        self.faults = VendorFaults()
        self._wanted, self._halted = (0.0, 0.0), False

    def ask(self, v: float, w: float) -> None:
        """What its client's page would send: m/s, rad/s."""
        self._wanted = (v, w)

    def shown(self) -> tuple[float, float, float]:
        """What its client's page shows: left and right wheel in metres, battery 0 .. 1."""
        return self._shown["left"], self._shown["right"], self._shown["battery"]

    def count_anew(self, begin_m: float = 0.0) -> None:
        """As where its computer starts again: what it says of its wheels begins anew, at so many metres."""
        left, right = self._way_before
        self._way_before = left - self._shown["left"] + begin_m, right - self._shown["right"] + begin_m

    def cut_off(self) -> None:
        """Let the client's connections die, as where its network fails. The robot goes on as it was told last."""
        for each in tuple(self._pilots):
            if each._req is not None and each._req.transport is not None:
                self._loop.call_soon_threadsafe(each._req.transport.abort)

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/", self._page),
            web.get("/link", self._link),
            web.post("/api/halt", self._halt),
            web.post("/api/resume", self._resume),
        ]

    async def ending(self) -> None:
        for each in tuple(self._pilots):
            await each.close()

    async def _page(self, _request: web.Request) -> web.Response:
        return page(__package__)

    async def _link(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(max_msg_size=4096)
        await socket.prepare(request)
        self._pilots.add(socket)
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    self._hear(message.data)
        finally:
            self._pilots.discard(socket)
        return socket

    def _hear(self, text: str) -> None:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            asked = json.loads(text)
            v, w = float(asked["v"]), float(asked["w"])
            if abs(v) <= _FASTEST_M_S and abs(w) <= _FASTEST_RAD_S:
                self._wanted = (v, w)
                if self.faults.stop_lapses and (v or w):
                    self._halted = False

    async def _halt(self, _request: web.Request) -> web.Response:
        self.halts += 1
        if self.faults.stop_fails:
            return web.json_response({"error": "on purpose"}, status=500)
        if not self.faults.stop_ignored:
            await asyncio.sleep(self.faults.slow_stop_s)
            self._halted = True
        return web.json_response({"halted": True})

    async def _resume(self, _request: web.Request) -> web.Response:
        self._halted = False
        return web.json_response({"halted": False})

    async def beside(self) -> None:
        """Drive: the motor board is told again and again what to do, and started anew when it lost its power."""
        while True:
            try:
                board = await asyncio.to_thread(Create2.open, self._base_url)
            except DeviceError:
                await asyncio.sleep(_START_ANEW_S)
                continue
            try:
                await self._drive(board)
            except DeviceError:
                pass  # its line is gone, or it changed its mode: begin again
            finally:
                await asyncio.to_thread(board.close)
            await asyncio.sleep(_START_ANEW_S)

    async def _drive(self, board: Create2) -> None:
        self._way_before = self._shown["left"], self._shown["right"]
        while True:
            try:
                state = board.state()
            except DeviceError:
                await asyncio.to_thread(board.restart)
                await asyncio.sleep(_START_ANEW_S)
                continue
            geometry, before = board.geometry, self._way_before
            self._shown = {
                "left": before[0] + state.left_ticks * geometry.left_metres_per_tick,
                "right": before[1] + state.right_ticks * geometry.right_metres_per_tick,
                "battery": state.battery_ratio,
            }
            v, w = (0.0, 0.0) if self._halted else self._wanted
            v = v or self.faults.runs_away
            if not (v or w):
                board.stop()
            elif state.mode in (BaseMode.SAFE, BaseMode.FULL):
                board.drive(v, w)
            else:
                board.enter_safe_mode()
            told = {**self._shown, "halted": self._halted}
            for each in tuple(self._pilots):
                with contextlib.suppress(ConnectionError, RuntimeError):
                    await each.send_json(told)
            await asyncio.sleep(_EVERY_S)
