"""What the store survives: a server that restarts, a lost commit, a full disk, a stalled writer, clocks apart."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from _postgresql import Cluster

from labctl.config import DeviceConfig
from labctl.errors import ConflictError
from labctl.matching import Requirement
from labctl.store import Store, Transaction, asking, daemons, granting, inventory, leasing, open_store
from labctl.store.tables import counters, events, leases


@pytest.fixture
def own_cluster() -> Iterator[Cluster]:
    """A server that a test may stop."""
    cluster = Cluster()
    yield cluster
    cluster.remove()


@pytest.fixture
def pair(postgresql: Cluster, migrated: str, tmp_path: Path) -> Iterator[tuple[Store, Store]]:
    """The stores of two daemons of one lab."""
    url = postgresql.create(migrated)
    stores = open_store(tmp_path / "one", url), open_store(tmp_path / "two", url)
    yield stores
    for store in stores:
        store.close()


def sequences(store: Store, after: int = 0) -> list[int]:
    with store.read() as connection:
        found = sa.select(events.c.sequence).where(events.c.sequence > after).order_by(events.c.sequence)
        return list(connection.execute(found).scalars())


def told(store: Store) -> list[str]:
    with store.read() as connection:
        found = sa.select(events.c.data).where(events.c.kind == "said").order_by(events.c.sequence)
        return [row["word"] for row in connection.execute(found).scalars()]


def a_device(store: Store, *names: str) -> None:
    named = {name: DeviceConfig(kind="thing") for name in names}
    store.write(lambda transaction: inventory.register(transaction, named, set()))


def ask(transaction: Transaction, name: str, duration_s: float = 60) -> str:
    lease = asking.request(transaction, "me", [Requirement(device=name)], duration_s)
    granting.schedule(transaction)
    return lease


def state(store: Store, lease: str) -> str:
    with store.read() as connection:
        return str(connection.execute(sa.select(leases.c.state).where(leases.c.id == lease)).scalar_one())


def test_connections_that_ended_while_nobody_read_are_not_read_from(own_cluster: Cluster, tmp_path: Path) -> None:
    store = open_store(tmp_path / "one", own_cluster.create())
    with contextlib.ExitStack() as stack:  # several are open at once, and idle afterwards
        for _ in range(4):
            stack.enter_context(store.read())
    own_cluster.stop(signal.SIGQUIT)
    own_cluster.start()
    assert [told(store) for _ in range(4)] == [[]] * 4
    store.close()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["restart", "crash"])
def test_a_server_restarted_under_load_costs_no_write_and_doubles_none(
    own_cluster: Cluster, tmp_path: Path, how: signal.Signals
) -> None:
    """Writers and readers go on; each write that was answered is there once, each that was refused is not."""
    store = open_store(tmp_path / "one", own_cluster.create())
    answered: list[str] = []
    seen: list[int] = []
    done, enough = threading.Event(), threading.Event()

    def write(writer: int) -> None:
        turn = 0
        while not done.is_set():
            word = f"{writer}:{turn}"
            store.write(lambda transaction, word=word: (transaction.emit("said", word=word), transaction.count_up("n")))
            answered.append(word)
            turn += 1
            if len(answered) >= 120:
                enough.set()

    def read() -> None:
        rings = 0
        while not done.is_set():
            with contextlib.suppress(sa.exc.OperationalError):  # broken off in the middle: read again
                seen.extend(sequences(store, seen[-1] if seen else 0))
            rings = store.bell.wait(rings, 0.5)

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(4)] + [threading.Thread(target=read)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(2):
            while len(answered) < 30 and threads[0].is_alive():
                done.wait(0.01)
            own_cluster.stop(how)
            own_cluster.start()
        assert enough.wait(60)
    finally:
        done.set()
        for thread in threads:
            thread.join(60)
    words = told(store)
    assert sorted(words) == sorted(answered)
    with store.read() as connection:
        assert connection.execute(sa.select(counters.c.value).where(counters.c.name == "n")).scalar() == len(words)
    seen.extend(sequences(store, seen[-1]))
    assert seen == sequences(store)
    store.close()


def test_a_commit_whose_answer_was_lost_is_not_done_again(
    postgresql: Cluster, migrated: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(tmp_path, postgresql.create(migrated))
    lost = []

    def commit(self: Any, connection: Any) -> None:
        driver = connection.driver_connection
        driver.commit()
        if not lost:
            lost.append(True)
            driver.close()  # as if the network had gone between the commit and its answer
            driver.execute("SELECT 1")

    monkeypatch.setattr("sqlalchemy.dialects.postgresql.psycopg.PGDialect_psycopg.do_commit", commit)
    store.write(lambda transaction: transaction.emit("said", word="once"))
    assert (lost, told(store)) == ([True], ["once"])
    store.close()


def test_events_of_two_daemons_are_read_in_order_by_everybody_who_follows(pair: tuple[Store, Store]) -> None:
    """Sequence numbers are given out before commits; a reader by cursor must not step over one that comes later."""
    each, seen = 40, {0: list[int](), 1: list[int]()}
    threads = []

    def write(store: Store) -> None:
        for turn in range(each):
            store.write(lambda transaction, turn=turn: [transaction.emit("said", word=str(turn)) for _ in range(3)])

    def read(number: int) -> None:
        rings, own = 0, seen[number]
        while len(own) < 2 * 2 * each * 3:
            own.extend(sequences(pair[number], own[-1] if own else 0))
            before = rings
            rings = pair[number].bell.wait(rings, 20.0)
            assert rings > before or len(own) == 2 * 2 * each * 3, "not told of another daemon's commit"

    threads = [threading.Thread(target=write, args=(store,)) for store in (*pair, *pair)]
    threads += [threading.Thread(target=read, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert seen[0] == seen[1] == sequences(pair[0])


def test_a_writer_that_stalls_in_its_turn_loses_it_and_tries_again(
    pair: tuple[Store, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon stopped in the middle of a transaction holds up the lab no longer than the database lets it."""
    stalled, other = pair
    a_device(other, "d")
    inside, go_on, turns = threading.Event(), threading.Event(), []

    def work(transaction: Transaction) -> str:
        turns.append(transaction.now)
        transaction.execute(sa.text("SET LOCAL idle_in_transaction_session_timeout = 200"))
        lease = ask(transaction, "d")
        if len(turns) == 1:
            inside.set()
            go_on.wait(30)
        return lease

    late = stalled.submit(work)
    assert inside.wait(30)
    first = other.write(lambda transaction: ask(transaction, "d"))
    go_on.set()
    assert (state(other, first), state(other, late.result(30)), len(turns)) == ("active", "waiting", 2)


def test_a_lease_goes_by_the_clock_of_the_database(pair: tuple[Store, Store]) -> None:
    """Two daemons whose own clocks are ten minutes apart agree on what is over."""
    a_device(pair[0], "d")
    lease = pair[0].write(lambda transaction: ask(transaction, "d"))
    moments = [store.write(lambda transaction: transaction.now) for store in pair]
    assert abs(moments[1] - moments[0]) < 30
    assert pair[1].write(lambda transaction: leasing.renew(transaction, lease)).lease == lease


def test_an_old_fencing_number_is_known_from_a_new_one_on_both_daemons(pair: tuple[Store, Store]) -> None:
    a_device(pair[0], "d")
    numbers = []
    for turn in range(6):
        store = pair[turn % 2]
        lease = store.write(lambda transaction: ask(transaction, "d"))
        ending = pair[1 - turn % 2]
        numbers.append(
            ending.write(lambda transaction, lease=lease: leasing.end(transaction, lease, "released", "")).fencing
        )
    assert numbers == sorted(set(numbers))


def test_a_device_has_one_daemon_until_that_is_gone(pair: tuple[Store, Store]) -> None:
    one, two = pair
    named = {"d": DeviceConfig(kind="thing"), "hall": DeviceConfig(kind="room")}

    def take(transaction: Transaction) -> int:
        inventory.register(transaction, named, set())
        return daemons.sign_in(transaction, "lab", "http://127.0.0.1:1", "memory://a")

    epoch = one.write(take)
    with pytest.raises(inventory.DeviceOwnedError, match="device 'd' belongs to the daemon lab"):
        two.write(take)
    one.write(lambda transaction: daemons.sign_off(transaction, epoch))
    second = two.write(take)
    assert second > epoch
    with pytest.raises(inventory.DeviceOwnedError):
        one.write(take)


def test_daemons_of_a_lab_keep_artifacts_where_all_reach_them(pair: tuple[Store, Store]) -> None:
    one, two = pair
    one.write(lambda transaction: daemons.sign_in(transaction, "one", None, None))
    for artifacts in (None, "s3://bucket/lab"):
        with pytest.raises(daemons.ArtifactsError, match="its data folder"):
            two.write(lambda transaction, where=artifacts: daemons.sign_in(transaction, "two", None, where))
    epoch = one.write(lambda transaction: daemons.sign_in(transaction, "one", None, "s3://bucket/lab"))
    assert two.write(lambda transaction: daemons.sign_in(transaction, "two", None, "s3://bucket/lab")) > epoch


def test_devices_of_a_daemon_that_is_gone_are_offline_until_it_is_back(pair: tuple[Store, Store]) -> None:
    one, two = pair

    def take(transaction: Transaction) -> int:
        inventory.register(transaction, {"d": DeviceConfig(kind="thing")}, set())
        return daemons.sign_in(transaction, "one", "http://127.0.0.1:1")

    epoch = one.write(take)
    one.write(lambda transaction: daemons.sign_off(transaction, epoch))
    assert two.write(inventory.note_gone_daemons)
    row = two.write(lambda transaction: inventory.find_device(transaction, "d"))
    assert (row.state, "does not answer" in row.state_reason) == ("offline", True)
    assert one.write(lambda transaction: daemons.beat(transaction, epoch)) is False
    one.write(inventory.come_back)
    assert two.write(lambda transaction: inventory.find_device(transaction, "d")).state == "good"
    with pytest.raises(daemons.SupersededError):
        one.write(lambda transaction: daemons.beat(transaction, epoch - 1))


def test_a_full_disk_refuses_writes_whole_and_takes_them_again(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    a_device(store, "d", "e")
    lease = store.write(lambda transaction: ask(transaction, "d"))

    def limit(transaction: Transaction, pages: int) -> None:
        transaction.execute(sa.text(f"PRAGMA max_page_count = {pages}"))

    def fill(transaction: Transaction) -> None:
        ask(transaction, "e")
        for _ in range(200):
            transaction.emit("said", word="x" * 20_000)

    store.write(lambda transaction: limit(transaction, 1))  # as many as there are
    with pytest.raises(sa.exc.OperationalError, match="full"):
        store.write(fill)
    assert (state(store, lease), told(store)) == ("active", [])
    store.write(lambda transaction: limit(transaction, 1_000_000))
    again = store.write(lambda transaction: ask(transaction, "e"))
    assert state(store, again) == "active"
    store.close()


def test_a_full_server_refuses_writes_whole_and_takes_them_again(
    postgresql: Cluster, migrated: str, tmp_path: Path
) -> None:
    """PostgreSQL refuses a statement for want of room; what was gathered with it is not written store."""
    store = open_store(tmp_path, postgresql.create(migrated))
    a_device(store, "d", "e")
    lease = store.write(lambda transaction: ask(transaction, "d"))

    def say(statement: str) -> None:
        store.write(lambda transaction: transaction.execute(sa.text(statement)))

    say(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'could not extend file: it is full' USING ERRCODE = 'disk_full'; END $$"
    )
    say("CREATE TRIGGER full_disk BEFORE INSERT ON events EXECUTE FUNCTION refuse()")
    with pytest.raises(sa.exc.OperationalError, match="full"):
        store.write(lambda transaction: ask(transaction, "e"))
    with store.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(leases)).scalar() == 1
    say("DROP TRIGGER full_disk ON events")
    again = store.write(lambda transaction: ask(transaction, "e"))
    assert (state(store, lease), state(store, again)) == ("active", "active")
    store.close()


def test_one_failing_write_does_not_take_others_with_it(store: Store) -> None:
    started, go_on = threading.Event(), threading.Event()

    def hold(transaction: Transaction) -> None:
        started.set()
        go_on.wait(30)

    first = store.submit(hold)
    assert started.wait(30)

    def fail(transaction: Transaction) -> None:
        transaction.emit("said", word="half")
        raise ConflictError("no")

    futures = [store.submit(lambda transaction, word=word: transaction.emit("said", word=word)) for word in "ab"]
    failing = store.submit(fail)
    futures.append(store.submit(lambda transaction: transaction.emit("said", word="c")))
    go_on.set()
    with pytest.raises(ConflictError):
        failing.result(30)
    for future in (first, *futures):
        future.result(30)
    assert told(store) == ["a", "b", "c"]


def test_what_a_failing_write_has_read_back_is_undone_alone(store: Store) -> None:
    """It was sent to the database already, where it shares a transaction with others."""
    started, go_on = threading.Event(), threading.Event()

    def hold(transaction: Transaction) -> None:
        started.set()
        go_on.wait(30)

    def fail(transaction: Transaction) -> None:
        transaction.emit("said", word="half")
        found = sa.select(sa.func.count()).where(events.c.kind == "said")
        raise ConflictError(str(transaction.execute(found).scalar()))

    first = store.submit(hold)
    assert started.wait(30)
    futures = [store.submit(lambda transaction: transaction.emit("said", word="a"))]
    failing = store.submit(fail)
    futures.append(store.submit(lambda transaction: transaction.emit("said", word="b")))
    go_on.set()
    with pytest.raises(ConflictError, match="2"):
        failing.result(30)
    for future in (first, *futures):
        future.result(30)
    assert told(store) == ["a", "b"]


def test_a_database_that_is_away_for_long_is_told_of(own_cluster: Cluster, tmp_path: Path) -> None:
    store = open_store(tmp_path, own_cluster.create())
    store._writer._patience_s = store._patience_s = 0.2
    own_cluster.stop()
    with pytest.raises(sa.exc.OperationalError):
        store.write(lambda transaction: transaction.emit("said", word="lost"))
    with pytest.raises(sa.exc.OperationalError), store.read():
        pass
    own_cluster.start()
    store._writer._patience_s = 20
    store.write(lambda transaction: transaction.emit("said", word="kept"))
    assert told(store) == ["kept"]
    store.close()
