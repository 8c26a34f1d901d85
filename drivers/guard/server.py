"""The guard's process: one loop over clients, board and LiDAR. Nothing in it waits for anybody."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import os
import queue
import selectors
import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from drivers.clock import Clock, clock_for_scale
from drivers.create2 import Create2
from drivers.errors import DeviceError, DeviceUnreachableError, MotionRefusedError, ProtocolError
from drivers.guard import wire
from drivers.guard.core import Act, Decision, GuardCore
from drivers.guard.devices import LidarFeed, Sentinel, open_board
from drivers.guard.latch import Memory, MemoryFile
from drivers.guard.requests import Requests, Stored
from drivers.guard.rules import REST
from drivers.guard.session import Session
from drivers.guard.settings import GuardSettings
from drivers.guard.wire import Kind, message
from drivers.types import Scan, StopReason

TICK_S = 0.02
_MAX_SESSIONS = 64
_HELLO_WITHIN_S = 5.0
# What is written again although nothing changed, in case bytes were lost on the line: seconds.
_REPEAT_DRIVE_S = 0.06
_REPEAT_REST_S = 0.5
_REPEAT_WAKE_S = 0.3
_STATUS_EVERY_S = 0.1
# A board that hangs is tried again after so long.
_RETRY_BOARD_S = 1.0


class GuardServer:
    """Guards one base until told to end. Build it with `GuardServer.start`, then call `run`."""

    def __init__(self, settings: GuardSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._lock = _claim(Path(settings.state_dir))
        self._memory_file = MemoryFile(Path(settings.state_dir) / "guard.json")
        self.core = GuardCore(settings, self._memory_file.load())
        self._requests = Requests(
            settings,
            clock,
            self.core,
            persist=self._persist,
            start_docking=self._start_docking,
            decide=self._decide,
        )
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)
        self._sessions: dict[int, Session] = {}
        self._next_session = 1
        self._running = True
        self._done: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._to_store: queue.SimpleQueue[tuple[Memory, Stored] | None] = queue.SimpleQueue()
        self._storing = threading.Thread(target=self._store, name="memory", daemon=True)
        self._board: Create2 | None = None
        self._sentinel: Sentinel | None = None
        self._reopening = False
        self._breaks = 0
        self._written: Decision | None = None
        self._written_at = -1e9
        self._board_time = -1e9
        self._status_at = -1e9
        self._status_key: object = None
        self._lidar: LidarFeed | None = None
        self._listeners: list[socket.socket] = []
        self.addresses: list[str] = []

    def run(self) -> None:
        """Open the devices, say ready on standard output, and guard until SIGTERM or SIGINT.

        Raises DeviceError when the board cannot be opened or an address cannot be listened on.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._end())
        sys.setswitchinterval(0.0005)  # a scan being decoded must not hold up a stop
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, -10)
        try:
            self._board, self._sentinel = open_board(self._settings, self._clock)
            self._listen()
            self._storing.start()
            self._selector.register(self._wake_read, selectors.EVENT_READ, "wake")
            self._lidar = LidarFeed(self._settings.lidar_url, self._clock, self._wake)
            print(
                json.dumps({"ready": True, "name": self._settings.name, "pid": os.getpid(), "listen": self.addresses}),
                flush=True,
            )
            self._loop()
        finally:
            self._close()

    # The loop

    def _loop(self) -> None:
        due = self._clock.now()
        while self._running:
            wait = self._clock.to_wall(max(0.0, due - self._clock.now()))
            events = self._selector.select(wait)
            received: list[tuple[Session, list[tuple[Kind, bytes]]]] = []
            for key, mask in events:
                if isinstance(key.data, Session):
                    if mask & selectors.EVENT_WRITE:
                        key.data.flush()
                    if mask & selectors.EVENT_READ:
                        received.append((key.data, self._receive(key.data)))
            # Whoever calls an emergency stop goes before everybody and everything else.
            for session, frames in received:
                if session.known and any(kind is Kind.EMERGENCY_STOP for kind, _ in frames):
                    self._stop_now()
            for key, _ in events:
                if key.data == "wake":
                    self._drain()
                elif key.data == "listen":
                    self._accept(key.fileobj)
            self._take_scans()
            asked = [
                self._requests.handle(session, kind, data) for session, frames in received for kind, data in frames
            ]
            now = self._clock.now()
            if any(asked) or now >= due:
                self._decide()
                self._tell(now)
                due = now + TICK_S
            self._watch_sessions(now)

    def _decide(self) -> None:
        """Let the core decide on what is known now, and write that."""
        now = self._clock.now()
        self._take_board(now)
        self._act(self.core.tick(now), now)

    def _take_scans(self) -> None:
        if self._lidar is None:
            return
        for scan in self._lidar.take():
            if self.core.take_scan(scan):
                self._relay(scan)

    def _relay(self, scan: Scan) -> None:
        listeners = [session for session in self._sessions.values() if session.scans]
        if listeners:
            data = wire.pack_scan(scan)
            for session in listeners:
                session.send_scan(data)

    def _take_board(self, now: float) -> None:
        board = self._board
        if board is None:
            self.core.board_silent(StopReason.BOARD_SILENT, "the motor board is not connected; trying again")
            return
        try:
            state = board.state()
        except DeviceError as exc:
            self.core.board_silent(StopReason.BOARD_SILENT, str(exc))
            if isinstance(exc, DeviceUnreachableError):
                self._reopen()
            elif now - self._board_time > _RETRY_BOARD_S:
                self._board_time = now
                with contextlib.suppress(DeviceError):
                    board.restart()
            return
        if board.odometry_breaks != self._breaks:
            self._breaks = board.odometry_breaks
            self.core.reckoning.forget()
        if state.time > self._board_time:
            self._board_time = state.time
            self.core.take_board(state)
            listeners = [session for session in self._sessions.values() if session.states]
            if listeners:
                data = message({"event": "state", "state": wire.pack_state(state)})
                for session in listeners:
                    session.send(data)

    # Writing to the board

    def _stop_now(self) -> None:
        board = self._board
        if board is not None:
            with contextlib.suppress(DeviceError):
                board.stop()
        self._written = None

    def _act(self, decision: Decision, now: float) -> None:
        """Write what was decided, unless it was written a moment ago."""
        board = self._board
        doing = {Act.DRIVE: b"m", Act.DOCKING: b"d", Act.CANCEL_DOCKING: b"d"}.get(decision.act, b"r")
        if board is None:
            return
        every = {Act.DRIVE: _REPEAT_DRIVE_S, Act.WAKE: _REPEAT_WAKE_S, Act.CANCEL_DOCKING: 2 * TICK_S}
        again = now - self._written_at >= every.get(decision.act, _REPEAT_REST_S)
        if decision != self._written or again:
            try:
                self._write(board, decision)
                self._written, self._written_at = decision, now
            except MotionRefusedError as exc:
                self._stop_now()
                self.core.board_silent(StopReason.BOARD_FAULT, str(exc))
            except DeviceError as exc:
                # Try again soon, but not in every tick: each try may take the line's whole time-out.
                self._written, self._written_at = decision, now - every.get(decision.act, _REPEAT_REST_S) / 2
                self.core.board_silent(StopReason.BOARD_SILENT, str(exc))
        if self._sentinel is not None:
            self._sentinel.tell(doing)

    @staticmethod
    def _write(board: Create2, decision: Decision) -> None:
        if decision.act is Act.DRIVE:
            board.drive(decision.twist.linear, decision.twist.angular)
        elif decision.act is Act.WAKE:
            board.enter_safe_mode()
        elif decision.act is Act.CANCEL_DOCKING:
            board.cancel_docking()
        elif decision.act is Act.REST:
            board.stop()

    def _reopen(self) -> None:
        """Open the board anew in a thread, since that waits for the board to answer."""
        if self._reopening:
            return
        self._reopening = True
        old, sentinel = self._board, self._sentinel
        self._board = self._sentinel = None
        self.core.reckoning.forget()

        def attempt() -> None:
            if sentinel is not None:
                sentinel.close()
            if old is not None:
                old.close()
            opened: tuple[Create2, Sentinel | None] | None = None
            while self._running and opened is None:
                try:
                    opened = open_board(self._settings, self._clock)
                except DeviceError:
                    self._clock.sleep(_RETRY_BOARD_S)
            self._done.put(lambda: self._reopened(opened))
            self._wake()

        threading.Thread(target=attempt, name="board", daemon=True).start()

    def _reopened(self, opened: tuple[Create2, Sentinel | None] | None) -> None:
        self._reopening = False
        if opened is not None:
            self._board, self._sentinel = opened
            self._breaks = self._board.odometry_breaks
            self._board_time = -1e9
            self._written = None

    # Clients

    def _start_docking(self) -> None:
        if self._board is not None:
            self._written = None
            self._board.seek_dock()

    def _persist(self, stored: Stored) -> None:
        """Store the memory in the storing thread, then call `stored` in this one."""
        self._to_store.put((self.core.memory, stored))

    def _store(self) -> None:
        while (item := self._to_store.get()) is not None:
            memory, stored = item
            trouble: str | None = None
            try:
                self._memory_file.store(memory)
            except OSError as exc:
                trouble = str(exc)
            self._done.put(functools.partial(stored, trouble))
            self._wake()

    def _tell(self, now: float) -> None:
        status = self.core.status(now)
        key = (status.reason, status.allowed, status.latched, status.docking, status.applied == REST)
        if key == self._status_key and now - self._status_at < _STATUS_EVERY_S:
            return
        self._status_key, self._status_at = key, now
        data: bytes | None = None
        for session in self._sessions.values():
            if session.statuses:
                data = data or message({"event": "status", "status": wire.pack_status(status)})
                session.send(data)

    # Connections

    def _listen(self) -> None:
        for url in self._settings.listen:
            try:
                listener, address = _listener(url)
            except OSError as exc:
                raise DeviceUnreachableError(
                    f"the guard cannot listen on {url}: {exc}; choose another address"
                ) from exc
            listener.setblocking(False)
            self._listeners.append(listener)
            self.addresses.append(address)
            self._selector.register(listener, selectors.EVENT_READ, "listen")

    def _accept(self, listener: Any) -> None:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        if len(self._sessions) >= _MAX_SESSIONS:
            connection.close()
            return
        session = Session(connection, self._next_session, self._clock.now())
        self._next_session += 1
        self._sessions[session.number] = session
        self._selector.register(connection, selectors.EVENT_READ, session)

    def _receive(self, session: Session) -> list[tuple[Kind, bytes]]:
        try:
            frames = session.receive()
        except ProtocolError as exc:
            session.send(message({"error": "ProtocolError", "message": str(exc)}))
            frames = None
        if frames is None:
            session.closed = True
            return []
        return frames

    def _watch_sessions(self, now: float) -> None:
        """Drop ended and mute connections; ask to be told when a slow one takes bytes again."""
        for session in list(self._sessions.values()):
            if session.closed or (not session.known and self._clock.to_wall(now - session.since) > _HELLO_WITHIN_S):
                del self._sessions[session.number]
                self._selector.unregister(session.socket)
                session.close()
                self.core.link_lost(session.number)
                self._act(self.core.tick(now), now)
                continue
            wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if session.waiting else 0)
            if self._selector.get_key(session.socket).events != wanted:
                self._selector.modify(session.socket, wanted, session)

    def _wake(self) -> None:
        with contextlib.suppress(OSError):
            self._wake_write.send(b"w")

    def _drain(self) -> None:
        with contextlib.suppress(OSError):
            self._wake_read.recv(4096)
        with contextlib.suppress(queue.Empty):
            while True:
                self._done.get_nowait()()

    def _end(self) -> None:
        self._running = False
        self._wake()

    def _close(self) -> None:
        board = self._board
        if board is not None:
            docked = self.core.board is not None and self.core.board.on_dock
            with contextlib.suppress(DeviceError):
                if self.core.docking is not None and not docked:
                    board.cancel_docking()
                board.stop()
        for session in self._sessions.values():
            session.close()
        for listener in self._listeners:
            listener.close()
        for url in self.addresses:
            if url.startswith("unix://"):
                Path(url.removeprefix("unix://")).unlink(missing_ok=True)
        if self._lidar is not None:
            self._lidar.close()
        if self._storing.is_alive():
            self._to_store.put(None)
            self._storing.join(timeout=2.0)
        if board is not None:
            board.close()
        if self._sentinel is not None:
            self._sentinel.close()
        os.close(self._lock)


def serve(settings: GuardSettings) -> None:
    """Guard the base of `settings` until SIGTERM. Raises DeviceError when that cannot begin."""
    GuardServer(settings, clock_for_scale(settings.time_scale)).run()


def _claim(state_dir: Path) -> int:
    """Lock the state folder against a second guard. Raises DeviceUnreachableError."""
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        lock = os.open(state_dir / "guard.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise DeviceUnreachableError(f"another guard runs with the state folder {state_dir}; stop it first") from None
    except OSError as exc:
        raise DeviceUnreachableError(f"the guard cannot use the state folder {state_dir}: {exc}") from exc
    return lock


def _listener(url: str) -> tuple[socket.socket, str]:
    if url.startswith("unix://"):
        path = Path(url.removeprefix("unix://"))
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)  # the socket is the key: nobody but this user
        try:
            listener.bind(str(path))
        finally:
            os.umask(before)
        listener.listen(16)
        return listener, url
    host, _, port = url.removeprefix("tcp://").rpartition(":")
    listener = socket.create_server((host.strip("[]"), int(port)), backlog=16)
    return listener, f"tcp://{host}:{listener.getsockname()[1]}"
