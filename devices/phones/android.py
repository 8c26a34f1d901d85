"""An Android phone over adb."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from drivers.adb import Phone
from drivers.adb.screen import finish_recording, start_recording


@dataclass(frozen=True)
class AdbTools:
    """Satisfies `PhoneTools`. `recording`: where on the phone its screen is recorded to."""

    phone: Phone
    recording: str = "/sdcard/labctl-screen.mp4"

    def install(self, app: Path) -> None:
        self.phone.install(app)

    def uninstall(self, app: str) -> None:
        self.phone.uninstall(app)

    def clear(self, app: str) -> None:
        self.phone.clear(app)

    def push(self, source: Path, target: str) -> None:
        self.phone.push(source, target)

    def pull(self, source: str, target: Path) -> None:
        self.phone.pull(source, target)

    def remove(self, path: str) -> None:
        self.phone.ask("rm", "-rf", path)

    def log(self, since: float | None) -> str:
        return self.phone.log_since(0.0 if since is None else since)

    def start_recording(self, limit_s: int) -> None:
        start_recording(self.phone, self.recording, limit_s)

    def finish_recording(self, target: Path) -> None:
        finish_recording(self.phone, self.recording, target)
