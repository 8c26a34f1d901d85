"""A hub on a real socket, in front of trivial targets whose faults the tests script."""

from __future__ import annotations

import asyncio
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
import uvloop
from _webdriver_target import TrivialTarget, in_thread

from devices.hub import Candidate, Ending, Hub, HubSettings, Target, admits
from devices.recording import Kept, Recorder
from devices.webdriver import WebDriverError


@dataclass
class Placed:
    """A device of `Shelf`, held."""

    shelf: Shelf
    device: str
    target: Target
    candidates: Sequence[Candidate]
    folder: Path
    about: Mapping[str, Any] = field(default_factory=lambda: {"lab:run": "run-1"})

    async def began(self, session: str, capabilities: Mapping[str, Any]) -> None:
        self.shelf.began.append(session)

    async def healed(self, told: Mapping[str, Any]) -> None:
        self.shelf.healed.append(dict(told))

    async def free(self, ending: Ending) -> None:
        self.shelf.freed.append((self.device, ending))
        self.shelf.free.add(self.device)
        self.shelf.changed.set()

    async def conclude(self, ending: Ending, files: Sequence[Kept]) -> None:
        kept = self.shelf.root / "kept"
        kept.mkdir(exist_ok=True)
        for each in files:
            shutil.copy(each.file, kept / each.name)
        shutil.rmtree(self.folder)
        self.shelf.concluded.append((self.device, ending, [each.name for each in files]))


@dataclass
class Shelf:
    """A provider of devices without a lab: one session each, first come, first served."""

    root: Path
    offers: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    targets: dict[str, Target] = field(default_factory=dict)
    free: set[str] = field(default_factory=set)
    began: list[str] = field(default_factory=list)
    freed: list[tuple[str, Ending]] = field(default_factory=list)
    concluded: list[tuple[str, Ending, list[str]]] = field(default_factory=list)
    healed: list[dict[str, Any]] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    count: int = 0

    def add(self, device: str, target: Target, **offers: Any) -> None:
        self.offers[device], self.targets[device] = offers, target
        self.free.add(device)

    async def acquire(self, candidates: Sequence[Candidate], owner: str, waiting: Callable[[str], None]) -> Placed:
        def fits(device: str, candidate: Candidate) -> bool:
            named = candidate.options.device in (None, device)
            return named and admits(self.offers[device], candidate.capabilities)

        if not any(fits(device, each) for device in self.offers for each in candidates):
            raise WebDriverError("session not created", "no device of the shelf offers that")
        while True:
            self.changed.clear()
            for candidate in candidates:
                for device in sorted(self.free):
                    if fits(device, candidate):
                        self.free.discard(device)
                        self.count += 1
                        folder = self.root / f"session-{self.count}"
                        folder.mkdir()
                        admitted = [each for each in candidates if fits(device, each)]
                        return Placed(self, device, self.targets[device], admitted, folder)
            waiting("all that would do are taken")
            await self.changed.wait()

    async def ready(self) -> bool:
        return bool(self.free)


@dataclass
class Running:
    """A hub that serves. `run` executes a coroutine in its loop."""

    hub: Hub
    shelf: Shelf
    url: str
    run: Callable[[Any], Any]


@pytest.fixture
def target() -> Iterator[TrivialTarget]:
    made = TrivialTarget()
    with in_thread(made) as run:
        made.run = run  # type: ignore[attr-defined]  # tests stop and start it in its own loop
        yield made


@pytest.fixture
def shelf(tmp_path: Path, target: TrivialTarget) -> Shelf:
    made = Shelf(tmp_path)
    made.add("left", Target(target.url, local=True), browserName="trivial", platformName="linux")
    return made


@pytest.fixture
def settings() -> HubSettings:
    return HubSettings()


@pytest.fixture
def running(shelf: Shelf, settings: HubSettings) -> Iterator[Running]:
    recorder = Recorder()
    hub = Hub(shelf, recorder, prefix="/webdriver", settings=settings)
    config = uvicorn.Config(
        hub, log_config=None, lifespan="off", ws="websockets-sansio", ws_max_size=1 << 28, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    ready = threading.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve(listener: socket.socket) -> None:
        loops.append(asyncio.get_running_loop())
        ready.set()
        await server.serve(sockets=[listener])
        await hub.close()

    with socket.create_server(("127.0.0.1", 0), backlog=200) as listener:
        thread = threading.Thread(target=lambda: uvloop.run(serve(listener)))  # as the daemon does
        thread.start()
        ready.wait(10)
        yield Running(
            hub,
            shelf,
            f"http://127.0.0.1:{listener.getsockname()[1]}/webdriver",
            lambda work: asyncio.run_coroutine_threadsafe(work, loops[0]).result(20),
        )
        server.should_exit = True
        thread.join(20)
    recorder.close()


@pytest.fixture
def http(running: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running.url, trust_env=False, timeout=30) as client:
        yield client


@pytest.fixture
def until() -> Callable[[Callable[[], Any]], Any]:
    """Waits until something is true, and returns it."""

    def wait(what: Callable[[], Any]) -> Any:
        end = time.monotonic() + 20
        while not (found := what()):
            assert time.monotonic() < end, "it did not come true"
            time.sleep(0.01)
        return found

    return wait


@pytest.fixture
def begin(http: httpx.Client) -> Callable[..., dict[str, Any]]:
    """Opens a session; returns the value of the answer."""

    def begin_session(**capabilities: Any) -> dict[str, Any]:
        response = http.post("/session", json={"capabilities": {"alwaysMatch": capabilities}})
        assert response.status_code == 200, response.text
        value: dict[str, Any] = response.json()["value"]
        return value

    return begin_session
