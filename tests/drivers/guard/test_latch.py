"""What survives a restart: the latch and the highest fencing number."""

from __future__ import annotations

from pathlib import Path

import pytest

from drivers.guard.latch import Memory, MemoryFile


def test_a_first_start_is_not_latched(tmp_path: Path) -> None:
    assert MemoryFile(tmp_path / "guard.json").load() == Memory()


def test_what_was_stored_is_loaded(tmp_path: Path) -> None:
    memory = Memory("smoke", 17, "Ada", "checked the robot")
    MemoryFile(tmp_path / "deep" / "guard.json").store(memory)
    assert MemoryFile(tmp_path / "deep" / "guard.json").load() == memory


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"fencing": -1}', b'{"latched": 5}', b'{"x": 1}'])
def test_a_damaged_file_counts_as_latched(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "guard.json").write_bytes(content)
    latched = MemoryFile(tmp_path / "guard.json").load().latched
    assert latched is not None
    assert "counts as latched" in latched


def test_a_crash_while_writing_leaves_the_old_memory(tmp_path: Path) -> None:
    file = MemoryFile(tmp_path / "guard.json")
    file.store(Memory("on", 3))
    (tmp_path / "guard.new").write_bytes(b'{"latched": nul')
    assert file.load() == Memory("on", 3)
