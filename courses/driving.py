"""The driving API: forward, turn, goto, stop, dock and undock, closed on odometry that the LiDAR corrects."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from courses.cancelling import CancelToken
from courses.docking import DockingOutcome, Dockyard
from courses.errors import LabError, RobotFaultError
from courses.inputs import DirectInput, DrivingInput
from courses.localization import Match
from courses.model import Direction, DockingPlan, Leg, Manner
from courses.paths import Path, plan
from courses.profile import Profile
from courses.tracking import PoseTracker
from courses.watch import STALL_LIMIT_S, GuardWatch, Hindrance
from drivers.clock import Clock
from drivers.errors import DeviceSilentError
from drivers.protocols import GuardedBase
from drivers.rooms import Dock, Room
from drivers.types import BaseState, Pose, Scan, StopReason, Twist, wrap_angle


@dataclass(frozen=True, slots=True)
class DrivingLimits:
    """How briskly the base is driven. SI units; the guard's own limits hold beside these."""

    acceleration: float = 0.5
    braking: float = 0.4
    turn_speed: float = 1.2
    turn_acceleration: float = 2.0
    period_s: float = 0.04
    fix_every_s: float = 0.6
    lookahead_m: float = 0.35
    heading_tolerance: float = math.radians(0.5)
    settle_s: float = 0.2


# A control step that comes later may have let the base go centimetres further than asked for.
_LATE_S = 0.15
_LONGEST_HOLD_UP_S = 60.0


class _Deadline:
    """By when a motion must have arrived; what holds it up, without the robot being to blame, moves that."""

    def __init__(self, until: float) -> None:
        self._until = until
        self._held_up_s = 0.0

    def held_up(self, seconds: float) -> None:
        """Raises LabError when a motion is held up for too long altogether."""
        self._until += seconds
        self._held_up_s += seconds
        if self._held_up_s > _LONGEST_HOLD_UP_S:
            raise LabError(f"the base was held up for {self._held_up_s:.0f} s on one way: is this computer too busy?")

    def passed(self, now: float) -> bool:
        return now > self._until


@runtime_checkable
class WantsPose(Protocol):
    """A base whose guard keeps a geofence and so must know where the base is."""

    def set_pose(self, pose: Pose) -> None:
        """Tell the pose of the base in the room's frame."""


class DrivingListener:
    """Hears of what happens on the way; override what is of interest."""

    def event(self, kind: str, detail: str) -> None:
        """The guard stopped the base, or let it go on."""

    def late(self, detail: str) -> None:
        """A step of the control loop came late."""

    def state(self, state: BaseState, applied: Twist) -> None:
        """The board was read, while the guard passed `applied` on to it."""

    def scan(self, scan: Scan) -> None:
        """A scan was taken."""

    def fix(self, pose: Pose, match: Match) -> None:
        """A scan was matched to the room: the base's pose when it was taken."""


class Driver:
    """Drives one base in one room.

    `start` is where the base stands, to within 0.3 m and 12 deg. All motions end with the base at rest, also when
    they end in an exception: `MotionRefusedError` (the guard does not let the base move), `DeviceSilentError` (the
    board or the LiDAR says nothing), `RobotFaultError` (the base is free to move and gets nowhere),
    `CourseCancelledError`.
    """

    def __init__(
        self,
        base: GuardedBase,
        clock: Clock,
        room: Room,
        start: Pose,
        *,
        wait_for_clear_s: float = 5.0,
        limits: DrivingLimits | None = None,
        driving_input: DrivingInput | None = None,
        listener: DrivingListener | None = None,
        cancel: CancelToken | None = None,
    ) -> None:
        self.base = base
        self.clock = clock
        self.room = room
        self.limits = limits if limits is not None else DrivingLimits()
        self.input: DrivingInput = driving_input if driving_input is not None else DirectInput(base)
        self.cancel = cancel if cancel is not None else CancelToken()
        self._listen = listener if listener is not None else DrivingListener()
        self._watch = GuardWatch(wait_for_clear_s, self._listen.event)
        self._tracker = PoseTracker(base.geometry, base.mount, room, start, self._listen.fix)
        self._last_scan = -math.inf
        self._fixed: tuple[tuple[int, int], Match] | None = None
        self._stops = 0
        self.observe()
        self._tell_pose()

    @property
    def pose(self) -> Pose:
        """Where the base is, as far as known, in the room's frame."""
        return self._tracker.pose

    def forward(self, distance: float, speed: float = 0.3) -> None:
        """Drive `distance` metres straight on; negative is backward, which the guard allows in dock zones alone."""
        start = self.pose
        way = Path(start.x, start.y, start.heading, 0.0, abs(distance), 1 if distance >= 0 else -1)
        self._follow(way, speed)

    def turn(self, angle: float) -> None:
        """Turn by `angle` radians on the spot, counter-clockwise when positive."""
        self._turn_by(angle)
        self.fix()

    def turn_to(self, heading: float) -> None:
        """Turn on the spot to a heading in the room, the short way round."""
        for _ in range(4):
            error = wrap_angle(heading - self.pose.heading)
            if abs(error) <= self.limits.heading_tolerance:
                return
            self._turn_by(error)
            self.fix()

    def goto(
        self,
        x: float,
        y: float,
        heading: float,
        *,
        how: Manner = Manner.TURN_THEN_DRIVE,
        direction: Direction = Direction.FORWARD,
        speed: float = 0.3,
    ) -> None:
        """Drive to a pose in the room (metres, radians)."""
        leg = Leg(start="from", end="to", how=how, direction=direction, speed_m_s=speed)
        target = Pose(x, y, wrap_angle(heading))
        self.fix()
        way = plan(leg, self.pose, target)
        if way.length > 0.01:
            if how is not Manner.ARC:
                self.turn_to(way.entry)
            way = plan(leg, self.pose, target)
            self._follow(way, speed)
            self.fix()
        self.turn_to(heading)

    def stop(self) -> None:
        """Bring the base to rest and wait until its wheels stand still."""
        self._halt()
        self.wait_for_rest(0.1)

    def dock(self, dock: Dock, plan_: DockingPlan) -> DockingOutcome:
        """Dock by the board's own docking run, as often as `plan_` allows."""
        return Dockyard(self, dock, plan_).dock()

    def undock(self, distance: float = 0.5, speed: float = 0.2) -> None:
        """Drive straight out of the dock."""
        self.forward(distance, speed)

    # What measuring and docking build upon.

    def observe(self) -> BaseState:
        """Read the board once and keep track of the pose."""
        state = self._read_board()
        self._tracker.update(state)
        self._listen.state(state, self.base.status().applied)
        return state

    def _read_board(self) -> BaseState:
        """The board's state; a silence is waited out for as long as any stall. Raises DeviceSilentError after that."""
        begun = self.clock.now()
        while True:
            try:
                return self.base.state()
            except DeviceSilentError:
                if self.clock.now() - begun > STALL_LIMIT_S:
                    raise
                self.cancel.check()
                self.clock.sleep(self.limits.period_s)

    def pause(self, seconds: float) -> BaseState:
        """Let time pass without asking for motion, keeping track of the wheels."""
        end = self.clock.now() + seconds
        state = self.observe()
        while self.clock.now() < end:
            self.cancel.check()
            self.clock.sleep(min(self.limits.period_s, max(1e-3, end - self.clock.now())))
            state = self.observe()
        return state

    def wait_for_rest(self, still_s: float, limit_s: float = 5.0) -> BaseState:
        """Wait until no wheel has moved for `still_s`. Raises RobotFaultError when one still turns after `limit_s`."""
        begun = self.clock.now()
        state = self.observe()
        ticks, since = (state.left_ticks, state.right_ticks), state.time
        while state.time - since < still_s:
            before = state.time
            state = self.pause(self.limits.period_s)
            if (state.left_ticks, state.right_ticks) != ticks:
                # A turn between two readings after the limit: one that a busy computer came late to see is no evidence.
                if before > begun + limit_s:
                    raise RobotFaultError(f"the wheels still turn {limit_s:.0f} s after the base was told to stop")
                ticks, since = (state.left_ticks, state.right_ticks), state.time
        return state

    def fix(self) -> Match | None:
        """At standstill: correct the pose by a scan, unless that was done here already. None: it matched nothing."""
        state = self.wait_for_rest(self.limits.settle_s)
        ticks = (state.left_ticks, state.right_ticks)
        if self._fixed is None or self._fixed[0] != ticks:
            match = self._tracker.correct(self.take_scan(self.clock.now()))
            self._tell_pose()
            self._fixed = None if match is None else (ticks, match)
        return self._fixed[1] if self._fixed else None

    def take_scan(self, after: float) -> Scan:
        """The first scan taken after `after`. Raises DeviceSilentError when none comes within 2 s."""
        scan = self.base.scan(after, timeout=2.0)
        if scan.time <= self._last_scan:
            raise DeviceSilentError(
                f"the LiDAR sent a scan of {scan.time:.3f} s when one later than {after:.3f} s was asked for: "
                "it repeats old scans; check its connection and restart it"
            )
        self._last_scan = scan.time
        self._listen.scan(scan)
        return scan

    @contextmanager
    def ending_at_rest(self) -> Iterator[None]:
        """Whatever happens inside, the base is told to stop at the end."""
        try:
            yield
        finally:
            self._halt()

    def _follow(self, way: Path, speed: float) -> None:
        """Drive along `way` and stop at its end."""
        limits = self.limits
        profile = Profile(speed, limits.acceleration, limits.braking, creep=min(0.02, speed))
        deadline = _Deadline(self.clock.now() + 3 * profile.duration(way.length) + 5)
        asked, before = 0.0, self.clock.now()
        gain_across, gain_heading = 1 / limits.lookahead_m**2, 2 / limits.lookahead_m
        with self.ending_at_rest():
            self._watch.begin()
            while True:
                travelled, across, heading_error = way.locate(self.pose)
                remaining = way.length - travelled
                if remaining <= 0.002 + asked * 0.05:
                    return
                now = self.clock.now()
                asked = profile.next_speed(asked, remaining, now - before)
                before = now
                bend = way.curvature - gain_across * across - gain_heading * math.sin(heading_error)
                angular = max(-limits.turn_speed, min(limits.turn_speed, asked * bend))
                blocked = self._step(way.sign * asked, angular, deadline)
                if blocked:
                    asked = 0.0
                    deadline.held_up(self.clock.now() - now)

    def _turn_by(self, angle: float) -> None:
        limits = self.limits
        profile = Profile(limits.turn_speed, limits.turn_acceleration, limits.turn_acceleration, creep=0.08)
        deadline = _Deadline(self.clock.now() + 3 * profile.duration(abs(angle)) + 5)
        asked, before = 0.0, self.clock.now()
        turned, heading = 0.0, self.pose.heading
        sign = math.copysign(1.0, angle)
        with self.ending_at_rest():
            self._watch.begin()
            while True:
                turned += wrap_angle(self.pose.heading - heading)
                heading = self.pose.heading
                remaining = sign * (angle - turned)
                if remaining <= math.radians(0.15) + asked * 0.05:
                    return
                now = self.clock.now()
                asked = profile.next_speed(asked, remaining, now - before)
                before = now
                blocked = self._step(0.0, sign * asked, deadline)
                if blocked:
                    asked = 0.0
                    deadline.held_up(self.clock.now() - now)

    def _step(self, linear: float, angular: float, deadline: _Deadline) -> bool:
        """Ask for a velocity, wait one period, look what came of it. Returns whether something held the base up."""
        self.cancel.check()
        begun = self.clock.now()
        if deadline.passed(begun):
            raise RobotFaultError(
                f"the base was free to move at {linear:.2f} m/s, {angular:.2f} rad/s and did not arrive in time; "
                f"it is near ({self.pose.x:.2f}, {self.pose.y:.2f})"
            )
        self.input.drive(linear, angular)
        self.clock.sleep(self.limits.period_s)
        state = self.observe()
        status = self.base.status()
        hindrance = self._watch.check(status, self.clock.now())
        deadline.held_up(self._tell_lateness(begun + self.limits.period_s))
        stopped_meanwhile = status.stops != self._stops
        self._stops = status.stops
        if status.reason is StopReason.BOARD_SILENT:
            self.base.stop()  # the guard wants a silence acknowledged before it lets the base go on
        if hindrance is Hindrance.NONE and state.time - self._tracker.last_fix > self.limits.fix_every_s:
            self._fix_on_the_way(angular)
        return stopped_meanwhile or hindrance is not Hindrance.NONE

    def hindered(self, kind: str, detail: str) -> None:
        """Something other than the robot spoiled what was tried: for the time line."""
        self._listen.event(kind, detail)

    def _tell_lateness(self, due: float) -> float:
        """By how many seconds what was due comes so late that the base may have gone too far meanwhile; else 0."""
        late = self.clock.now() - due
        if late <= _LATE_S:
            return 0.0
        self._listen.late(f"the driving program got no time, or no answer from the guard, for {late:.2f} s")
        return late

    def _fix_on_the_way(self, angular: float) -> None:
        """Correct the pose while driving; not while turning, where a late time stamp would show as a wrong heading."""
        if abs(angular) > 0.15:
            return
        try:
            scan = self.base.scan(max(self._last_scan, self.clock.now() - 0.1), timeout=0.1)
        except DeviceSilentError:
            return  # the guard watches the age of scans and stops the base; here a missed one only costs accuracy
        if scan.time > self._last_scan:
            self._last_scan = scan.time
            self._listen.scan(scan)
            self._tracker.correct(scan, gain=0.6)
            self._tell_pose()

    def _tell_pose(self) -> None:
        if isinstance(self.base, WantsPose):
            self.base.set_pose(self.pose)

    def _halt(self) -> None:
        begun = self.clock.now()
        self.input.stop()
        self.base.stop()
        self._tell_lateness(begun)
