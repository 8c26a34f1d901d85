"""The database: transactions, events, migrations, the lock on the folder; artifacts."""

from __future__ import annotations

import errno
import hashlib
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from labctl.store import ArtifactStore, Store, Transaction, new_id, open_artifacts, open_store
from labctl.store.database import StoreError
from labctl.store.tables import devices, events, lease_devices, leases, metadata


def sequences(store: Store, after: int = 0) -> list[int]:
    with store.read() as connection:
        found = connection.execute(sa.select(events.c.sequence).where(events.c.sequence > after).order_by("sequence"))
        return list(found.scalars())


def test_the_migrations_make_the_tables_that_the_code_knows(store: Store) -> None:
    with store.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_a_database_is_as_durable_as_promised(store: Store) -> None:
    if store.shared:
        assert store.write(lambda transaction: transaction.execute(sa.text("SHOW synchronous_commit")).scalar()) == "on"
        return
    modes = store.write(
        lambda transaction: [
            transaction.execute(sa.text(f"PRAGMA {name}")).scalar() for name in ("journal_mode", "synchronous")
        ]
    )
    assert modes == ["wal", 2]


def test_an_event_is_there_exactly_when_its_change_is(store: Store) -> None:
    def fails(transaction: Transaction) -> None:
        transaction.count_up("n")
        transaction.emit("half.done")
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        store.write(fails)
    assert sequences(store) == []
    assert store.write(lambda transaction: transaction.count_up("n")) == 1


def test_a_reader_by_cursor_misses_no_event_of_many_writers(store: Store) -> None:
    writers, each = 8, 40
    seen: list[int] = []
    done = threading.Event()

    def write() -> None:
        for _ in range(each):
            store.write(lambda transaction: (transaction.emit("a"), transaction.emit("b")))

    def read() -> None:
        rings = 0
        while len(seen) < 2 * writers * each and not done.is_set():
            seen.extend(sequences(store, seen[-1] if seen else 0))
            rings = store.bell.wait(rings, 1.0)

    reader = threading.Thread(target=read)
    reader.start()
    threads = [threading.Thread(target=write) for _ in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    reader.join(30)
    done.set()
    assert seen == list(range(1, 2 * writers * each + 1))


def test_the_index_forbids_two_holders_of_a_device(store: Store) -> None:
    def seed(transaction: Transaction) -> None:
        device = {"name": "d", "kind": "lidar", "labels": {}, "state": "good", "state_reason": "", "state_since": 0}
        transaction.execute(sa.insert(devices).values(**device))
        for lease in ("one", "two"):
            row = {"state": "active", "holder": "h", "require": [], "duration_s": 1, "requested_at": 0}
            transaction.execute(sa.insert(leases).values(id=lease, **row))

    def hold(transaction: Transaction, lease: str) -> None:
        transaction.execute(sa.insert(lease_devices).values(lease_id=lease, device="d", held=True))

    store.write(seed)
    store.write(lambda transaction: hold(transaction, "one"))
    with pytest.raises(sa.exc.IntegrityError):
        store.write(lambda transaction: hold(transaction, "two"))


def test_a_folder_serves_one_daemon_at_a_time_and_keeps_its_state(tmp_path: Path) -> None:
    first = open_store(tmp_path)
    first.write(lambda transaction: transaction.emit("kept"))
    with pytest.raises(StoreError, match="in use by the daemon with process id"):
        open_store(tmp_path)
    first.close()
    second = open_store(tmp_path)
    assert sequences(second) == [1]
    second.close()


def test_another_kind_of_database_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="give sqlite:/// or postgresql://"):
        open_store(tmp_path, "mysql://192.0.2.1/lab")


def test_a_server_that_does_not_answer_is_told_of_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"cannot use the database postgresql.*nobody:\*\*\*@/lab") as refused:
        open_store(tmp_path, f"postgresql://nobody:secret@/lab?host={tmp_path}")
    assert "secret" not in str(refused.value)


def test_a_file_that_is_no_database_is_refused_plainly(tmp_path: Path) -> None:
    (tmp_path / "lab.db").write_bytes(b"not a database" * 100)
    with pytest.raises(StoreError, match="cannot use the database"):
        open_store(tmp_path)


def test_an_artifact_is_stored_whole_with_its_hash(tmp_path: Path) -> None:
    source = tmp_path / "log.csv.gz"
    source.write_bytes(b"12345" * 1000)
    artifacts = ArtifactStore(tmp_path / "artifacts")
    stored = artifacts.put("run1", source)
    assert (stored.size, stored.sha256) == (5000, hashlib.sha256(source.read_bytes()).hexdigest())
    assert artifacts.path(stored.location).read_bytes() == source.read_bytes()
    assert [each.name for each in (tmp_path / "artifacts" / "run1").iterdir()] == [Path(stored.location).name]


@pytest.mark.parametrize("kind", ["file", "memory"])
def test_artifacts_of_several_daemons_are_where_all_reach_them(tmp_path: Path, kind: str) -> None:
    url = f"file://{tmp_path}/net" if kind == "file" else f"memory://{tmp_path.name}"
    source = tmp_path / "log.csv.gz"
    source.write_bytes(b"12345" * 1000)
    one, two = (open_artifacts(url, tmp_path / name) for name in ("one", "two"))
    stored = one.put("run1", source)
    assert (stored.size, stored.sha256) == (5000, hashlib.sha256(source.read_bytes()).hexdigest())
    assert two.path(stored.location).read_bytes() == source.read_bytes()
    assert two.path(stored.location).is_relative_to(tmp_path / "two")
    for location in ("run1/none", "../secret"):
        with pytest.raises(FileNotFoundError):
            two.path(location)


def test_a_store_that_is_out_of_reach_is_said_in_its_own_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the libraries of object stores do, which raise errors of their own."""

    def fail(*_: object) -> None:
        raise RuntimeError("Could not connect to the endpoint URL")

    (tmp_path / "log").write_bytes(b"12345")
    artifacts = open_artifacts(f"memory://{tmp_path.name}", tmp_path / "one")
    monkeypatch.setattr("fsspec.implementations.memory.MemoryFileSystem.put_file", fail)
    monkeypatch.setattr("fsspec.implementations.memory.MemoryFileSystem.get_file", fail)
    told = f"the artifacts in memory://{tmp_path.name} are out of reach: Could not connect"
    with pytest.raises(OSError, match=told):
        artifacts.put("run1", tmp_path / "log")
    with pytest.raises(OSError, match=told):
        artifacts.path("run1/log")
    assert list((tmp_path / "one" / "run1").iterdir()) == []


def test_a_full_disk_does_not_lose_what_is_on_it_already(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_source: Path, target: Path) -> None:
        target.write_bytes(b"12")
        raise OSError(errno.ENOSPC, "No space left on device")

    source = tmp_path / "recording.mcap"
    source.write_bytes(b"12345" * 1000)
    artifacts = ArtifactStore(tmp_path / "artifacts")
    monkeypatch.setattr("labctl.store.artifacts._copy", full)
    stored = artifacts.put("run1", source)
    source.unlink()
    assert artifacts.path(stored.location).read_bytes() == b"12345" * 1000
    assert (stored.size, stored.sha256) == (5000, hashlib.sha256(b"12345" * 1000).hexdigest())


def test_a_copy_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    artifacts = ArtifactStore(tmp_path / "artifacts")
    with pytest.raises(FileNotFoundError):
        artifacts.put("run1", tmp_path / "none")
    assert list((tmp_path / "artifacts" / "run1").iterdir()) == []


@pytest.mark.parametrize("location", ["../secret", "/etc/passwd", "run1/none"])
def test_no_artifact_is_read_from_outside_the_store(tmp_path: Path, location: str) -> None:
    (tmp_path / "secret").write_text("x", encoding="utf-8")
    with pytest.raises(FileNotFoundError):
        ArtifactStore(tmp_path / "artifacts").path(location)


def test_identifiers_grow_within_a_millisecond_too() -> None:
    made = [new_id() for _ in range(10_000)]
    assert made == sorted(set(made))
    assert {len(each) for each in made} == {20}
