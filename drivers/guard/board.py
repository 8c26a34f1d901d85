"""The guard's hold on its motor board: reads it, writes decisions to it, opens it anew when its line was lost."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from dataclasses import replace

from drivers.clock import Clock
from drivers.create2 import Create2
from drivers.errors import DeviceError, DeviceUnreachableError, MotionRefusedError
from drivers.guard.core import WAKE_LIMIT_S, Act, Decision, GuardCore
from drivers.guard.devices import Sentinel, open_board
from drivers.guard.rules import REST
from drivers.guard.settings import GuardSettings
from drivers.types import BaseState, MotionStatus, Scan, StopReason

# What is written again although nothing changed, in case bytes were lost on the line: seconds. After a mode command
# the boards of older Roombas are deaf for 20 ms, so those are given time to take effect before they are repeated.
_REPEAT_S = {Act.DRIVE: 0.06, Act.REST: 0.06, Act.WAKE: 0.3, Act.CANCEL_DOCKING: 0.04}
# A board that hangs, or is gone, is tried again after so long.
_RETRY_S = 1.0
_TELL = {Act.DRIVE: b"m", Act.DOCKING: b"d", Act.CANCEL_DOCKING: b"d"}
_LONG_AGO = -1e9


class GuardedBoard:
    """The board of one base and its sentinel. Nothing here waits, but `open` and `close`; what would is a thread's."""

    def __init__(self, settings: GuardSettings, clock: Clock, core: GuardCore, wake: Callable[[], None]) -> None:
        self._settings = settings
        self._clock = clock
        self._core = core
        self._wake = wake
        self._board: Create2 | None = None
        self._sentinel: Sentinel | None = None
        self._opened: queue.SimpleQueue[tuple[Create2, Sentinel | None]] = queue.SimpleQueue()
        self._closing = False
        self._busy: threading.Thread | None = None
        # Breaks of the odometry before this line was opened, and up to the latest reading.
        self._breaks_before = self._breaks = 0
        self._refused_since: float | None = None
        self._heard_at = self._retried_at = _LONG_AGO
        self._written: Decision | None = None
        self._written_at = _LONG_AGO

    def open(self) -> None:
        """Open the board, at rest. Raises DeviceUnreachableError or DeviceSilentError."""
        self._board, self._sentinel = open_board(self._settings, self._clock)

    def take(self, now: float) -> BaseState | None:
        """Tell the core what the board says, or that it says nothing; returns the reading if it is a new one."""
        with contextlib.suppress(queue.Empty):
            self._board, self._sentinel = self._opened.get_nowait()
            self._heard_at = _LONG_AGO
            self._written = None
        board = self._board
        if board is None:
            self._core.board_silent(StopReason.BOARD_SILENT, "the motor board is not connected; trying again")
            return None
        try:
            state = board.state()
        except DeviceError as exc:
            self._core.board_silent(StopReason.BOARD_SILENT, str(exc))
            self._try_again(board, now, lost=isinstance(exc, DeviceUnreachableError))
            return None
        if state.time <= self._heard_at:
            return None
        self._heard_at = state.time
        state = replace(state, odometry_breaks=self._breaks_before + state.odometry_breaks)
        if state.odometry_breaks != self._breaks:
            self._breaks = state.odometry_breaks
            self._core.reckoning.forget()
        self._core.take_board(state)
        if self._sentinel is not None and (trouble := self._sentinel.trouble):
            self._core.board_silent(StopReason.BOARD_FAULT, trouble)
        return state

    def stop_now(self) -> str | None:
        """Write the stop bytes, ahead of anything else. Returns why the base may not have got them, if so."""
        board = self._board
        self._written = None
        if board is None:
            return "it is not connected"
        try:
            if self._core.docking is not None:
                board.cancel_docking()
                # The core will decide the same; not at once again, while an older board is deaf from changing its mode.
                self._written, self._written_at = Decision(Act.CANCEL_DOCKING, REST), self._clock.now()
            else:
                board.stop()
            board.state()
        except DeviceError as exc:
            return str(exc)
        return None

    def start_docking(self) -> None:
        """Send the board on its own way to the dock. Raises DeviceError."""
        if self._board is not None:
            self._written = None
            self._board.seek_dock()

    def act(self, decision: Decision, now: float) -> None:
        """Write what was decided, unless it was written a moment ago; tell the sentinel."""
        board = self._board
        if board is None:
            return
        every = _REPEAT_S.get(decision.act, _RETRY_S)
        if decision != self._written or now - self._written_at >= every:
            try:
                _write(board, decision)
                self._written, self._written_at = decision, now
                self._refused_since = None
            except MotionRefusedError as exc:
                self._refused(str(exc), now)
            except DeviceError as exc:
                # Try again soon, but not in every tick: each try may take the line's whole time-out.
                self._written, self._written_at = decision, now - every / 2
                self._core.board_silent(StopReason.BOARD_SILENT, str(exc))
        if self._sentinel is not None:
            self._sentinel.tell(_TELL.get(decision.act, b"r"))

    def _refused(self, why: str, now: float) -> None:
        """The board has left the mode in which it drives since the core decided: the core wakes it, if that helps."""
        self.stop_now()
        self._refused_since = now if self._refused_since is None else self._refused_since
        if now - self._refused_since > WAKE_LIMIT_S:
            self._core.board_silent(StopReason.BOARD_FAULT, why)
        self._core.applied = REST

    def saw(self, scan: Scan, now: float) -> None:
        """What the wheels do is known from their board."""

    def link_lost(self, connection: int) -> None:
        """The core sees to it."""

    def described(self, status: MotionStatus) -> MotionStatus:
        """The core's status says it all."""
        return status

    def stop_for_good(self) -> None:
        """Bring the base to rest before the guard ends."""
        self._closing = True
        if self._board is None:
            return
        docked = self._core.board is not None and self._core.board.on_dock
        with contextlib.suppress(DeviceError):
            if self._core.docking is not None and not docked:
                self._board.cancel_docking()
            self._board.stop()

    def close(self) -> None:
        """Let go of the board, then of its sentinel."""
        self._closing = True
        if self._board is not None:
            self._board.close()
        if self._sentinel is not None:
            self._sentinel.close()

    def _try_again(self, board: Create2, now: float, *, lost: bool) -> None:
        """Start a silent board's stream anew, or open a lost line anew, in a thread, since both wait."""
        if self._busy is not None and self._busy.is_alive():
            return
        if not lost:
            if now - max(self._heard_at, self._retried_at) <= _RETRY_S:
                return
            self._retried_at = now
            self._busy = threading.Thread(target=_restart, args=(board,), name="board", daemon=True)
        else:
            sentinel = self._sentinel
            self._board = self._sentinel = None
            self._core.reckoning.forget()
            self._breaks_before = self._breaks = self._breaks + 1
            self._busy = threading.Thread(target=self._reopen, args=(board, sentinel), name="board", daemon=True)
        self._busy.start()

    def _reopen(self, old: Create2, sentinel: Sentinel | None) -> None:
        if sentinel is not None:
            sentinel.close()
        old.close()
        while not self._closing:
            try:
                self._opened.put(open_board(self._settings, self._clock))
            except (DeviceError, OSError, RuntimeError):  # the last two: no process or thread to be had at the moment
                self._clock.sleep(_RETRY_S)
            else:
                self._wake()
                return


def _restart(board: Create2) -> None:
    with contextlib.suppress(DeviceError):
        board.restart()


def _write(board: Create2, decision: Decision) -> None:
    match decision.act:
        case Act.DRIVE:
            board.drive(decision.twist.linear, decision.twist.angular)
        case Act.WAKE:
            board.enter_safe_mode()
        case Act.CANCEL_DOCKING:
            board.cancel_docking()
        case Act.REST:
            board.stop()
        case Act.DOCKING:
            pass  # it steers itself
