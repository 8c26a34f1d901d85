"""A simulated robot behind a real guard process, which the guard's tests share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from drivers.clock import SystemClock
from drivers.create2 import NOMINAL_GEOMETRY
from drivers.guard import GuardClient, GuardProcess, GuardSettings, LidarRules
from drivers.rooms import Room
from drivers.sim.board_server import BoardServer
from drivers.sim.open_interface import OpenInterfaceBoard
from drivers.sim.scip_server import ScipServer
from drivers.sim.world import World
from drivers.types import Pose


class Rig:
    """The standard room with a robot in it, behind real wires, and its guard as a real process."""

    def __init__(self, folder: Path, **changes: object) -> None:
        self.clock = SystemClock()
        self.room = Room.library("standard")
        self.world = World(self.room, self.clock, "A")
        self.board = OpenInterfaceBoard(self.world, self.clock)
        self.line = BoardServer.on_pty(self.board, self.clock)
        self.lidar = ScipServer(self.world.scan, self.clock)
        self.settings = replace(
            GuardSettings(
                base_url=self.line.url,
                lidar_url=self.lidar.url,
                token="secret",
                state_dir=str(folder / "guard"),
                lidar=LidarRules(mount_x_m=0.1, max_age_s=0.5),
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

    def until(self, condition: Callable[[], bool], what: str, timeout: float = 20.0) -> None:
        """Wait for something to come true; the generous time-out is for liveness only."""
        end = self.clock.now() + timeout
        while not condition():
            assert self.clock.now() < end, f"{what} did not come within {timeout} s"
            self.clock.sleep(0.01)

    def drive_until(
        self, client: GuardClient, linear: float, angular: float, condition: Callable[[], bool], what: str
    ) -> None:
        """Keep commanding a velocity until something comes true."""

        def step() -> bool:
            client.drive(linear, angular)
            self.clock.sleep(0.02)
            return condition()

        self.until(step, what)

    def close(self) -> None:
        for client in self._clients:
            client.close()
        self.guard.close()
        self.line.close()
        self.lidar.close()


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
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    try:
        yield made
    finally:
        made.close()
