"""A guard that runs on a host: sent there if need be, started over SSH, reached through a forward.

It lives and dies with its link. When the link is cut, commands grow old within their time to live and the guard stops
the base, where it is; once sshd or our warden on the host notices the silence, the guard is told to end, and stops it
again.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import shlex
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from drivers.clock import Clock, clock_for_scale
from drivers.errors import DeviceError, DeviceUnreachableError
from drivers.guard.client import GuardClient
from drivers.guard.settings import GuardSettings
from drivers.remote_guard.bundle import Bundle, guard_bundle, numpy_bundle
from drivers.remote_guard.start_guard import abi
from drivers.ssh import Forward, RemoteProcess, SshHost, Stream

_FOLDER = ".cache/labctl"
_STATE = ".local/state/labctl"
_SEND_WITHIN_S = 300.0
_ENDS_WITHIN_S = 10.0
_UNPACK = (
    'set -e; cd; mkdir -p "{folder}"; cd "{folder}"; [ ! -d {name} ] || exit 0; rm -rf .{name}.*; '
    "mkdir .{name}.$$; tar -xzf - -C .{name}.$$; "
    "mv -T .{name}.$$ {name} 2>/dev/null || rm -rf .{name}.$$; [ -d {name} ]"
)


class RemoteGuardProcess:
    """A running guard on a host, with the verbs of `drivers.guard.GuardProcess`."""

    def __init__(self, process: RemoteProcess, forward: Forward, settings: GuardSettings, log: Path | None) -> None:
        self.settings = settings
        self.address = f"tcp://127.0.0.1:{forward.port}"
        self._process = process
        self._forward = forward
        self._log = log
        self._reader = threading.Thread(target=self._keep_reading, name=f"guard {settings.name}", daemon=True)

    @classmethod
    def start(
        cls,
        host: SshHost,
        settings: GuardSettings,
        *,
        python: str = "python3",
        timeout_s: float = 30.0,
        log: Path | None = None,
    ) -> RemoteGuardProcess:
        """Have the guard run on `host`, and wait until it is ready. Devices in `settings` are as the host sees them.

        Listens on the host's loopback with a token of its own; state and latch are kept on the host, under the base's
        name. `log`: a file here that takes its standard error. Raises DeviceUnreachableError with the guard's own
        words, `drivers.ssh.SshError` where the host cannot be used.
        """
        settings = replace(settings, listen=("tcp://127.0.0.1:0",), token=secrets.token_hex(16))
        code = _send(host, guard_bundle())
        paths = [code]
        told, process = _run(host, settings, python, paths, timeout_s)
        if told.get("missing") == "numpy":
            if told.get("abi") != abi():
                raise DeviceUnreachableError(
                    f"the guard cannot run on {host.title}: {told['error']}. Install it there (apt install "
                    "python3-numpy), or name a Python that has it with `python:`. "
                    f"Ours, for {abi()}, does not fit its {told.get('abi')}"
                )
            paths.append(_send(host, numpy_bundle()))
            told, process = _run(host, settings, python, paths, timeout_s)
        if not told.get("ready") or process is None:
            raise DeviceUnreachableError(f"the guard could not start on {host.title}: {told.get('error')}")
        try:
            forward = host.forward(str(told["listen"][0]).removeprefix("tcp://"))
        except BaseException:
            process.close()
            raise
        made = cls(process, forward, settings, log)
        made._reader.start()
        return made

    @property
    def running(self) -> bool:
        """Whether it runs, as far as is known; a cut link is noticed after the host's `silence_s`."""
        return self._reader.is_alive() and self._process.exit_status is None

    def client(self, fencing: int = 0, deadline: float | None = None, clock: Clock | None = None) -> GuardClient:
        """A new connection to it, through the link."""
        clock = clock or clock_for_scale(self.settings.time_scale)
        return GuardClient.connect(self.address, fencing, deadline, clock, self.settings.token)

    def close(self) -> None:
        """End it, by SIGTERM if it obeys: the base is stopped. Where the link is cut, the host does it. May be
        repeated.
        """
        with contextlib.suppress(DeviceError):
            self._process.kill(_ENDS_WITHIN_S)
        self._process.close()
        self._forward.close()
        self._reader.join(_ENDS_WITHIN_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _keep_reading(self) -> None:
        """What it says goes into the log; its output must not fill up."""
        with contextlib.ExitStack() as stack:
            log: IO[bytes] | None = None if self._log is None else stack.enter_context(self._log.open("ab"))
            stack.enter_context(contextlib.suppress(DeviceError, OSError, ValueError))
            for _, data in self._process.output():
                if log is not None:
                    log.write(data)
                    log.flush()


def _send(host: SshHost, bundle: Bundle) -> str:
    """Put a bundle onto the host unless it is there; its folder, relative to the account's home."""
    folder = f"{_FOLDER}/{bundle.name}"
    if host.exec(["test", "-d", folder], timeout_s=_SEND_WITHIN_S).exit_status != 0:
        script = _UNPACK.format(folder=_FOLDER, name=bundle.name)
        host.exec(script, stdin=bundle.archive, timeout_s=_SEND_WITHIN_S, check="unpacking the guard")
    return folder


def _run(
    host: SshHost, settings: GuardSettings, python: str, paths: list[str], timeout_s: float
) -> tuple[dict[str, Any], RemoteProcess | None]:
    """Start it and hear its first line; the process when it is ready."""
    search = ":".join(f'"$HOME"/{path}' for path in paths)
    script, state = f'"$HOME"/{paths[0]}/start_guard.py', f'"$HOME"/{_STATE}/{settings.name}'
    command = f"cd; PYTHONPATH={search} exec {shlex.quote(python)} {script} {state}"
    environment = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    process = host.start(command, env=environment)
    told: dict[str, Any] = {}
    try:
        process.write(json.dumps(json.loads(settings.to_json())).encode() + b"\n")
        told = _first_line(process, host.title, timeout_s)
    finally:
        if not told.get("ready"):
            process.close()
    return told, process if told.get("ready") else None


def _first_line(process: RemoteProcess, title: str, timeout_s: float) -> dict[str, Any]:
    heard = {Stream.STDOUT: b"", Stream.STDERR: b""}
    give_up = time.monotonic() + timeout_s
    for stream, data in process.output(timeout_s):
        heard[stream] += data
        if b"\n" in heard[Stream.STDOUT] or time.monotonic() > give_up:
            break
    line = heard[Stream.STDOUT].partition(b"\n")[0]
    try:
        told = json.loads(line)
    except ValueError:
        words = (heard[Stream.STDERR] or line)[-500:].decode(errors="replace").strip()
        raise DeviceUnreachableError(f"the guard could not start on {title}: {words or 'it said nothing'}") from None
    return dict(told)
