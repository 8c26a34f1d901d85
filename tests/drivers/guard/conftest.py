"""A simulated robot behind a real guard process, which the guard's tests share."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from drivers.clock import Clock, clock_for_scale
from drivers.create2 import NOMINAL_GEOMETRY
from drivers.errors import MotionRefusedError
from drivers.guard import GuardClient, GuardProcess, GuardSettings, LidarRules
from drivers.rooms import Room
from drivers.sim.board_server import BoardServer
from drivers.sim.open_interface import OpenInterfaceBoard
from drivers.sim.scip_server import ScipServer
from drivers.sim.world import World
from drivers.types import Pose, StopReason


class LateNaps:
    """How late this process gets to run: a thread that asks for 1 ms of sleep and notes what it got.

    The board's log, from which the tests take their times, is written by a thread of this process too. So this is the
    error of the measurement on a busy machine; it is next to nothing on an idle one.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._late: list[tuple[float, float, float]] = []  # from, to, seconds more than asked for
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def between(self, since: float, until: float) -> float:
        """Seconds of the clock by which the thread was late in that time, altogether; naps of up to 1 ms are none."""
        return sum(late for begun, ended, late in list(self._late) if ended > since and begun < until)

    def close(self) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        nap = 0.001 / self._clock.to_wall(1.0)
        while not self._ended.is_set():
            begun = self._clock.now()
            time.sleep(0.001)
            ended = self._clock.now()
            if ended - begun > 2 * nap:
                self._late.append((begun, ended, ended - begun - nap))


class Rig:
    """The standard room with a robot in it, behind real wires, and its guard as a real process."""

    def __init__(self, folder: Path, time_scale: float = 1.0, **changes: object) -> None:
        self.clock = clock_for_scale(time_scale)
        self.lateness = LateNaps(self.clock)
        self.room = Room.library("standard")
        self.world = World(self.room, self.clock, "A")
        self.board = OpenInterfaceBoard(self.world, self.clock)
        self.line = BoardServer.on_pty(self.board, self.clock, folder / "board")
        self.lidar = ScipServer(self.world.scan, self.clock)
        self.settings = replace(
            GuardSettings(
                base_url=self.line.url,
                lidar_url=self.lidar.url,
                token="secret",
                state_dir=str(folder / "guard"),
                lidar=LidarRules(mount_x_m=0.1),
                simulated=True,
                time_scale=time_scale,
                geometry=NOMINAL_GEOMETRY,
                geofence=tuple((float(x), float(y)) for x, y in self.room.geofence),
                dock_zones=tuple(tuple((float(x), float(y)) for x, y in dock.zone) for dock in self.room.docks),
            ),
            **changes,  # type: ignore[arg-type]  # fields of the settings, by name
        )
        self.log = folder / "guard.log"
        self.guard = GuardProcess.start(self.settings, log=self.log)
        self._fencing = 0
        self._clients: list[GuardClient] = []

    def place(self, x: float, y: float, heading: float = 0.0) -> None:
        """Carry the robot somewhere."""
        self.world.put_robot(x, y, heading)

    def client(self, fencing: int | None = None, seconds: float = 100.0) -> GuardClient:
        """A connection that holds the base and has told the guard where it is."""
        self._fencing = fencing if fencing is not None else self._fencing + 1
        client = self.guard.client(self._fencing, self.clock.now() + seconds, self.clock)
        self._clients.append(client)
        client.scan(timeout=10.0)
        self.tell_pose(client)
        return client

    def tell_pose(self, client: GuardClient) -> None:
        """Tell the guard the truth about where the robot is."""
        truth = self.world.truth()
        client.set_pose(Pose(truth.x, truth.y, truth.heading, np.eye(3) * 1e-6, time=self.clock.now()))

    def restart_guard(self) -> None:
        self.guard.close()
        self.guard = GuardProcess.start(self.settings, log=self.log)

    def wheel_commands(self, since: float = 0.0) -> list[tuple[float, tuple[int, int]]]:
        """(time, (right, left) mm/s) of each drive-direct command that reached the board later than `since`."""
        return [(time, wheels) for time, wheels in _drive_commands(self.board) if time > since]

    def last_motion(self) -> float:
        """When the board was last told to turn a wheel, seconds of the clock."""
        return max((time for time, wheels in self.wheel_commands() if wheels != (0, 0)), default=-math.inf)

    def first_stop(self, since: float) -> float:
        """When the board was first told to rest later than `since`; waits for it."""
        found: list[float] = []

        def stopped() -> bool:
            found[:] = [time for time, wheels in self.wheel_commands(since) if wheels == (0, 0)]
            return bool(found)

        self.until(stopped, "stop bytes")
        return found[0]

    def stopped_for_good(self, since: float, within: float) -> float:
        """When the board was told to rest later than `since` and, `within` seconds and rest later, nothing else since.

        On a busy machine a late scan may stop the base before what is tested does; until then it rightly goes on.
        """
        self.first_stop(since)
        self.until(lambda: self.clock.now() > since + within and self.world.truth().linear == 0, "rest")
        return self.first_stop(max(since, self.last_motion()))

    def until(self, condition: Callable[[], bool], what: str, timeout: float = 100.0) -> None:
        """Wait for something to come true; the generous time-out, of the wall, is for liveness only."""
        end = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < end, f"{what} did not come within {timeout} s"
            self.clock.sleep(0.01)

    def drive_until(
        self, client: GuardClient, linear: float, angular: float, condition: Callable[[], bool], what: str
    ) -> None:
        """Keep commanding a velocity until something comes true; what a busy machine kept silent is acknowledged."""

        def step() -> bool:
            if client.status().reason is StopReason.BOARD_SILENT:
                client.stop()
            client.drive(linear, angular)
            self.clock.sleep(0.02)
            return condition()

        self.until(step, what)

    def docking(self) -> GuardClient:
        """A client whose robot is on its docking run."""
        self.place(1.5, 2.4, 0.0)
        client = self.client()
        self.dock_until(client, lambda: self.world.truth().linear < -0.02, "a docking run")
        return client

    def dock_until(self, client: GuardClient, condition: Callable[[], bool], what: str) -> None:
        """Keep the base on its docking run until something comes true: a busy machine's late scans end runs rightly."""

        def step() -> bool:
            status = client.status()
            if not (status.docking or condition()):
                with suppress(MotionRefusedError):
                    if status.reason is StopReason.BOARD_SILENT:
                        client.stop()
                    self.tell_pose(client)
                    client.seek_dock()
            return condition()

        self.until(step, what)

    def close(self) -> None:
        for client in self._clients:
            client.close()
        self.guard.close()
        self.line.close()
        self.lidar.close()
        self.lateness.close()


def _drive_commands(board: OpenInterfaceBoard) -> Iterator[tuple[float, tuple[int, int]]]:
    for write in list(board.received):
        data, at = write.data, 0
        while at < len(data):
            if data[at] == 145 and at + 5 <= len(data):
                right = int.from_bytes(data[at + 1 : at + 3], "big", signed=True)
                left = int.from_bytes(data[at + 3 : at + 5], "big", signed=True)
                yield write.time, (right, left)
                at += 5
            elif data[at] == 148 and at + 1 < len(data):
                at += 2 + data[at + 1]
            else:
                at += 1


@pytest.fixture
def rig(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Rig]:
    """In real time, or at the time scale that a test gives as this fixture's parameter."""
    made = Rig(tmp_path, getattr(request, "param", 1.0))
    try:
        yield made
    finally:
        made.close()
