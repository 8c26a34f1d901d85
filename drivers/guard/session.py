"""One client's connection to the guard: bounded buffers, never waits, and a measure of how late its messages are."""

from __future__ import annotations

import contextlib
import math
import socket

from drivers.errors import ProtocolError
from drivers.guard.wire import FrameReader, Kind

# Little at a time, so that a client that says much cannot keep the others waiting for long.
_READ = 4096
# Beyond the first a scan is left out whole; beyond the second the client is taken for dead.
_SCAN_BACKLOG = 256 * 1024
_DEAD_BACKLOG = 1024 * 1024
_MAX_REQUEST = 65536
# Two machines' clocks part by far less than this.
_DRIFT = 2e-4


class Lateness:
    """Maps a client's times of sending onto the guard's clock, whatever the offset of the two clocks.

    The quickest message so far tells the offset (plus the least delay); how much longer a later one took is its delay.
    So a burst of commands that waited in a stalled tunnel counts as old as it is.
    """

    def __init__(self) -> None:
        self._offset = math.inf
        self._updated = 0.0

    def issued(self, sent: float, arrived: float) -> float:
        """When a message that says it was sent at `sent` was sent, by the guard's clock; at most `arrived`.

        Raises ProtocolError when `sent` is no time.
        """
        if not math.isfinite(sent):
            raise ProtocolError(f"a message sent at {sent} s: every message needs the time of its sending")
        allowed = self._offset + _DRIFT * max(0.0, arrived - self._updated)
        self._offset = min(allowed, arrived - sent)
        self._updated = arrived
        return sent + self._offset


class Session:
    """A connected client. `known`: it has shown its token; `scans`, `states`, `statuses`: what it subscribed to."""

    def __init__(self, connection: socket.socket, number: int, now: float) -> None:
        connection.setblocking(False)
        if connection.family != socket.AF_UNIX:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = connection
        self.number = number
        self.since = now
        self.known = False
        self.scans = self.states = self.statuses = False
        self.lateness = Lateness()
        self.closed = False
        self._frames = FrameReader(_MAX_REQUEST)
        self._out = bytearray()

    @property
    def waiting(self) -> bool:
        """Whether bytes wait to be sent."""
        return bool(self._out)

    def receive(self) -> list[tuple[Kind, bytes]] | None:
        """The frames that have come; None at the end of the connection. Raises ProtocolError on nonsense."""
        try:
            data = self.socket.recv(_READ)
        except (BlockingIOError, InterruptedError):
            return []
        except OSError:
            return None
        return self._frames.feed(data) if data else None

    def send(self, data: bytes) -> None:
        """Send what the socket takes now, keep the rest; a client that lets too much pile up is cut off."""
        self._out += data
        self.flush()
        if len(self._out) > _DEAD_BACKLOG:
            self.closed = True

    def send_scan(self, data: bytes) -> None:
        """Send a scan, or leave it out whole when the client is behind."""
        if len(self._out) < _SCAN_BACKLOG:
            self.send(data)

    def flush(self) -> None:
        """Send what the socket takes now."""
        try:
            while self._out:
                del self._out[: self.socket.send(self._out)]
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.closed = True

    def end(self) -> None:
        """Take nothing more from this client, and let it go when it has what it was sent."""
        self.closed = True
        self.flush()

    def close(self) -> None:
        """Let go of the connection."""
        self.closed = True
        with contextlib.suppress(OSError):
            self.socket.close()
