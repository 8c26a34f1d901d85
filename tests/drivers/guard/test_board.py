"""The guard's hold on its board: what it does when the board no longer obeys the moment a decision is written."""

from __future__ import annotations

import pytest

from drivers.clock import ManualClock
from drivers.create2 import Create2
from drivers.errors import DeviceUnreachableError, MotionRefusedError
from drivers.guard import GuardSettings
from drivers.guard.board import GuardedBoard
from drivers.guard.core import Act, Decision, GuardCore
from drivers.guard.devices import open_board
from drivers.guard.latch import Memory
from drivers.guard.rules import REST
from drivers.types import BaseMode, BaseState, ChargingState, StopReason, Twist

SETTINGS = GuardSettings(base_url="/dev/null", lidar_url="tcp://127.0.0.1:1", token="secret")
FORWARD = Twist(0.2, 0.0)


class Board:
    """A Create 2 as far as the guard's writing goes; refuses to drive while `obeys` is False."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.obeys = True
        self.written: list[str] = []

    def drive(self, _linear: float, _angular: float) -> None:
        if not self.obeys:
            raise MotionRefusedError("the board is in passive mode and ignores drive commands")
        self.written.append("drive")

    def stop(self) -> None:
        self.written.append("stop")

    def close(self) -> None:
        self.written.append("close")

    def state(self) -> BaseState:
        return BaseState(self.clock.now(), 0, 0, BaseMode.SAFE, False, ChargingState.NOT_CHARGING, 0.8, -0.2, 15.0)


@pytest.fixture
def held() -> tuple[GuardedBoard, Board, GuardCore, ManualClock]:
    clock = ManualClock(10.0)
    core = GuardCore(SETTINGS, Memory())
    guarded, board = GuardedBoard(SETTINGS, clock, core, lambda: None), Board(clock)
    guarded._board = board  # type: ignore[assignment]  # as much of a Create2 as is used here
    guarded.take(clock.now())
    return guarded, board, core, clock


def test_a_board_that_left_its_driving_mode_is_stopped_and_may_be_woken(
    held: tuple[GuardedBoard, Board, GuardCore, ManualClock],
) -> None:
    guarded, board, core, clock = held
    core.applied = FORWARD
    board.obeys = False
    guarded.act(Decision(Act.DRIVE, FORWARD), clock.now())
    assert board.written == ["stop"]
    assert core.applied == REST
    core.grant(1, 100.0)
    assert core.status(clock.now()).reason is not StopReason.BOARD_FAULT
    board.obeys = True
    clock.advance(0.1)
    guarded.act(Decision(Act.DRIVE, FORWARD), clock.now())
    assert board.written == ["stop", "drive"]


def test_a_board_that_keeps_refusing_is_given_up(held: tuple[GuardedBoard, Board, GuardCore, ManualClock]) -> None:
    guarded, board, core, clock = held
    board.obeys = False
    core.grant(1, 100.0)
    for _ in range(20):
        core.applied = FORWARD
        guarded.act(Decision(Act.DRIVE, FORWARD), clock.now())
        clock.advance(0.1)
    core.command(FORWARD, 1, clock.now(), clock.now(), 1)
    core.tick(clock.now())
    status = core.status(clock.now(), 1)
    assert status.reason is StopReason.BOARD_FAULT
    assert "ignores drive commands" in status.detail


def test_a_line_that_was_lost_is_opened_anew_though_no_sentinel_could_be_started_at_first(
    held: tuple[GuardedBoard, Board, GuardCore, ManualClock], monkeypatch: pytest.MonkeyPatch
) -> None:
    guarded, board, _core, clock = held
    opened: list[Board] = []
    tries: list[int] = []

    def opening(_settings: GuardSettings, _clock: ManualClock) -> tuple[Board, None]:
        tries.append(len(tries))
        if len(tries) == 1:
            raise BlockingIOError(11, "Resource temporarily unavailable")  # as fork says it
        opened.append(Board(clock))
        return opened[0], None

    def lost() -> BaseState:
        raise DeviceUnreachableError("its cable was pulled")

    monkeypatch.setattr("drivers.guard.board.open_board", opening)
    monkeypatch.setattr(board, "state", lost)
    guarded.take(clock.now())
    assert guarded._busy is not None
    guarded._busy.join(5.0)
    assert guarded.take(clock.now()) is not None
    assert guarded._board is opened[0]  # type: ignore[comparison-overlap]  # as above


def test_a_sentinel_that_cannot_be_started_leaves_no_board_open(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []

    class Opened:
        def close(self) -> None:
            closed.append("board")

    def no_process(_line: int) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(Create2, "open", lambda *_: Opened())
    monkeypatch.setattr("drivers.guard.devices.Sentinel", no_process)
    with pytest.raises(DeviceUnreachableError, match="sentinel of /dev/null cannot be started"):
        open_board(SETTINGS, ManualClock(10.0))
    assert closed == ["board"]
