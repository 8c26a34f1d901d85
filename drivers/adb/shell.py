"""Commands on a phone by adb's shell protocol, version 2: output, errors and the exit code apart.

Source: AOSP, packages/modules/adb, shell_protocol.h: packets of an id, a little-endian length, and data.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from drivers.adb.wire import Wire
from drivers.errors import ProtocolError

STDOUT, STDERR, EXIT = 1, 2, 3
HEAD = struct.Struct("<BI")


@dataclass(frozen=True, slots=True)
class ShellResult:
    """How a command ended."""

    output: str
    errors: str
    exit_code: int


def read_result(wire: Wire, about: str) -> ShellResult:
    """Read packets up to the exit code. Raises DeviceError."""
    streams = {STDOUT: bytearray(), STDERR: bytearray()}
    while True:
        kind, size = HEAD.unpack(wire.read(HEAD.size))
        data = wire.read(size)
        if kind == EXIT:
            code = data[0] if data else 255
            return ShellResult(streams[STDOUT].decode(errors="replace"), streams[STDERR].decode(errors="replace"), code)
        if kind not in streams:
            raise ProtocolError(f"{about}: a shell packet of kind {kind} was not expected")
        streams[kind] += data
