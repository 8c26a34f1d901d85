"""Who may use the WebDriver endpoint: principals of the lab, and no page of another site."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from devices.hub import Caller, RefusedError
from devices.webdriver import WebDriverError
from labctl.auth import LOCAL_ADMINISTRATOR, Principal, Resource, may
from labctl.auth.tokens import presented
from labctl.errors import LabError, NotAuthenticatedError

PREFIX = "/webdriver"
# In the scope of a request that a step made: its `Asker`. No request from outside can have it.
STEP = "labctl.step"
_CHALLENGE = ((b"www-authenticate", b'Basic realm="labctl: the token is the password", charset="UTF-8"'),)
_BY_SECRET = Principal("holder of a session's secret")


@dataclass(frozen=True, slots=True)
class Asker:
    """`devices.hub.Caller`. `token`: what the request came with, for another daemon to judge."""

    principal: Principal
    token: str | None = None

    @property
    def name(self) -> str:
        return self.principal.name


def asker(caller: Caller) -> Asker:
    """Whom this gate let in."""
    assert isinstance(caller, Asker)
    return caller


class PrincipalGate:
    """`devices.hub.Gate`. `identify` says who sent a request, or raises LabError."""

    def __init__(self) -> None:
        self.identify: Callable[[MutableMapping[str, Any]], Awaitable[Principal]] = _local

    async def enter(self, scope: MutableMapping[str, Any]) -> Asker:
        """Who asks. Raises RefusedError for nobody known, and for pages of other sites."""
        if (step := scope.get(STEP)) is not None:
            return asker(step)
        if scope["type"] == "websocket":  # its path holds the session's own secret
            _check_origin(scope["headers"])
            return Asker(_BY_SECRET)
        try:
            principal = await self.identify(scope)
        except LabError as exc:
            challenge = _CHALLENGE if exc.status == NotAuthenticatedError.status else ()
            raise RefusedError(exc.status, WebDriverError("session not created", exc.detail), challenge) from exc
        return Asker(principal, presented(scope["headers"]))

    def may_use(self, caller: Caller, owner: str) -> bool:
        """Whose session it is may, and whoever a policy lets."""
        return caller.name == owner or may(asker(caller).principal, "webdriver.use", Resource("webdriver", "", owner))


async def _local(_scope: MutableMapping[str, Any]) -> Principal:
    return LOCAL_ADMINISTRATOR


def _check_origin(headers: list[tuple[bytes, bytes]]) -> None:
    fields = {name: value.decode("latin-1") for name, value in headers if name in (b"origin", b"host")}
    origin = fields.get(b"origin")
    if origin is not None and urlsplit(origin).netloc != fields.get(b"host"):
        raise RefusedError(403, WebDriverError("session not created", f"pages of {origin!r} may not use this lab"))
