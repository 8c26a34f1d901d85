"""A wish to end a course early, that may come from another thread."""

from __future__ import annotations

from threading import Event

from courses.errors import CourseCancelledError


class CancelToken:
    """Set once, looked at often."""

    def __init__(self) -> None:
        self._event = Event()
        self._reason = ""

    def cancel(self, reason: str) -> None:
        """Ask for the course to end; the robot is stopped at the next step, 0.1 s away at most."""
        self._reason = self._reason or reason
        self._event.set()

    def check(self) -> None:
        """Raises CourseCancelledError when the course was cancelled."""
        if self._event.is_set():
            raise CourseCancelledError(self._reason)
