"""The emergency stop, ahead of routing, validation and middleware: the fastest path in the program.

`POST /api/v1/robots/{name}/estop`, body optional: `{"reason": "..."}`. Needs no lease, and no right but to be
known: no policy can take it away. What is written down of it is written after the robot was stopped, never before.
"""

from __future__ import annotations

import asyncio
import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import structlog
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from labctl.api.common import principal_of
from labctl.api.problems import problem
from labctl.auth import Principal, Resource
from labctl.auth.principals import EMERGENCY_STOP, OPEN_TO_ALL
from labctl.daemon import Daemon
from labctl.errors import LabError

log = structlog.get_logger(__name__)
_PATH = re.compile(r"/api/v1/robots/[^/]{1,100}/estop")
_BODY_WITHIN_S = 0.05
_LONGEST_REASON = 500

OPENAPI: dict[str, Any] = {
    "/api/v1/robots/{name}/estop": {
        "post": {
            "tags": ["robots"],
            "summary": "Emergency Stop",
            "description": "Stop the robot now and keep it stopped until a person resets it. Needs no lease.",
            "operationId": "emergency_stop",
            "parameters": [{"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}],
            "requestBody": {
                "content": {
                    "application/json": {
                        "schema": {"type": "object", "properties": {"reason": {"type": "string"}}},
                    }
                }
            },
            "responses": {
                "200": {"description": "The robot was told to stop and the stop is latched."},
                "404": {"description": "There is no such robot."},
                "503": {"description": "The robot's guard did not take it: use the stop on the robot."},
            },
        }
    }
}


def is_emergency_stop(scope: Scope) -> bool:
    """Whether a request is one: by its whole path and its method."""
    return scope["type"] == "http" and scope["method"] == "POST" and _PATH.fullmatch(scope["path"]) is not None


class EmergencyStop:
    """Takes emergency stops, hands everything else on to `app`."""

    def __init__(self, app: ASGIApp, daemon: Daemon) -> None:
        self._app = app
        self._daemon = daemon
        # Threads of its own, enough for whole fleets whose guards do not answer: nothing can keep it waiting for one.
        self._threads = ThreadPoolExecutor(max_workers=64, thread_name_prefix="estop")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if is_emergency_stop(scope):
            robot = scope["path"].split("/")[-2]
            response = await self._stop(principal_of(scope), robot, await _reason(receive))
            await response(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _stop(self, asker: Principal, name: str, reason: str) -> JSONResponse:
        try:
            robot = self._daemon.fleet.get(name)
            why = f"{reason or 'emergency stop'} ({asker.name})"
            await asyncio.get_running_loop().run_in_executor(self._threads, robot.emergency_stop, why)
        except LabError as exc:
            self._note(asker, name)
            return problem(exc.status, exc.title, exc.detail, **exc.extra)
        self._note(asker, name)
        about = {"reason": reason, "principal": asker.name}
        told = self._daemon.store.submit(lambda transaction: transaction.emit("robot.estop", device=name, **about))
        told.add_done_callback(
            lambda done: done.exception() and log.error("estop event lost", error=str(done.exception()))
        )
        return JSONResponse({"robot": name, "estop": True})

    def _note(self, asker: Principal, name: str) -> None:
        asker.judge.record(asker, EMERGENCY_STOP, Resource("robot", name), OPEN_TO_ALL)


async def _reason(receive: Receive) -> str:
    """The reason, if one comes at once; nothing about it delays or prevents the stop."""
    body = b""
    try:
        async with asyncio.timeout(_BODY_WITHIN_S):
            while len(body) < 65536:
                message = await receive()
                body += message.get("body", b"")
                if not message.get("more_body", False):
                    break
    except TimeoutError:
        pass
    try:
        document = json.loads(body)
    except ValueError:
        return ""
    reason = document.get("reason", "") if isinstance(document, dict) else ""
    return str(reason)[:_LONGEST_REASON]
