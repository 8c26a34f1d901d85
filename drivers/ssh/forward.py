"""A local port that leads through a host, and goes on leading there after the link was cut and came back."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import Self

import paramiko

from drivers.errors import DeviceUnreachableError
from drivers.ssh.errors import SshError
from drivers.ssh.transport import hang_up

_BLOCK = 65_536
_AGAIN_S = 0.1


class Forward:
    """A listening port on the loopback. `broken_by`: why the last connection through it failed, "" when it worked."""

    def __init__(
        self,
        dial: Callable[[], paramiko.Channel],
        target: str,
        local_port: int = 0,
        on_close: Callable[[Forward], None] = lambda _forward: None,
    ) -> None:
        """`dial` gives a new stream to the target. Raises DeviceUnreachableError when the local port is taken."""
        self.target = target
        self.broken_by = ""
        self._dial = dial
        self._on_close = on_close
        self._lock = threading.Lock()
        self._streams: set[socket.socket] = set()
        self._closed = False
        try:
            self._listener = socket.create_server(("127.0.0.1", local_port), backlog=64)
        except (OSError, OverflowError) as exc:
            raise DeviceUnreachableError(
                f"cannot forward the local port {local_port} to {target}: {exc}; choose another, or 0 for a free one"
            ) from exc
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, name=f"forward {self.port}", daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """Where to connect: "127.0.0.1:port"."""
        return f"127.0.0.1:{self.port}"

    @property
    def connections(self) -> int:
        """How many are open now."""
        with self._lock:
            return len(self._streams)

    def close(self) -> None:
        """Close the port and what is connected through it. May be repeated."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            streams = tuple(self._streams)
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes up who accepts
        self._listener.close()
        for stream in streams:
            _cut(stream)
        self._thread.join()
        self._on_close(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            try:
                stream, _ = self._listener.accept()
            except OSError:
                if self._closed:
                    return
                time.sleep(_AGAIN_S)  # too many files are open, say: who waits is let in later
                continue
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                if self._closed:
                    stream.close()
                    return
                self._streams.add(stream)
            threading.Thread(target=self._carry, args=(stream,), name=f"forward {self.port}", daemon=True).start()

    def _carry(self, stream: socket.socket) -> None:
        try:
            try:
                channel = self._dial()
            except SshError as exc:
                self.broken_by = str(exc)
                return
            self.broken_by = ""
            outward = threading.Thread(target=_send, args=(stream, channel), name=f"forward {self.port}", daemon=True)
            outward.start()
            if _receive(channel, stream):
                outward.join()  # the far end has said all, we may not have
            else:
                # Neither a cut link nor a reset connection may look like an end in good order.
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                hang_up(channel)
                with contextlib.suppress(OSError):
                    stream.shutdown(socket.SHUT_RD)  # wakes up who reads from it
                outward.join()
            hang_up(channel)
        finally:
            with self._lock:
                self._streams.discard(stream)
            stream.close()


def _send(stream: socket.socket, channel: paramiko.Channel) -> None:
    try:
        while data := stream.recv(_BLOCK):
            channel.sendall(data)
        channel.shutdown_write()
    except (OSError, EOFError):
        hang_up(channel)


def _receive(channel: paramiko.Channel, stream: socket.socket) -> bool:
    """Whether the far end has said all; False when the link, the far end or the stream is gone."""
    try:
        while data := channel.recv(_BLOCK):
            stream.sendall(data)
        if channel.eof_received:
            stream.shutdown(socket.SHUT_WR)
    except (OSError, EOFError):
        return False
    return bool(channel.eof_received)


def _cut(stream: socket.socket) -> None:
    with contextlib.suppress(OSError):
        stream.shutdown(socket.SHUT_RDWR)
