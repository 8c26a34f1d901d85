"""The guard's reading of its LiDAR: nothing ends it but the guard."""

from __future__ import annotations

from queue import SimpleQueue

import pytest

from drivers.clock import ManualClock
from drivers.guard import devices
from drivers.guard.devices import LidarFeed
from drivers.scip import HokuyoLidar


def test_a_machine_without_a_thread_to_spare_does_not_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    tries: SimpleQueue[str] = SimpleQueue()

    def without_threads(url: str, _clock: ManualClock) -> HokuyoLidar:
        tries.put(url)
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(HokuyoLidar, "open", without_threads)
    monkeypatch.setattr(devices, "_BACK_OFF_S", (0.01,))
    feed = LidarFeed("tcp://127.0.0.1:1", ManualClock(10.0), lambda: None)
    try:
        for _ in range(3):
            tries.get(timeout=5)
    finally:
        feed.close()
    assert "can't start new thread" in feed.trouble
