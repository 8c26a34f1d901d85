"""The bell that wakes readers of the event log: only those whom it concerns, and none too few."""

from __future__ import annotations

import threading

from labctl.store import Store
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


def test_who_fails_to_hear_of_a_commit_keeps_nobody_from_writing(store: Store) -> None:
    def deaf() -> None:
        raise RuntimeError("Event loop is closed")

    store.bell.subscribe(deaf)
    for number in range(3):
        written = store.submit(lambda transaction: transaction.emit("some.event") or transaction.count_up("times"))
        assert written.result(timeout=20) == number + 1
