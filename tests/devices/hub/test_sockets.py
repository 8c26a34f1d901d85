"""BiDi and DevTools websockets through the hub."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.sync.server import ServerConnection, serve

LARGE = 24 << 20


class Echo:
    """A websocket server that answers with what it got; "bye" makes it close."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.origins: list[str | None] = []
        self._server = serve(self._talk, "127.0.0.1", 0, max_size=None, process_request=self._front)
        self.port = self._server.socket.getsockname()[1]
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def _front(self, connection: ServerConnection, request: Any) -> Any:
        if request.path != "/json/version":
            return None
        door = f'{{"webSocketDebuggerUrl": "ws://localhost:{self.port}/devtools/browser/1"}}'
        return connection.respond(200, door)

    def _talk(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        self.paths.append(socket.request.path)
        self.origins.append(socket.request.headers.get("Origin"))
        for message in socket:
            if message == "bye":
                socket.close(4001, "over")
                return
            socket.send(message)

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join(10)


@pytest.fixture
def echo() -> Iterator[Echo]:
    made = Echo()
    yield made
    made.close()


def opened(url: str) -> Any:
    return connect(url, max_size=None, compression=None, proxy=None)


def test_a_bidi_socket_is_addressed_through_the_lab(begin, running, target, echo):
    target.capabilities = {"webSocketUrl": f"ws://localhost:{echo.port}/session/abc"}
    value = begin(webSocketUrl=True)
    url = value["capabilities"]["webSocketUrl"]
    assert url.startswith(f"{running.url.replace('http', 'ws', 1)}/session/{value['sessionId']}?key=")
    with opened(url) as socket:
        for message in ('{"id": 1}', "ü\u0000", b"\x00\xff", ""):
            socket.send(message)
            assert socket.recv(10) == message
    assert (echo.paths, echo.origins) == (["/session/abc"], [None])


def test_a_message_above_20_mb_passes(begin, target, echo):
    target.capabilities = {"webSocketUrl": f"ws://127.0.0.1:{echo.port}/"}
    with opened(begin()["capabilities"]["webSocketUrl"]) as socket:
        socket.send("x" * LARGE)
        assert len(socket.recv(30)) == LARGE


def test_the_devtools_are_found_by_the_debugger_s_address(begin, target, echo):
    address = f"localhost:{echo.port}"
    target.capabilities = {"goog:chromeOptions": {"debuggerAddress": address}, "browserVersion": "120.0.1"}
    capabilities = begin()["capabilities"]
    assert capabilities["se:cdpVersion"] == "120.0.1"
    assert capabilities["goog:chromeOptions"] == {"debuggerAddress": address}
    with opened(capabilities["se:cdp"]) as socket:
        socket.send("hello")
        assert socket.recv(10) == "hello"
    assert echo.paths == ["/devtools/browser/1"]


def test_the_devtools_of_a_grid_are_taken_as_they_are(begin, target, echo):
    target.capabilities = {"se:cdp": f"ws://127.0.0.1:{echo.port}/session/1/se/cdp"}
    with opened(begin()["capabilities"]["se:cdp"]) as socket:
        socket.send("hello")
        assert socket.recv(10) == "hello"
    assert echo.paths == ["/session/1/se/cdp"]


def test_the_target_s_close_reaches_the_client_with_its_code(begin, http, target, echo):
    target.capabilities = {"webSocketUrl": f"ws://127.0.0.1:{echo.port}/"}
    value = begin()
    with opened(value["capabilities"]["webSocketUrl"]) as socket:
        socket.send("bye")
        with pytest.raises(ConnectionClosed) as caught:
            socket.recv(10)
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 4001
    assert http.get(f"/session/{value['sessionId']}/title").status_code == 200


def test_a_session_ended_over_its_socket_is_over(begin, running, target, echo, until):
    target.capabilities = {"webSocketUrl": f"ws://127.0.0.1:{echo.port}/"}
    with opened(begin()["capabilities"]["webSocketUrl"]) as socket:
        target.sessions.clear()
        socket.send("bye")
        assert until(lambda: running.shelf.concluded)[0][1].verdict == "passed"


def test_quit_closes_the_socket(begin, http, target, echo):
    target.capabilities = {"webSocketUrl": f"ws://127.0.0.1:{echo.port}/"}
    value = begin()
    with opened(value["capabilities"]["webSocketUrl"]) as socket:
        http.delete(f"/session/{value['sessionId']}")
        with pytest.raises(ConnectionClosed) as caught:
            socket.recv(10)
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1001


def test_a_wrong_key_opens_nothing(begin, target, echo):
    target.capabilities = {"webSocketUrl": f"ws://127.0.0.1:{echo.port}/"}
    url = begin()["capabilities"]["webSocketUrl"]
    path, _, key = url.partition("?key=")
    for wrong in (f"{url}x", path, f"{path}?key=", f"{path}?key=%C3", f"{path}/ws/{key}/cdp", f"{path}/ws/{key}/bidi"):
        with pytest.raises(InvalidStatus) as caught:
            opened(wrong)
        assert caught.value.response.status_code == 403
    assert echo.paths == []


def test_a_socket_that_the_target_does_not_have_is_closed(begin, target):
    target.capabilities = {"webSocketUrl": "ws://127.0.0.1:1/"}
    with pytest.raises(InvalidStatus) as caught:
        opened(begin()["capabilities"]["webSocketUrl"])
    assert caught.value.response.status_code == 403
