"""Who may come in: asked for every request before anything else is done with it."""

from __future__ import annotations

from typing import Protocol

from devices.hub.asgi import Scope
from devices.hub.target import Headers
from devices.webdriver import WebDriverError


class RefusedError(Exception):
    """Somebody was not let in. `status` and `headers` go with `error`, such as 401 with WWW-Authenticate."""

    def __init__(self, status: int, error: WebDriverError, headers: Headers = ()) -> None:
        super().__init__(error.message)
        self.status = status
        self.error = error
        self.headers = headers


class Gate(Protocol):
    """Tells people apart."""

    async def enter(self, scope: Scope) -> str:
        """Who asks, by name. Raises RefusedError. Of a websocket only its origin matters: its URL holds a secret."""

    def may_use(self, name: str, owner: str) -> bool:
        """Whether somebody may send commands to a session of `owner`."""


class OpenGate:
    """Lets everybody in, under one name."""

    async def enter(self, scope: Scope) -> str:  # noqa: ARG002 - everybody is let in, whatever the request says
        return "anybody"

    def may_use(self, name: str, owner: str) -> bool:
        return name == owner
