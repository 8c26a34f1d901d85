"""A command on a host with the pipes of a `subprocess.Popen`, for what was written for local programs."""

from __future__ import annotations

import contextlib
import io
import subprocess
from collections.abc import Callable
from typing import IO, Any

from drivers.ssh.errors import LinkLostError, SshError
from drivers.ssh.process import RemoteProcess

# What `ssh` exits with when the connection breaks.
_LOST = 255


class PipedProcess:
    """`stdin`, `stdout` and `stderr` of a remote process, each for one thread at a time."""

    def __init__(self, process: RemoteProcess) -> None:
        channel = process.channel
        self._process = process
        self.stdin: IO[bytes] = io.BufferedWriter(_Writer(process), 1)
        self.stdout: IO[bytes] = io.BufferedReader(_Reader(channel.recv))
        self.stderr: IO[bytes] = io.BufferedReader(_Reader(channel.recv_stderr))

    def poll(self) -> int | None:
        """The exit status, None while it runs, 255 when the link was lost."""
        try:
            return self._process.wait(0)
        except TimeoutError:
            return None
        except LinkLostError:
            return _LOST

    def wait(self, timeout: float | None = None) -> int:
        """The exit status, once it has ended. Raises `subprocess.TimeoutExpired`."""
        try:
            status = self._process.wait(timeout)
        except TimeoutError:
            raise subprocess.TimeoutExpired(self._process.command, timeout or 0) from None
        except LinkLostError:
            status = _LOST
        self._process.close()
        return status

    def kill(self) -> None:
        """KILL to all of it; back when nothing of it is left, as far as the host can be reached."""
        with contextlib.suppress(SshError):
            self._process.kill(grace_s=0)


class _Reader(io.RawIOBase):
    def __init__(self, receive: Callable[[int], bytes]) -> None:
        self._receive = receive

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:  # a buffer
        data = self._receive(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class _Writer(io.RawIOBase):
    def __init__(self, process: RemoteProcess) -> None:
        self._process = process

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:  # a buffer
        try:
            self._process.write(bytes(data))
        except LinkLostError as exc:
            raise BrokenPipeError(str(exc)) from exc
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._process.end_input()
        super().close()
