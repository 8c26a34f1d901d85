"""The last good source of each locator: within a session, and in a file from one session of a test to its next."""

from __future__ import annotations

import gzip
import json
import threading
import zlib
from collections import OrderedDict
from pathlib import Path

from devices.healing.locating import Locator

_MOST_LOCATORS = 1_000
_MOST_BYTES = 16 << 20  # of compressed sources
# Two sessions of one test may end together.
_WRITING = threading.Lock()


class Memory:
    """Locators with the source in which each was found last; those that were not used for longest are forgotten."""

    def __init__(self) -> None:
        self._seen: OrderedDict[Locator, bytes] = OrderedDict()
        self._last = ("", b"")  # most finds look at a page that has not changed
        self._fresh: set[Locator] = set()

    def __len__(self) -> int:
        return len(self._seen)

    def remember(self, locator: Locator, source: str) -> None:
        """The locator finds its element in this source."""
        self._put(locator, source)
        self._fresh.add(locator)

    def source_of(self, locator: Locator) -> str | None:
        """The source in which the locator was found last; None when it never was, or so long ago."""
        packed = self._seen.get(locator)
        return None if packed is None else zlib.decompress(packed).decode()

    def _put(self, locator: Locator, source: str) -> None:
        if source != self._last[0]:
            self._last = source, zlib.compress(source.encode(errors="replace"), 1)
        self._seen[locator] = self._last[1]
        self._seen.move_to_end(locator)
        while len(self._seen) > _MOST_LOCATORS or (len(self._seen) > 1 and self._size() > _MOST_BYTES):
            self._seen.popitem(last=False)

    def _size(self) -> int:
        return sum({id(packed): len(packed) for packed in self._seen.values()}.values())

    # Files

    @classmethod
    def load(cls, file: Path) -> Memory:
        """What `save` wrote; an empty one where there is no file. Raises OSError, and ValueError for a spoilt one."""
        memory = cls()
        try:
            with gzip.open(file, "rt", encoding="utf-8") as opened:
                told = json.load(opened)
            for using, value, number in told["locators"]:
                memory._put(Locator(using, value), told["sources"][number])
        except FileNotFoundError:
            pass
        except (gzip.BadGzipFile, EOFError, KeyError, TypeError, IndexError, AttributeError, zlib.error) as exc:
            raise ValueError(f"{file} is no memory of locators: {exc!r}") from exc
        return memory

    def save(self, file: Path) -> None:
        """Add what this one has remembered itself to the file. Raises OSError."""
        if not self._fresh:
            return
        with _WRITING:
            try:
                whole = Memory.load(file)
            except ValueError:
                whole = Memory()
            for locator, packed in self._seen.items():
                if locator in self._fresh:
                    whole._put(locator, zlib.decompress(packed).decode())
            whole._write(file)

    def _write(self, file: Path) -> None:
        numbers: dict[bytes, int] = {}
        locators = [[each.using, each.value, numbers.setdefault(b, len(numbers))] for each, b in self._seen.items()]
        told = {"sources": [zlib.decompress(packed).decode() for packed in numbers], "locators": locators}
        file.parent.mkdir(parents=True, exist_ok=True)
        half = file.with_suffix(".new")
        with gzip.open(half, "wt", encoding="utf-8", compresslevel=1) as opened:
            json.dump(told, opened)
        half.replace(file)
