"""The guard's process: one loop over clients, board and LiDAR. Nothing in it waits for anybody."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from drivers.clock import Clock, clock_for_scale
from drivers.errors import DeviceUnreachableError
from drivers.guard import wire
from drivers.guard.board import GuardedBoard
from drivers.guard.connections import Connections
from drivers.guard.core import GuardCore
from drivers.guard.devices import SENTINEL_SILENCE_S, LidarFeed
from drivers.guard.foreign import ForeignBase
from drivers.guard.latch import Memory, MemoryFile
from drivers.guard.requests import Requests, Stored
from drivers.guard.rules import REST
from drivers.guard.settings import GuardSettings
from drivers.guard.wire import Kind, message
from drivers.types import Scan

TICK_S = 0.02
_STATUS_EVERY_S = 0.1


class GuardServer:
    """Guards one base until told to end: build it, then call `run`. Raises DeviceUnreachableError when another does."""

    def __init__(self, settings: GuardSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._lock = _claim(Path(settings.state_dir))
        self._memory_file = MemoryFile(Path(settings.state_dir) / "guard.json")
        # By then the sentinel has stopped the base; it looks at the machine's clock.
        self._stalled_after_s = SENTINEL_SILENCE_S / clock.to_wall(1.0)
        self._core = GuardCore(settings, self._memory_file.load(), self._stalled_after_s)
        self._connections = Connections(clock)
        kind = GuardedBoard if settings.stop is None else ForeignBase
        self._board = kind(settings, clock, self._core, self._connections.wake)
        self._requests = Requests(
            settings,
            clock,
            self._core,
            stop_now=self._board.stop_now,
            persist=self._persist,
            start_docking=self._board.start_docking,
            decide=self._decide,
            foreign=self._board if isinstance(self._board, ForeignBase) else None,
        )
        self._running = True
        self._done: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._to_store: queue.SimpleQueue[tuple[Memory, Stored] | None] = queue.SimpleQueue()
        self._storing = threading.Thread(target=self._store, name="memory", daemon=True)
        self._status_at = -1e9
        self._status_key: object = None
        self._lidar: LidarFeed | None = None

    def run(self) -> None:
        """Open the devices, say ready on standard output, and guard until SIGTERM, SIGINT or SIGHUP.

        Raises DeviceError when the board cannot be opened or an address cannot be listened on.
        """
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: self._end())
        sys.setswitchinterval(0.0005)  # a scan being decoded must not hold up a stop
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, -10)
        try:
            self._board.open()
            self._connections.listen(self._settings.listen)
            self._storing.start()
            self._lidar = LidarFeed(self._settings.lidar_url, self._clock, self._connections.wake)
            addresses = self._connections.addresses
            print(
                json.dumps({"ready": True, "name": self._settings.name, "pid": os.getpid(), "listen": addresses}),
                flush=True,
            )
            self._loop(self._lidar)
        finally:
            self._close()

    def _loop(self, lidar: LidarFeed) -> None:
        due = self._clock.now()
        while self._running:
            received = self._connections.wait(self._clock.to_wall(max(0.0, due - self._clock.now())))
            # Whoever calls an emergency stop goes before everybody and everything else.
            urgent = [each for each in received if each[1] is Kind.EMERGENCY_STOP and each[0].known]
            asked = [self._requests.handle(*each) for each in urgent]
            self._call_back()
            self._core.lidar_trouble = lidar.trouble
            for scan in lidar.take():
                if self._core.take_scan(scan):
                    self._relay(scan)
                    self._board.saw(scan, self._clock.now())
            asked += [self._requests.handle(*each) for each in received if each not in urgent]
            now = self._clock.now()
            # Before anything is decided: whoever is gone drives no longer.
            ended = self._hang_up(now)
            if any(asked) or ended or now >= due:
                self._decide()
                self._tell(now)
                due = self._core.next_change(now, TICK_S)
            if self._hang_up(now):
                self._act(now)

    def _hang_up(self, now: float) -> bool:
        """Let go of ended connections, and stop what they drove; tells whether there were any."""
        ended = self._connections.drop_ended(now)
        for number in ended:
            self._core.link_lost(number)
            self._board.link_lost(number)
        return bool(ended)

    def _decide(self) -> None:
        """Let the core decide on what is known now, and write that."""
        now = self._clock.now()
        state = self._board.take(now)
        if state is not None:
            self._connections.tell(
                lambda session: session.states, lambda: message({"event": "state", "state": wire.pack_state(state)})
            )
        self._act(now)

    def _act(self, now: float) -> None:
        """Write what the core decides; what was decided before a suspension of this process is decided again."""
        decision = self._core.tick(now)
        while (later := self._clock.now()) - now > self._stalled_after_s:
            now = later
            decision = self._core.tick(now)
        self._board.act(decision, now)

    def _relay(self, scan: Scan) -> None:
        listeners = [session for session in self._connections if session.scans]
        if listeners:
            data = wire.pack_scan(scan)
            for session in listeners:
                session.send_scan(data)

    def _tell(self, now: float) -> None:
        status = self._board.described(self._core.status(now))
        key = (status.reason, status.allowed, status.latched, status.docking, status.applied == REST)
        if key == self._status_key and now - self._status_at < _STATUS_EVERY_S:
            return
        self._status_key, self._status_at = key, now
        self._connections.tell(
            lambda session: session.statuses, lambda: message({"event": "status", "status": wire.pack_status(status)})
        )

    # What must survive a restart is stored by a thread of its own: a disk may take its time.

    def _persist(self, stored: Stored) -> None:
        """Store the memory in the storing thread, then call `stored` in this one."""
        self._to_store.put((self._core.memory, stored))

    def _store(self) -> None:
        while (item := self._to_store.get()) is not None:
            memory, stored = item
            trouble: str | None = None
            try:
                self._memory_file.store(memory)
            except OSError as exc:
                trouble = str(exc)
            self._done.put(functools.partial(stored, trouble))
            self._connections.wake()

    def _call_back(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._done.get_nowait()()

    def _end(self) -> None:
        self._running = False
        self._connections.wake()

    def _close(self) -> None:
        self._board.stop_for_good()
        self._connections.close()
        if self._storing.is_alive():
            self._to_store.put(None)
            self._storing.join(timeout=2.0)
        if self._lidar is not None:
            self._lidar.close()
        self._board.close()
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
