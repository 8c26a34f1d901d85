"""Byte streams between a client and a host: a command, a terminal, a console, or a connection through the host.

A session is asked for in one request; its output is one long answer, its input any number of requests. So it passes
every proxy that HTTP passes. The output is a row of frames: a byte that says what it is, four with its length (big
endian), the bytes themselves. Whoever stops to listen ends the session.
"""

from __future__ import annotations

import json
import queue
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import paramiko

from drivers.ssh import (
    CommandCancelledError,
    CommandTimeoutError,
    LinkLostError,
    RemoteProcess,
    SshError,
    Stream,
)
from drivers.ssh.console import Console
from drivers.ssh.transport import send_all
from labctl.errors import NotFoundError
from labctl.store.identifiers import new_id

STDOUT, STDERR, END = 1, 2, 3
_HEAD = struct.Struct(">BI")
_ATTACHED_WITHIN_S = 30.0
_CONSOLE_PIECES = 1000


def frame(kind: int, data: bytes) -> bytes:
    """One frame."""
    return _HEAD.pack(kind, len(data)) + data


class Source(Protocol):
    """What a session carries."""

    def pieces(self) -> Iterator[tuple[int, bytes]]:
        """Output as it comes; raises SshError."""

    def end(self) -> dict[str, Any]:
        """What there is to say at the end."""

    def write(self, data: bytes) -> None: ...
    def end_input(self) -> None: ...
    def resize(self, width: int, height: int, /) -> None: ...
    def cancel(self, reason: str, /) -> None: ...
    def close(self) -> None: ...


class CommandSource:
    """A command, with a terminal or without."""

    def __init__(self, process: RemoteProcess, timeout_s: float | None) -> None:
        self._process, self._timeout_s = process, timeout_s
        self.write, self.end_input, self.resize = process.write, process.end_input, process.resize
        self.cancel, self.close = process.cancel, process.close

    def pieces(self) -> Iterator[tuple[int, bytes]]:
        for stream, data in self._process.output(self._timeout_s):
            yield (STDOUT if stream is Stream.STDOUT else STDERR), data

    def end(self) -> dict[str, Any]:
        return {"exit_status": self._process.wait(0)}


class ConsoleSource:
    """A console that others may be attached to as well."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._queue: queue.Queue[bytes | None] = queue.Queue(_CONSOLE_PIECES)
        self._missed = False
        self._queue.put(console.attach(self._take))
        self.write = console.write

    def _take(self, data: bytes) -> None:
        try:
            self._queue.put_nowait(data)
        except queue.Full:  # who reads too slowly loses the connection, not the console its speed
            self._missed = True
            self.close()

    def pieces(self) -> Iterator[tuple[int, bytes]]:
        while (data := self._queue.get()) is not None:
            yield STDOUT, data
        if self._missed:
            raise LinkLostError("the console said more than was read of it; attach again")

    def end(self) -> dict[str, Any]:
        return {}

    def end_input(self) -> None:
        return

    def resize(self, _width: int, _height: int, /) -> None:
        return

    def cancel(self, _reason: str, /) -> None:
        self.close()

    def close(self) -> None:
        self._console.detach(self._take)
        while True:
            try:
                self._queue.put_nowait(None)
            except queue.Full:
                self._queue.get_nowait()
            else:
                return


class StreamSource:
    """A TCP connection from the host."""

    def __init__(self, channel: paramiko.Channel, title: str) -> None:
        self._channel, self._title = channel, title
        self.end_input = channel.shutdown_write

    def pieces(self) -> Iterator[tuple[int, bytes]]:
        while data := self._channel.recv(65_536):
            yield STDOUT, data
        if not self._channel.eof_received:
            raise LinkLostError(f"the connection through {self._title} was cut")

    def end(self) -> dict[str, Any]:
        return {}

    def write(self, data: bytes) -> None:
        try:
            send_all(self._channel, data)
        except (OSError, EOFError) as exc:
            raise BrokenPipeError(f"the connection through {self._title} takes no more") from exc

    def resize(self, _width: int, _height: int, /) -> None:
        return

    def cancel(self, _reason: str, /) -> None:
        self.close()

    def close(self) -> None:
        try:
            self._channel.close()
        except (OSError, EOFError):
            return


class Session:
    """A stream under way, of one principal."""

    def __init__(self, host: str, owner: str, source: Source, on_end: Callable[[Session], None]) -> None:
        self.id = new_id()
        self.host, self.owner, self.source = host, owner, source
        self._on_end = on_end
        self._limit = threading.Timer(_ATTACHED_WITHIN_S, self.cancel, ("nobody listens to it",))
        self._limit.daemon = True
        self._limit.start()

    def output(self) -> Iterator[tuple[int, bytes]]:
        """What comes, and at last END with a JSON object: `exit_status` of a command, or `error` with its `kind`."""
        self._limit.cancel()
        try:
            yield from self.source.pieces()
            ended = self.source.end()
        except (SshError, OSError, EOFError) as exc:
            ended = {"error": str(exc) or type(exc).__name__, "kind": _kind(exc)}
        finally:
            self.source.close()
            self._on_end(self)
        yield END, json.dumps(ended).encode()

    def cancel(self, reason: str) -> None:
        """End it, and what runs in it."""
        self._limit.cancel()
        try:
            self.source.cancel(reason)
        except SshError:
            return
        finally:
            self.source.close()
            self._on_end(self)


class Sessions:
    """The sessions of this daemon."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sessions: dict[str, Session] = {}

    def add(self, host: str, owner: str, source: Source) -> Session:
        """A new one; it must be listened to soon."""
        session = Session(host, owner, source, self._forget)
        with self._lock:
            self._sessions[session.id] = session
        return session

    def get(self, host: str, session: str, owner: str) -> Session:
        """One's own. Raises NotFoundError."""
        with self._lock:
            found = self._sessions.get(session)
        if found is None or found.host != host or found.owner != owner:
            raise NotFoundError(f"there is no session {session!r} on {host}; it has ended, or is somebody else's")
        return found

    def close(self) -> None:
        """End them all."""
        with self._lock:
            sessions = tuple(self._sessions.values())
        for session in sessions:
            session.cancel("the daemon is shutting down")

    def _forget(self, session: Session) -> None:
        with self._lock:
            self._sessions.pop(session.id, None)


def _kind(error: BaseException) -> str:
    if isinstance(error, CommandTimeoutError):
        return "timeout"
    if isinstance(error, CommandCancelledError):
        return "cancelled"
    return "lost"
