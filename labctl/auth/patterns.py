"""Texts with `*` for anything: matching one, and finding those of many that match."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

Value = TypeVar("Value")
Matcher = Callable[[str], object]


def matcher(pattern: str) -> Matcher:
    """A function that says whether the whole of a text matches `pattern`."""
    parts = pattern.split("*")
    if len(parts) == 1:
        return pattern.__eq__
    if len(parts) == 2 and not parts[1]:
        start = parts[0]
        return lambda text: text.startswith(start)
    if len(parts) == 2 and not parts[0]:
        end = parts[1]
        return lambda text: text.endswith(end)
    # Atomic groups: once the shortest text before a part is found, no other needs trying, so matching takes linear
    # time.
    middle = "".join(f"(?>.*?{re.escape(part)})" for part in parts[1:-1] if part)
    return re.compile(f"{re.escape(parts[0])}{middle}.*{re.escape(parts[-1])}", re.DOTALL).fullmatch


def matches(pattern: str, text: str) -> bool:
    """Whether the whole of `text` matches `pattern`."""
    return bool(matcher(pattern)(text))


class PatternIndex(Generic[Value]):
    """Values under patterns; `find` looks only at patterns whose text before the first `*` begins the text."""

    def __init__(self, entries: Iterable[tuple[str, Value]]) -> None:
        self._exact: dict[str, list[Value]] = {}
        self._by_start: dict[str, list[tuple[Matcher | None, Value]]] = {}
        for pattern, value in entries:
            start, star, rest = pattern.partition("*")
            if not star:
                self._exact.setdefault(pattern, []).append(value)
            else:
                test = matcher(pattern) if rest else None
                self._by_start.setdefault(start, []).append((test, value))
        self._lengths = sorted({len(start) for start in self._by_start})

    def find(self, text: str) -> list[Value]:
        """The values whose patterns match, in no order."""
        found = list(self._exact.get(text, ()))
        size = len(text)
        for length in self._lengths:
            if length > size:
                break
            for test, value in self._by_start.get(text[:length], ()):
                if test is None or test(text):
                    found.append(value)
        return found
