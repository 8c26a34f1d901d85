"""A WebDriver server on a host: commands and websockets go through the host's tunnel."""

from __future__ import annotations

import getpass
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from _sshd import Sshd, sshd
from _webdriver_target import TrivialTarget
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.sync.server import serve

from drivers.documents import DocumentError
from drivers.ssh import LinkLostError
from labctl.config import Lab, load_lab


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Sshd]:
    with sshd(tmp_path / "sshd") as made:
        yield made


@pytest.fixture
def lab(tmp_path: Path, server: Sshd, target: TrivialTarget) -> Lab:
    path = tmp_path / "lab.yaml"
    path.write_text(
        f"""
lab: test
devices:
  nuc:
    kind: host
    address: 127.0.0.1
    port: {server.port}
    user: {getpass.getuser()}
    agent: false
    key: {server.folder}/user
    known_hosts: {server.folder}/known_hosts
    health: {{limits: {{disk_free_bytes: 1, disk_free_ratio: 0, memory_free_ratio: 0, load_per_processor: 1000,
                       temperature_c: 1000}}}}
  browser:
    kind: browser
    matches: {{browserName: trivial, platformName: linux}}
    target: {{driver: url, host: nuc, url: "{target.url}"}}
""",
        encoding="utf-8",
    )
    return load_lab(path)


def test_a_session_on_a_host_goes_through_its_tunnel(begin, daemon, http, target):
    with serve(lambda socket: socket.send(socket.recv()), "127.0.0.1", 0) as echo:
        thread = threading.Thread(target=echo.serve_forever)
        thread.start()
        target.capabilities = {"webSocketUrl": f"ws://127.0.0.1:{echo.socket.getsockname()[1]}/session/1"}
        value = begin(browserName="trivial")
        placed = daemon.webdriver.targets.target("browser")
        assert placed.url != target.url
        assert target.requests[-1].header(b"host") == placed.url.removeprefix("http://").encode()
        with connect(value["capabilities"]["webSocketUrl"], proxy=None) as socket:
            socket.send("through")
            assert socket.recv(20) == "through"
        assert http.delete(f"/webdriver/session/{value['sessionId']}").status_code == 200
        echo.shutdown()
        thread.join(10)


def test_a_websocket_is_refused_where_the_tunnel_is_gone(begin, daemon, http, target, monkeypatch):
    def gone(_host: str, _url: str) -> str:
        raise LinkLostError("the link to nuc was lost")

    target.capabilities = {"webSocketUrl": "ws://127.0.0.1:9/session/1"}
    value = begin(browserName="trivial")
    monkeypatch.setattr(daemon.webdriver.targets, "reach", gone)
    with pytest.raises(InvalidStatus) as refused, connect(value["capabilities"]["webSocketUrl"], proxy=None):
        pass
    assert refused.value.response.status_code == 403  # closed before it was open; 500 would be a fault of the lab
    monkeypatch.undo()
    assert http.delete(f"/webdriver/session/{value['sessionId']}").status_code == 200


def test_a_host_that_the_lab_does_not_have_is_an_error_of_the_lab_file(tmp_path):
    path = tmp_path / "lab.yaml"
    path.write_text(
        "lab: test\ndevices:\n  b:\n    kind: browser\n    target: {driver: url, host: nuk, url: 'http://127.0.0.1:1'}\n",
        encoding="utf-8",
    )
    with pytest.raises(DocumentError, match="no host is called 'nuk'"):
        load_lab(path)
