"""The guard's hold on a base that its own client drives: nothing is written to its wheels; a stop channel stops it.

The holder arms the watch before the client drives and disarms it after. While it is armed, whatever would make the
guard stop a base of ours makes it use the channel, and so does a base that the LiDAR sees moving though nothing may
move it. What stands in for the motor board is what the client's page shows, told by the holder.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from enum import Enum

from drivers.clock import Clock
from drivers.errors import DeviceError
from drivers.guard.core import Act, Decision, GuardCore
from drivers.guard.rules import REST
from drivers.guard.scan_motion import moved
from drivers.guard.settings import GuardSettings
from drivers.stop_channel import StopChannel
from drivers.types import BaseState, MotionStatus, Scan, StopReason

# Seconds of the guard's clock.
_SILENT_AFTER_S = 0.5
# The LiDAR's motion is worked out over so long, so often; it is some millimetres off.
_COMPARE_S = 0.25
_MOVED_M = 0.015
# Two looks in a row have to see it move: one scan that a passer-by spoilt is no motion.
_LOOKS = 2
# A channel that does not confirm is tried again after so long, seconds of the machine's clock.
_RETRY_S = 0.2
_COUNTS_FOR_MORE = frozenset({StopReason.EMERGENCY_STOP, StopReason.FENCED, StopReason.LEASE_ENDED})
# How long an emergency stop waits for the channel's word before it says that there is none yet.
_CONFIRM_S = 0.2


class ChannelState(Enum):
    """What the channel does, as far as it has said."""

    UNKNOWN = "unknown"
    STOPPED = "stopped"
    RELEASED = "released"


class ChannelThread:
    """Uses a stop channel without anybody having to wait: it is told what is wanted and tries until it has it.

    `trouble`: why the channel does not do what is wanted, in its words; empty while it does.
    """

    def __init__(self, channel: StopChannel, wake: Callable[[], None]) -> None:
        self.trouble = ""
        self.state = ChannelState.UNKNOWN
        self._channel = channel
        self._wake = wake
        self._wanted: ChannelState | None = None
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="stop channel", daemon=True)
        self._thread.start()

    @property
    def name(self) -> str:
        return self._channel.name

    def want(self, state: ChannelState) -> None:
        """Have the channel stop the base, or let it go. A stop goes before a release that is under way."""
        with self._changed:
            if state is not self._wanted:
                self._wanted, self.state = state, ChannelState.UNKNOWN
                self._changed.notify_all()

    def confirmed(self, state: ChannelState, within_s: float) -> bool:
        """Whether the channel has said so, waiting that long of the machine's clock for its word."""
        with self._changed:
            return self._changed.wait_for(lambda: self.state is state, within_s)

    def close(self, within_s: float) -> None:
        """End the thread; what it was told last is tried to the end of that time."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(within_s)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or self._to_do())
                if self._closing and not (self._to_do() and self._wanted is ChannelState.STOPPED):
                    return
                wanted = self._wanted
            trouble = ""
            try:
                if wanted is ChannelState.STOPPED:
                    self._channel.stop()
                else:
                    self._channel.release()
            except DeviceError as exc:
                trouble = str(exc)
            except Exception as exc:  # whatever a vendor's answer did: without this thread nothing is ever stopped
                trouble = repr(exc)
            with self._changed:
                self.trouble = trouble
                if not trouble and wanted is self._wanted and wanted is not None:
                    self.state = wanted
                self._changed.notify_all()
                if trouble and wanted is self._wanted:
                    self._changed.wait(_RETRY_S)
            self._wake()

    def _to_do(self) -> bool:
        return self._wanted is not None and self.state is not self._wanted


class ForeignBase:
    """Stands where the guard of a base of ours has its motor board. Nothing here waits, but `stop_now` a moment."""

    def __init__(self, settings: GuardSettings, clock: Clock, core: GuardCore, wake: Callable[[], None]) -> None:
        assert settings.stop is not None
        self._settings = settings
        self._clock = clock
        self._core = core
        self._channel = ChannelThread(settings.stop.channel, wake)
        self._told: BaseState | None = None
        self._heard_at = -1e9
        self._armed_by: int | None = None
        self._stopped: tuple[StopReason, str] | None = None
        self._releasing = False
        self._rests_since = clock.now()
        self._was = Decision(Act.REST, REST)
        self._compared: Scan | None = None
        self._looks = 0

    # What the holder says

    def arm(self, connection: int) -> None:
        """Release the channel and watch from now on; motion is allowed when the channel says that it let go."""
        self._armed_by = connection
        self._stopped = None
        self._releasing = True
        self._looks = 0
        self._compared = None
        self._channel.want(ChannelState.RELEASED)

    def disarm(self) -> None:
        """The client drives no more; the channel stays as it is."""
        self._armed_by = None
        self._releasing = False

    def trip(self, reason: StopReason, why: str) -> None:
        """Use the channel."""
        self._releasing = False
        if self._stopped is None:
            self._stopped = (reason, why)
            self._core.stops += 1
        self._channel.want(ChannelState.STOPPED)

    def tell(self, state: BaseState) -> None:
        """What the client's page shows of the base."""
        if state.time > self._heard_at:
            self._heard_at = state.time
            self._told = state
            self._core.take_board(state)

    # In place of a motor board

    def open(self) -> None:
        """There is nothing to open: the channel is used when it is needed, and tried before."""

    def take(self, now: float) -> BaseState | None:
        """Tell the core what the client's page says, or why nothing may move."""
        latest, self._told = self._told, None
        if (why := self._why_not(now)) is not None:
            self._core.board_silent(*why)
        return latest

    def saw(self, scan: Scan, now: float) -> None:
        """Watch for motion that nothing allows."""
        if self._armed_by is None or self._stopped is not None:
            return
        first = self._compared or scan
        if scan.time - first.time < _COMPARE_S:
            self._compared = first
            return
        self._compared = scan
        allowed = self._core.applied != REST or self._core.docking is not None
        at_rest_s = first.time - self._rests_since
        stopping = self._settings.stopping
        coasting_s = stopping.latency_s + self._settings.limits.linear_m_s / stopping.braking_m_s2 + _COMPARE_S
        if allowed or at_rest_s < coasting_s:
            self._looks = 0
            return
        seen = moved(first, scan, self._settings.lidar.mount)
        self._looks = self._looks + 1 if seen is not None and seen.rim > _MOVED_M else 0
        if self._looks >= _LOOKS and seen is not None:
            speed = seen.rim / max(1e-3, seen.seconds)
            self.trip(
                StopReason.CLIENT_TROUBLE,
                f"the LiDAR sees the base move at {speed:.2f} m/s {now - self._rests_since:.1f} s after it had to rest",
            )

    def stop_now(self) -> str | None:
        """Use the channel at once. Returns why the base may not have stopped, if the channel has not confirmed it."""
        self.trip(StopReason.EMERGENCY_STOP, "emergency stop")
        if self._channel.confirmed(ChannelState.STOPPED, _CONFIRM_S):
            return None
        return self._channel.trouble or f"{self._channel.name} has not confirmed it yet"

    def start_docking(self) -> None:
        """The client's own docking run begins; the guard only watches it."""

    def act(self, decision: Decision, now: float) -> None:
        """Use the channel where the decision takes motion away that the holder did not end itself."""
        before, self._was = self._was, decision
        if decision.act in (Act.DRIVE, Act.DOCKING):
            self._rests_since = now
            return
        if self._armed_by is None:
            return
        over = self._core.check_fencing(self._core.memory.fencing, now)
        if over is not None and over.reason is not None:
            self.trip(over.reason, over.detail)
            return
        status = self._core.status(now)
        if before.act in (Act.DRIVE, Act.DOCKING) and status.reason not in (None, StopReason.COMMANDED):
            self.trip(status.reason, status.detail)
        elif decision.act is Act.CANCEL_DOCKING:
            self.trip(StopReason.COMMANDED, "the docking run was broken off")

    def described(self, status: MotionStatus) -> MotionStatus:
        """The core's status with what the channel does, which counts for more than that nobody asks for motion."""
        why = self._why_not(status.time)
        if why is None or status.reason in _COUNTS_FOR_MORE or status.applied != REST:
            return status
        return replace(status, allowed=False, reason=why[0], detail=why[1])

    def link_lost(self, connection: int) -> None:
        """The connection of a client ended."""
        if connection == self._armed_by:
            self.trip(StopReason.LINK_LOST, "the connection of the program that watched over the client was cut")
            self._armed_by = None

    def stop_for_good(self) -> None:
        """The guard ends: a base that a client may be driving is stopped."""
        if self._armed_by is not None:
            self.trip(StopReason.SHUTDOWN, "the guard ends")

    def close(self) -> None:
        """Give the channel the time it needs."""
        self._channel.close(2.0)

    def _why_not(self, now: float) -> tuple[StopReason, str] | None:
        """Why nothing may move, if so."""
        name = self._channel.name
        if self._stopped is not None:
            reason, why = self._stopped
            done = "stopped by" if self._channel.state is ChannelState.STOPPED else "NOT YET stopped by"
            trouble = f" ({self._channel.trouble})" if self._channel.trouble else ""
            return reason, f"{done} {name}{trouble}: {why}"
        if self._armed_by is None:
            return StopReason.STOP_CHANNEL, f"its own client drives this base, and {name} is not armed"
        if self._releasing:
            if self._channel.state is not ChannelState.RELEASED:
                trouble = f": {self._channel.trouble}" if self._channel.trouble else ""
                return StopReason.STOP_CHANNEL, f"{name} has not let go of the base yet{trouble}"
            self._releasing = False
        if now - self._heard_at > _SILENT_AFTER_S:
            return StopReason.BOARD_SILENT, f"the client's page has told nothing for {_SILENT_AFTER_S:g} s"
        return None
