"""Starts a daemon as a child process, for the demo and for tests; it ends with whoever started it."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from labctl.cli.exits import ExpectedError

_READY_WITHIN_S = 60.0
_ENDS_WITHIN_S = 20.0


@dataclass(frozen=True)
class DaemonChild:
    """A running daemon: where it answers, its process."""

    url: str
    process: subprocess.Popen[bytes]


@contextmanager
def daemon_child(lab: Path, data: Path, log: Path, *options: str) -> Iterator[DaemonChild]:
    """`labctl serve` on a free port, from entry to exit; `options`: more of its options.

    Raises ExpectedError with the daemon's own words if it cannot.
    """
    command = [sys.executable, "-m", "labctl", "serve", "--lab", str(lab), "--data", str(data), "--port", "0"]
    command += ["--parent", str(os.getpid()), *options]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as errors:
        # Its own session: Ctrl-C reaches us, and we end it in order.
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, start_new_session=True
        )
    try:
        yield DaemonChild(_url(process, log), process)
    finally:
        _end(process)


def _url(process: subprocess.Popen[bytes], log: Path) -> str:
    assert process.stdout is not None
    give_up, line = time.monotonic() + _READY_WITHIN_S, b""
    while not line.endswith(b"\n"):
        left = give_up - time.monotonic()
        if left <= 0 or not select.select([process.stdout], [], [], left)[0]:
            raise ExpectedError(f"the daemon did not answer within {_READY_WITHIN_S:.0f} s; its log: {log}")
        part = os.read(process.stdout.fileno(), 65536)
        if not part:
            told = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise ExpectedError(f"the daemon did not start: {told[-1] if told else 'it said nothing'}")
        line += part
    return str(json.loads(line)["url"])


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdout is not None:
        process.stdout.close()
