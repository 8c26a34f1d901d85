"""SCIP 2's printable encoding: numbers of 6 bits a character, lines with a check character, whole blocks of ranges.

Source: Hokuyo, Communication Protocol Specification for SCIP 2.0, C-42-03320B, sections 6 (encoding) and 7 (format).
Each character carries 6 bits plus 0x30; a data line holds up to 64 characters, then one that carries the low 6 bits
of their sum plus 0x30, then a line feed. A number may begin on one line and end on the next.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from drivers.errors import ChecksumError, ProtocolError

LINE_CHARACTERS = 64
_LINE_BYTES = LINE_CHARACTERS + 2
_OFFSET = np.uint8(0x30)
_END_BASE = 0x0A30  # a line's last two bytes, read little-endian, when its sum is 0: "0", line feed
_ONES = np.ones(LINE_CHARACTERS, np.float32)
# Weights of the characters of one number. Single precision holds every integer below 2**24 exactly, so four
# characters still decode without rounding, and the products run in BLAS.
_WEIGHTS = {width: np.array([64.0**power for power in reversed(range(width))], np.float32) for width in (1, 2, 3, 4)}


def check_character(data: bytes) -> bytes:
    """The character that closes a line: the low 6 bits of the sum of its bytes, plus 0x30."""
    return bytes(((sum(data) & 0x3F) + 0x30,))


def with_check(data: bytes) -> bytes:
    """`data` as a checked line on the wire, line feed included."""
    return data + check_character(data) + b"\n"


def without_check(line: bytes, what: str) -> bytes:
    """The content of a checked line (no line feed).

    Raises ChecksumError, naming `what`, when the check character does not fit or the line is too short to have one.
    """
    if len(line) < 2:
        raise ChecksumError(f"{what}: the line {line!r} is too short to carry a check character")
    content, found = line[:-1], line[-1:]
    if check_character(content) != found:
        raise ChecksumError(f"{what}: the line {line!r} should end in {check_character(content)!r}, it was damaged")
    return content


def encode_number(value: int, width: int) -> bytes:
    """`value` in `width` characters. Raises ValueError when it does not fit."""
    if not 0 <= value < 1 << 6 * width:
        raise ValueError(f"{value} does not fit {width} characters of 6 bits")
    return bytes((value >> 6 * place & 0x3F) + 0x30 for place in reversed(range(width)))


def decode_number(characters: bytes) -> int:
    """The number in `characters`. Raises ProtocolError when one of them is outside the alphabet."""
    value = 0
    for character in characters:
        if not 0x30 <= character <= 0x6F:
            raise ProtocolError(f"{characters!r} is not an encoded number: {bytes((character,))!r} encodes nothing")
        value = value << 6 | character - 0x30
    return value


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where everything lies in a block of a given length: computed once, used for every scan."""

    lines: int
    full_lines: int
    tail: int  # data characters of the last, shorter line; 0 when there is none
    data: int  # data characters in all
    record: np.dtype[np.void]  # the block as one record: full lines, tail, and the two bytes that end each


@lru_cache(maxsize=64)
def _layout(length: int) -> _Layout:
    full_lines, rest = divmod(length, _LINE_BYTES)
    if rest in (1, 2):
        raise ProtocolError(f"a block of {length} bytes cannot be cut into lines of {_LINE_BYTES}: {rest} left over")
    tail = max(0, rest - 2)
    fields: list[tuple[str, object]] = [
        ("full", np.dtype([("data", f"V{LINE_CHARACTERS}"), ("end", "<u2")]), (full_lines,))  # type: ignore[list-item]  # numpy's three-part field
    ]
    if tail:
        fields += [("tail", f"V{tail}"), ("tail_end", "<u2")]
    return _Layout(full_lines + bool(tail), full_lines, tail, full_lines * LINE_CHARACTERS + tail, np.dtype(fields))


def decode_ranges(block: bytes, width: int) -> NDArray[np.uint32]:
    """The numbers in a block of data lines.

    `block`: the data lines as on the wire, each with its check character and line feed; every line but the last holds
    64 data characters. `width`: characters a number, 2 (GS, MS), 3 (GD, MD) or 4. Returns an (N,) array, millimetres
    when the block holds ranges.

    Raises ChecksumError, naming the line, when a check character or line feed does not fit or a byte is outside the
    alphabet (so any single damaged byte is found); ProtocolError when the length allows no such lines or numbers.
    """
    if width not in _WEIGHTS:
        raise ValueError(f"SCIP numbers take 1 to 4 characters, not {width}")
    layout = _layout(len(block))
    count, left_over = divmod(layout.data, width)
    if left_over:
        raise ProtocolError(
            f"{layout.data} data characters hold no whole number of {width}-character values: "
            "lines are missing, or the scan was asked for with the other width"
        )
    if not count:
        return np.empty(0, np.uint32)
    record = np.frombuffer(block, layout.record)[0]
    full = record["full"]
    characters = np.zeros(layout.lines * LINE_CHARACTERS, np.uint8)
    ends = np.empty(layout.lines, np.uint16)
    lines = characters.view(full.dtype["data"])
    lines[: layout.full_lines] = full["data"]
    ends[: layout.full_lines] = full["end"]
    if layout.tail:
        start = layout.full_lines * LINE_CHARACTERS
        characters[start : start + layout.tail] = np.frombuffer(record["tail"], np.uint8)
        ends[-1] = record["tail_end"]
    values = characters[: layout.data]
    values -= _OFFSET  # wraps below 0x30, so anything outside the alphabet is now 64 or more
    weighed = characters.astype(np.float32)
    sums = (weighed.reshape(layout.lines, LINE_CHARACTERS) @ _ONES).astype(np.uint16)
    # 64 offsets of 0x30 vanish modulo 64; a shorter line's do not.
    if layout.tail:
        sums[-1] += 0x30 * layout.tail & 0x3F
    sums &= 0x3F
    sums += _END_BASE
    if sums.tobytes() != ends.tobytes() or np.bitwise_or.reduce(values) > 0x3F:
        raise _damage(block)
    numbers = weighed[: layout.data].reshape(count, width) @ _WEIGHTS[width]
    return numbers.astype(np.uint32)


def _damage(block: bytes) -> ChecksumError:
    """What is wrong with a block that did not pass: the first line that is not as it should be."""
    data = bytes(block)
    total = -(-len(data) // _LINE_BYTES)
    for number in range(total):
        line = data[number * _LINE_BYTES : (number + 1) * _LINE_BYTES]
        content, found, feed = line[:-2], line[-2:-1], line[-1:]
        where = f"data line {number + 1} of {total}"
        if feed != b"\n":
            return ChecksumError(f"{where} ends in {feed!r} where a line feed belongs")
        if check_character(content) != found:
            return ChecksumError(
                f"{where} carries check character {found!r}, its bytes give {check_character(content)!r}"
            )
        strange = [character for character in content if not 0x30 <= character <= 0x6F]
        if strange:
            return ChecksumError(f"{where} holds {bytes(strange[:1])!r}, which encodes nothing")
    return ChecksumError("a data line was damaged")


def encode_ranges(values: NDArray[np.integer], width: int) -> bytes:
    """The data lines that carry `values` (N,), each of `width` characters: the inverse of `decode_ranges`.

    Raises ValueError when a value does not fit.
    """
    numbers = np.asarray(values, np.int64)
    if numbers.size and (numbers.min() < 0 or numbers.max() >= 1 << 6 * width):
        raise ValueError(f"values {numbers.min()} .. {numbers.max()} do not fit {width} characters of 6 bits")
    shifts = np.arange(6 * (width - 1), -1, -6)
    characters = ((numbers[:, None] >> shifts & 0x3F) + 0x30).astype(np.uint8).reshape(-1)
    full_lines = characters.size // LINE_CHARACTERS
    lines = np.empty((full_lines, _LINE_BYTES), np.uint8)
    lines[:, :LINE_CHARACTERS] = characters[: full_lines * LINE_CHARACTERS].reshape(full_lines, LINE_CHARACTERS)
    lines[:, LINE_CHARACTERS] = (lines[:, :LINE_CHARACTERS].sum(axis=1, dtype=np.uint32) & 0x3F) + 0x30
    lines[:, LINE_CHARACTERS + 1] = 0x0A
    tail = characters[full_lines * LINE_CHARACTERS :].tobytes()
    return lines.tobytes() + (with_check(tail) if tail else b"")
