"""Finds whole, undamaged sensor records in the Create 2's byte stream. Pure, incremental, any read boundaries.

A streamed frame is header 19, payload length, payload, checksum; the sum of all its bytes is 0 modulo 256 (Create 2
Open Interface, command 148).
"""

from __future__ import annotations

from drivers.create2.codec import PAYLOAD_LENGTH, BoardSensors, decode_sensors
from drivers.errors import ProtocolError

HEADER = bytes([19, PAYLOAD_LENGTH])
FRAME_LENGTH = len(HEADER) + PAYLOAD_LENGTH + 1


class StreamParser:
    """Takes bytes as they come and gives the sensor records in them.

    `frames`: records delivered. `damaged`: places where a frame began but its checksum or content was wrong.
    `skipped`: bytes that belonged to no good frame.
    """

    def __init__(self) -> None:
        self.frames = 0
        self.damaged = 0
        self.skipped = 0
        self._buffer = bytearray()

    @property
    def needed(self) -> int:
        """At least how many more bytes the next record takes: what a blocking read should ask for. 1 or more."""
        return FRAME_LENGTH - len(self._buffer)

    def feed(self, data: bytes) -> list[BoardSensors]:
        """The records completed by `data`, oldest first."""
        buffer = self._buffer
        buffer += data
        records: list[BoardSensors] = []
        at = 0
        while True:
            start = _next_header(buffer, at)
            self.skipped += start - at
            at = start
            if len(buffer) - at < FRAME_LENGTH:
                break
            record = _decode_frame(bytes(buffer[at : at + FRAME_LENGTH]))
            if record is None:
                # The true next frame may begin inside what this false or damaged one claimed: step over one byte only.
                self.damaged += 1
                self.skipped += 1
                at += 1
            else:
                self.frames += 1
                records.append(record)
                at += FRAME_LENGTH
        del buffer[:at]
        return records


def _next_header(buffer: bytearray, start: int) -> int:
    """Where the next frame may begin: a whole header, or its first byte at the buffer's end."""
    at = buffer.find(HEADER, start)
    if at >= 0:
        return at
    return len(buffer) - 1 if len(buffer) > start and buffer[-1] == HEADER[0] else len(buffer)


def _decode_frame(frame: bytes) -> BoardSensors | None:
    if sum(frame) % 256:
        return None
    try:
        return decode_sensors(frame[len(HEADER) : -1])
    except ProtocolError:
        return None
