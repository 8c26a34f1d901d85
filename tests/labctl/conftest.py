"""A daemon in this process, without robots, for the tests of what needs none."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import uvicorn
from pydantic import BaseModel

from labctl.api import create_app
from labctl.config import Lab, load_lab
from labctl.daemon import Daemon, run_daemon
from labctl.steps import Outcome, StepContext
from labctl.store import Store, open_store

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


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(tmp_path / "store")
    yield opened
    opened.close()


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    path = tmp_path / "lab.yaml"
    path.write_text(LAB, encoding="utf-8")
    return load_lab(path)


@pytest.fixture
def daemon(lab: Lab, tmp_path: Path) -> Iterator[Daemon]:
    with run_daemon(lab, tmp_path / "data") as running:
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
