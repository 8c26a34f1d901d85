"""One conversation with a sensor: commands out, their replies in, everything else counted and left aside."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass

from drivers.clock import Clock
from drivers.errors import ChecksumError, DeviceSilentError, ProtocolError
from drivers.scip.commands import status_meaning
from drivers.scip.frames import FrameSplitter, Reply, excerpt, parse_reply
from drivers.scip.transport import Transport

# A scaled clock must not turn the scheduling of a busy machine into a silent device.
_LEAST_WALL_S = 1.0


@dataclass(slots=True)
class LinkCounters:
    """What went wrong on the way, since the sensor was opened."""

    checksum_errors: int = 0
    damaged_frames: int = 0
    garbage_bytes: int = 0
    dropped: int = 0
    replayed: int = 0
    clock_jumps: int = 0


@dataclass(frozen=True, slots=True)
class Received:
    """A frame, and the host's clock when its last byte was in."""

    frame: bytes
    arrival: float


class ScipLink:
    """Sends commands and finds their replies. Used by one thread at a time."""

    def __init__(self, url: str, transport: Transport, clock: Clock, timeout: float) -> None:
        self.url = url
        self.clock = clock
        self.counters = LinkCounters()
        self.bytes_read = 0
        self._transport = transport
        self._timeout = timeout
        self._splitter = FrameSplitter()
        self._last_bytes = b""
        self._waiting: deque[Received] = deque()

    def wall(self, seconds: float) -> float:
        """How long to wait, on the wall, for what may take `seconds` of the link's clock."""
        return max(self.clock.to_wall(seconds), _LEAST_WALL_S)

    def receive(self, timeout: float) -> Received | None:
        """The next frame, or None when a read of up to `timeout` wall seconds completes none."""
        if not self._waiting:
            data = self._transport.read(timeout)
            arrival = self.clock.now()
            self.bytes_read += len(data)
            self._last_bytes = data[-64:] or self._last_bytes
            self._waiting.extend(Received(frame, arrival) for frame in self._splitter.feed(data))
            self.counters.garbage_bytes += self._splitter.take_discarded()
        return self._waiting.popleft() if self._waiting else None

    def parse(self, frame: bytes, command: bytes) -> Reply:
        """The reply to `command` in a frame. Raises ProtocolError, ChecksumError, after counting them."""
        try:
            reply, garbage = parse_reply(frame, command)
        except ProtocolError as exc:
            self.damaged(exc)
            self.counters.garbage_bytes += len(frame)
            raise
        self.counters.garbage_bytes += garbage
        return reply

    def damaged(self, error: ProtocolError) -> None:
        """Count a frame that could not be used."""
        self.counters.damaged_frames += 1
        if isinstance(error, ChecksumError):
            self.counters.checksum_errors += 1

    def send(self, command: bytes) -> None:
        """Send a command, without waiting for anything."""
        self._transport.write(command + b"\n", self.wall(self._timeout))

    def exchange(self, command: bytes, *, accept: tuple[bytes, ...] = (b"00",)) -> Reply:
        """Send `command` and give its reply.

        Raises ProtocolError when the reply's status is none of `accept` or when only garbage came back,
        DeviceSilentError when nothing came back.
        """
        self.send(command)
        reply = self.wait_for(command).reply
        if reply.status not in accept:
            raise self.refused(command, reply)
        return reply

    def refused(self, command: bytes, reply: Reply) -> ProtocolError:
        """The error for a reply whose status is not the one hoped for."""
        name = command.decode("ascii")
        return ProtocolError(
            f"{self.url}: the LiDAR answered {name} with status {reply.status.decode('ascii', 'replace')}: "
            f"{status_meaning(name[:2], reply.status)}"
        )

    def wait_for(self, command: bytes) -> Answer:
        """The next reply that echoes `command`. Raises as `exchange`."""
        before = self.bytes_read
        complaint: ProtocolError | None = None
        echo = command + b"\n"
        deadline = time.monotonic() + self.wall(self._timeout)
        while (left := deadline - time.monotonic()) > 0:
            received = self.receive(left)
            if received is None or echo not in received.frame:  # a scan still under way from before
                continue
            try:
                return Answer(self.parse(received.frame, echo), received.arrival)
            except ProtocolError as exc:
                complaint = exc
        name = command.decode("ascii")
        waited = self.wall(self._timeout)
        if self.bytes_read == before:
            raise DeviceSilentError(
                f"{self.url}: the LiDAR did not answer {name} within {waited:.1f} s: check that it has finished "
                "starting up (steady green light) and that the line's bit rate fits"
            )
        raise ProtocolError(
            f"{self.url}: no answer to {name} among the {self.bytes_read - before} bytes that came within {waited:.1f} "
            f"s ({complaint or 'last were ' + excerpt(self._last_bytes)}): check that a Hokuyo listens there, the bit "
            "rate, and the cable"
        )

    def forget_partial(self) -> None:
        """Give up a frame whose rest will not come."""
        self.counters.garbage_bytes += self._splitter.clear()

    def close(self) -> None:
        """Let go of the device."""
        self._transport.close()


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply and when it was in."""

    reply: Reply
    arrival: float
