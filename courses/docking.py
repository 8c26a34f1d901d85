"""Docking: attempts, what counts as docked, and how far off the base stands in the end."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from courses.errors import LabError
from courses.model import DockingPlan
from courses.watch import STALL_LIMIT_S
from drivers.clock import Clock
from drivers.errors import MotionRefusedError
from drivers.protocols import GuardedBase
from drivers.rooms import Dock
from drivers.types import BaseState, ChargingState, MotionStatus, Pose, StopReason, wrap_angle

HOLD_S = 10.0
CURRENT_WANTED_BELOW = 0.95
MIN_CURRENT_A = 0.5
_CHARGING = frozenset({ChargingState.RECONDITIONING, ChargingState.FULL, ChargingState.TRICKLE, ChargingState.WAITING})
_AT_ONCE = frozenset({StopReason.EMERGENCY_STOP, StopReason.LEASE_ENDED, StopReason.FENCED})
# What ended a docking run without the robot being to blame: such an attempt does not count as one.
_SPOILED = frozenset(
    {
        StopReason.LIDAR_STALE,
        StopReason.LIDAR_BLIND,
        StopReason.LINK_LOST,
        StopReason.BOARD_SILENT,
        StopReason.OBSTACLE,
        StopReason.POSE_UNKNOWN,
        StopReason.WHEEL_DROP,
        StopReason.COMMANDED,  # by another program of ours: whoever watches over the drive
    }
)
_SPOILED_PER_ATTEMPT = 3
_LOOK_EVERY_S = 0.04
# What the guard ends a run for that is the robot's own doing.
_STRAYED = frozenset({StopReason.GEOFENCE, StopReason.DOCKING_TIMEOUT})


def docked_fault(state: BaseState) -> str:
    """Why a base does not count as docked and charging right now; "" when it does.

    Docked: the charging source is there and the charging state is one that a healthy charger shows. A current of
    0.5 A into the battery is asked for only below 95 % of charge, since a full battery draws little (opennav_docking
    asks for charging current above 0.5 A).
    """
    if not state.on_dock:
        return "the board sees no home base as charging source"
    if state.charging not in _CHARGING:
        return f"the charging state is {state.charging.value}"
    if state.battery_ratio < CURRENT_WANTED_BELOW and state.battery_current_a < MIN_CURRENT_A:
        return (
            f"the battery is at {state.battery_ratio:.0%} and takes {state.battery_current_a:.2f} A; "
            f"at least {MIN_CURRENT_A} A is expected below {CURRENT_WANTED_BELOW:.0%}"
        )
    return ""


@dataclass(frozen=True, slots=True)
class ContactError:
    """Where the docked base stands against the surveyed pose of the dock: along and across it in mm, and degrees."""

    along_mm: float
    across_mm: float
    heading_deg: float

    @property
    def distance_mm(self) -> float:
        return math.hypot(self.along_mm, self.across_mm)


def contact_error(dock: Pose, base: Pose) -> ContactError:
    """The error of a docked base's pose; both poses in the room's frame."""
    off = dock.between(base)
    return ContactError(1000 * off.x, 1000 * off.y, math.degrees(wrap_angle(off.heading)))


@dataclass(frozen=True, slots=True)
class DockingOutcome:
    """How docking went. `seconds`: from the first attempt to contact; `faults`: why each failed attempt failed."""

    docked: bool
    attempts: int
    seconds: float
    faults: tuple[str, ...]

    @property
    def retries(self) -> int:
        return self.attempts - 1


class DockingDriver(Protocol):
    """What docking asks of the driving API; each as of `courses.driving.Driver`."""

    base: GuardedBase
    clock: Clock

    @property
    def pose(self) -> Pose: ...
    def pause(self, seconds: float) -> BaseState: ...
    def fix(self) -> object: ...
    def goto(self, x: float, y: float, heading: float) -> None: ...
    def turn_to(self, heading: float) -> None: ...
    def stop(self) -> None: ...
    def hindered(self, kind: str, detail: str) -> None: ...


class Dockyard:
    """Docks one base at one dock."""

    def __init__(self, driver: DockingDriver, dock: Dock, plan: DockingPlan) -> None:
        self._driver = driver
        self._dock = dock
        self._plan = plan
        self._ended_by: MotionStatus | None = None

    def dock(self) -> DockingOutcome:
        """Attempt to dock until it holds for 10 s, or the attempts are used up.

        An attempt that the lab spoiled (stale scans, somebody in the way) is made again, three times as often as
        attempts are allowed; raises LabError when more are spoiled.
        """
        driver, begun = self._driver, self._driver.clock.now()
        faults: list[str] = []
        spoiled: list[str] = []
        while len(faults) < self._plan.attempts:
            if faults or spoiled:
                self._back_off()
            fault, contact = self._attempt()
            if not fault:
                return DockingOutcome(True, len(faults) + 1, contact - begun, tuple(faults))
            if not (cause := self._spoiled_by()):
                faults.append(fault)
                continue
            spoiled.append(cause)
            driver.hindered("docking ended", cause)
            if len(spoiled) > _SPOILED_PER_ATTEMPT * self._plan.attempts:
                raise LabError(f"docking was cut short {len(spoiled)} times, the last time by {cause}")
        return DockingOutcome(False, self._plan.attempts, driver.clock.now() - begun, tuple(faults))

    def _attempt(self) -> tuple[str, float]:
        """One run of the board's own docking. Returns the fault ("" if it held) and when contact was made."""
        driver, clock = self._driver, self._driver.clock
        docked = False
        try:
            self._ended_by = None
            self._set_out()
            contact, fault = self._seek(clock.now() + self._plan.time_limit_s)
            while not fault and clock.now() - contact < HOLD_S:
                lost = docked_fault(driver.pause(0.1))
                fault = f"contact lost after {clock.now() - contact:.1f} s: {lost}" if lost else ""
            docked = not fault
            if not docked:
                self._look_why_it_ended(driver.base.status())
            return fault, contact
        finally:
            # A stop would take a Create 2 out of the passive mode in which it charges.
            if not docked:
                driver.base.cancel_docking()
                driver.stop()

    def _set_out(self) -> None:
        """Start the board's run. What may pass, such as a scan that came late, is waited out as long as any stall."""
        driver = self._driver
        give_up = driver.clock.now() + STALL_LIMIT_S
        while True:
            try:
                driver.base.seek_dock()
                return
            except MotionRefusedError:
                status = driver.base.status()
                if status.latched or status.reason in _AT_ONCE or driver.clock.now() > give_up:
                    raise
            driver.pause(_LOOK_EVERY_S)

    def _seek(self, deadline: float) -> tuple[float, str]:
        """Wait for contact. Returns when it was made, and the fault if it was not."""
        driver, clock = self._driver, self._driver.clock
        fault = docked_fault(driver.pause(_LOOK_EVERY_S))
        while fault:
            status = driver.base.status()
            if status.latched or status.reason in _AT_ONCE:
                raise MotionRefusedError(f"the guard stopped the docking run: {status.detail or status.reason}")
            if self._look_why_it_ended(status):
                return clock.now(), f"the guard ended the docking run: {status.detail or status.reason}"
            if clock.now() > deadline:
                return clock.now(), f"not docked within {self._plan.time_limit_s:g} s: {fault}"
            fault = docked_fault(driver.pause(_LOOK_EVERY_S))
        return clock.now(), ""

    def _look_why_it_ended(self, status: MotionStatus) -> bool:
        """Whether the guard has ended the run, and keep why."""
        ended = not status.docking and status.reason in _SPOILED | _STRAYED
        if ended:
            self._ended_by = status
        return ended

    def _spoiled_by(self) -> str:
        """What, on the lab's side, ended the last attempt; "" when nothing did."""
        status = self._ended_by
        if status is None or status.reason not in _SPOILED:
            return ""
        return f"{status.reason.value}: {status.detail}"

    def _back_off(self) -> None:
        """Drive out to the standoff in front of the dock, facing away from it."""
        target = self._dock.pose.compose(Pose(self._plan.standoff_m, 0.0, 0.0))
        driver = self._driver
        driver.fix()
        missing = self._dock.pose.between(driver.pose)
        if missing.x < self._plan.standoff_m - 0.02:
            driver.goto(target.x, target.y, target.heading)
        else:
            driver.turn_to(target.heading)


def wilson_interval(successes: int, trials: int, z: float = 1.959964) -> tuple[float, float]:
    """Interval of a share from `successes` of `trials` (Wilson 1927); z = 1.96 is 95 %.

    Raises ValueError unless 0 <= successes <= trials and trials > 0.
    """
    if trials <= 0 or not 0 <= successes <= trials:
        raise ValueError(f"{successes} of {trials} is no share")
    share = successes / trials
    scale = 1 + z * z / trials
    middle = (share + z * z / (2 * trials)) / scale
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials)) / scale
    # At the ends the bounds are exactly 0 and 1; rounding must not move them outside.
    return (0.0 if successes == 0 else middle - half, 1.0 if successes == trials else middle + half)
