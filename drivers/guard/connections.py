"""The guard's listeners and connections: takes them in, reads what came, drops the dead. Only `wait` waits."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from drivers.clock import Clock
from drivers.errors import DeviceUnreachableError, ProtocolError
from drivers.guard.session import Session
from drivers.guard.wire import Kind, message

_MAX_SESSIONS = 64
# Seconds of the machine's clock in which a stranger must have shown its token.
_HELLO_WITHIN_S = 5.0

Received = tuple[Session, Kind, bytes]


class Connections:
    """All clients of one guard. `addresses`: where it listens, with the ports that were found free."""

    def __init__(self, clock: Clock) -> None:
        self.addresses: list[str] = []
        self._clock = clock
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)
        self._selector.register(self._wake_read, selectors.EVENT_READ, None)
        self._listeners: list[socket.socket] = []
        self._sessions: dict[int, Session] = {}
        self._next_session = 1

    def listen(self, urls: Sequence[str]) -> None:
        """Listen on `unix:///path` or `tcp://host:port`. Raises DeviceUnreachableError where that cannot be."""
        for url in urls:
            try:
                listener, address = _listener(url)
            except (OSError, ValueError, OverflowError) as exc:
                raise DeviceUnreachableError(
                    f"the guard cannot listen on {url}: {exc}; choose another address"
                ) from exc
            listener.setblocking(False)
            self._listeners.append(listener)
            self.addresses.append(address)
            self._selector.register(listener, selectors.EVENT_READ, listener)

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._sessions.values()))

    def wake(self) -> None:
        """End a `wait` that is going on; from any thread, or a signal handler."""
        with contextlib.suppress(OSError):
            self._wake_write.send(b"w")

    def wait(self, seconds: float) -> list[Received]:
        """What clients sent, each one's messages in order; waits up to `seconds` of the machine's clock for it."""
        received: list[Received] = []
        for key, mask in self._selector.select(seconds):
            if isinstance(key.data, Session):
                session = key.data
                if mask & selectors.EVENT_WRITE:
                    session.flush()
                if mask & selectors.EVENT_READ:
                    received += [(session, kind, payload) for kind, payload in _receive(session)]
            elif isinstance(key.data, socket.socket):
                self._accept(key.data)
            else:
                with contextlib.suppress(OSError):
                    self._wake_read.recv(4096)
        return received

    def tell(self, wanted: Callable[[Session], bool], data: Callable[[], bytes]) -> None:
        """Send `data` to each client that wants it; it is made only when there is one."""
        made: bytes | None = None
        for session in self._sessions.values():
            if wanted(session):
                made = data() if made is None else made
                session.send(made)

    def drop_ended(self, now: float) -> list[int]:
        """Let go of ended and mute connections, and tell their numbers; listen for slow ones taking bytes again."""
        ended = []
        for session in self:
            mute = not session.known and self._clock.to_wall(now - session.since) > _HELLO_WITHIN_S
            if session.closed or mute:
                self._drop(session)
                ended.append(session.number)
                continue
            wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if session.waiting else 0)
            if self._selector.get_key(session.socket).events != wanted:
                self._selector.modify(session.socket, wanted, session)
        return ended

    def close(self) -> None:
        """Cut all connections and stop listening."""
        for session in self:
            session.close()
        for listener in self._listeners:
            listener.close()
        for url in self.addresses:
            if url.startswith("unix://"):
                Path(url.removeprefix("unix://")).unlink(missing_ok=True)
        self._selector.close()
        self._wake_read.close()
        self._wake_write.close()

    def _accept(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        if len(self._sessions) >= _MAX_SESSIONS:
            # Strangers must not keep out who comes to call an emergency stop.
            stranger = next((session for session in self if not session.known), None)
            if stranger is None:
                connection.close()
                return
            self._drop(stranger)
        session = Session(connection, self._next_session, self._clock.now())
        self._next_session += 1
        self._sessions[session.number] = session
        self._selector.register(connection, selectors.EVENT_READ, session)

    def _drop(self, session: Session) -> None:
        del self._sessions[session.number]
        self._selector.unregister(session.socket)
        session.close()


def _receive(session: Session) -> list[tuple[Kind, bytes]]:
    try:
        frames = session.receive()
    except ProtocolError as exc:
        session.send(message({"error": "ProtocolError", "message": str(exc)}))
        frames = None
    if frames is None:
        session.closed = True
        return []
    return frames


def _listener(url: str) -> tuple[socket.socket, str]:
    if url.startswith("unix://"):
        path = Path(url.removeprefix("unix://"))
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)  # the socket is the key: nobody but this user
        try:
            listener.bind(str(path))
        except BaseException:
            listener.close()
            raise
        finally:
            os.umask(before)
        listener.listen(16)
        return listener, url
    host, _, port = url.removeprefix("tcp://").rpartition(":")
    listener = socket.create_server((host.strip("[]"), int(port)), backlog=16)
    return listener, f"tcp://{host}:{listener.getsockname()[1]}"
