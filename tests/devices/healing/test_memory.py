"""What locators found, remembered from one session of a test to its next."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from devices.healing import Locator, Memory
from devices.healing import memory as module

SAVE, PRINT = Locator("id", "btnSave"), Locator("xpath", "//Button[@name='Drucken \u00fc']")


def test_a_file_brings_back_what_was_found_and_in_which_source(tmp_path: Path) -> None:
    memory = Memory()
    memory.remember(SAVE, "<w>first</w>")
    memory.remember(PRINT, "<w>Gr\u00f6\u00dfe</w>")
    memory.remember(SAVE, "<w>second</w>")
    memory.save(tmp_path / "new" / "suite.json.gz")
    again = Memory.load(tmp_path / "new" / "suite.json.gz")
    assert (again.source_of(SAVE), again.source_of(PRINT)) == ("<w>second</w>", "<w>Gr\u00f6\u00dfe</w>")
    assert again.source_of(Locator("id", "never")) is None


def test_sessions_that_end_together_both_add_what_they_found(tmp_path: Path) -> None:
    file = tmp_path / "suite.json.gz"
    first, second = Memory.load(file), Memory.load(file)
    first.remember(SAVE, "<w/>")
    second.remember(PRINT, "<v/>")
    first.save(file)
    second.save(file)
    assert [Memory.load(file).source_of(each) for each in (SAVE, PRINT)] == ["<w/>", "<v/>"]


def test_what_was_only_read_is_not_written_over_what_is_newer(tmp_path: Path) -> None:
    file = tmp_path / "suite.json.gz"
    old = Memory()
    old.remember(SAVE, "<old/>")
    old.save(file)
    reader, writer = Memory.load(file), Memory.load(file)
    writer.remember(SAVE, "<new/>")
    writer.save(file)
    reader.remember(PRINT, "<v/>")
    reader.save(file)
    assert Memory.load(file).source_of(SAVE) == "<new/>"


def test_it_stays_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_BYTES", 10_000)
    noise = random.Random(7)
    memory = Memory()
    for number in range(20):
        memory.remember(Locator("id", str(number)), noise.randbytes(1_500).hex())
    assert 3 <= len(memory) <= 10
    assert memory.source_of(Locator("id", "19")) is not None
    assert memory.source_of(Locator("id", "0")) is None


@pytest.mark.parametrize("spoilt", [b"", b"no gzip", b"\x1f\x8b\x08\x00"])
def test_a_file_that_was_spoilt_is_told_and_then_written_anew(tmp_path: Path, spoilt: bytes) -> None:
    file = tmp_path / "suite.json.gz"
    file.write_bytes(spoilt)
    with pytest.raises(ValueError):  # noqa: PT011 - JSON, gzip and this module each word it
        Memory.load(file)
    memory = Memory()
    memory.remember(SAVE, "<w/>")
    memory.save(file)
    assert Memory.load(file).source_of(SAVE) == "<w/>"
