"""Databases of both kinds; a daemon in this process, without robots, for the tests of what needs none."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa
import structlog
import uvicorn
from _postgresql import Cluster
from pydantic import BaseModel

from labctl.api import create_app
from labctl.config import Lab, load_lab
from labctl.daemon import Daemon, run_daemon
from labctl.steps import Outcome, StepContext
from labctl.store import Store, open_store

# A daemon in this process must not write between the lines of a command under test.
structlog.configure(
    processors=[
        structlog.processors.add_log_level,
        structlog.processors.KeyValueRenderer(key_order=["level", "event"]),
    ],
    logger_factory=structlog.stdlib.LoggerFactory(),
)

LAB = """
lab: test
devices:
  hall: {kind: room}
  left: {kind: lidar, url: "tcp://127.0.0.1:1", room: hall, labels: {side: left}}
  right: {kind: lidar, url: "tcp://127.0.0.1:2", room: hall, labels: {side: right}}
  alone: {kind: lidar, url: "tcp://127.0.0.1:3"}
"""


class FreeForm(BaseModel):
    model_config = {"extra": "allow"}


class ScriptedAction:
    """An action whose behaviour is a function of the test's."""

    parameters = FreeForm

    def __init__(self, act: Callable[[StepContext], Outcome]) -> None:
        self._act = act

    def run(self, context: StepContext, parameters: FreeForm) -> Outcome:
        return self._act(context)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Cluster]:
    """A PostgreSQL server of this test process."""
    cluster = Cluster()
    yield cluster
    cluster.remove()


@pytest.fixture(scope="session")
def migrated(postgresql: Cluster, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database with the tables in it, to copy."""
    url = postgresql.create()
    open_store(tmp_path_factory.mktemp("template"), url).close()
    return sa.make_url(url).database or ""


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of either kind, for one test. Daemons that share it need different data folders."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'lab.db'}"
    cluster: Cluster = request.getfixturevalue("postgresql")
    return cluster.create(request.getfixturevalue("migrated"))


@pytest.fixture
def store(tmp_path: Path, database_url: str) -> Iterator[Store]:
    opened = open_store(tmp_path / "store", database_url)
    yield opened
    opened.close()


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    path = tmp_path / "lab.yaml"
    path.write_text(LAB, encoding="utf-8")
    return load_lab(path)


@pytest.fixture
def daemon(lab: Lab, tmp_path: Path, database_url: str) -> Iterator[Daemon]:
    with run_daemon(lab, tmp_path / "data", database_url) as running:
        yield running


@pytest.fixture
def url(daemon: Daemon) -> Iterator[str]:
    """Where the daemon answers, over a real socket."""
    config = uvicorn.Config(create_app(daemon), log_config=None, lifespan="off", ws="none", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0), backlog=200) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(10)


@pytest.fixture
def http(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
        yield client


def script(daemon: Daemon, name: str, act: Callable[[StepContext], Outcome]) -> None:
    """Let `daemon` know an action of that name."""
    daemon.actions._loaded[name] = ScriptedAction(act)


@pytest.fixture
def scripted() -> Callable[[Daemon, str, Callable[[StepContext], Outcome]], None]:
    """Offers an action to jobs of a daemon under a name."""
    return script


@pytest.fixture
def offer(daemon: Daemon) -> Callable[[str, Callable[[StepContext], Outcome]], None]:
    """Offers an action to jobs of the daemon of the test."""
    return lambda name, act: script(daemon, name, act)
