"""What the guard's refusals mean for a course: go on, wait for the way to clear, or give up."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from drivers.errors import MotionRefusedError
from drivers.types import MotionStatus, StopReason


class Hindrance(StrEnum):
    """How the guard hinders the base at the moment."""

    NONE = "none"
    STALL = "stall"
    OBSTACLE = "obstacle"


_WAIT = frozenset({StopReason.OBSTACLE, StopReason.LIDAR_BLIND})
_BRIEF = frozenset(
    {
        StopReason.COMMAND_EXPIRED,
        StopReason.COMMANDED,
        StopReason.LIDAR_STALE,
        StopReason.POSE_UNKNOWN,
        StopReason.LINK_LOST,
        StopReason.BOARD_SILENT,
    }
)
STALL_LIMIT_S = 5.0  # the base stands meanwhile; a busy host needs seconds, and nobody waits longer


class GuardWatch:
    """Judges each status of the guard while the base is asked to move.

    `on_event(kind, detail)` hears when the base is stopped and when it goes on.
    """

    def __init__(self, wait_for_clear_s: float, on_event: Callable[[str, str], None]) -> None:
        self._wait_for_clear_s = wait_for_clear_s
        self._on_event = on_event
        self._since: float | None = None
        self._told: StopReason | None = None

    def begin(self) -> None:
        """A new motion begins: forget what stopped the last one."""
        self._since = None
        self._told = None

    def check(self, status: MotionStatus, now: float) -> Hindrance:
        """What to do about `status`. Raises MotionRefusedError when there is nothing to wait for (any longer)."""
        if status.latched or (not status.allowed and status.reason not in _WAIT | _BRIEF | {None}):
            raise MotionRefusedError(_refusal(status, "the guard stopped the base"))
        if status.allowed or status.reason is None:
            if self._told is not None:
                self._on_event("resumed", f"after {now - (self._since or now):.1f} s: {self._told.value}")
            self.begin()
            return Hindrance.NONE
        if self._since is None:
            self._since = now
        waited = now - self._since
        # The first command of a motion still finds the guard in "commanded" stop: that is no event.
        starting = status.reason is StopReason.COMMANDED and waited < 0.5
        if status.reason is not self._told and not starting:
            self._told = status.reason
            self._on_event("stopped", f"{status.reason.value}: {status.detail}" if status.detail else status.reason)
        limit = self._wait_for_clear_s if status.reason in _WAIT else STALL_LIMIT_S
        if waited > limit:
            raise MotionRefusedError(_refusal(status, f"the base may not move, and {waited:.1f} s did not change that"))
        return Hindrance.OBSTACLE if status.reason in _WAIT else Hindrance.STALL


def _refusal(status: MotionStatus, what: str) -> str:
    reason = status.reason.value if status.reason else "latched"
    detail = f" ({status.detail})" if status.detail else ""
    return f"{what}: {reason}{detail}"
