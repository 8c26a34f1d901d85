"""Leases: exclusive, all or none, in order, and over in time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import sqlalchemy as sa

from labctl.daemon import Daemon
from labctl.errors import ConflictError, InvalidInputError, LabFailureError, NotFoundError
from labctl.leases import Listeners
from labctl.matching import Requirement
from labctl.scheduler import Rules
from labctl.store import inventory
from labctl.store.tables import lease_devices, leases


def ask(daemon: Daemon, *names: str, duration_s: float = 60) -> str:
    return daemon.leases.request("me", [Requirement(device=name) for name in names], duration_s)


def row(daemon: Daemon, lease: str) -> sa.Row[tuple[object, ...]]:
    with daemon.store.read() as connection:
        return connection.execute(sa.select(leases).where(leases.c.id == lease)).one()


def held(daemon: Daemon, lease: str) -> set[str]:
    with daemon.store.read() as connection:
        found = connection.execute(
            sa.select(lease_devices.c.device).where(lease_devices.c.lease_id == lease, lease_devices.c.held)
        )
        return set(found.scalars())


def states(daemon: Daemon, asked: Sequence[str]) -> list[str]:
    return [row(daemon, each).state for each in asked]


def test_a_device_takes_its_room_and_so_excludes_its_neighbour(daemon: Daemon) -> None:
    first = ask(daemon, "left")
    second = ask(daemon, "right")
    assert held(daemon, first) == {"left", "hall"}
    assert states(daemon, [first, second]) == ["active", "waiting"]
    daemon.leases.release(first, "done")
    assert states(daemon, [first, second]) == ["released", "active"]


def test_one_lease_may_hold_two_devices_of_one_room(daemon: Daemon) -> None:
    assert held(daemon, ask(daemon, "left", "right")) == {"left", "right", "hall"}


def test_all_are_granted_or_none(daemon: Daemon) -> None:
    ask(daemon, "alone")
    both = ask(daemon, "left", "alone")
    assert (states(daemon, [both]), held(daemon, both)) == (["waiting"], set())


def test_a_device_waited_for_is_not_given_to_a_younger_request(daemon: Daemon) -> None:
    first = ask(daemon, "alone")
    both = ask(daemon, "left", "alone")
    younger = ask(daemon, "left")
    assert states(daemon, [both, younger]) == ["waiting", "waiting"]
    daemon.leases.release(first, "done")
    assert states(daemon, [both, younger]) == ["active", "waiting"]


def test_labels_choose(daemon: Daemon) -> None:
    lease = daemon.leases.request("me", [Requirement(kind="lidar", labels={"side": "right"})], 60)
    assert held(daemon, lease) == {"right", "hall"}


def test_fencing_numbers_grow_with_every_grant(daemon: Daemon) -> None:
    numbers = []
    for _ in range(5):
        lease = ask(daemon, "alone")
        numbers.append(row(daemon, lease).fencing)
        daemon.leases.release(lease, "done")
    assert numbers == sorted(set(numbers))


def test_many_who_race_for_one_device_get_it_one_after_the_other(daemon: Daemon) -> None:
    """Each holder notes entry and exit; a second one inside would be seen."""
    inside, worst, served = 0, 0, 0
    count = threading.Lock()
    rings = daemon.store.bell

    def use() -> None:
        nonlocal inside, worst, served
        lease, seen = ask(daemon, "alone"), 0
        while row(daemon, lease).state == "waiting":
            seen = rings.wait(seen, 1.0)
        with count:
            inside += 1
            worst = max(worst, inside)
        with count:
            inside -= 1
            served += 1
        daemon.leases.release(lease, "done")

    threads = [threading.Thread(target=use) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (worst, served) == (1, 20)


def test_a_lease_ends_by_itself_and_the_next_one_begins(daemon: Daemon) -> None:
    first = ask(daemon, "alone", duration_s=0.2)
    second = ask(daemon, "alone")
    seen = 0
    while row(daemon, second).state == "waiting":
        seen = daemon.store.bell.wait(seen, 1.0)
    assert states(daemon, [first, second]) == ["expired", "active"]
    assert row(daemon, second).granted_at >= row(daemon, first).expires_at


def test_a_renewed_lease_counts_from_the_renewal(daemon: Daemon) -> None:
    lease = ask(daemon, "alone", duration_s=60)
    before = row(daemon, lease).expires_at
    daemon.leases.renew(lease, 120)
    assert row(daemon, lease).expires_at >= before + 59


def test_an_ended_lease_is_neither_renewed_nor_released_again(daemon: Daemon) -> None:
    lease = ask(daemon, "alone")
    daemon.leases.release(lease, "done")
    with pytest.raises(ConflictError, match="ask for a new one"):
        daemon.leases.renew(lease)
    with pytest.raises(ConflictError, match="released already"):
        daemon.leases.release(lease, "again")


def test_what_can_never_be_had_is_refused_at_once(daemon: Daemon) -> None:
    with pytest.raises(NotFoundError, match="there is no device 'nowhere'"):
        ask(daemon, "nowhere")
    with pytest.raises(InvalidInputError, match="no devices that could fill this"):
        daemon.leases.request("me", [Requirement(kind="robot")], 60)
    with pytest.raises(InvalidInputError, match="no devices that could fill this"):
        daemon.leases.request("me", [Requirement(device="left"), Requirement(device="left")], 60)


def test_an_offline_device_is_not_granted_until_it_is_back(daemon: Daemon) -> None:
    daemon.store.write(lambda transaction: inventory.set_device_state(transaction, "alone", "offline", "no answer"))
    lease = ask(daemon, "alone")
    assert states(daemon, [lease]) == ["waiting"]
    assert daemon.leases.obstacles([Requirement(device="alone")]) == [
        {"device": "alone", "state": "offline", "reason": "no answer"}
    ]
    daemon.store.write(lambda transaction: inventory.set_device_state(transaction, "alone", "good", ""))
    daemon.leases.schedule()
    assert states(daemon, [lease]) == ["active"]


def test_who_waits_is_told_who_holds(daemon: Daemon) -> None:
    lease = ask(daemon, "left")
    told = daemon.leases.obstacles([Requirement(device="right")])
    assert told == [{"device": "hall", "lease": lease, "holder": "me", "expires_at": row(daemon, lease).expires_at}]


def test_a_lease_renewed_for_less_ends_when_that_is_over(daemon: Daemon) -> None:
    lease, next_one = ask(daemon, "alone"), ask(daemon, "alone")
    daemon.leases.renew(lease, 1)
    seen = 0
    for _ in range(400):
        if states(daemon, [lease, next_one]) == ["expired", "active"]:
            break
        seen = daemon.store.bell.wait(seen, 0.05)
    assert states(daemon, [lease, next_one]) == ["expired", "active"]


@pytest.mark.parametrize("change", ["renew", "beat", "hand_over"])
def test_what_is_told_of_a_lease_last_is_its_end(daemon: Daemon, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    """It ends, in another thread, between the commit of a renewal and the telling of it."""
    told: list[str] = []
    heard = Listeners(
        lambda *_: told.append("granted"), lambda *_: told.append("renewed"), lambda _: told.append("over")
    )
    daemon.leases.listen(heard)
    lease = ask(daemon, "alone")
    fencing = daemon.store.memory.active[lease].fencing
    write = daemon.store.write

    def faster(work: Callable[[Any], Any]) -> Any:
        result = write(work)
        monkeypatch.setattr(daemon.store, "write", write)
        daemon.leases.release(lease, "done")
        return result

    monkeypatch.setattr(daemon.store, "write", faster)
    getattr(daemon.leases, change)(lease, *(["you"] if change == "hand_over" else []))
    assert told[-1] == "over"
    with pytest.raises(LabFailureError, match="no longer holds alone"):
        daemon.leases.ensure("alone", fencing)
    again = daemon.store.memory.active[ask(daemon, "alone")].fencing
    daemon.leases.ensure("alone", again)


def test_handing_over_makes_room_under_the_cap_at_once(daemon: Daemon) -> None:
    daemon.store.write(lambda transaction: setattr(transaction.memory, "rules", Rules(1)))
    first, second = ask(daemon, "alone"), ask(daemon, "left")
    assert states(daemon, [first, second]) == ["active", "waiting"]
    daemon.leases.hand_over(first, "you")
    assert states(daemon, [first, second]) == ["active", "active"]
