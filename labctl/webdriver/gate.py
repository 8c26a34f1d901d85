"""Who may use the WebDriver endpoint: principals of the lab, and no page of another site."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from contextvars import ContextVar
from typing import Any
from urllib.parse import urlsplit

from devices.hub import RefusedError
from devices.webdriver import WebDriverError
from labctl.auth import LOCAL_ADMINISTRATOR, Principal, Resource, may
from labctl.auth.tokens import presented
from labctl.errors import LabError, NotAuthenticatedError

PREFIX = "/webdriver"
_REMEMBERED = 10_000
# In the scope of a request that a step made: whose session it is. No request from outside can have it.
STEP = "labctl.step"
_CHALLENGE = ((b"www-authenticate", b'Basic realm="labctl: the token is the password", charset="UTF-8"'),)
_TOKEN: ContextVar[str | None] = ContextVar("webdriver_token", default=None)


def token_of_request() -> str | None:
    """The token that the request under way came with."""
    return _TOKEN.get()


class PrincipalGate:
    """`devices.hub.Gate`. `identify` says who sent a request, or raises LabError; `principals`: who came, by name."""

    def __init__(self) -> None:
        self.principals: dict[str, Principal] = {}
        self.identify: Callable[[MutableMapping[str, Any]], Principal] = lambda _scope: LOCAL_ADMINISTRATOR

    async def enter(self, scope: MutableMapping[str, Any]) -> str:
        """The name of whoever asks. Raises RefusedError for nobody known, and for pages of other sites."""
        if (owner := scope.get(STEP)) is not None:
            return str(owner)
        if scope["type"] == "websocket":  # its path holds the session's own secret
            _check_origin(scope["headers"])
            return ""
        try:
            principal = self.identify(scope)
        except LabError as exc:
            challenge = _CHALLENGE if exc.status == NotAuthenticatedError.status else ()
            raise RefusedError(exc.status, WebDriverError("session not created", exc.detail), challenge) from exc
        if self.principals.get(principal.name) is not principal:
            if len(self.principals) >= _REMEMBERED:
                self.principals.clear()
            self.principals[principal.name] = principal
        _TOKEN.set(presented(scope["headers"]))
        return principal.name

    def may_use(self, name: str, owner: str) -> bool:
        """Whose session it is may, and whoever a policy lets."""
        return name == owner or may(self.principals[name], "webdriver.use", Resource("webdriver", "", owner))


def _check_origin(headers: list[tuple[bytes, bytes]]) -> None:
    fields = {name: value.decode("latin-1") for name, value in headers if name in (b"origin", b"host")}
    origin = fields.get(b"origin")
    if origin is not None and urlsplit(origin).netloc != fields.get(b"host"):
        raise RefusedError(403, WebDriverError("session not created", f"pages of {origin!r} may not use this lab"))
