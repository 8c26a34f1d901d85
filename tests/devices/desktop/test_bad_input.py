"""What goes wrong: odd texts, a display that ends, a desktop without accessibility, a client that vanishes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.common.exceptions import (
    InvalidArgumentException,
    NoSuchWindowException,
    SessionNotCreatedException,
    StaleElementReferenceException,
)
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.common.options import ArgOptions
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from devices.desktop.desk import MARK

EDITOR = "text[multi-line], text[editable='true']"


@pytest.fixture(scope="module")
def editor(driver_url: str) -> Iterator[WebElement]:
    asked = ArgOptions()
    asked.set_capability("appium:app", "mousepad")
    session = webdriver.Remote(driver_url, options=asked)
    session.implicitly_wait(10)
    yield session.find_element(By.CSS_SELECTOR, EDITOR)
    session.quit()


@pytest.mark.parametrize(
    "text",
    [
        "😀 👩\u200d👩\u200d👧",  # beyond the basic plane, joined by characters of no width
        "e\u0301 n\u0303",  # with combining accents
        "^~`´¨ ñ Å",  # keys that are dead on many layouts
        "a\tb\nc",
        "".join(chr(code) for code in range(0x410, 0x44F)),  # more letters than the layout has spare keys
        "a long text is typed in parts. " * 8,
    ],
)
def test_any_text_arrives_as_it_was_sent(editor: WebElement, text: str) -> None:
    editor.clear()
    editor.send_keys(text)
    assert editor.text == text


def test_half_a_character_is_refused_before_anything_is_typed(editor: WebElement) -> None:
    editor.clear()
    with pytest.raises(InvalidArgumentException, match=r"U\+D83D is half a character"):
        editor.parent.execute("sendKeysToElement", {"id": editor.id, "text": "a\ud83d", "value": []})
    assert editor.text == ""


def processes(display: str) -> dict[str, int]:
    """What runs for the session on a display, by name."""
    found: dict[str, tuple[int, bytes, bool]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "environ").read_bytes().split(b"\0")
            name = (entry / "comm").read_text().strip()
        except OSError:
            continue
        for word in words:
            if word.startswith(MARK.encode()):
                found[f"{name} {entry.name}"] = (int(entry.name), word, f"DISPLAY={display}".encode() in words)
    marks = {mark for _, mark, shown in found.values() if shown}
    return {name.split()[0]: pid for name, (pid, mark, _) in found.items() if mark in marks}


def test_a_display_that_ends_is_no_such_window_and_the_session_still_quits(open_session: Any) -> None:
    session = open_session(app="mate-calc")
    display = session.capabilities["lab:display"]
    button = session.find_element("name", "5")
    os.kill(processes(display)["Xvfb"], signal.SIGKILL)
    WebDriverWait(display, 30, poll_frequency=0.05).until(lambda shown: "mate-calc" not in processes(shown))
    for command in (
        lambda: session.find_element("name", "5"),
        session.get_screenshot_as_png,
        session.get_window_rect,
        lambda: session.page_source,
        lambda: ActionChains(session).key_down("a").perform(),
    ):
        with pytest.raises(NoSuchWindowException, match=r"gone|has ended|is closed"):
            command()
    with pytest.raises(StaleElementReferenceException, match="has ended"):
        button.click()
    session.quit()
    assert processes(display) == {}


def test_a_desktop_without_accessibility_is_told(open_session: Any, tmp_path: Path) -> None:
    display = open_session(app="mate-calc").capabilities["lab:display"]
    config = tmp_path / "bus.conf"
    config.write_text(
        f"<busconfig><type>session</type><listen>unix:tmpdir={tmp_path}</listen><policy context='default'>"
        "<allow send_destination='*'/><allow receive_sender='*'/><allow own='*'/></policy></busconfig>"
    )
    command = ["dbus-daemon", f"--config-file={config}", "--nofork", "--print-address"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as bus:
        try:
            assert bus.stdout is not None
            with pytest.raises(SessionNotCreatedException, match=r"has no accessibility bus.*install at-spi2-core"):
                open_session(app="mate-calc", display=display, sessionBus=bus.stdout.readline().strip())
        finally:
            bus.terminate()
    with pytest.raises(SessionNotCreatedException, match="no D-Bus for the desktop session"):
        open_session(app="mate-calc", display=display, sessionBus=f"unix:path={tmp_path}/nothing")


def test_a_key_that_a_vanished_client_held_is_let_go(open_session: Any, driver_url: str) -> None:
    owner = open_session(app="mate-calc")
    display = owner.capabilities["lab:display"]
    environment = Path(f"/proc/{processes(display)['mate-calc']}/environ").read_bytes().split(b"\0")
    bus = next(word for word in environment if word.startswith(b"DBUS_SESSION_BUS_ADDRESS=")).decode().split("=", 1)[1]

    def sessions() -> int:
        with urllib.request.urlopen(f"{driver_url}/status") as answer:
            return int(json.load(answer)["value"]["message"].split()[0])

    guest = open_session(attach={"name": "mate-calc"}, display=display, sessionBus=bus, newCommandTimeout=0.5)
    before = sessions()
    ActionChains(guest).key_down(Keys.SHIFT).perform()
    WebDriverWait(owner, 30, poll_frequency=0.1).until(lambda _: sessions() < before)
    bar = owner.find_element(By.CSS_SELECTOR, "editbar")
    bar.send_keys("w")
    assert bar.text == "w"
