"""Texts with `*` for anything: matching one, and finding those of many that match."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

Value = TypeVar("Value")
Matcher = Callable[[str], object]
_LONGEST_KEY = 8


def matcher(pattern: str) -> Matcher:
    """A function that says whether the whole of a text matches `pattern`. It takes linear time."""
    if "*" not in pattern:
        return pattern.__eq__
    start, *middle, end = pattern.split("*")
    if not any(middle):
        if not end:
            return lambda text: text.startswith(start)
        if not start:
            return lambda text: text.endswith(end)
    least = len(start) + len(end)

    def test(text: str) -> bool:
        if len(text) < least or not text.startswith(start) or not text.endswith(end):
            return False
        at, stop = len(start), len(text) - len(end)
        for piece in middle:  # the earliest place is as good as any later one
            at = text.find(piece, at, stop)
            if at < 0:
                return False
            at += len(piece)
        return True

    return test


def matches(pattern: str, text: str) -> bool:
    """Whether the whole of `text` matches `pattern`."""
    return bool(matcher(pattern)(text))


class PatternIndex(Generic[Value]):
    """Values under patterns, found by a text without looking at all of them.

    Each pattern is kept under a key that a matching text must have: its text before the first `*`, or a part of what
    stands between two, whichever fewer other patterns have.
    """

    def __init__(self, entries: Iterable[tuple[str, Value]]) -> None:
        self._exact: dict[str, list[Value]] = {}
        self._starting: dict[str, list[tuple[Matcher, Value]]] = {}
        self._holding: dict[str, list[tuple[Matcher, Value]]] = {}
        open_ones = []
        for pattern, value in entries:
            if "*" in pattern:
                open_ones.append((pattern, value, _keys(pattern)))
            else:
                self._exact.setdefault(pattern, []).append(value)
        common = Counter(key for _, _, keys in open_ones for key in keys)
        for pattern, value, keys in open_ones:
            at_start, key = min(keys, key=lambda each: (common[each], not each[0], -len(each[1])))
            index = self._starting if at_start else self._holding
            index.setdefault(key, []).append((matcher(pattern), value))
        self._start_lengths = sorted({len(key) for key in self._starting})
        self._part_lengths = sorted({len(key) for key in self._holding})

    def find(self, text: str) -> list[Value]:
        """The values whose patterns match, in no order."""
        found = list(self._exact.get(text, ()))
        size = len(text)
        for length in self._start_lengths:
            if length > size:
                break
            for test, value in self._starting.get(text[:length], ()):
                if test(text):
                    found.append(value)
        for length in self._part_lengths:
            for part in {text[at : at + length] for at in range(size - length + 1)} & self._holding.keys():
                found += [value for test, value in self._holding[part] if test(text)]
        return found


def _keys(pattern: str) -> list[tuple[bool, str]]:
    """What a matching text must begin with, or hold somewhere: (at its start, key)."""
    start, *pieces = pattern.split("*")
    return [(True, start), *((False, piece[-_LONGEST_KEY:]) for piece in pieces if piece)]
