"""The guard's state and decisions, without sockets, threads or files: told what happens, asked what wheels may do."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np

from drivers.errors import MotionRefusedError
from drivers.guard.docking import DockingRun
from drivers.guard.latch import Memory
from drivers.guard.reckoning import Reckoning
from drivers.guard.rules import REST, Located, Verdict, clamp, held_back, judge, ramp
from drivers.guard.settings import GuardSettings
from drivers.guard.surroundings import Rays, Surroundings
from drivers.types import BaseMode, BaseState, MotionStatus, Pose, Scan, StopReason, Twist

_LONGEST_TICK_S = 0.1
_JUST_AFTER_S = 1e-4
# A board that was asked for safe mode and is not in it after so long does not obey.
WAKE_LIMIT_S = 1.5
# A reading sooner than this after the end of a docking run was asked for may still tell the mode from before the run.
_MODE_SETTLES_S = 0.1


class Act(Enum):
    """What is to be written to the board."""

    REST = "rest"
    DRIVE = "drive"
    WAKE = "wake"
    DOCKING = "docking"
    CANCEL_DOCKING = "cancel_docking"


@dataclass(frozen=True, slots=True)
class Decision:
    """One tick's outcome; `twist` goes to the wheels when `act` is DRIVE, otherwise they rest or the board docks."""

    act: Act
    twist: Twist


@dataclass(frozen=True, slots=True)
class _Command:
    twist: Twist
    issued: float
    connection: int


class GuardCore:
    """Decides for one base. Times are seconds of the guard's clock; nothing here waits or does input or output.

    `stalled_after_s`: after so long a pause between two ticks the wheels are known to rest: the sentinel stopped them.
    """

    def __init__(self, settings: GuardSettings, memory: Memory, stalled_after_s: float = math.inf) -> None:
        self.settings = settings
        self.memory = memory
        self.reckoning = Reckoning(settings.geometry, settings.pose)
        self.board: BaseState | None = None
        self.docking: DockingRun | None = None
        self.lidar_trouble = ""  # why no scans come, in words
        self.applied = REST
        self._wanted = REST  # what the command comes to by speeding up, before anything slows it down
        self.stops = 0
        self._deadline: float | None = None
        self._holder = 0
        self._command: _Command | None = None
        self._verdict = Verdict(REST, StopReason.COMMANDED, "no command yet")
        self._held: Verdict | None = None
        self._silent: Verdict | None = Verdict(REST, StopReason.BOARD_SILENT, "the board has not been heard yet")
        self._stalled_after_s = stalled_after_s
        self._cancelling = False
        self._cancelled_at: float | None = None
        self._waking_since: float | None = None
        self._rays: Rays | None = None
        self._surroundings: Surroundings | None = None
        self._scan_times = (-math.inf, -math.inf)  # the clock's and the sensor's
        self._ticked: float | None = None

    # What the world says

    def take_scan(self, scan: Scan) -> bool:
        """Take a scan; one whose time stamp did not change, or that is older or malformed, is left out."""
        time, sensor_time = self._scan_times
        if scan.sensor_time == sensor_time or scan.time <= time:
            return False
        if len(scan.ranges) < 2 or not math.isfinite(scan.time):
            return False
        if self._rays is None or (
            self._rays.angles is not scan.angles and not np.array_equal(self._rays.angles, scan.angles)
        ):
            self._rays = Rays(scan.angles, self.settings)
        self._scan_times = (scan.time, scan.sensor_time)
        self._surroundings = Surroundings(scan, self._rays)
        return True

    def take_board(self, state: BaseState) -> None:
        """Take a reading of the motor board."""
        pressed_before = self.board is not None and self.board.bump
        self.board = state
        self._silent = None
        if state.wheel_drop:
            self.reckoning.forget()  # who lifts a base may put it down elsewhere
        self.reckoning.update(state)
        fault = self._board_fault(state)
        if fault is None or self.applied == REST:
            return
        # A bumper that is pressed while the base reverses met something new: that is no backing off.
        hit = fault.reason is StopReason.BUMPER and not pressed_before
        if hit or not self._backing_off(self.applied, fault):
            self._held = fault

    def board_silent(self, reason: StopReason, detail: str) -> None:
        """The board says nothing, or its line is gone."""
        self._silent = Verdict(REST, reason, detail)
        if self.applied != REST:
            self._held = self._silent

    # What clients ask

    def check_fencing(self, fencing: int, now: float) -> Verdict | None:
        """Why a command with this fencing number is refused; None when its lease holds."""
        if fencing < self.memory.fencing or fencing != self._holder:
            who = f"the base was granted to {self.memory.fencing}" if self.memory.fencing else "nothing was granted yet"
            return Verdict(REST, StopReason.FENCED, f"fencing number {fencing} does not hold the base: {who}")
        if self._deadline is None or now >= self._deadline:
            return Verdict(REST, StopReason.LEASE_ENDED, f"the lease with fencing number {fencing} has ended")
        return None

    def check_pose_from(self, fencing: int, now: float) -> Verdict | None:
        """Why a pose told by a client with this fencing number is not taken: whoever holds the base is to tell it."""
        held = self.check_fencing(self._holder, now) is None
        return self.check_fencing(fencing, now) if held else None

    def grant(self, fencing: int, deadline: float) -> None:
        """Let commands with `fencing` move the base until `deadline`; lower numbers are refused from here on.

        Raises MotionRefusedError for a number lower than the highest ever granted.
        """
        if fencing < max(1, self.memory.fencing):
            raise MotionRefusedError(
                f"fencing number {fencing} is refused by the guard of {self.settings.name}: {self.memory.fencing} was"
                " granted already; take a new lease"
            )
        if fencing != self._holder:
            self._command = None
            self._end_docking(Verdict(REST, StopReason.FENCED, f"the base was granted to {fencing}"))
        self.memory = replace(self.memory, fencing=fencing)
        self._holder = fencing
        self._deadline = deadline

    def release(self, fencing: int) -> None:
        """End the lease, if it is this one's."""
        if fencing == self._holder:
            self._deadline = None

    def command(self, twist: Twist, fencing: int, issued: float, now: float, connection: int) -> None:
        """A velocity command, issued at `issued`. A refused one changes nothing for the holder.

        Nor does one that moves and is older than the one there is, be it from another of the holder's connections.
        """
        if self.check_fencing(fencing, now) is not None or not (math.isfinite(twist.linear + twist.angular)):
            return
        if twist != REST and self._command is not None and issued < self._command.issued:
            return
        if twist == REST:
            self._acknowledge()
        self._command = _Command(twist, min(issued, now), connection)

    def stop(self, fencing: int, now: float) -> None:
        """Rest, and acknowledge a bump, drop, cliff or silence, so that the holder may go on after.

        From anyone but the holder it changes nothing.
        """
        if self.check_fencing(fencing, now) is None:
            self._command = None
            self._verdict = Verdict(REST, StopReason.COMMANDED, "told to stop")
            self._acknowledge()
            self._end_docking(self._verdict)

    def heartbeat(self, connection: int, now: float) -> None:
        """A client is alive: what keeps a docking run going."""
        if self.docking is not None and self.docking.connection == connection:
            self.docking.heard = now

    def link_lost(self, connection: int) -> None:
        """A client's connection ended."""
        lost = Verdict(REST, StopReason.LINK_LOST, "the connection of the client that drove was cut")
        if self._command is not None and self._command.connection == connection:
            self._command = None
            self._verdict = lost
        if self.docking is not None and self.docking.connection == connection:
            self._end_docking(lost)

    def latch(self, reason: str) -> None:
        """Emergency stop: nothing moves until `reset`."""
        if self.memory.latched is None:
            self.memory = replace(self.memory, latched=reason or "no reason given")
        self._command = None
        self._end_docking(self._latched())

    def reset(self, person: str, reason: str) -> None:
        """Take the latch off. Raises MotionRefusedError without a person's name and a reason."""
        if not person.strip() or not reason.strip():
            raise MotionRefusedError(
                f"the emergency stop of {self.settings.name} stays on: a reset needs the name of the person at the"
                " robot's side and a reason"
            )
        self.memory = replace(self.memory, latched=None, reset_by=person.strip(), reset_reason=reason.strip())
        self._verdict = Verdict(REST, StopReason.COMMANDED, f"emergency stop reset by {person.strip()}")

    def seek_dock(self, fencing: int, now: float, connection: int) -> None:
        """Let the board dock itself. Raises MotionRefusedError when it may not now."""
        refusal = self._refusal(fencing, now)
        run = DockingRun(connection, now, now)
        refusal = refusal or run.refusal(self._surroundings, self.located(now), self.settings, now, starting=True)
        if refusal is not None:
            raise MotionRefusedError(f"docking of {self.settings.name} is refused ({refusal.reason}): {refusal.detail}")
        self._command = None
        self._cancelling = False
        self.applied = self._wanted = REST
        self.docking = run

    def docking_not_begun(self, why: str) -> None:
        """The board did not take the command to dock; it may have got it all the same, so the run is ended."""
        self._end_docking(Verdict(REST, StopReason.BOARD_FAULT, why))

    # What the wheels may do

    def located(self, now: float) -> Located | None:
        """Where the base is, as far as the guard trusts it."""
        return self.reckoning.located(now)

    def set_pose(self, pose: Pose) -> None:
        """Take a pose in the map. Raises MotionRefusedError when it cannot be carried on from."""
        if (why := self.reckoning.set_pose(pose)) is not None:
            raise MotionRefusedError(f"the pose of {self.settings.name} was not taken: {why}")

    def tick(self, now: float) -> Decision:
        """What is to be done now. Call at least every 20 ms."""
        elapsed = min(_LONGEST_TICK_S, max(0.0, now - self._ticked)) if self._ticked is not None else 0.0
        if self._ticked is not None and now - self._ticked > self._stalled_after_s:
            self.applied = self._wanted = REST
        self._ticked = now
        if self.docking is not None:
            refusal = self._refusal(self._holder, now) or self._lifted()
            refusal = refusal or self.docking.refusal(self._surroundings, self.located(now), self.settings, now)
            if refusal is not None:
                self._end_docking(refusal)
            elif self.board is not None and self.docking.arrived(self.board, now):
                self.docking = None
                self._verdict = Verdict(REST, None, "docked")
            else:
                return Decision(Act.DOCKING, REST)
        if self._cancelling and self._has_ended_docking(now):
            self._cancelling = False
        verdict = self._decide(now, elapsed)
        if self.applied != REST and verdict.applied == REST:
            self.stops += 1
        self.applied = verdict.applied
        if self.applied == REST:
            self._wanted = REST
        self._verdict = verdict
        if self._cancelling:
            return Decision(Act.CANCEL_DOCKING, REST)
        return self._write(verdict, now)

    def next_change(self, now: float, most_s: float) -> float:
        """When to tick next: in `most_s` seconds, or sooner, when command, lease or scan runs out before that."""
        ends = [now + most_s]
        if self._surroundings is not None and self.applied != REST:
            ends.append(self._surroundings.time + self.settings.lidar.max_age_s + _JUST_AFTER_S)
        if self._command is not None:
            ends.append(self._command.issued + self.settings.command_ttl_s)
        if self._deadline is not None:
            ends.append(self._deadline)
        return min(end for end in ends if end > now)

    def status(self, now: float, fencing: int | None = None) -> MotionStatus:
        """What is being done and why, as the client with that fencing number should see it."""
        verdict = self._verdict
        if verdict.reason is StopReason.LIDAR_STALE and self.lidar_trouble:
            verdict = replace(verdict, detail=f"{verdict.detail}: {self.lidar_trouble}")
        if fencing is not None and self.memory.latched is None:
            verdict = self.check_fencing(fencing, now) or verdict
        refused = verdict.applied == REST and verdict.reason not in (None, StopReason.COMMANDED)
        return MotionStatus(
            time=now,
            allowed=not refused,
            latched=self.memory.latched is not None,
            docking=self.docking is not None,
            reason=verdict.reason if verdict.applied == REST else None,
            detail=verdict.detail,
            commanded=self._command.twist if self._command is not None else REST,
            applied=self.applied,
            stops=self.stops,
        )

    def _decide(self, now: float, elapsed: float) -> Verdict:
        command = self._command
        if self.memory.latched is not None:
            return self._latched()
        if command is None:
            return replace(self._verdict, applied=REST)
        if (refusal := self._refusal(self._holder, now) or self._command_refusal(command, now)) is not None:
            return refusal
        limits = self.settings.limits
        target = clamp(command.twist, limits, self.settings.geometry)
        self._wanted = ramp(target, self._wanted, elapsed, limits)
        wanted = held_back(self._wanted, self.applied, elapsed, limits)
        if wanted == REST:
            # The very first tick from rest has no time to speed up in: allowed, but still standing.
            return Verdict(REST, None, "")
        return judge(
            wanted,
            self.applied,
            now,
            surroundings=self._surroundings,
            located=self.located(now),
            settings=self.settings,
        )

    def _command_refusal(self, command: _Command, now: float) -> Verdict | None:
        """Why this command moves nothing; None when it may be judged."""
        ttl = self.settings.command_ttl_s
        if now >= command.issued + ttl:
            return Verdict(REST, StopReason.COMMAND_EXPIRED, f"no command came for {ttl * 1000:.0f} ms")
        if command.twist == REST:
            return Verdict(REST, StopReason.COMMANDED, "told to rest")
        fault = self._board_fault(self.board)
        return fault if fault is not None and not self._backing_off(command.twist, fault) else None

    def _refusal(self, fencing: int, now: float) -> Verdict | None:
        """Why nothing may move, whatever the command."""
        if self.memory.latched is not None:
            return self._latched()
        return self.check_fencing(fencing, now) or self._silent or self._held

    def _write(self, verdict: Verdict, now: float) -> Decision:
        if verdict.applied == REST:
            if verdict.reason is not None:
                self._waking_since = None
            return Decision(Act.REST, REST)
        if self.board is None or self.board.mode in (BaseMode.SAFE, BaseMode.FULL):
            self._waking_since = None
            return Decision(Act.DRIVE, verdict.applied)
        self.applied = self._wanted = REST  # a board that is not in safe mode does not turn its wheels for us
        self._waking_since = now if self._waking_since is None else self._waking_since
        if now - self._waking_since > WAKE_LIMIT_S:
            detail = f"the board stays in {self.board.mode} mode, in which it ignores drive commands"
            self._held = Verdict(REST, StopReason.BOARD_FAULT, detail)
            return Decision(Act.REST, REST)
        return Decision(Act.WAKE, REST)

    def _latched(self) -> Verdict:
        return Verdict(REST, StopReason.EMERGENCY_STOP, f"emergency stop: {self.memory.latched}")

    def _acknowledge(self) -> None:
        self._held = None
        self._waking_since = None

    def _end_docking(self, why: Verdict) -> None:
        if self.docking is not None:
            self.docking = None
            self._cancelling, self._cancelled_at = True, None
            self._verdict = why
            self.stops += 1

    def _has_ended_docking(self, now: float) -> bool:
        """Whether the board has said since, for sure, that it is in a mode in which it does not steer itself."""
        if self._cancelled_at is None:
            self._cancelled_at = now
        obeys = self.board is not None and self.board.mode in (BaseMode.SAFE, BaseMode.FULL)
        return obeys and self.board is not None and self.board.time > self._cancelled_at + _MODE_SETTLES_S

    def _lifted(self) -> Verdict | None:
        """Why a docking run ends for the board's own sensors: its bumper and cliff sensors it minds itself."""
        fault = self._board_fault(self.board)
        return fault if fault is not None and fault.reason is StopReason.WHEEL_DROP else None

    @staticmethod
    def _board_fault(state: BaseState | None) -> Verdict | None:
        if state is None:
            return None
        if state.wheel_drop:
            return Verdict(REST, StopReason.WHEEL_DROP, "a wheel is dropped: the base was lifted or hangs")
        if state.cliff:
            return Verdict(REST, StopReason.CLIFF, "a cliff sensor sees no floor")
        if state.bump:
            side = (
                "both sides" if state.bump_left and state.bump_right else "the left" if state.bump_left else "the right"
            )
            return Verdict(REST, StopReason.BUMPER, f"the bumper is pressed on {side}; only reversing is possible")
        return None

    @staticmethod
    def _backing_off(twist: Twist, fault: Verdict) -> bool:
        return fault.reason is StopReason.BUMPER and twist.linear < 0
