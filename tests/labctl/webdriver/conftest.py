"""A daemon with browsers and phones whose WebDriver servers are trivial, served over a real socket."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import _webdriver_target
import httpx
import pytest
import uvicorn
from _webdriver_target import TrivialTarget, in_thread

from labctl.api import create_app
from labctl.config import Lab, load_lab
from labctl.daemon import Daemon

LAB = """
lab: test
devices:
  left:
    kind: browser
    labels: {{side: left}}
    matches: {{browserName: trivial, platformName: linux}}
    target: {{driver: url, url: "{url}"}}
  right:
    kind: browser
    matches: {{browserName: trivial, platformName: linux}}
    target: {{driver: url, url: "{url}"}}
  phone: {{kind: phone, udid: "77", matches: {{platformName: Android}}, target: {{driver: url, url: "{url}"}}}}
  own: {{kind: browser, matches: {{browserName: own}}, target: {{driver: program, command: {command}}}}}
"""


@pytest.fixture
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """SQLite, unless a test asks for "postgresql": sessions keep little in it."""
    if getattr(request, "param", "sqlite") == "sqlite":
        return f"sqlite:///{tmp_path / 'lab.db'}"
    url: str = request.getfixturevalue("postgresql").create(request.getfixturevalue("migrated"))
    return url


@pytest.fixture
def target() -> Iterator[TrivialTarget]:
    made = TrivialTarget()
    with in_thread(made) as run:
        made.run = run  # type: ignore[attr-defined]  # tests stop it in its own loop
        yield made


@pytest.fixture
def lab(tmp_path: Path, target: TrivialTarget) -> Lab:
    path = tmp_path / "lab.yaml"
    command = [sys.executable, _webdriver_target.__file__, "{port}"]
    path.write_text(LAB.format(url=target.url, command=command), encoding="utf-8")
    return load_lab(path)


@pytest.fixture
def url(daemon: Daemon) -> Iterator[str]:
    """Where the daemon answers, with the life cycle that a server gives it."""
    config = uvicorn.Config(
        create_app(daemon), log_config=None, lifespan="on", ws="websockets-sansio", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0), backlog=200) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(20)


@pytest.fixture
def until() -> Callable[[Callable[[], Any]], Any]:
    """Waits until something is true, and returns it."""

    def wait(what: Callable[[], Any]) -> Any:
        end = time.monotonic() + 30
        while not (found := what()):
            assert time.monotonic() < end, "it did not come true"
            time.sleep(0.02)
        return found

    return wait


@pytest.fixture
def http(url: str, until: Callable[[Callable[[], Any]], Any]) -> Iterator[httpx.Client]:
    """A client of the lab, once all its devices answer."""
    with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:

        def states() -> set[str]:
            return {each["state"] for each in client.get("/api/v1/devices").json()["items"]}

        until(lambda: states() == {"good"})
        yield client


@pytest.fixture
def begin(http: httpx.Client) -> Callable[..., dict[str, Any]]:
    """Opens a session; returns the value of the answer."""

    def begin_session(**capabilities: Any) -> dict[str, Any]:
        response = http.post("/webdriver/session", json={"capabilities": {"alwaysMatch": capabilities}})
        assert response.status_code == 200, response.text
        value: dict[str, Any] = response.json()["value"]
        return value

    return begin_session


@pytest.fixture
def ended(http: httpx.Client, until: Callable[[Callable[[], Any]], Any]) -> Callable[[str], dict[str, Any]]:
    """The run of that id, once it has its verdict."""

    def wait(run: str) -> dict[str, Any]:
        def finished() -> Any:
            shown = http.get(f"/api/v1/runs/{run}").json()
            return shown if shown["state"] == "finished" else None

        found: dict[str, Any] = until(finished)
        return found

    return wait
