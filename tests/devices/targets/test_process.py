"""A WebDriver server under watch: started, restarted, and ended with everything that it started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import _webdriver_target
import pytest

from devices.targets import Program, ServerState, WatchedServer, appium, chromedriver, command, geckodriver
from devices.targets.process import end_session, is_ready, members

TRIVIAL = [sys.executable, _webdriver_target.__file__, "{port}"]


class Watched:
    """Starts servers and hears of their states."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.heard: list[tuple[ServerState, str]] = []
        self.changed = threading.Condition()
        self.servers: list[WatchedServer] = []

    def __call__(self, program: Program) -> WatchedServer:
        server = WatchedServer(program, self._folder / "server.log", self._hear)
        self.servers.append(server)
        server.start()
        return server

    def _hear(self, state: ServerState, reason: str) -> None:
        with self.changed:
            self.heard.append((state, reason))
            self.changed.notify_all()

    def until(self, what: Callable[[], object]) -> None:
        with self.changed:
            assert self.changed.wait_for(what, 60), self.heard


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    made = Watched(tmp_path)
    yield made
    for each in made.servers:
        each.close()


def process_of(server: WatchedServer) -> int:
    assert server._process is not None
    return server._process.pid


def test_it_does_not_go_before_others_as_the_daemon_does(watched):
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    try:
        os.setpriority(os.PRIO_PROCESS, 0, -5)
    except OSError:
        pytest.skip("the system lets nobody go before others")
    try:
        server = watched(command(TRIVIAL))
        watched.until(lambda: server.state is ServerState.READY)
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, ours)
    assert os.getpriority(os.PRIO_PROCESS, process_of(server)) == 0


def test_it_is_ready_once_it_answers(watched):
    server = watched(command(TRIVIAL))
    assert server.wait_ready(60)
    assert is_ready(server.url)
    assert watched.heard == [(ServerState.READY, "")]
    assert server.log.read_text(encoding="utf-8").strip() == server.url


def test_one_that_dies_is_started_again_at_the_same_address(watched):
    server = watched(command(TRIVIAL))
    assert server.wait_ready(60)
    url = server.url
    os.kill(process_of(server), signal.SIGKILL)
    watched.until(lambda: watched.heard[-1][0] is ServerState.READY and len(watched.heard) > 1)
    assert [state for state, _ in watched.heard[1:]] == [ServerState.OFFLINE, ServerState.STARTING, ServerState.READY]
    assert "ended with code -9" in watched.heard[1][1]
    assert (server.url, server.starts) == (url, 2)


def test_a_restart_is_asked_for_with_a_reason(watched):
    server = watched(command(TRIVIAL))
    assert server.wait_ready(60)
    first = process_of(server)
    server.restart("it hung")
    assert server.state is ServerState.STARTING
    assert server.wait_ready(60)
    assert members(first) == set()
    assert (ServerState.STARTING, "it hung") in watched.heard


def test_a_program_that_is_not_there_says_so(watched):
    watched(command(["/no/such/driver", "{port}"]))
    watched.until(lambda: watched.heard)
    state, reason = watched.heard[0]
    assert state is ServerState.OFFLINE
    assert reason.startswith("driver cannot be started")
    assert reason.endswith("started again in 0.2 s")


def test_a_program_that_ends_says_its_last_words(watched):
    watched(command([sys.executable, "-c", "print('no display'); raise SystemExit(3)"]))
    watched.until(lambda: watched.heard)
    assert "ended with code 3: no display" in watched.heard[0][1]


def test_what_it_started_ends_with_it(tmp_path, watched):
    # As browsers do: a process group of its own, and no ear for SIGTERM.
    stubborn = "import os, signal, time; os.setpgid(0, 0); signal.signal(15, signal.SIG_IGN); time.sleep(600)"
    script = tmp_path / "driver.py"
    script.write_text(
        "import runpy, subprocess, sys\n"
        f"subprocess.Popen([sys.executable, '-c', {stubborn!r}])\n"
        f"sys.argv = ['target', sys.argv[1]]\nrunpy.run_path({_webdriver_target.__file__!r}, run_name='__main__')\n",
        encoding="utf-8",
    )
    server = watched(command([sys.executable, str(script), "{port}"]))
    assert server.wait_ready(60)
    leader = process_of(server)
    assert len(members(leader)) == 2
    server.close()
    assert members(leader) == set()


def test_what_a_killed_program_left_is_ended_at_the_next_start(tmp_path, watched):
    starter = (
        "import sys, time; from pathlib import Path; from devices.targets import WatchedServer, command\n"
        "server = WatchedServer(command(sys.argv[2:]), Path(sys.argv[1]), lambda *_: None)\n"
        "server.start(); server.wait_ready(60); print(server._process.pid, flush=True); time.sleep(600)\n"
    )
    log = tmp_path / "server.log"
    killed = subprocess.Popen([sys.executable, "-c", starter, str(log), *TRIVIAL], stdout=subprocess.PIPE, text=True)
    assert killed.stdout is not None
    with killed, killed.stdout:
        left = int(killed.stdout.readline())
        killed.kill()
        killed.wait()
    assert members(left) == {left}
    server = watched(command(TRIVIAL))
    assert server.wait_ready(60)
    assert members(left) == set()


def test_a_process_that_ends_by_itself_needs_no_force():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    end_session(process)
    assert process.returncode == -signal.SIGTERM


def test_the_command_lines():
    assert chromedriver("cd", ["-v"]).argv(5) == ["cd", "--port=5", "-v"]
    assert geckodriver().argv(5) == ["geckodriver", "--host=127.0.0.1", "--port=5", "--websocket-port=0"]
    started = appium(["npx", "appium"], Path("/home/appium"))
    assert started.argv(5)[:7] == ["npx", "appium", "server", "--address", "127.0.0.1", "--port", "5"]
    assert started.environment == {"APPIUM_HOME": "/home/appium"}
    assert command(["x", "-p{port}"], base="/wd/hub").argv(5) == ["x", "-p5"]
