"""Tests that know nothing of the lab run against it as they are, and see what they see without it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from devices.targets import WatchedServer, chromedriver

HERE = Path(__file__).parent
SEEN_IN_ANY_BROWSER = {
    "title": "Sums",
    "sum": "42",
    "hover": "over",
    "console": ["added"],
    "missing": "NoSuchElementException",
    "upload": "Dear lab",
    "picture": "89504e470d0a1a0a",
}


def run(script: str, *arguments: str, **environment: str) -> dict:
    """What a script printed."""
    command = [sys.executable, str(HERE / script), *arguments]
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stderr
    seen: dict = json.loads(done.stdout)
    return seen


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[str]:
    """A chromedriver without a lab."""
    server = WatchedServer(chromedriver(), tmp_path / "chromedriver.log", lambda _state, _reason: None)
    server.start()
    assert server.wait_ready(60)
    yield server.url
    server.close()


def test_a_selenium_script_sees_the_same_with_and_without_the_lab(lab, alone):
    directly = run("selenium_script.py", "chrome", "--headless=new", "--no-sandbox", SELENIUM_REMOTE_URL=alone)
    through_the_lab = run("selenium_script.py", "chrome", SELENIUM_REMOTE_URL=lab.endpoint)
    assert through_the_lab == {**SEEN_IN_ANY_BROWSER, "product": directly["product"]}
    assert directly == {**through_the_lab, "upload": None}  # chromedriver takes no files, the lab does
    ended = lab.last_run("chrome")
    assert (ended["verdict"], ended["reason"]) == ("passed", "its client ended the session")
    kept = {each["name"]: each for each in ended["artifacts"]}
    assert "failure-01.png" in kept  # of the element that is not there
    log = [json.loads(line) for line in lab.http.get(kept["commands.jsonl"]["href"]).text.splitlines()]
    assert log[0]["event"] == "session begun"
    assert "bidi websocket opened" in [each.get("event") for each in log]
    assert sum("path" in each for each in log) > 15


def test_the_same_script_runs_on_firefox(lab):
    seen = run("selenium_script.py", "firefox", SELENIUM_REMOTE_URL=lab.endpoint)
    assert seen == SEEN_IN_ANY_BROWSER
    assert lab.last_run("firefox")["verdict"] == "passed"


def test_an_appium_script_runs_on_a_phone(lab, tmp_path):
    app = tmp_path / "app.xml"
    app.write_text(
        '<app><title>Sums</title><MockInputField id="in" value=""/><MockButton id="one">one</MockButton>'
        '<MockButton id="two">two</MockButton></app>',
        encoding="utf-8",
    )
    seen = run("appium_script.py", str(app), APPIUM_URL=lab.endpoint)
    assert seen == {
        "typed": "hello",
        "size": {"height": 0, "width": 0},
        "buttons": 2,
        "contexts": ["NATIVE_APP", "PROXY"],
        "orientation": "LANDSCAPE",
        "picture": "89504e470d0a1a0a",
        "source": True,
    }
    ended = lab.last_run("phone")
    assert ended["verdict"] == "passed"
    assert {"commands.jsonl", "server.log"} <= {each["name"] for each in ended["artifacts"]}
