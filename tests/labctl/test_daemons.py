"""Several daemons of one lab on PostgreSQL: real processes that stall, with clocks apart; requests passed on."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from _postgresql import Cluster

from labctl.cli.daemon_child import DaemonChild, daemon_child
from labctl.config import DeviceConfig
from labctl.daemon import Daemon
from labctl.errors import LabFailureError
from labctl.leases import Leases
from labctl.matching import Requirement
from labctl.store import Store, daemons, inventory, open_store

FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"


@pytest.fixture
def start(
    postgresql: Cluster, migrated: str, tmp_path: Path
) -> Iterator[Callable[[str, str], tuple[DaemonChild, httpx.Client]]]:
    """Starts the daemon of a name with one device, as a process of its own."""
    database = postgresql.create(migrated)
    with ExitStack() as stack:

        def started(name: str, device: str) -> tuple[DaemonChild, httpx.Client]:
            lab = tmp_path / f"{name}.yaml"
            artifacts = f"file://{tmp_path}/artifacts"
            text = f"lab: {name}\nartifacts: {artifacts}\ndevices:\n  {device}: {{kind: lidar, url: 'tcp://127.0.0.1:1'}}\n"
            lab.write_text(text, encoding="utf-8")
            log = tmp_path / f"{name}.log"
            child = stack.enter_context(daemon_child(lab, tmp_path / name, log, "--database", database))
            return child, stack.enter_context(httpx.Client(base_url=child.url, trust_env=False, timeout=60))

        yield started


def take(client: httpx.Client, device: str, **more: Any) -> dict[str, Any]:
    answer = client.post("/api/v1/leases", json={"devices": [device], **more})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def test_a_stalled_daemon_wakes_to_find_its_lease_gone_and_is_refused(
    start: Callable[[str, str], tuple[DaemonChild, httpx.Client]],
) -> None:
    stalled, at_stalled = start("one", "left")
    _, other = start("two", "right")
    late = take(at_stalled, "left", duration_s=1)
    os.kill(stalled.process.pid, signal.SIGSTOP)
    try:
        taken = take(other, "left", duration_s=60, wait_s=30)
    finally:
        os.kill(stalled.process.pid, signal.SIGCONT)
    assert taken["fencing"] > late["fencing"]
    for refused in (
        at_stalled.post(f"/api/v1/leases/{late['id']}/renew"),
        at_stalled.delete(f"/api/v1/leases/{late['id']}"),
    ):
        assert (refused.status_code, "expired" in refused.json()["detail"]) == (409, True)
    assert at_stalled.get("/api/v1/devices/left").json()["lease"]["id"] == taken["id"]


def test_daemons_whose_clocks_are_ten_minutes_apart_agree_on_leases(
    start: Callable[[str, str], tuple[DaemonChild, httpx.Client]], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, on_time = start("one", "left")
    monkeypatch.setenv("LD_PRELOAD", FAKETIME)
    monkeypatch.setenv("FAKETIME", "+600s")
    monkeypatch.setenv("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    _, ahead = start("two", "right")
    monkeypatch.undo()
    held = take(on_time, "right", duration_s=120)
    assert ahead.post("/api/v1/leases", json={"devices": ["right"]}).status_code == 409
    assert ahead.get(f"/api/v1/leases/{held['id']}").json()["state"] == "active"
    renewed = ahead.post(f"/api/v1/leases/{held['id']}/renew").json()
    assert held["expires_at"] < renewed["expires_at"] < time.strftime("%Y-%m-%dT%H:%M", time.gmtime(time.time() + 400))
    short = take(ahead, "left", duration_s=1)
    following = take(on_time, "left", wait_s=30)
    assert following["granted_at"] >= short["expires_at"]
    alive = {each["name"]: each["alive"] for each in on_time.get("/api/v1/daemons").json()["items"]}
    assert alive == {"one": True, "two": True}


def test_whoever_waits_at_one_daemon_is_woken_by_a_release_at_another(
    start: Callable[[str, str], tuple[DaemonChild, httpx.Client]],
) -> None:
    _, one = start("one", "left")
    _, two = start("two", "right")
    held = take(one, "left")
    granted: list[dict[str, Any]] = []
    waiting = threading.Thread(target=lambda: granted.append(take(two, "left", wait_s=25)))
    waiting.start()
    while not one.get("/api/v1/leases", params={"state": "waiting"}).json()["items"]:
        pass
    one.delete(f"/api/v1/leases/{held['id']}")
    waiting.join(60)
    assert granted[0]["fencing"] > held["fencing"]


def test_a_daemon_joins_and_leaves_at_any_time(
    start: Callable[[str, str], tuple[DaemonChild, httpx.Client]],
) -> None:
    _, one = start("one", "left")
    joined, _ = start("two", "right")
    names = {each["name"]: each["state"] for each in one.get("/api/v1/devices").json()["items"]}
    assert names == {"left": "good", "right": "good"}
    joined.process.send_signal(signal.SIGTERM)
    joined.process.wait(30)
    right = one.get("/api/v1/devices/right").json()
    assert (right["state"], "ended" in right["reason"]) == ("offline", True)
    refused = one.post("/api/v1/leases", json={"devices": ["right"]})
    assert (refused.status_code, refused.json()["taken"][0]["state"]) == (409, "offline")


def test_a_device_named_by_two_daemons_is_refused(
    start: Callable[[str, str], tuple[DaemonChild, httpx.Client]],
) -> None:
    start("one", "left")
    with pytest.raises(Exception, match="device 'left' belongs to the daemon one"):
        start("two", "left")


# In one process


@pytest.fixture
def beside(daemon: Daemon, database_url: str, tmp_path: Path) -> Iterator[Store]:
    """The store of a second daemon of the same lab."""
    store = open_store(tmp_path / "beside", database_url)
    yield store
    store.close()


class _Echo(BaseHTTPRequestHandler):
    """Says what it was asked."""

    def _answer(self) -> None:
        body = self._chunks() if self.headers.get("transfer-encoding") == "chunked" else b""
        told = {"path": self.path, "method": self.command, "body": body.decode(), "host": self.headers["host"]}
        told["origin"] = self.headers.get("origin")
        data = json.dumps(told).encode()
        self.send_response(202)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def log_message(self, format: str, *args: Any) -> None:
        return

    do_GET = do_POST = _answer


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_what_is_for_a_device_elsewhere_is_passed_on(daemon: Daemon, beside: Store, http: httpx.Client) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Echo)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    where = f"127.0.0.1:{server.server_port}"

    def join(transaction: Any) -> int:
        inventory.register(transaction, {"bot": DeviceConfig(kind="robot")}, set())
        return daemons.sign_in(transaction, "elsewhere", f"http://{where}", "memory://")

    daemon.store.write(lambda transaction: daemons.sign_off(transaction, 1))  # keeps artifacts in its folder
    epoch = beside.write(join)
    told = http.post("/api/v1/robots/bot/estop?x=1", json={"reason": "smoke"})
    assert (told.status_code, told.json()) == (
        202,
        {
            "path": "/api/v1/robots/bot/estop?x=1",
            "method": "POST",
            "body": '{"reason":"smoke"}',
            "host": where,
            "origin": None,
        },
    )
    assert http.get("/api/v1/robots/bot").json()["path"] == "/api/v1/robots/bot"
    assert http.get("/api/v1/robots/bot", headers={"origin": "http://evil.example"}).status_code == 403
    # Only a real stop is passed on whatever page sent it; and what is quoted in a path stays a part of the path.
    evil = {"origin": "http://evil.example"}
    assert http.post("/api/v1/robots/bot/estop", headers=evil).status_code == 202
    assert http.post("/api/v1/robots/bot/reset%3Fx=/estop", headers=evil).status_code == 403
    assert http.get("/api/v1/robots/bot/estop", headers=evil).status_code == 403
    assert http.post("/api/v1/robots/bot/reset%3Fx=/estop").json()["path"] == "/api/v1/robots/bot/reset%3Fx=/estop"
    assert http.get("/api/v1/robots/bot", headers={"x-labctl-forwarded": "one"}).status_code == 404
    server.shutdown()
    server.server_close()
    gone = http.get("/api/v1/robots/bot")
    assert (gone.status_code, "elsewhere" in gone.json()["detail"]) == (503, True)
    beside.write(lambda transaction: daemons.sign_off(transaction, epoch))
    assert "start it there" in http.get("/api/v1/robots/bot").json()["detail"]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_stop_is_passed_on_while_hundreds_of_requests_there_are_held(
    daemon: Daemon, beside: Store, http: httpx.Client, url: str
) -> None:
    held, over = 150, threading.Event()
    came = threading.Semaphore(0)

    class Holding(_Echo):
        def do_GET(self) -> None:
            came.release()
            over.wait(60)
            self._answer()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Holding)
    server.daemon_threads = True
    server.socket.listen(held)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def join(transaction: Any) -> int:
        inventory.register(transaction, {"bot": DeviceConfig(kind="robot")}, set())
        return daemons.sign_in(transaction, "elsewhere", f"http://127.0.0.1:{server.server_port}", "memory://")

    daemon.store.write(lambda transaction: daemons.sign_off(transaction, 1))
    beside.write(join)
    with ExitStack() as clients:
        clients.callback(server.server_close)
        clients.callback(server.shutdown)
        clients.callback(over.set)
        for _ in range(held):
            client = clients.enter_context(socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1]))))
            client.sendall(b"GET /api/v1/robots/bot HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert all(came.acquire(timeout=30) for _ in range(held))
        assert http.post("/api/v1/robots/bot/estop", timeout=10).status_code == 202


def test_commands_after_the_own_deadline_are_refused_though_nobody_said_that_the_lease_is_over(store: Store) -> None:
    """As in a daemon that stalled, or that has lost its database."""
    store.write(lambda transaction: inventory.register(transaction, {"d": DeviceConfig(kind="thing")}, set()))
    leases = Leases(store)  # does not watch: nothing tells it of the end
    lease = leases.request("me", [Requirement(device="d")], 1)
    with store.read() as connection:
        assert connection.exec_driver_sql("SELECT 1").scalar() == 1
    fencing = store.memory.active[lease].fencing
    leases.ensure("d", fencing)
    with pytest.raises(LabFailureError, match="command refused"):
        leases.ensure("d", fencing - 1)
    until = leases.deadline("d", fencing)
    while time.monotonic() < until:
        threading.Event().wait(0.05)
    with pytest.raises(LabFailureError, match="no longer holds d"):
        leases.ensure("d", fencing)


def test_who_goes_away_while_waiting_leaves_no_request_behind(daemon: Daemon, http: httpx.Client, url: str) -> None:
    take(http, "alone")
    body = json.dumps({"devices": ["alone"], "wait_s": 60}).encode()
    head = "POST /api/v1/leases HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(body)}"
    with socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1]))) as client:
        client.sendall(head.encode() + b"\r\n\r\n" + body)
        while not http.get("/api/v1/leases", params={"state": "waiting"}).json()["items"]:
            pass
    seen = 0
    while http.get("/api/v1/leases", params={"state": "waiting"}).json()["items"]:
        seen = daemon.store.bell.wait(seen, 0.2)


def test_the_lease_of_a_client_that_died_is_free_within_a_second_of_its_end(http: httpx.Client) -> None:
    """By the clock of the database; the best of three, since the machine may be busy."""
    late = []
    for _ in range(3):
        dead = take(http, "alone", duration_s=3600, heartbeat_s=1)
        following = take(http, "alone", wait_s=60)
        expired, granted = (_seconds(each) for each in (dead["expires_at"], following["granted_at"]))
        assert granted >= expired
        late.append(granted - expired)
        http.delete(f"/api/v1/leases/{following['id']}")
    assert min(late) < 1.0
    assert http.get(f"/api/v1/leases/{dead['id']}").json()["end_reason"] == "its holder was not heard of for 1 s"


def _seconds(text: str) -> float:
    minutes, seconds = text.removesuffix("Z").rsplit(":", 1)
    return time.mktime(time.strptime(minutes, "%Y-%m-%dT%H:%M")) + float(seconds)
