"""Messages nested as deep as JSON may be: whatever they hold, the guard's loop goes on."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from drivers.clock import ManualClock
from drivers.guard import GuardSettings
from drivers.guard.core import GuardCore
from drivers.guard.latch import Memory
from drivers.guard.requests import Requests
from drivers.guard.session import Session
from drivers.guard.wire import Kind

SETTINGS = GuardSettings(base_url="/dev/null", lidar_url="tcp://127.0.0.1:1", token="secret")
DEPTHS = range(850, 1000)


@pytest.fixture
def session() -> Iterator[Session]:
    ours, theirs = socket.socketpair()
    with theirs:
        made = Session(ours, 1, 0.0)
        yield made
        made.close()


def requests(core: GuardCore) -> Requests:
    return Requests(
        SETTINGS, ManualClock(10.0), core, stop_now=lambda: None, persist=lambda stored: stored(None),
        start_docking=lambda: None, decide=lambda: None,
    )  # fmt: skip


def test_a_stranger_whose_number_is_none_does_not_end_the_guard(session: Session) -> None:
    carried_out = requests(GuardCore(SETTINGS, Memory()))
    for depth in DEPTHS:
        payload = b'{"op": "hello", "id": %s%s}' % (b"[" * depth, b"]" * depth)
        carried_out.handle(session, Kind.JSON, payload)
        session.closed = False
