"""The guard's hold on its sentinel when the machine has no process to give."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from drivers.guard.devices import Sentinel


def eventually(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.01)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_sentinel_that_cannot_be_replaced_is_told_and_leaks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sentinel = Sentinel(os.open(tmp_path / "line", os.O_WRONLY | os.O_CREAT))
    tries = []

    def refused(*_: object, **__: object) -> None:
        tries.append(descriptors())
        raise BlockingIOError("no process to be had")

    def told(trouble: bool) -> bool:
        sentinel.tell(b"r")
        return bool(sentinel.trouble) is trouble

    with monkeypatch.context() as patched:
        patched.setattr(subprocess, "Popen", refused)
        assert sentinel._process is not None
        sentinel._process.kill()
        eventually(lambda: told(True) and len(tries) >= 3)
        assert "no process to be had" in sentinel.trouble
        assert len(set(tries)) == 1
    eventually(lambda: told(False))
    sentinel.close()
    assert sentinel._process is not None
    assert sentinel._process.wait(60) == 0
