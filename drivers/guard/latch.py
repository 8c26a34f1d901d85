"""What must survive a restart or a power cut: the emergency stop latch and the highest fencing number."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Memory:
    """`latched`: why the emergency stop is on, None when it is off. `fencing`: the highest number ever granted.

    `reset_by` and `reset_reason` tell who took the latch off last.
    """

    latched: str | None = None
    fencing: int = 0
    reset_by: str | None = None
    reset_reason: str | None = None


class MemoryFile:
    """Keeps a `Memory` in a file, written beside it, synchronised and renamed, so that it is whole or the old one."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self) -> Memory:
        """What was stored; a first start is not latched, but a file that cannot be read counts as latched."""
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return Memory()
        except (OSError, UnicodeDecodeError) as exc:
            return Memory(latched=f"the latch file {self.path} cannot be read ({exc}), which counts as latched")
        try:
            return _parse(text)
        except (ValueError, TypeError, KeyError) as exc:
            return Memory(latched=f"the latch file {self.path} is damaged ({exc}), which counts as latched")

    def store(self, memory: Memory) -> None:
        """Write `memory` so that it survives a power cut. Raises OSError when the disk does not take it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_suffix(".new")
        with beside.open("w", encoding="utf-8") as file:
            json.dump(asdict(memory), file)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self.path)
        for folder in (self.path.parent, self.path.parent.parent):  # the second, since the first may be new
            _synchronise(folder)


def _synchronise(folder: Path) -> None:
    with contextlib.suppress(
        OSError
    ):  # some file systems do not synchronise folders, some folders are not ours to open
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _parse(text: str) -> Memory:
    document = json.loads(text)
    memory = Memory(**document)
    if isinstance(memory.fencing, bool) or not isinstance(memory.fencing, int) or memory.fencing < 0:
        raise ValueError(f"fencing is {memory.fencing!r}")
    for value in (memory.latched, memory.reset_by, memory.reset_reason):
        if value is not None and not isinstance(value, str):
            raise ValueError(f"{value!r} where a text belongs")
    return memory
