"""A model of leases and queue, played against the database: exclusive, atomic, fenced, none forgotten or starved."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from labctl.config import DeviceConfig
from labctl.errors import ConflictError
from labctl.matching import Requirement
from labctl.scheduler import Rules, decide
from labctl.store import Store, Transaction, asking, granting, inventory, leasing, open_store
from labctl.store.asking import Wish
from labctl.store.memory import Memory
from labctl.store.tables import lease_devices, leases

ROOMS = {"hall": ("h1", "h2"), "yard": ("y1",), None: ("a", "b")}
DEVICES = tuple(name for names in ROOMS.values() for name in names)
OWNERS = ("ann", "bob")
Wanted = st.one_of(
    st.lists(st.sampled_from(DEVICES), min_size=1, max_size=3, unique=True).map(
        lambda names: [Requirement(device=name) for name in names]
    ),
    st.integers(1, 3).map(lambda number: [Requirement(kind="thing")] * number),
)


class LeaseMachine(RuleBasedStateMachine):
    """Two daemons' stores on one database where it can be shared, else one twice."""

    opened: Callable[[Path], list[Store]]

    def __init__(self) -> None:
        super().__init__()
        # In memory where there is such a place: thousands of commits would wait for the disk.
        memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
        self.folder = Path(tempfile.mkdtemp(prefix="lease-model-", dir=memory))
        self.stores = type(self).opened(self.folder)
        self.ahead = 0.0  # of the clock, so that nobody has to wait
        for store in self.stores:
            self.put_ahead(store)
            store.write(lambda transaction: setattr(transaction.memory, "rules", Rules(devices_per_owner=3)))
        self.fencing = 0

    def put_ahead(self, store: Store) -> None:
        real = store.backend.take_turn

        def take_turn(connection: sa.Connection) -> tuple[float, dict[str, int]]:
            now, counters = real(connection)
            return now + self.ahead, counters

        store.backend.take_turn = take_turn  # type: ignore[method-assign]  # the tests' own time

    @initialize()
    def devices(self) -> None:
        named: dict[str, DeviceConfig] = {}
        for room, names in ROOMS.items():
            if room is not None:
                named[room] = DeviceConfig(kind="room")
            named |= {name: DeviceConfig(kind="thing", room=room) for name in names}
        self.stores[0].write(lambda transaction: inventory.register(transaction, named, set()))

    def change(self, number: int, work: Callable[[Transaction], Any]) -> None:
        def both(transaction: Transaction) -> list[int]:
            work(transaction)
            return [grant.fencing for grant in granting.schedule(transaction).granted]

        for fencing in self.stores[number % len(self.stores)].write(both):
            assert fencing > self.fencing
            self.fencing = fencing

    def some(self, state: str, pick: int) -> str | None:
        with self.stores[0].read() as connection:
            ids = (
                connection.execute(sa.select(leases.c.id).where(leases.c.state == state).order_by("id")).scalars().all()
            )
        return ids[pick % len(ids)] if ids else None

    @rule(
        who=st.sampled_from(OWNERS),
        require=Wanted,
        duration=st.integers(5, 60),
        priority=st.integers(-1, 1),
        rooms=st.booleans(),
        via=st.integers(0, 1),
    )
    def request(
        self, *, who: str, require: list[Requirement], duration: int, priority: int, rooms: bool, via: int
    ) -> None:
        wish = Wish(priority=priority, rooms=rooms)
        self.change(via, lambda transaction: asking.request(transaction, who, require, duration, wish=wish))

    @rule(require=Wanted, start=st.integers(1, 100), duration=st.integers(5, 60), via=st.integers(0, 1))
    def reserve(self, require: list[Requirement], start: int, duration: int, via: int) -> None:
        def work(transaction: Transaction) -> None:
            try:
                asking.reserve(transaction, "ann", require, transaction.now + start, duration)
            except ConflictError:
                return

        self.change(via, work)

    @rule(pick=st.integers(0, 9), via=st.integers(0, 1))
    def release(self, pick: int, via: int) -> None:
        if (lease := self.some("active", pick)) is not None:
            self.change(via, lambda transaction: _unless_over(lambda: leasing.end(transaction, lease, "released", "")))

    @rule(pick=st.integers(0, 9), via=st.integers(0, 1))
    def renew(self, pick: int, via: int) -> None:
        if (lease := self.some("active", pick)) is not None:
            self.change(via, lambda transaction: _unless_over(lambda: leasing.renew(transaction, lease)))

    @rule(pick=st.integers(0, 9), via=st.integers(0, 1))
    def hand_over(self, pick: int, via: int) -> None:
        if (lease := self.some("active", pick)) is not None:
            self.change(via, lambda transaction: _unless_over(lambda: leasing.hand_over(transaction, lease, "bob")))
            with self.stores[0].read() as connection:
                fencing = sa.select(sa.func.max(leases.c.fencing))
                self.fencing = max(self.fencing, connection.execute(fencing).scalar() or 0)

    @rule(pick=st.integers(0, 9), via=st.integers(0, 1))
    def withdraw(self, pick: int, via: int) -> None:
        if (lease := self.some("waiting", pick)) is not None:
            self.change(via, lambda transaction: asking.withdraw(transaction, lease, "not needed"))

    @rule(name=st.sampled_from(DEVICES), state=st.sampled_from(["good", "offline", "maintenance", "back"]))
    def device(self, name: str, state: str) -> None:
        def work(transaction: Transaction) -> None:
            if state == "back":
                _unless_over(lambda: inventory.return_device(transaction, name))
            else:
                inventory.set_device_state(transaction, name, state, "")

        self.change(0, work)

    @rule(seconds=st.integers(1, 70), via=st.integers(0, 1))
    def time_passes(self, seconds: int, via: int) -> None:
        self.ahead += seconds
        self.change(via, lambda _transaction: None)

    @rule()
    def fails_halfway(self) -> None:
        def work(transaction: Transaction) -> None:
            asking.request(transaction, "ann", [Requirement(kind="thing")], 60)
            granting.schedule(transaction)
            raise RuntimeError("power cut")

        with pytest.raises(RuntimeError, match="power cut"):
            self.stores[0].write(work)

    @invariant()
    def each_lease_holds_all_that_it_asked_for_and_nobody_else_does(self) -> None:
        with self.stores[0].read() as connection:
            rows = connection.execute(sa.select(leases)).all()
            held = connection.execute(sa.select(lease_devices).where(lease_devices.c.held)).all()
        names = [row.device for row in held]
        assert len(names) == len(set(names))
        for row in rows:
            own = {each.device for each in held if each.lease_id == row.id}
            assert bool(own) == (row.state == "active")
            if own:
                assert len(own & set(DEVICES)) == len(row.require)
                rooms = {room for room, inside in ROOMS.items() if room and own & set(inside)}
                assert own - set(DEVICES) == (rooms if row.rooms else set())

    @invariant()
    def nobody_waits_for_what_a_fresh_look_at_everything_would_grant(self) -> None:
        def look(transaction: Transaction) -> list[str]:
            fresh = Memory(rules=transaction.memory.rules)
            fresh.refresh(transaction.connection, transaction.counted("revision"))
            return [each.request.id for each in decide(fresh.board, transaction.now, fresh.rules)]

        self.change(1, lambda _transaction: None)  # time goes on a little between the steps
        assert self.stores[0].write(look) == []

    @precondition(lambda self: self.stores)
    @rule()
    def in_the_end_everybody_is_served(self) -> None:
        for name in (*DEVICES, "hall", "yard"):
            self.change(0, lambda transaction, name=name: inventory.set_device_state(transaction, name, "good", ""))
            self.change(
                0, lambda transaction, name=name: _unless_over(lambda: inventory.return_device(transaction, name))
            )
        turns = 0
        while self.some("waiting", 0) is not None:
            turns += 1
            assert turns < 200, "somebody waits for ever"
            while (lease := self.some("active", 0)) is not None:
                self.change(0, lambda transaction, lease=lease: leasing.end(transaction, lease, "released", ""))
            self.ahead += 61
            self.change(1, lambda _transaction: None)

    def teardown(self) -> None:
        if self.stores:
            self.in_the_end_everybody_is_served()
        for store in self.stores:
            store.close()
        shutil.rmtree(self.folder)


def _unless_over(work: Callable[[], Any]) -> None:
    try:
        work()
    except ConflictError:
        return


def _play(opened: Callable[[Path], list[Store]], examples: int, steps: int) -> None:
    machine = type("Machine", (LeaseMachine,), {"opened": staticmethod(opened)})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.explicit, Phase.generate],  # to shrink would take minutes; the steps are printed
            database=None,
        ),
    )


@pytest.fixture
def one_daemon(tmp_path: Path) -> Callable[[Path], list[Store]]:
    open_store(tmp_path).close()

    def one(folder: Path) -> list[Store]:
        shutil.copy(tmp_path / "lab.db", folder)
        return [open_store(folder)]

    return one


@pytest.mark.timeout(600)
def test_leases_on_sqlite_are_as_the_model_says(one_daemon: Callable[[Path], list[Store]]) -> None:
    _play(one_daemon, 15, 25)


@pytest.mark.timeout(600)
def test_leases_of_two_daemons_are_as_the_model_says(postgresql: Any, migrated: str) -> None:
    def two(folder: Path) -> list[Store]:
        url = postgresql.create(migrated)
        return [open_store(folder / name, url) for name in ("one", "two")]

    _play(two, 4, 20)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_leases_are_as_the_model_says_at_length(
    one_daemon: Callable[[Path], list[Store]], postgresql: Any, migrated: str
) -> None:
    def two(folder: Path) -> list[Store]:
        url = postgresql.create(migrated)
        return [open_store(folder / name, url) for name in ("one", "two")]

    _play(one_daemon, 300, 60)
    _play(two, 60, 40)
