"""The lab's own small client: whose it is, and a connection that the server has closed meanwhile."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

import pytest

from devices.client import HttpWire


class _Server(ThreadingHTTPServer):
    """Keeps an idle connection for a tenth of a second, as a busy Node does for five. `closed`: it has closed one."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.closed = Event()
        self.logins: list[str | None] = []

    def shutdown_request(self, request: object) -> None:
        super().shutdown_request(request)  # type: ignore[arg-type]
        self.closed.set()


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 0.1
    server: _Server

    def do_GET(self) -> None:
        self.server.logins.append(self.headers["Authorization"])
        body = b'{"value": "here"}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[_Server]:
    with _Server() as running:
        thread = Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def test_a_connection_that_the_server_has_closed_meanwhile_is_opened_anew(server: _Server) -> None:
    wire = HttpWire(f"http://127.0.0.1:{server.server_port}", 10.0)
    assert wire.call("GET", "/status", None) == "here"
    assert server.closed.wait(10)
    assert wire.call("GET", "/status", None) == "here"
    wire.close()


def test_a_password_is_said_as_it_is_and_not_as_an_address_spells_it(server: _Server) -> None:
    wire = HttpWire(f"http://anna%40lab:p%40ss%2Fword@127.0.0.1:{server.server_port}", 10.0)
    wire.call("GET", "/status", None)
    wire.close()
    assert server.logins == [f"Basic {base64.b64encode(b'anna@lab:p@ss/word').decode()}"]
