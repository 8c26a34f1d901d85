"""A real Chromium on the pilot's page."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from devices.client import WebDriverSession
from drivers.errors import DeviceError


@pytest.fixture(scope="module")
def chromedriver() -> Iterator[str]:
    """The URL of a chromedriver of our own."""
    program = shutil.which("chromedriver")
    assert program is not None, "install chromium-driver: tools/install-test-parts.sh does"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [program, f"--port={port}", "--silent"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def browser(chromedriver: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebDriverSession]:
    """A browser that tests share: each opens the page anew."""
    with opened(chromedriver, tmp_path_factory.mktemp("profile")) as session:
        yield session


@pytest.fixture
def own_browser(chromedriver: str, tmp_path: Path) -> Iterator[WebDriverSession]:
    """A browser for a test that breaks it."""
    with opened(chromedriver, tmp_path / "profile") as session:
        yield session


def opened(chromedriver: str, profile: Path) -> WebDriverSession:
    arguments = [
        "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking",
        "--no-first-run", "--window-size=900,700", f"--user-data-dir={profile}",
    ]  # fmt: skip
    until = time.monotonic() + 30
    while True:
        try:
            return WebDriverSession.open(
                chromedriver, {"browserName": "chrome", "goog:chromeOptions": {"args": arguments}}
            )
        except DeviceError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)
