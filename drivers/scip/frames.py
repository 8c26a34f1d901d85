"""Cuts a stream of SCIP 2 bytes into replies, whatever the read boundaries, and finds its feet again after garbage.

Source: C-42-03320B, section 7: a reply is the echo of the command, a status line, data lines, and an empty line.
"""

from __future__ import annotations

from dataclasses import dataclass

from drivers.errors import ProtocolError
from drivers.scip.codec import without_check

BOUNDARY = b"\n\n"
# The longest reply of the family (1081 steps with intensities and three echoes) stays below 32 kB.
MAX_FRAME_BYTES = 65_536


class FrameSplitter:
    """Collects bytes and hands out whole frames: everything up to an empty line, without the empty line.

    A frame keeps the line feed of its last line. Bytes that never come to an empty line are given up once
    `MAX_FRAME_BYTES` of them piled up; `take_discarded` tells how many.
    """

    def __init__(self) -> None:
        self._pending = bytearray()
        self._searched = 0
        self._discarded = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Take in what was read; give the frames that are now complete, oldest first."""
        pending = self._pending
        pending += data
        frames = []
        start = 0
        search = self._searched
        while (end := pending.find(BOUNDARY, search)) >= 0:
            if end > start:  # surplus empty lines are no frames
                frames.append(bytes(memoryview(pending)[start : end + 1]))
            start = search = end + len(BOUNDARY)
        if start:
            del pending[:start]
        # The first half of a boundary may be here already.
        self._searched = max(0, len(pending) - 1)
        if len(pending) > MAX_FRAME_BYTES:
            self._discarded += len(pending)
            pending.clear()
            self._searched = 0
        return frames

    def take_discarded(self) -> int:
        """How many bytes were given up since this was last asked."""
        count, self._discarded = self._discarded, 0
        return count

    def clear(self) -> int:
        """Forget what was collected; tells how many bytes that were."""
        count = len(self._pending)
        self._pending.clear()
        self._searched = 0
        return count


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply cut into its parts: the echoed command, the status (two characters), and the data lines as on the wire.

    `body` keeps check characters and line feeds: what `decode_ranges` takes, once a time stamp line is taken off.
    """

    echo: bytes
    status: bytes
    body: bytes

    @property
    def lines(self) -> list[bytes]:
        """The lines of the body, without their line feeds."""
        return self.body.split(b"\n")[:-1]

    def take_line(self) -> tuple[bytes, bytes]:
        """The first line of the body, without its line feed, and what follows it."""
        line, _, rest = self.body.partition(b"\n")
        return line, rest


def parse_reply(frame: bytes, command: bytes) -> tuple[Reply, int]:
    """The reply in a frame that answers `command` (its first characters), and how many bytes of garbage preceded it.

    Garbage, and replies cut off halfway, merge with what follows them: the reply is found again by its echo.
    Raises ProtocolError when the frame holds no such reply, ChecksumError when its status line is damaged.
    """
    last = frame.rfind(command)
    if last < 0:
        raise ProtocolError(f"no reply to {command.decode('ascii')!r} in {excerpt(frame)}")
    try:
        return _reply_at(frame, last), last
    except ProtocolError:
        # What looks like an echo may be data; then the echo is the first of its kind.
        first = frame.find(command)
        if first == last:
            raise
        return _reply_at(frame, first), first


def _reply_at(frame: bytes, start: int) -> Reply:
    echo_end = frame.find(b"\n", start)
    status_end = frame.find(b"\n", echo_end + 1)
    if status_end < 0:
        raise ProtocolError(f"a reply without a status line: {excerpt(frame)}")
    echo = frame[start:echo_end]
    line = frame[echo_end + 1 : status_end]
    # SCIP2.0 is the one command whose status has a single character and no check (C-42-03320B, section 2).
    bare = echo.startswith(b"SCIP") and len(line) == 1
    status = line if bare else without_check(line, "status line")
    if len(status) != 2 and not bare:
        raise ProtocolError(f"a status has two characters, not {status!r}, in {excerpt(frame)}")
    return Reply(echo, status, frame[status_end + 1 :])


def excerpt(data: bytes, most: int = 48) -> str:
    """The beginning of `data` as a message can show it."""
    return repr(data[:most]) + (f" and {len(data) - most} bytes more" if len(data) > most else "")
