"""Browsers with a microphone and a speaker of their own: what they are told, and what a lab file may say."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from devices.targets import ServerState, WatchedServer, chromedriver
from drivers.documents import DocumentError
from labctl.config import Lab, load_lab
from labctl.config.webdriver import BrowserConfig
from labctl.store import open_store
from labctl.webdriver.targets import Targets

PULSE = {"driver": "pulse", "server": "unix:/nowhere"}
EARS = {"speaker": {"sink": "ears"}}
MOUTH = {"microphone": {"sink": "feed", "source": "mouth"}}


def lab(folder: Path, sound: dict[str, str], target: dict[str, Any] | None = None, **devices: Any) -> Lab:
    browser = {"kind": "browser", "target": target or {"driver": "chromedriver"}, "sound": sound}
    audio = {
        "headset": {"kind": "audio", "endpoint": {**PULSE, **EARS, **MOUTH}},
        "ears": {"kind": "audio", "endpoint": {**PULSE, **EARS}},
        "other": {"kind": "audio", "endpoint": {**PULSE, **EARS, "server": "unix:/elsewhere"}},
        "virtual": {"kind": "audio", "endpoint": {"driver": "virtual"}},
        "card": {"kind": "audio", "endpoint": {"driver": "portaudio", "speaker": {"device": 1}}},
    }
    file = folder / "lab.yaml"
    file.write_text(
        yaml.safe_dump({"lab": "test", "devices": {**audio, "b": {**browser, **devices}}}), encoding="utf-8"
    )
    return load_lab(file)


def browser(lab: Lab) -> BrowserConfig:
    found = lab.devices["b"]
    assert isinstance(found, BrowserConfig)
    return found


@pytest.mark.parametrize(
    ("sound", "environment"),
    [
        (
            {"microphone": "headset", "speaker": "headset"},
            {"PULSE_SERVER": "unix:/nowhere", "PULSE_SOURCE": "mouth", "PULSE_SINK": "ears"},
        ),
        ({"speaker": "ears"}, {"PULSE_SERVER": "unix:/nowhere", "PULSE_SINK": "ears"}),
    ],
)
def test_a_browser_is_on_the_endpoints_that_are_named(
    tmp_path: Path, sound: dict[str, str], environment: dict[str, str]
) -> None:
    made = lab(tmp_path, sound)
    named = browser(made).sound
    assert named is not None
    assert named.environment(made.devices) == environment
    assert not named.is_virtual(made.devices)


@pytest.mark.parametrize(
    ("sound", "told"),
    [
        ({"microphone": "nobody"}, r"devices.b.sound.microphone 'nobody' is no audio endpoint .*: ears, headset"),
        ({"speaker": "card"}, r"devices.b.sound.speaker 'card' is no audio endpoint of driver virtual or pulse"),
        ({"speaker": "b"}, r"'b' is no audio endpoint"),
        ({"microphone": "ears"}, r"ears has no microphone that a client could be on"),
        ({"microphone": "headset", "speaker": "other"}, r"microphone on unix:/nowhere and speaker on unix:/elsewhere"),
        ({"microphone": "headset", "speaker": "virtual"}, r"and speaker on the daemon's own"),
        ({}, r"name a microphone, a speaker or both"),
    ],
)
def test_sound_that_cannot_be_is_refused(tmp_path: Path, sound: dict[str, str], told: str) -> None:
    with pytest.raises(DocumentError, match=told):
        lab(tmp_path, sound)


def test_a_browser_elsewhere_has_its_own_sound(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="a target of chromedriver or geckodriver"):
        lab(tmp_path, {"speaker": "ears"}, {"driver": "url", "url": "http://127.0.0.1:1"})


def test_what_a_call_needs_lies_beneath_what_the_lab_file_says(tmp_path: Path) -> None:
    headless = {"goog:chromeOptions": {"args": ["--headless=new"], "binary": "/opt/chrome"}}
    made = lab(tmp_path, {"speaker": "ears"}, defaults=headless)
    store = open_store(tmp_path / "data", None)
    try:
        targets = Targets(made, tmp_path, store)
        options: Any = targets.target("b").defaults["goog:chromeOptions"]
    finally:
        store.close()
    assert options["binary"] == "/opt/chrome"
    assert "--use-fake-ui-for-media-stream" in options["args"]
    assert options["args"][-1] == "--headless=new"


def test_firefox_is_told_in_its_own_words(tmp_path: Path) -> None:
    made = lab(tmp_path, {"speaker": "ears"}, {"driver": "geckodriver"})
    store = open_store(tmp_path / "data", None)
    try:
        preferences: Any = Targets(made, tmp_path, store).target("b").defaults["moz:firefoxOptions"]
    finally:
        store.close()
    assert preferences["prefs"]["media.navigator.permission.disabled"] is True


def test_browsers_on_a_sound_server_that_died_are_started_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    restarted: list[tuple[str, str]] = []
    monkeypatch.setattr(WatchedServer, "restart", lambda self, reason: restarted.append((self.log.stem, reason)))
    for sound in ({"speaker": "ears"}, {"speaker": "virtual"}):
        store = open_store(tmp_path / "data", None)
        try:
            Targets(lab(tmp_path, sound), tmp_path, store).sound_is_new()
        finally:
            store.close()
    assert restarted == [("b", "its sound server died and was started again")]


def test_a_browser_whose_sound_cannot_be_made_says_why(tmp_path: Path) -> None:
    named = browser(lab(tmp_path, {"speaker": "virtual"})).sound
    assert named is not None
    devices = lab(tmp_path, {"speaker": "virtual"}).devices
    told = threading.Event()
    heard: list[str] = []

    def hear(state: ServerState, reason: str) -> None:
        if state is ServerState.OFFLINE:
            heard.append(reason)
            told.set()

    program = replace(chromedriver(), at_start=lambda: named.environment(devices))
    server = WatchedServer(program, tmp_path / "b.log", hear)
    server.start()
    try:
        assert told.wait(60)
    finally:
        server.close()
    assert heard[0].startswith("chromedriver cannot be started: a virtual microphone and speaker exist only while")
