"""The bell that wakes readers of the event log: only those whom it concerns, and none too few."""

from __future__ import annotations

import threading

from labctl.store.bell import Bell


def test_rings_while_nobody_looked_are_remembered() -> None:
    bell = Bell()
    bell.ring(("events", "lease"))
    assert bell.wait(0, 60) == 1
    assert bell.wait(0, 60, ("lease",)) == 1


def test_rings_about_other_things_do_not_count() -> None:
    bell = Bell()
    bell.ring(("events", "lease"))
    assert bell.wait(0, 0, ("runs",)) == 0
    bell.ring(("events", "run", "runs"))
    assert bell.wait(0, 60, ("runs",)) == 2
    bell.ring(("events", "lease"))
    assert bell.wait(2, 0, ("runs",)) == 2


def test_a_ring_about_everything_wakes_everybody() -> None:
    bell = Bell()
    woken: list[int] = []
    threads = [
        threading.Thread(target=lambda topics=topics: woken.append(bell.wait(0, 60, topics)))
        for topics in ((), ("runs",), ("webhook",))
    ]
    for thread in threads:
        thread.start()
    bell.ring()
    for thread in threads:
        thread.join(60)
    assert woken == [1, 1, 1]
