"""A serial console behind a host: everything it says is written to a log, and whoever is attached sees it and may type.

The line is a terminal device of the host (through socat there, or stty and cat) or a TCP port of ser2net or the like.
"""

from __future__ import annotations

import contextlib
import shlex
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import paramiko

from drivers.ssh.errors import HostUnreachableError, LinkLostError, SshError
from drivers.ssh.host import SshHost, destination
from drivers.ssh.process import RemoteProcess, Stream

_BLOCK = 65_536
_AGAIN_S = (0.5, 1.0, 2.0, 5.0, 10.0)
_ROTATE_BYTES = 16 << 20
_RECENT_BYTES = 16_384
_SCRIPT = """
[ -e {tty} ] || {{ echo "there is no {tty}; check the cable" >&2; exit 66; }}
[ -r {tty} ] && [ -w {tty} ] || {{ echo "no permission to use {tty}: add the account to its group" >&2; exit 77; }}
command -v socat >/dev/null && exec socat - {tty},rawer,echo=0,b{baud_rate}
stty -F {tty} raw -echo {baud_rate} || exit 1
cat {tty} & exec cat >{tty}
"""


@dataclass(frozen=True, slots=True)
class ConsoleLine:
    """Where a console hangs: `tty` of the host ("/dev/ttyUSB0") at `baud_rate`, or `tcp`, a port or address:port."""

    tty: str = ""
    baud_rate: int = 115_200
    tcp: str = ""

    def __post_init__(self) -> None:
        if bool(self.tty) == bool(self.tcp):
            raise ValueError("a console needs either a tty or a tcp port")
        if self.tcp:
            destination(self.tcp)


class Console:
    """One console, captured from `start` to `close`, through lost links and restarts of the host.

    Each line in the log begins with the time (UTC) at which its first byte came.
    """

    def __init__(self, host: SshHost, line: ConsoleLine, log: Path) -> None:
        self.host, self.line, self.log = host, line, log
        self.broken_by = "it was not opened yet"
        self._lock = threading.Lock()
        self._listeners: list[Callable[[bytes], None]] = []
        self._recent = bytearray()
        self._send: Callable[[bytes], None] | None = None
        self._cut: Callable[[], None] = lambda: None
        self._stop = threading.Event()
        self._at_line_start = True
        self._thread = threading.Thread(target=self._capture, name="console", daemon=True)

    def start(self) -> Self:
        """Begin to capture."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._thread.start()
        return self

    def close(self) -> None:
        """End the capture."""
        self._stop.set()
        self._cut()
        if self._thread.is_alive():
            self._thread.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_error: object) -> None:
        self.close()

    @property
    def open(self) -> bool:
        return self._send is not None

    def attach(self, listener: Callable[[bytes], None]) -> bytes:
        """Let `listener` have what comes from now on (it must not block); returns the latest before that."""
        with self._lock:
            self._listeners.append(listener)
            return bytes(self._recent)

    def detach(self, listener: Callable[[bytes], None]) -> None:
        """No more for that one."""
        with self._lock, contextlib.suppress(ValueError):
            self._listeners.remove(listener)

    def write(self, data: bytes) -> None:
        """Type. Raises SshError while the console is not open."""
        send = self._send
        if send is None:
            raise SshError(f"the console at {self._title} is not open: {self.broken_by}")
        try:
            send(data)
        except (OSError, EOFError) as exc:
            raise LinkLostError(f"the console at {self._title} is not open any more: {exc}") from exc

    @property
    def _title(self) -> str:
        return f"{self.line.tty or self.line.tcp} of {self.host.title}"

    def _capture(self) -> None:
        failures = 0
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                if self.line.tty:
                    self._run_tty()
                else:
                    self._run_tcp()
                self.broken_by = "the far end closed it"
            except (SshError, OSError) as exc:
                self.broken_by = str(exc)
            finally:
                self._send = None
            failures = 0 if time.monotonic() - began > _AGAIN_S[-1] else failures + 1
            self._stop.wait(_AGAIN_S[min(failures, len(_AGAIN_S)) - 1])

    def _run_tty(self) -> None:
        tty = shlex.quote(self.line.tty)
        with self.host.start(_SCRIPT.format(tty=tty, baud_rate=self.line.baud_rate)) as process:
            self._opened(process.write, process.channel)
            complaint = b""
            for stream, data in process.output():
                if stream is Stream.STDOUT:
                    self._heard(data)
                else:
                    complaint = (complaint + data)[-1000:]
            self._complain(process, complaint)

    def _complain(self, process: RemoteProcess, complaint: bytes) -> None:
        if not self._stop.is_set():
            said = complaint.decode(errors="replace").strip() or f"exit status {process.exit_status}"
            raise SshError(f"the console at {self._title} ended: {said}")

    def _run_tcp(self) -> None:
        channel = self.host.dial(*destination(self.line.tcp))
        try:
            self._opened(channel.sendall, channel)
            while data := channel.recv(_BLOCK):
                self._heard(data)
        except (EOFError, paramiko.SSHException) as exc:
            raise LinkLostError(f"the link to {self._title} was lost: {exc}") from exc
        finally:
            with contextlib.suppress(OSError, EOFError):
                channel.close()
        if not self._stop.is_set():
            raise HostUnreachableError(f"{self._title} closed the connection")

    def _opened(self, send: Callable[[bytes], None], channel: paramiko.Channel) -> None:
        def cut() -> None:
            with contextlib.suppress(OSError, EOFError):
                channel.close()

        self._send, self._cut, self.broken_by = send, cut, ""
        if self._stop.is_set():
            cut()

    def _heard(self, data: bytes) -> None:
        with self._lock:
            self._recent += data
            del self._recent[:-_RECENT_BYTES]
            listeners = tuple(self._listeners)
        self._write_log(data)
        for listener in listeners:
            listener(data)

    def _write_log(self, data: bytes) -> None:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ ", time.gmtime()).encode()
        stamped = b""
        for piece in data.splitlines(keepends=True):
            stamped += (stamp if self._at_line_start else b"") + piece
            self._at_line_start = piece.endswith((b"\n", b"\r"))
        try:
            if self.log.exists() and self.log.stat().st_size > _ROTATE_BYTES:
                self.log.replace(self.log.with_suffix(self.log.suffix + ".1"))
            with self.log.open("ab") as file:
                file.write(stamped)
        except OSError as exc:
            self.broken_by = f"its log {self.log} cannot be written: {exc.strerror}"
