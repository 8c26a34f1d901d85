"""Runs one WebDriver server: starts it, waits until it is ready, starts it anew when it dies, ends all it started."""

from __future__ import annotations

import base64
import contextlib
import http.client
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from urllib.parse import unquote, urlsplit

import structlog

from devices.targets.programs import Program
from devices.webdriver import read_json
from drivers.errors import DeviceError
from drivers.precedence import give_precedence

log = structlog.get_logger(__name__)
_READY_WITHIN_S = 60.0
_LOOK_EVERY_S = 0.5
_ASK_AGAIN_S = 0.05
_ANSWER_WITHIN_S = 5.0
_END_WITHIN_S = 5.0
_BACK_OFF_S = (0.2, 1.0, 2.0, 5.0, 15.0, 30.0)
_STEADY_AFTER_S = 60.0
_TAIL = 2000


class ServerState(StrEnum):
    """Whether the server can be used."""

    STARTING = "starting"
    READY = "ready"
    OFFLINE = "offline"


class WatchedServer:
    """A server under watch. `on_state` hears of changes with a reason, from the watching thread.

    `log`: the file that takes what the server prints, over all its starts.
    """

    def __init__(self, program: Program, log_file: Path, on_state: Callable[[ServerState, str], None]) -> None:
        self.program = program
        self.log = log_file
        self.state = ServerState.STARTING
        self.reason = f"{program.name} is starting"
        self.starts = 0
        self._port = 0
        self._on_state = on_state
        self._process: subprocess.Popen[bytes] | None = None
        self._changed = threading.Condition()
        self._wake = threading.Event()
        self._closing = False
        self._restart: str | None = None
        self._thread = threading.Thread(target=self._watch, name=f"server {program.name}", daemon=True)

    @property
    def url(self) -> str:
        """Where it serves; its port stays the same over all starts, from the first one on."""
        return f"http://127.0.0.1:{self._port}{self.program.base}"

    def start(self) -> None:
        """Begin to run it. Returns at once; see `wait_ready`.

        What an earlier process of ours that was killed has left of it, browsers included, is ended first.
        """
        self._end_leftovers()
        self._port = free_port()
        self._thread.start()

    def wait_ready(self, timeout_s: float) -> bool:
        """Whether it is ready within that time."""
        with self._changed:
            return self._changed.wait_for(lambda: self.state is ServerState.READY, timeout_s)

    def restart(self, reason: str) -> None:
        """End it with all it started, and start it anew."""
        with self._changed:
            self._restart = reason
            self._set(ServerState.STARTING, reason)
        self._wake.set()

    def close(self) -> None:
        """End it with all it started."""
        self._closing = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def _watch(self) -> None:
        failures = 0
        while not self._closing:
            began = time.monotonic()
            reason = self._run_once()
            if self._closing:
                return
            if self._restart is not None:
                self._restart = None
                failures = 0
                continue
            failures = 0 if time.monotonic() - began > _STEADY_AFTER_S else failures
            wait_s = _BACK_OFF_S[min(failures, len(_BACK_OFF_S) - 1)]
            failures += 1
            self._set(ServerState.OFFLINE, f"{reason}; started again in {wait_s:g} s")
            log.warning("a WebDriver server ended", server=self.program.name, reason=reason)
            self._wake.wait(wait_s)
            self._wake.clear()

    def _run_once(self) -> str:
        """Start it, and return why it is not running any more."""
        self._wake.clear()
        self._set(ServerState.STARTING, f"{self.program.name} is starting")
        try:
            process = self._process = self._spawn()
        except (OSError, DeviceError) as exc:
            return f"{self.program.name} cannot be started: {exc}"
        try:
            if not self._becomes_ready(process):
                return f"{self.program.name} was not ready within {_READY_WITHIN_S:g} s: {self._told()}"
            if process.poll() is None and not self._closing and self._restart is None:
                self._set(ServerState.READY, "")
            while process.poll() is None and not self._closing and self._restart is None:
                self._wake.wait(_LOOK_EVERY_S)
            code = process.poll()
            return f"{self.program.name} ended with code {code}: {self._told()}"
        finally:
            end_session(process)
            self._note.unlink(missing_ok=True)

    def _spawn(self) -> subprocess.Popen[bytes]:
        self.starts += 1
        self.log.parent.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, **self.program.environment, **self.program.at_start()}
        with self.log.open("ab") as output:
            process = subprocess.Popen(
                list(self.program.argv(self._port)),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
        give_precedence(process.pid, self.program.nice)  # not the daemon's, which goes first
        with contextlib.suppress(OSError):  # a full disk keeps no browser from running
            self._note.write_text(f"{process.pid} {_started(process.pid)}", encoding="ascii")
        return process

    @property
    def _note(self) -> Path:
        """The file that says which process it is, for whoever comes after a sudden end."""
        return self.log.with_suffix(".pid")

    def _end_leftovers(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            leader, started = map(int, self._note.read_text(encoding="ascii").split())
            # The number of a session is not given to another process while somebody is in it.
            if _started(leader) in (started, 0):
                _signal(members(leader), signal.SIGKILL)
            self._note.unlink()

    def _becomes_ready(self, process: subprocess.Popen[bytes]) -> bool:
        """Whether it answers; True also when it is over, or need not any more."""
        deadline = time.monotonic() + _READY_WITHIN_S
        while time.monotonic() < deadline:
            if process.poll() is not None or self._closing or self._restart is not None:
                return True
            if is_ready(self.url):
                return True
            self._wake.wait(_ASK_AGAIN_S)
        return False

    def _told(self) -> str:
        with contextlib.suppress(OSError), self.log.open("rb") as output:
            output.seek(max(0, self.log.stat().st_size - _TAIL))
            lines = output.read().decode(errors="replace").strip().splitlines()
            return lines[-1] if lines else "it said nothing"
        return "it said nothing"

    def _set(self, state: ServerState, reason: str) -> None:
        with self._changed:
            if (self.state, self.reason) == (state, reason):
                return
            self.state, self.reason = state, reason
            self._changed.notify_all()
        self._on_state(state, reason)


def free_port() -> int:
    """A port of the loopback interface that nobody uses now."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def is_ready(url: str, timeout_s: float = _ANSWER_WITHIN_S) -> bool:
    """Whether a WebDriver server answers Status. One that has all its sessions in use counts as well."""
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=timeout_s)
    headers = {}
    if parts.username is not None:
        credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        headers["Authorization"] = f"Basic {base64.b64encode(credentials).decode()}"
    try:
        connection.request("GET", f"{parts.path}/status", headers=headers)
        response = connection.getresponse()
        return isinstance(read_json(response.read()).get("value"), dict)
    except (OSError, ValueError, AttributeError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def end_session(process: subprocess.Popen[bytes]) -> None:
    """End a process that leads a session of its own, and all that is in it, such as browsers, politely at first."""
    leader = process.pid
    _signal(members(leader) if process.poll() is not None else {leader}, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_END_WITHIN_S)
    deadline = time.monotonic() + _END_WITHIN_S
    while left := members(leader):
        _signal(left, signal.SIGKILL)
        process.poll()
        if time.monotonic() > deadline:
            log.error("processes of a WebDriver server do not end", pids=sorted(left))
            return
        time.sleep(0.02)
    process.wait()


def members(session: int) -> set[int]:
    """The processes of a session, but for those that are dead and wait to be collected.

    A browser puts itself into a process group of its own, so that its driver's group would miss it; the session stays.
    """
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError):
                fields = (entry / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
                if int(fields[3]) == session and fields[0] not in "ZX":
                    found.add(int(entry.name))
    return found


def _started(process: int) -> int:
    """When a process began, in ticks since the machine did; 0 when there is none."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[19])


def _signal(processes: set[int], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)
