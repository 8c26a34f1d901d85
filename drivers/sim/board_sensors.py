"""The Create 2's sensor packets as bytes: which there are, how wide each is, which groups hold them. Pure.

Source: iRobot Create 2 Open Interface Specification (2018), "Sensor Packets" and "Sensors Quick Reference".
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

# Struct codes of the packets 7 .. 58, and which of them each group packet holds.
_CODES: dict[int, str] = {
    7: "B", 8: "B", 9: "B", 10: "B", 11: "B", 12: "B", 13: "B", 14: "B", 15: "B", 16: "B", 17: "B", 18: "B", 19: "h",
    20: "h", 21: "B", 22: "H", 23: "h", 24: "b", 25: "H", 26: "H", 27: "H", 28: "H", 29: "H", 30: "H", 31: "H",
    32: "B", 33: "H", 34: "B", 35: "B", 36: "B", 37: "B", 38: "B", 39: "h", 40: "h", 41: "h", 42: "h", 43: "H",
    44: "H", 45: "B", 46: "H", 47: "H", 48: "H", 49: "H", 50: "H", 51: "H", 52: "B", 53: "B", 54: "h", 55: "h",
    56: "h", 57: "h", 58: "B",
}  # fmt: skip
_GROUPS: dict[int, range] = {
    0: range(7, 27), 1: range(7, 17), 2: range(17, 21), 3: range(21, 27), 4: range(27, 35), 5: range(35, 43),
    6: range(7, 43), 100: range(7, 59), 101: range(43, 59), 106: range(46, 52), 107: range(54, 59),
}  # fmt: skip
# Encoder counts wrap; everything else stays at the end of its range.
_WRAPPING = frozenset({43, 44})
_LIMITS = {"B": (0, 255), "b": (-128, 127), "H": (0, 65535), "h": (-32768, 32767)}


def is_packet(identifier: int) -> bool:
    """Whether the board knows a packet or group of this number."""
    return identifier in _CODES or identifier in _GROUPS


def members(identifier: int) -> range:
    """The single packets in a packet or group, in order; none when the board does not know it."""
    if identifier in _GROUPS:
        return _GROUPS[identifier]
    return range(identifier, identifier + 1) if identifier in _CODES else range(0)


def encode_packet(identifier: int, values: Mapping[int, int]) -> bytes:
    """The data bytes of a packet or group, big endian; packets that `values` does not name are 0."""
    return b"".join(_encode(each, values.get(each, 0)) for each in members(identifier))


def _encode(identifier: int, value: int) -> bytes:
    code = _CODES[identifier]
    low, high = _LIMITS[code]
    fitting = value % 65536 if identifier in _WRAPPING else max(low, min(high, value))
    return struct.pack(">" + code, fitting)
