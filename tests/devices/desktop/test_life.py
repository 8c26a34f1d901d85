"""How sessions begin beside others and end: attached, launched, idle, and with the driver itself killed."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.common.exceptions import InvalidSessionIdException, SessionNotCreatedException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.options import ArgOptions

from devices.desktop.capabilities import Settings
from devices.desktop.desk import MARK, open_desk
from devices.webdriver import WebDriverError


def environment_of(pid: int) -> dict[str, str]:
    words = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return dict(word.decode().split("=", 1) for word in words if b"=" in word)


def marked_on(display: str) -> list[int]:
    """The processes that a driver started for the session on a display, its X server and bus included."""
    marks = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            environment = environment_of(int(entry.name))
            if MARK in environment:
                marks[int(entry.name)] = environment[MARK], environment.get("DISPLAY")
    mine = {mark for mark, shown in marks.values() if shown == display}
    return [pid for pid, (mark, _) in marks.items() if mark in mine]


def test_a_second_application_is_launched_on_the_same_display(open_session: Any) -> None:
    session = open_session(app="mate-calc")
    first = session.current_window_handle
    second = session.execute_script("desktop: launch", {"command": ["zenity", "--info", "--text=Hello"]})
    assert session.current_window_handle == second != first
    assert session.find_element("name", "Hello").is_displayed()
    session.switch_to.window(first)
    assert session.find_element("name", "5").is_enabled()


def test_an_application_that_runs_already_is_attached_to_and_left_running(open_session: Any) -> None:
    owner = open_session(app="mate-calc")
    display = owner.capabilities["lab:display"]
    pid = next(pid for pid in marked_on(display) if Path(f"/proc/{pid}/comm").read_text().strip() == "mate-calc")
    bus = environment_of(pid)["DBUS_SESSION_BUS_ADDRESS"]
    for attach in ({"pid": pid}, {"name": "mate-calc"}):
        guest = open_session(attach=attach, display=display, sessionBus=bus)
        guest.find_element(By.CSS_SELECTOR, "editbar").send_keys("7")
        guest.quit()
    assert owner.find_element(By.CSS_SELECTOR, "editbar").text == "77"
    with pytest.raises(SessionNotCreatedException, match=r"there are: .*mate-calc"):
        open_session(attach={"name": "nobody"}, display=display, sessionBus=bus)
    whole = open_session(display=display, sessionBus=bus)
    assert "Calculator" in whole.page_source


def test_a_session_without_commands_ends_by_itself(open_session: Any) -> None:
    session = open_session(app="mate-calc", newCommandTimeout=0.5)
    display = session.capabilities["lab:display"]
    pids = marked_on(display)
    assert len(pids) >= 3
    await_ends(pids)
    with pytest.raises(InvalidSessionIdException):
        _ = session.title


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_driver_that_is_killed_leaves_nothing_behind(how: signal.Signals) -> None:
    command = [sys.executable, "-m", "devices.desktop", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as driver:
        try:
            assert driver.stdout is not None
            asked = ArgOptions()
            asked.set_capability("appium:app", "mate-calc")
            session = webdriver.Remote(driver.stdout.readline().split()[-1], options=asked)
            pids = marked_on(session.capabilities["lab:display"])
            names = {Path(f"/proc/{pid}/comm").read_text().strip() for pid in pids}
            assert {"Xvfb", "dbus-daemon", "mate-calc"} <= names
            driver.send_signal(how)
            driver.wait(30)
        finally:
            driver.kill()
    await_ends(pids)


def await_ends(pids: list[int]) -> None:
    """Wait until all these processes have ended."""
    for pid in pids:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            assert select.select([descriptor], [], [], 30)[0], f"process {pid} still runs"
        finally:
            os.close(descriptor)


def test_a_desktop_that_cannot_be_had_leaves_nothing_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    before = len([*Path("/proc/self/fd").iterdir()])
    with pytest.raises(WebDriverError, match=r"no program Xvfb to start .*; install xvfb"):
        asyncio.run(open_desk(Settings()))
    assert len([*Path("/proc/self/fd").iterdir()]) <= before  # what others left may be collected meanwhile
