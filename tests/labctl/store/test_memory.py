"""What the writing thread keeps in mind is what the database says, however many writes share a commit."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from labctl.config import Lab, load_lab
from labctl.errors import ConflictError
from labctl.matching import Requirement
from labctl.store import Store, Transaction, asking, granting, inventory

DEVICES = "\n".join(f'  {name}: {{kind: lidar, url: "tcp://127.0.0.1:1"}}' for name in ("left", "right"))


@pytest.fixture
def known(tmp_path: Path, store: Store) -> Lab:
    """The lab of the store: left does not answer yet, and the scheduler knows that."""
    path = tmp_path / "lab.yaml"
    path.write_text(f"lab: l\ndevices:\n{DEVICES}\n", encoding="utf-8")
    lab = load_lab(path)
    store.write(lambda transaction: inventory.register(transaction, lab.devices, {"left"}))
    store.write(granting.schedule)
    return lab


def ask(device: str) -> Callable[[Transaction], list[str]]:
    """A request for a device, and a pass of the scheduler: what it grants."""

    def work(transaction: Transaction) -> list[str]:
        asking.request(transaction, "me", [Requirement(device=device)], 60)
        return [name for grant in granting.schedule(transaction).granted for name in grant.devices]

    return work


def answers(transaction: Transaction) -> None:
    inventory.set_device_state(transaction, "left", "good", "")


def together(store: Store, *works: Callable[[Transaction], Any]) -> list[Future[Any]]:
    """Let works share a commit."""
    begun, go = threading.Event(), threading.Event()
    store.submit(lambda _transaction: (begun.set(), go.wait(30)))
    assert begun.wait(30)
    futures = [store.submit(work) for work in works]
    go.set()
    for each in futures:
        each.exception(30)
    return futures


def test_a_device_that_changes_beside_a_grant_is_known_to_the_next_pass(store: Store, known: Lab) -> None:
    granted, _ = together(store, ask("right"), answers)
    assert granted.result() == ["right"]
    assert store.write(ask("left")) == ["left"]


def test_a_device_that_changes_is_known_to_a_pass_of_the_same_commit(store: Store, known: Lab) -> None:
    _, _, granted = together(store, ask("right"), answers, ask("left"))
    assert granted.result() == ["left"]


def test_a_change_that_was_undone_is_not_known(store: Store, known: Lab) -> None:
    def fail(transaction: Transaction) -> None:
        answers(transaction)
        assert ask("left")(transaction) == ["left"]
        raise ConflictError("no")

    _, failed, granted = together(store, ask("right"), fail, ask("left"))
    assert isinstance(failed.exception(), ConflictError)
    assert granted.result() == []
    with pytest.raises(ConflictError):
        store.write(fail)
    assert store.write(granting.schedule).granted == []
