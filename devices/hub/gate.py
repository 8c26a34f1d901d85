"""Who may come in: asked for every request before anything else is done with it."""

from __future__ import annotations

from dataclasses import dataclass
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


class Caller(Protocol):
    """Who sent a request, as the gate knows them; the provider of devices gets them as they are."""

    @property
    def name(self) -> str: ...


class Gate(Protocol):
    """Tells people apart."""

    async def enter(self, scope: Scope) -> Caller:
        """Who asks. Raises RefusedError. Of a websocket only its origin matters: its URL holds a secret."""

    def may_use(self, caller: Caller, owner: str) -> bool:
        """Whether somebody may send commands to a session of `owner`."""


@dataclass(frozen=True, slots=True)
class Anybody:
    """Whoever it is."""

    name: str = "anybody"


class OpenGate:
    """Lets everybody in, under one name."""

    async def enter(self, scope: Scope) -> Caller:  # noqa: ARG002 - everybody is let in, whatever the request says
        return Anybody()

    def may_use(self, caller: Caller, owner: str) -> bool:
        return caller.name == owner
