"""A lab of two daemons: whoever asks one of them gets the devices of both."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from _postgresql import Cluster
from _webdriver_target import TrivialTarget
from websockets.sync.client import connect
from websockets.sync.server import ServerConnection, serve

from labctl.cli.daemon_child import DaemonChild, daemon_child

LAB = """
lab: {name}
artifacts: {artifacts}
devices:
  {name}-1:
    kind: browser
    matches: {{browserName: [trivial, {name}]}}
    target: {{driver: url, url: "{url}"}}
"""


@pytest.fixture
def pair(
    postgresql: Cluster, migrated: str, tmp_path: Path, target: TrivialTarget, until: Callable[[Any], Any]
) -> Iterator[tuple[httpx.Client, httpx.Client, DaemonChild]]:
    """Clients of the daemons "near" and "far", of an administrator with a token; and the latter's process."""
    database = postgresql.create(migrated)
    with ExitStack() as stack:
        children, clients = [], []
        for name in ("near", "far"):
            lab = tmp_path / f"{name}.yaml"
            lab.write_text(LAB.format(name=name, artifacts=f"file://{tmp_path}/artifacts", url=target.url), "utf-8")
            options = (tmp_path / name, tmp_path / f"{name}.log", "--database", database)
            children.append(stack.enter_context(daemon_child(lab, *options)))
            client = httpx.Client(base_url=children[-1].url, trust_env=False, timeout=60)
            clients.append(stack.enter_context(client))
        near, far = clients

        def states() -> list[str]:
            return [each["state"] for each in near.get("/api/v1/devices").json()["items"]]

        until(lambda: states() == ["good", "good"])
        token = near.post("/api/v1/tokens", json={"principal": "anna", "administrator": True}).json()["token"]
        for client in clients:
            client.auth = httpx.BasicAuth("user", token)
        yield near, far, children[1]


def begin(client: httpx.Client, **wanted: Any) -> dict[str, Any]:
    response = client.post("/webdriver/session", json={"capabilities": {"alwaysMatch": wanted}})
    assert response.status_code == 200, response.text
    return dict(response.json()["value"])


def test_a_device_of_another_daemon_is_had_through_any(pair, until, target):
    near, far, _ = pair
    value = begin(near, browserName="far", **{"lab:record": {"mask": True}})
    told, path = value["capabilities"], f"/webdriver/session/{value['sessionId']}"
    assert told["lab:device"] == "far-1"
    assert near.get(f"{path}/title").status_code == 200
    sessions = [client.get("/api/v1/webdriver/sessions").json()["items"] for client in pair[:2]]
    assert {(each[0]["device"], each[0]["owner"], each[0]["run"]) for each in sessions} == {
        ("far-1", "anna", told["lab:run"])
    }
    assert near.get("/api/v1/devices/far-1").json()["lease"]["id"] == told["lab:lease"]
    # A request that has to wait is told by any daemon, and gets the device of the other in its turn.
    waited: list[dict[str, Any]] = []
    second = threading.Thread(target=lambda: waited.append(begin(far, **{"lab:device": "near-1"})))
    with httpx.Client(base_url=far.base_url, auth=far.auth, trust_env=False, timeout=60) as other:
        third = begin(near, browserName="trivial", **{"lab:device": "near-1"})
        second.start()
        for client in (near, other):
            (waits,) = until(lambda client=client: held_up(client))
            assert waits["reason"] == "near-1 is held by anna"
            opened = client.get("/api/v1/webdriver/sessions").json()["items"]
            assert [each["device"] for each in opened] == ["far-1", "near-1"]
        # Opened through one daemon on its own device, and ended through the other.
        ended = other.delete(f"/api/v1/webdriver/sessions/{third['sessionId']}", params={"reason": "enough"})
        assert (ended.status_code, ended.json()) == (200, {"id": third["sessionId"], "reason": "enough"})
    second.join(30)
    assert waited[0]["capabilities"]["lab:device"] == "near-1"
    # The client's verdict, and what was recorded, are with the daemon of the device.
    near.post(f"{path}/lab/verdict", json={"verdict": "failed", "reason": "wrong total"})
    assert near.delete(path).status_code == 200
    assert near.get("/api/v1/devices/far-1").json()["lease"] is None
    run = until(lambda: finished(near, told["lab:run"]))
    assert (run["verdict"], run["reason"]) == ("failed", "wrong total")
    assert all(each.header(b"authorization") is None for each in target.requests)


def held_up(client: httpx.Client) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = client.get("/api/v1/webdriver/queue").json()["items"]
    return [each for each in told if "held by" in each["reason"]]


def finished(client: httpx.Client, run: str) -> dict[str, Any] | None:
    shown: dict[str, Any] = client.get(f"/api/v1/runs/{run}").json()
    return shown if shown["state"] == "finished" else None


def test_its_websockets_are_had_through_any_as_well(pair, target):
    def talk(socket: ServerConnection) -> None:
        for message in socket:
            socket.send(message)

    near, _, _ = pair
    with serve(talk, "127.0.0.1", 0, max_size=None) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        target.capabilities = {"webSocketUrl": f"ws://127.0.0.1:{server.socket.getsockname()[1]}/session/x"}
        value = begin(near, browserName="far", webSocketUrl=True)
        url = value["capabilities"]["webSocketUrl"]
        assert url.startswith(str(near.base_url).replace("http", "ws", 1))
        with connect(url, max_size=None, compression=None, proxy=None) as socket:
            socket.send("x" * (20 << 20))
            assert len(socket.recv(60)) == 20 << 20
        near.delete(f"/webdriver/session/{value['sessionId']}")
        server.shutdown()
        serving.join(20)


def test_a_daemon_that_dies_takes_its_sessions_with_it(pair, until):
    near, _, far = pair
    value = begin(near, browserName="far")
    far.process.kill()
    far.process.wait()
    answer = near.get(f"/webdriver/session/{value['sessionId']}/title").json()["value"]
    assert (answer["error"], answer["data"]["session_ended"]) == ("unknown error", True)
    lease = value["capabilities"]["lab:lease"]
    until(lambda: near.get(f"/api/v1/leases/{lease}").json()["state"] in ("released", "expired"))
    begin(near, browserName="near")
