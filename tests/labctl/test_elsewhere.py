"""A lab of two daemons seen through one: lists hold what the other has, and an address for others is told on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from _postgresql import Cluster

from labctl.cli.daemon_child import DaemonChild, daemon_child
from labctl.cli.exits import ExpectedError
from labctl.server import BindError, advertised

Start = Callable[..., tuple[DaemonChild, httpx.Client]]
LAB = """
lab: {name}
artifacts: memory://lab
devices:
  host-{name}: {{kind: host, address: 127.0.0.1, port: 1, user: nobody}}
  room-{name}: {{kind: room}}
  robot-{name}:
    kind: robot
    room: room-{name}
    base: {{driver: create2, url: 'socket://127.0.0.1:1'}}
    lidar: {{driver: scip, url: 'tcp://127.0.0.1:1'}}
"""


@pytest.fixture
def start(postgresql: Cluster, migrated: str, tmp_path: Path) -> Iterator[Start]:
    """Starts the daemon of a name, with a robot and a host that do not answer; more of its options."""
    database = postgresql.create(migrated)
    with ExitStack() as stack:

        def started(name: str, *options: str) -> tuple[DaemonChild, httpx.Client]:
            lab = tmp_path / f"{name}.yaml"
            lab.write_text(LAB.format(name=name), encoding="utf-8")
            parts = (lab, tmp_path / name, tmp_path / f"{name}.log")
            child = stack.enter_context(daemon_child(*parts, "--database", database, *options))
            return child, stack.enter_context(httpx.Client(base_url=child.url, trust_env=False, timeout=60))

        yield started


def test_any_daemon_lists_robots_and_hosts_of_all(start: Start) -> None:
    east, at_east = start("east")
    west, at_west = start("west", "--advertise", "http://localhost:9/")
    # East is reached by its own address; nobody answers at the one that west tells.
    for what in ("robot", "host"):
        listed = at_west.get(f"/api/v1/{what}s").json()["items"]
        assert [each["name"] for each in listed] == [f"{what}-east", f"{what}-west"]
        assert "its daemon" not in listed[0]["reason"]
    east_robot, west_robot = at_east.get("/api/v1/robots").json()["items"]
    assert east_robot["name"] == "robot-east"
    assert set(west_robot) == set(east_robot)
    assert (west_robot["name"], west_robot["health"], west_robot["estop"]) == ("robot-west", "offline", None)
    assert "its daemon west (http://localhost:9) does not answer" in west_robot["reason"]
    east_host, west_host = at_east.get("/api/v1/hosts").json()["items"]
    assert (set(west_host), west_host["up"]) == (set(east_host), False)
    urls = {each["name"]: each["url"] for each in at_east.get("/api/v1/daemons").json()["items"]}
    assert urls == {"east": east.url, "west": "http://localhost:9"}
    west.process.terminate()
    west.process.wait(60)
    gone = at_east.get("/api/v1/robots").json()["items"][1]
    assert (gone["health"], gone["reason"].endswith("is not running")) == ("offline", True)


def test_listening_everywhere_needs_an_address_for_the_other_daemons(
    start: Start,
) -> None:
    with pytest.raises(ExpectedError, match="give --advertise URL"):
        start("east", "--host", "0.0.0.0", "--behind-proxy")


@pytest.mark.parametrize(
    "url", ["lab-east:8470", "ftp://lab-east", "https://", "https://me@lab-east", "https://lab-east/?x", "http://e:x"]
)
def test_what_is_no_address_is_not_advertised(url: str) -> None:
    with pytest.raises(BindError, match="no address of a daemon"):
        advertised(url)


def test_an_address_behind_a_proxy_may_have_a_path() -> None:
    assert advertised("https://lab.example/east/") == "https://lab.example/east"
