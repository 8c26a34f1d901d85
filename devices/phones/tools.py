"""What can be done with a phone whichever way it is reached."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class PhoneTools(Protocol):
    """Methods raise `drivers.errors.DeviceError` when the phone is lost, and its subclass
    `drivers.adb.wire.AdbRefusedError` or `devices.webdriver.WebDriverError` when it says no.
    """

    def install(self, app: Path) -> None:
        """Install an app, over an older one with its data kept."""

    def uninstall(self, app: str) -> None:
        """Remove an app and its data."""

    def clear(self, app: str) -> None:
        """Stop an app and remove its data: as if just installed."""

    def push(self, source: Path, target: str) -> None:
        """Copy a file to the phone."""

    def pull(self, source: str, target: Path) -> None:
        """Copy a file from the phone."""

    def remove(self, path: str) -> None:
        """Remove a file or folder of the phone; harmless where there is none."""

    def log(self, since: float | None) -> str:
        """What the phone logged, from a moment of its own clock (seconds since 1970) on where it can tell."""

    def start_recording(self, limit_s: int) -> None:
        """Begin to record the screen, for `limit_s` seconds at most."""

    def finish_recording(self, target: Path) -> None:
        """End the recording and keep it as an MP4 file."""
