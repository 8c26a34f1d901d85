"""A phone through its Appium session, for iOS and wherever there is no adb server to ask.

Source: the routes of Appium 3's base driver and the `mobile:` commands of its UiAutomator2 and XCUITest drivers.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devices.webdriver import WebDriverError

# What a session's driver names its device log: UiAutomator2 and Espresso, XCUITest.
_DEVICE_LOGS = ("logcat", "syslog")
_LARGEST = 512 * 2**20


@dataclass(frozen=True)
class AppiumTools:
    """Satisfies `PhoneTools`. `call(method, path, body)`: a command of the session, `path` below it; its value."""

    call: Callable[[str, str, dict[str, Any] | None], Any]

    def install(self, app: Path) -> None:
        """The Appium server reads the file: it has to see it under the same path."""
        self._post("/appium/device/install_app", appPath=str(app))

    def uninstall(self, app: str) -> None:
        self._post("/appium/device/remove_app", appId=app, bundleId=app)

    def clear(self, app: str) -> None:
        self._mobile("clearApp", appId=app, bundleId=app)

    def push(self, source: Path, target: str) -> None:
        if source.stat().st_size > _LARGEST:
            raise WebDriverError(
                "invalid argument",
                f"{source.name} has more than {_LARGEST >> 20} MiB, too much for one command: push it over adb",
            )
        self._post("/appium/device/push_file", path=target, data=base64.b64encode(source.read_bytes()).decode())

    def pull(self, source: str, target: Path) -> None:
        target.write_bytes(_decoded(self._post("/appium/device/pull_file", path=source), f"the file {source}"))

    def remove(self, path: str) -> None:
        self._mobile("deleteFile", remotePath=path)

    def log(self, since: float | None) -> str:
        """All that Appium has of the device's log; with `since` what is not older."""
        offered = self.call("GET", "/se/log/types", None)
        kind = next((name for name in _DEVICE_LOGS if name in (offered or [])), None)
        if kind is None:
            raise WebDriverError("unsupported operation", f"the session offers no device log; it offers: {offered}")
        entries = self._post("/se/log", type=kind)
        return "".join(
            f"{entry['timestamp'] / 1000:.3f} {entry['message']}\n"
            for entry in entries
            if since is None or entry["timestamp"] / 1000 >= since
        )

    def start_recording(self, limit_s: int) -> None:
        self._post("/appium/start_recording_screen", options={"timeLimit": str(limit_s), "forceRestart": True})

    def finish_recording(self, target: Path) -> None:
        target.write_bytes(_decoded(self._post("/appium/stop_recording_screen"), "the recording of the screen"))

    def _mobile(self, command: str, **arguments: Any) -> Any:
        return self._post("/execute/sync", script=f"mobile: {command}", args=[arguments])

    def _post(self, route: str, /, **body: Any) -> Any:
        return self.call("POST", route, body)


def _decoded(value: Any, what: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (TypeError, ValueError, binascii.Error) as exc:
        raise WebDriverError("unknown error", f"Appium sent {what} not as base64 but {str(value)[:60]!r}") from exc
