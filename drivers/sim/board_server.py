"""Serves a simulated motor board on a pseudo terminal or a TCP port, as if it hung on a real serial line."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import threading
import time
import tty
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from drivers.clock import Clock
from drivers.sim.open_interface import STREAM_PERIOD_S, OpenInterfaceBoard


class BoardServer:
    """Runs a board behind a line, in a thread of its own, until closed.

    `url` is what a client opens. Unplugging closes the line under the client; what the board does goes on.
    """

    def __init__(self, board: OpenInterfaceBoard, clock: Clock, line: _Line) -> None:
        self._board = board
        self._clock = clock
        self._line = line
        self._closing = threading.Event()
        self._plugged = True
        self._thread = threading.Thread(target=self._serve, name=f"board {line.url}", daemon=True)
        self._thread.start()

    @classmethod
    def on_pty(cls, board: OpenInterfaceBoard, clock: Clock, link: Path | None = None) -> BoardServer:
        """Serve on a new pseudo terminal; `url` is its device path, or `link`, which then always points to it."""
        return cls(board, clock, _PtyLine(link))

    @classmethod
    def on_tcp(cls, board: OpenInterfaceBoard, clock: Clock, host: str = "127.0.0.1", port: int = 0) -> BoardServer:
        """Serve one client at a time on a TCP port (0: any free one); `url` begins with socket://."""
        return cls(board, clock, _TcpLine(host, port))

    @property
    def url(self) -> str:
        """What a client opens. A pseudo terminal without a link gets a new path when it is plugged in again."""
        return self._line.url

    def unplug(self) -> None:
        """Close the line under the client, as if the cable was pulled."""
        self._plugged = False
        self._line.unplug()

    def plug_in(self) -> None:
        """Put the line back after `unplug`."""
        self._line.plug_in()
        self._plugged = True

    def close(self) -> None:
        """End the thread and the line. May be repeated."""
        self._closing.set()
        self._thread.join(timeout=5)
        self._line.unplug()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _serve(self) -> None:
        # A third of the stream's period: a record is then at most 5 ms late.
        wait = max(0.001, self._clock.to_wall(STREAM_PERIOD_S / 3))
        while not self._closing.is_set():
            if not self._plugged:
                self._closing.wait(wait)
                self._board.tick(self._clock.now())
                continue
            data = self._line.read(wait)
            answer = self._board.feed(data) if data else b""
            answer += self._board.tick(self._clock.now())
            if answer:
                self._line.write(answer)


class _Line(Protocol):
    url: str

    def read(self, wait_s: float) -> bytes: ...
    def write(self, data: bytes) -> None: ...
    def unplug(self) -> None: ...
    def plug_in(self) -> None: ...


class _PtyLine:
    """The master side of a pseudo terminal. Nobody holds the slave open but the client."""

    def __init__(self, link: Path | None) -> None:
        self._lock = threading.Lock()
        self._link = link
        self._master = -1
        self.url = ""
        self.plug_in()

    def plug_in(self) -> None:
        with self._lock:
            self._master, slave = os.openpty()
            self.url = os.ttyname(slave)
            tty.setraw(slave)
            os.close(slave)
            os.set_blocking(self._master, False)
            if self._link is not None:
                self._link.unlink(missing_ok=True)
                self._link.symlink_to(self.url)
                self.url = str(self._link)

    def unplug(self) -> None:
        with self._lock:
            if self._master >= 0:
                os.close(self._master)
                self._master = -1
                if self._link is not None:
                    self._link.unlink(missing_ok=True)

    def read(self, wait_s: float) -> bytes:
        poll = select.poll()
        with self._lock:
            if self._master < 0:
                return b""
            poll.register(self._master, select.POLLIN)
        if not poll.poll(wait_s * 1000):
            return b""
        with self._lock:
            try:
                return os.read(self._master, 4096)
            except BlockingIOError:
                return b""
            except OSError as exc:
                if exc.errno not in (errno.EIO, errno.EBADF):
                    raise
                if self._master >= 0:
                    # No client. Keep the line raw for the next one: an echo would come back as commands.
                    tty.setraw(self._master)
        # Poll does not wait while nobody holds the slave.
        time.sleep(wait_s)
        return b""

    def write(self, data: bytes) -> None:
        # A full buffer (a client that does not read) loses bytes, as a serial line does.
        with self._lock, contextlib.suppress(OSError):
            if self._master >= 0:
                os.write(self._master, data)


class _TcpLine:
    """A listening socket and the one client it serves; a newer client takes the place of the older."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self._client: socket.socket | None = None
        self.url = ""
        self.plug_in()

    def plug_in(self) -> None:
        with self._lock:
            self._listener = socket.create_server(self._address)
            self._address = self._listener.getsockname()[:2]
            self.url = f"socket://{self._address[0]}:{self._address[1]}"

    def unplug(self) -> None:
        with self._lock:
            for each in (self._client, self._listener):
                if each is not None:
                    each.close()
            self._client = self._listener = None

    def read(self, wait_s: float) -> bytes:
        with self._lock:
            listener, client = self._listener, self._client
        if listener is None:
            return b""
        try:
            ready, _, _ = select.select([each for each in (listener, client) if each], [], [], wait_s)
            if listener in ready:
                self._accept(listener)
                return b""
            if client is None or client not in ready:
                return b""
            data = client.recv(4096)
        except (OSError, ValueError):  # unplugged meanwhile, or the client reset the connection
            data = b""
        if not data:
            self._drop(client)
        return data

    def write(self, data: bytes) -> None:
        with self._lock:
            client = self._client
        if client is not None:
            with contextlib.suppress(OSError):
                client.send(data)

    def _accept(self, listener: socket.socket) -> None:
        client, _ = listener.accept()
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            if self._client is not None:
                self._client.close()
            self._client = client

    def _drop(self, client: socket.socket | None) -> None:
        with self._lock:
            if client is not None and self._client is client:
                client.close()
                self._client = None
