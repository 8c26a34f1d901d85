"""SCIP 2's printable encoding: numbers of 6 bits a character, lines with a check character, whole blocks of ranges.

Source: Hokuyo, Communication Protocol Specification for SCIP 2.0, C-42-03320B, sections 6 (encoding) and 7 (format).
Each character carries 6 bits plus 0x30; a data line holds up to 64 characters, then one that carries the low 6 bits
of their sum plus 0x30, then a line feed. A number may begin on one line and end on the next.
"""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from drivers.errors import ChecksumError, ProtocolError

LINE_CHARACTERS = 64
_LINE_BYTES = LINE_CHARACTERS + 2
_OFFSET = np.uint8(0x30)
_LINE = np.dtype([("data", f"V{LINE_CHARACTERS}"), ("end", "<u2")])
_END = np.uint16(0x0A30)  # the two bytes that end a line whose sum is 0, read little-endian: "0", line feed
_SIX_BITS = np.uint16(0x3F)
_OUTSIDE = 0xC0C0_C0C0_C0C0_C0C0  # set in eight characters, less 0x30, of which one is outside the alphabet
_MAX_DECODERS = 64
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


class _BlockDecoder:
    """Decodes blocks of one length and width. Everything that depends on those alone is laid out once.

    The buffers are kept from scan to scan, so a decoder belongs to one thread.
    """

    def __init__(self, length: int, width: int) -> None:
        full_lines, rest = divmod(length, _LINE_BYTES)
        if rest in (1, 2):
            raise ProtocolError(f"{length} bytes cannot be cut into lines of {_LINE_BYTES}: {rest} are left over")
        tail = max(0, rest - 2)
        lines = full_lines + bool(tail)
        data = full_lines * LINE_CHARACTERS + tail
        count, left_over = divmod(data, width)
        if left_over:
            raise ProtocolError(
                f"{data} data characters hold no whole number of {width}-character values: "
                "lines are missing, or the scan was asked for with the other width"
            )
        self._full_lines, self._tail, self._length = full_lines, tail, length
        # The data characters without what ends each line; a shorter last line is filled up with zeros.
        characters = np.zeros(lines * LINE_CHARACTERS, np.uint8)
        self._characters = characters
        self._words = characters.view(np.uint64)
        self._full = characters[: full_lines * LINE_CHARACTERS].view(_LINE["data"])
        self._last = characters[full_lines * LINE_CHARACTERS : data]
        self._data = characters[:data]
        # The characters are summed less 0x30 each. For 64 of them that makes no difference modulo 64; for a shorter
        # line the difference stands in the first byte of its filling, which is part of the sum and of no number.
        if tail:
            characters[data] = 0x30 * tail & 0x3F
        self._weighed = np.zeros((lines, LINE_CHARACTERS), np.float32)
        self._flat = self._weighed.reshape(-1)
        self._digits = self._flat[:data].reshape(count, width)
        self._weights = _WEIGHTS[width]
        self._exact_sums = np.empty(lines, np.float32)
        self._sums = np.empty(lines, np.uint16)
        self._ends = np.empty(lines, np.uint16)
        self._full_ends = self._ends[:full_lines]
        self._last_end = self._ends[full_lines:]
        self._numbers = np.empty(count, np.float32)

    def decode(self, block: bytes) -> NDArray[np.uint32] | None:
        """The numbers in `block`, in a new array; None when it is damaged."""
        if self._full_lines:
            full = np.frombuffer(block, _LINE, self._full_lines)
            self._full[:] = full["data"]
            self._full_ends[:] = full["end"]
        if self._tail:
            self._last[:] = np.frombuffer(block, np.uint8, self._tail, self._length - self._tail - 2)
            self._last_end[0] = block[-1] << 8 | block[-2]
        data, sums = self._data, self._sums
        np.subtract(data, _OFFSET, out=data)  # wraps below 0x30: what is outside the alphabet is now 64 or more
        self._flat[:] = self._characters
        np.dot(self._weighed, _ONES, out=self._exact_sums)
        sums[:] = self._exact_sums
        np.bitwise_and(sums, _SIX_BITS, out=sums)
        np.add(sums, _END, out=sums)
        if sums.tobytes() != self._ends.tobytes() or int(np.bitwise_or.reduce(self._words)) & _OUTSIDE:
            return None
        np.dot(self._digits, self._weights, out=self._numbers)
        return self._numbers.astype(np.uint32)


class _Decoders(threading.local):
    """Each thread's decoders, by block length and width."""

    def __init__(self) -> None:
        self.known: dict[tuple[int, int], _BlockDecoder] = {}


_decoders = _Decoders()


def decode_ranges(block: bytes, width: int) -> NDArray[np.uint32]:
    """The numbers in a block of data lines.

    `block`: the data lines as on the wire, each with its check character and line feed; every line but the last holds
    64 data characters. `width`: characters a number, 2 (GS, MS), 3 (GD, MD) or 4. Returns an (N,) array, millimetres
    when the block holds ranges.

    Raises ChecksumError, naming the line, when a check character or line feed does not fit or a byte is outside the
    alphabet (so any single damaged byte is found); ProtocolError when the length allows no such lines or numbers.
    """
    known = _decoders.known
    decoder = known.get((len(block), width))
    if decoder is None:
        if width not in _WEIGHTS:
            raise ValueError(f"SCIP numbers take 1 to 4 characters, not {width}")
        if not block:
            return np.empty(0, np.uint32)
        if len(known) >= _MAX_DECODERS:  # noise comes in all lengths
            known.clear()
        decoder = known[len(block), width] = _BlockDecoder(len(block), width)
    numbers = decoder.decode(block)
    if numbers is None:
        raise _damage(block)
    return numbers


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
