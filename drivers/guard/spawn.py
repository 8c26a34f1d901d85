"""Starts a guard as a child process of its own session, and waits until it is ready."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from drivers.clock import Clock, clock_for_scale
from drivers.errors import DeviceUnreachableError
from drivers.guard.client import GuardClient
from drivers.guard.settings import GuardSettings


class GuardProcess:
    """A running guard. `addresses`: where it listens; `pid`: its process.

    It lives in a session of its own, so that a signal to the starter's group does not take it along.
    """

    def __init__(self, process: subprocess.Popen[bytes], settings: GuardSettings, addresses: tuple[str, ...]) -> None:
        self._process = process
        self.settings = settings
        self.addresses = addresses

    @classmethod
    def start(cls, settings: GuardSettings, *, timeout_s: float = 20.0, log: Path | None = None) -> GuardProcess:
        """Write the configuration into the state folder, start the guard, wait for its ready line.

        `log`: file that takes the guard's standard error. Raises DeviceUnreachableError with the guard's own words
        when it does not become ready.
        """
        folder = Path(settings.state_dir)
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "guard-config.json"
        config.unlink(missing_ok=True)
        with open(os.open(config, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:  # noqa: PTH123 - the token in it is for this user only, from the first byte on
            file.write(settings.to_json())
        with contextlib.ExitStack() as stack:
            errors = stack.enter_context(log.open("ab")) if log is not None else subprocess.DEVNULL
            process = subprocess.Popen(
                [sys.executable, "-m", "drivers.guard", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
                env=_environment(),
            )
        try:
            ready = _ready_line(process, timeout_s)
        except BaseException:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
            raise
        return cls(process, settings, tuple(ready))

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def address(self) -> str:
        """The first address it listens on."""
        return self.addresses[0]

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def client(self, fencing: int = 0, deadline: float | None = None, clock: Clock | None = None) -> GuardClient:
        """A new connection to it."""
        clock = clock or clock_for_scale(self.settings.time_scale)
        return GuardClient.connect(self.address, fencing, deadline, clock, self.settings.token)

    def close(self, timeout_s: float = 10.0) -> None:
        """End it by SIGTERM (the base is stopped); by SIGKILL when that takes too long. May be repeated."""
        if self.running:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(timeout=timeout_s)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _environment() -> Mapping[str, str]:
    """Ours, with numpy kept to one thread: the guard's arrays are small, and idle threads would only compete."""
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(part for part in (root, os.environ.get("PYTHONPATH", "")) if part)
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def _ready_line(process: subprocess.Popen[bytes], timeout_s: float) -> list[str]:
    assert process.stdout is not None
    give_up = time.monotonic() + timeout_s
    line = b""
    told_something = select.poll()  # select takes no descriptor beyond 1024
    told_something.register(process.stdout, select.POLLIN)
    while not line.endswith(b"\n"):
        if not told_something.poll(1000 * max(0.0, give_up - time.monotonic())):
            raise DeviceUnreachableError(f"the guard did not become ready within {timeout_s:.0f} s")
        chunk = os.read(process.stdout.fileno(), 65536)
        if not chunk:
            raise DeviceUnreachableError(f"the guard ended with code {process.wait()} before it was ready")
        line += chunk
    told = json.loads(line.splitlines()[0])
    if not told.get("ready"):
        raise DeviceUnreachableError(f"the guard could not start: {told.get('error')}")
    return [str(address) for address in told["listen"]]
