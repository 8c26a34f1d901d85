"""A base in the simulated room without wires or guard, on a clock that moves when told to; driving tests share it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from courses.course import Course
from drivers.clock import ManualClock
from drivers.create2 import NOMINAL_GEOMETRY
from drivers.errors import DeviceSilentError
from drivers.rooms import Room
from drivers.sim.world import World
from drivers.types import BaseMode, BaseState, MotionStatus, Pose, Scan, StopReason, Twist

ANGLES = np.radians(np.arange(1081) * 0.25 - 135)
MOUNT = Pose(0.1, 0.0, 0.0, frame="base")
TIME_TO_LIVE_S = 0.25
SCAN_PERIOD_S = 0.025


class RoomBase:
    """Satisfies `GuardedBase`. `refusal(time)` tells why the base may not move at that moment; `latched`: for good.

    `stuck`: the wheels do not turn although the base may move. `old_scans`: the LiDAR repeats its last scan. As the
    guard does, it holds the base after a board's silence until `stop` acknowledges it.
    """

    def __init__(self, room: Room, seed: int = 0) -> None:
        self.clock = ManualClock(100.0)
        self.world = World(room, self.clock, "A", seed=seed)
        self.geometry = NOMINAL_GEOMETRY
        self.mount = MOUNT
        self.refusal: Callable[[float], StopReason | None] = lambda now: None
        self.latched = False
        self.stuck = False
        self.silent_lidar = False
        self.old_scans = False
        self.told_poses: list[Pose] = []
        self._asked = Twist(0.0, 0.0)
        self._asked_at = 0.0
        self._applied = Twist(0.0, 0.0)
        self._reason: StopReason | None = StopReason.COMMANDED
        self._scan: Scan | None = None
        self._unacknowledged = False
        self._docks = False

    @property
    def applied(self) -> Twist:
        """What the wheels are told at this moment."""
        self._judge()
        return self._applied

    def drive(self, linear: float, angular: float) -> None:
        self._asked, self._asked_at = Twist(linear, angular), self.clock.now()
        self._judge()

    def stop(self) -> None:
        if self._docks:
            self.cancel_docking()
        self._asked, self._asked_at = Twist(0.0, 0.0), self.clock.now()
        self._unacknowledged = False
        self._judge()

    def state(self) -> BaseState:
        self._judge()
        body = self.world.reading()
        return BaseState(
            time=self.clock.now(),
            left_ticks=body.left_ticks,
            right_ticks=body.right_ticks,
            mode=BaseMode.SAFE,
            on_dock=bool(body.on_dock),
            charging=body.charging,
            battery_ratio=body.battery_charge_mah / body.battery_capacity_mah,
            battery_current_a=body.current_a,
            battery_voltage_v=body.voltage_v,
        )

    def status(self) -> MotionStatus:
        self._judge()
        reason = StopReason.EMERGENCY_STOP if self.latched else self._reason
        if self._docks:
            if reason is StopReason.COMMANDED:
                reason = None
            elif reason is not None:
                self.cancel_docking()
        return MotionStatus(
            self.clock.now(), reason is None, self.latched, self._docks, reason, "", self._asked, self._applied, 0
        )

    def scan(self, after: float = 0.0, timeout: float = 1.0) -> Scan:
        if self.silent_lidar:
            self.clock.sleep(timeout)
            raise DeviceSilentError("no fresh scan")
        if self.old_scans and self._scan is not None:
            return self._scan
        # Counted in whole scans, lest rounding give one scan twice.
        number = max(round(after / SCAN_PERIOD_S, 6) // 1 + 1, self.clock.now() // SCAN_PERIOD_S)
        taken = number * SCAN_PERIOD_S
        self.clock.sleep(max(0.0, taken - self.clock.now()))
        self._judge()
        ranges, codes = self.world.scan(taken)
        self._scan = Scan(ranges, ANGLES, codes, taken, taken)
        return self._scan

    @contextmanager
    def scans(self) -> Iterator[Iterator[Scan]]:
        def forever() -> Iterator[Scan]:
            latest = self.clock.now()
            while True:
                scan = self.scan(latest)
                latest = scan.time
                yield scan

        yield forever()

    def seek_dock(self) -> None:
        self._docks = True
        self.world.start_docking()

    def cancel_docking(self) -> None:
        self._docks = False
        self.world.stop_docking()

    def emergency_stop(self, reason: str) -> None:
        self.latched = True
        self._judge()

    def reset_emergency_stop(self, person: str, reason: str) -> None:
        self.latched = False

    def set_pose(self, pose: Pose) -> None:
        self.told_poses.append(pose)

    def _judge(self) -> None:
        """Let through what was asked for, or not: as often as anybody looks."""
        now = self.clock.now()
        resting = self._asked == Twist(0.0, 0.0)
        self._reason = self.refusal(now)
        self._unacknowledged |= self._reason is StopReason.BOARD_SILENT
        if self._unacknowledged:
            self._reason = StopReason.BOARD_SILENT
        if self._reason is None and resting:
            self._reason = StopReason.COMMANDED
        if self._reason is None and now - self._asked_at > TIME_TO_LIVE_S:
            self._reason = StopReason.COMMAND_EXPIRED
        allowed = self._reason is None and not self.latched
        self._applied = self._asked if allowed else Twist(0.0, 0.0)
        moved = Twist(0.0, 0.0) if self.stuck else self._applied
        half = moved.angular * self.geometry.wheel_base_m / 2
        self.world.set_wheel_speeds(moved.linear - half, moved.linear + half)


@pytest.fixture(scope="session")
def course() -> Course:
    """The standard course."""
    return Course.library("standard")


@pytest.fixture
def short_course(course: Course) -> Course:
    """Out of the dock to B and on to C, without docking: enough to see what goes wrong."""
    file = course.file.model_copy(update={"legs": course.file.legs[:2], "docking": None})
    return replace(course, file=file)


@pytest.fixture(scope="session")
def new_base(course: Course) -> Callable[..., RoomBase]:
    """Makes bases in the dock at A, with the seed of their noise."""
    return lambda seed=0: RoomBase(course.room, seed)


@pytest.fixture
def base(new_base: Callable[..., RoomBase]) -> RoomBase:
    """A base in the dock at A."""
    return new_base()
