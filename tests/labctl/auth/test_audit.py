"""The audit log: what goes in, that nothing can be changed, and that it shows when somebody did."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from labctl.auth import Principal, Resource, authorise, may
from labctl.auth.audit import AuditWriter
from labctl.auth.authority import Authority
from labctl.auth.tokens import Token
from labctl.errors import NotAllowedError, NotAuthenticatedError, UnavailableError
from labctl.requests import RequestInfo, begin_request
from labctl.store import Store, auditing
from labctl.store.access_tables import audit
from labctl.store.auditing import AuditEntry, Verification

ENTRY = AuditEntry("person:anna", "tok", "leases.release", "lease:7", True, "lab.yaml:3", "v1", "r1", "192.0.2.7")


@pytest.fixture
def authority(store: Store) -> Iterator[Authority]:
    made = Authority(store)
    yield made
    made.close()


def rows(store: Store) -> list[sa.Row[tuple[object, ...]]]:
    with store.read() as connection:
        return list(connection.execute(sa.select(audit).order_by(audit.c.sequence)))


def verified(store: Store, known: tuple[int, str] | None = None) -> Verification:
    with store.read() as connection:
        return auditing.verify(connection, known)


def append(store: Store, count: int) -> None:
    for _ in range(count):
        store.write(lambda transaction: auditing.append(transaction, [ENTRY]))


def test_decisions_are_written_down_with_who_what_and_why(authority: Authority, store: Store) -> None:
    anna, root = Principal("anna", token="t1", judge=authority), Principal("root", administrator=True, judge=authority)
    begin_request(RequestInfo("r7", "person:anna", "192.0.2.1"))
    authorise(root, "robots.reset", Resource("robot", "robot-1"))
    with pytest.raises(NotAllowedError):
        authorise(anna, "robots.reset", Resource("robot", "robot-1"))
    begin_request(RequestInfo())
    assert authority.audit.flush()
    told = [(r.principal, r.token, r.action, r.resource, r.allowed, r.request, r.address) for r in rows(store)]
    assert told == [
        ("person:root", None, "robots.reset", "robot:robot-1", True, "r7", "192.0.2.1"),
        ("person:anna", "t1", "robots.reset", "robot:robot-1", False, "r7", "192.0.2.1"),
    ]
    assert [r.statement for r in rows(store)] == [
        "built-in (administrators may do what no statement denies)",
        "no statement allows it",
    ]


def test_leave_to_read_is_not_written_down_but_its_denial_is(authority: Authority, store: Store) -> None:
    anna, root = Principal("anna", judge=authority), Principal("root", administrator=True, judge=authority)
    authorise(root, "read", Resource("device", "a"))
    assert not may(anna, "read", Resource("device", "a"))
    with pytest.raises(NotAllowedError):
        authorise(anna, "read", Resource("device", "a"))
    assert authority.audit.flush()
    assert [(r.principal, r.allowed) for r in rows(store)] == [("person:anna", False)]


def test_no_secret_gets_into_it(authority: Authority, store: Store) -> None:
    token = Token.new()
    authorise(Principal("root", administrator=True, judge=authority), "x.y", Resource("device", token.text))
    with pytest.raises(NotAuthenticatedError):
        authority.identify(token.text)
    assert authority.audit.flush()
    first, second = rows(store)
    assert first.resource == f"device:labctl_{token.id}_..."
    assert (second.principal, second.action, second.token) == ("unknown:", "authenticate", token.id)
    assert not any(token.secret in str(row) for row in rows(store))


def test_wrong_tokens_are_written_down_once_a_minute_for_an_address(authority: Authority, store: Store) -> None:
    for address in ("192.0.2.1", "192.0.2.1", "192.0.2.2"):
        begin_request(RequestInfo("r", "", address))
        with pytest.raises(NotAuthenticatedError):
            authority.identify("wrong")
    begin_request(RequestInfo())
    assert authority.audit.flush()
    assert [r.address for r in rows(store)] == ["192.0.2.1", "192.0.2.2"]


def test_the_database_refuses_to_change_or_delete_a_row(store: Store) -> None:
    append(store, 1)
    changes: list[sa.Executable] = [sa.update(audit).values(allowed=False), sa.delete(audit)]
    with store.read() as connection:
        if connection.dialect.name == "sqlite":
            changes.append(sa.text("INSERT OR REPLACE INTO audit SELECT * FROM audit"))
    for change in changes:
        with pytest.raises(sa.exc.DatabaseError, match="the audit log only grows"):
            store.write(lambda transaction, change=change: transaction.execute(change))
    assert verified(store) == Verification(1, str(rows(store)[0].hash), None)


def test_an_empty_and_a_whole_log_are_whole(store: Store) -> None:
    assert verified(store).problem is None
    append(store, 3)
    head = verified(store)
    assert (head.rows, head.problem) == (3, None)
    append(store, 2)
    assert verified(store, (3, head.head)).problem is None
    assert verified(store, (3, "0" * 64)).problem == f"row 3 had the hash {'0' * 64}: the log was written anew"
    assert verified(store, (9, "0" * 64)).problem == "the log ends with row 5, but it had 9"


@pytest.mark.parametrize(
    ("tamper", "told"),
    [
        (sa.update(audit).where(audit.c.sequence == 2).values(allowed=False), "row 2 or the one before it was changed"),
        (sa.delete(audit).where(audit.c.sequence == 2), "row 2 is missing; row 3 follows"),
        (sa.delete(audit).where(audit.c.sequence == 1), "row 1 is missing; row 2 follows"),
        (sa.delete(audit).where(audit.c.sequence == 4), "the log ends with row 3, but it had 4"),
        (sa.delete(audit), "the log ends with row 0, but it had 4"),
    ],
)
def test_what_was_done_behind_its_back_shows(
    store: Store, without_triggers: None, tamper: sa.Executable, told: str
) -> None:
    append(store, 4)
    store.write(lambda transaction: transaction.execute(tamper))
    assert verified(store).problem == told


@pytest.fixture
def without_triggers(store: Store) -> None:
    """As somebody with all rights on the database would do it."""

    def drop(connection: sa.Connection) -> None:
        if connection.dialect.name == "sqlite":
            for name in ("update", "delete"):
                connection.exec_driver_sql(f"DROP TRIGGER audit_only_grows_{name}")
        else:
            connection.exec_driver_sql("DROP TRIGGER audit_only_grows ON audit")

    store.write(lambda transaction: drop(transaction.connection))


def test_entries_of_many_threads_form_one_chain(store: Store) -> None:
    writer = AuditWriter(store)
    threads = [threading.Thread(target=lambda: [writer.add(ENTRY) for _ in range(50)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    assert verified(store).rows == 200
    assert verified(store).problem is None


def test_what_must_be_written_down_is_not_done_when_it_cannot(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labctl.auth.audit._MOST_WAITING", 2)
    stuck, go_on = threading.Event(), threading.Event()
    store.submit(lambda _transaction: (stuck.set(), go_on.wait(20)))
    assert stuck.wait(20)
    writer = AuditWriter(store)
    with pytest.raises(UnavailableError, match="audit log cannot be written"):
        deque((writer.add(ENTRY) for _ in range(10)), maxlen=0)
    writer.add(ENTRY, must=True)  # an emergency stop
    go_on.set()
    writer.close()
    assert verified(store).problem is None
