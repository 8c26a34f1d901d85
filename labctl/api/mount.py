"""Puts the WebDriver endpoint in front of routing and middleware, which would cost more than the rest of its way.

Who asks is found out as everywhere, but told in WebDriver's own words; a websocket is known by the secret in its path.
"""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from labctl.api.ending import AnswerAtEnd, as_webdriver
from labctl.api.identity import check_origin
from labctl.auth import Principal
from labctl.auth.authority import Authority
from labctl.auth.tokens import presented
from labctl.requests import RequestInfo, begin_request
from labctl.webdriver import PREFIX, WebDriverService

_SESSION, _STATUS, _OLD = "/session", "/status", "/wd/hub/"


class MountWebDriver:
    """ASGI: commands and websockets below /webdriver go to the hub, everything else to `app`.

    So do /session and /status: clients that take a host and a port but no path find the hub there, as they find a Grid.
    And so does what is below /wd/hub, where older servers were and a Grid still is.

    The hub's sessions live in the loop that serves, and end when the server says that it is about to.
    """

    def __init__(self, app: ASGIApp, webdriver: WebDriverService, authority: Authority) -> None:
        self._app = app
        self._webdriver = webdriver
        self._hub = AnswerAtEnd(webdriver, as_webdriver)
        self._authority = authority
        webdriver.gate.identify = self._identify

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
            return
        if _for_the_hub(scope["path"]):
            await self._hub(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._webdriver.serve(asyncio.get_running_loop())

        async def heard() -> Message:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                await self._webdriver.stop_serving()
            return message

        await self._app(scope, heard, send)

    async def _identify(self, scope: Scope) -> Principal:
        client = scope.get("client")
        address = client[0] if client else ""
        begin_request(RequestInfo(address=address))
        principal = await self._authority.find_out(presented(scope["headers"]))
        check_origin(principal, Headers(scope=scope))
        begin_request(RequestInfo(principal=str(principal), address=address))
        return principal


def _for_the_hub(path: str) -> bool:
    if path.startswith(PREFIX):
        return len(path) == len(PREFIX) or path[len(PREFIX)] == "/"
    return path in (_SESSION, _STATUS) or path.startswith((f"{_SESSION}/", _OLD))
