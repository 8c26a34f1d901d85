"""Sessions: several displays at once, other toolkits, dialogs, hangs and deaths, and that nothing is left behind."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from appium import webdriver as appium_webdriver
from appium.options.common import AppiumOptions
from selenium import webdriver
from selenium.common.exceptions import (
    InvalidArgumentException,
    NoSuchElementException,
    NoSuchWindowException,
    SessionNotCreatedException,
    StaleElementReferenceException,
    WebDriverException,
)
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from devices.desktop.desk import MARK


def processes_of(display: str) -> dict[int, str]:
    """The marked processes on a display, by pid: their command names."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                environment = (entry / "environ").read_bytes().split(b"\0")
                if any(word.startswith(f"{MARK}=".encode()) for word in environment):
                    command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    if f"DISPLAY={display}".encode() in environment or f"Xvfb {display}" in command:
                        found[int(entry.name)] = command
            except OSError:
                continue
    return found


def process_of(session: webdriver.Remote, name: str) -> int:
    listed = processes_of(session.capabilities["lab:display"])
    return next(pid for pid, command in listed.items() if Path(command.split()[0]).name == name)


def opened_beside(session: webdriver.Remote, main: str) -> str:
    """The handle of the window that opens beside the main one."""
    handles = WebDriverWait(session, 20, poll_frequency=0.05).until(
        lambda on: [handle for handle in on.window_handles if handle != main]
    )
    assert len(handles) == 1
    return str(handles[0])


def test_an_appium_client_drives_a_qt_editor(driver_url: str) -> None:
    options = AppiumOptions()
    options.set_capability("platformName", "linux")
    options.set_capability("appium:automationName", "desktop")
    options.set_capability("appium:app", "featherpad")
    session = appium_webdriver.Remote(driver_url, options=options)
    try:
        session.implicitly_wait(10)
        editor = session.find_element("xpath", "//text[@editable='true' or @multi-line='true' or @focused='true']")
        editor.send_keys("Grüße, 世界!")
        assert editor.text == "Grüße, 世界!"
        assert editor.get_attribute("role") == "text"
        assert editor.is_displayed()
        assert session.page_source.count("<menu-item") >= 5
    finally:
        session.quit()


def test_sessions_on_displays_of_their_own_do_not_meet(open_session) -> None:  # type: ignore[no-untyped-def] # a fixture's callable
    first = open_session(app="mate-calc")
    second = open_session(app="mate-calc", screen="1024x768x24")
    displays = [session.capabilities["lab:display"] for session in (first, second)]
    assert displays[0] != displays[1]
    bars = [session.find_element(By.CSS_SELECTOR, "editbar") for session in (first, second)]
    for bar, text in zip(bars, ("111", "222"), strict=True):
        bar.send_keys(text)
    assert [bar.text for bar in bars] == ["111", "222"]
    with pytest.raises(NoSuchElementException, match="this session knows no element"):
        second.execute("getElementText", {"id": bars[0].id})
    listed = processes_of(displays[0])
    assert len(listed) >= 3
    first.quit()
    assert processes_of(displays[0]) == {}
    assert bars[1].text == "222"


def test_an_application_that_dies_is_no_such_window(open_session) -> None:  # type: ignore[no-untyped-def] # a fixture's callable
    session = open_session(app="mate-calc")
    button = session.find_element("name", "5")
    os.kill(process_of(session, "mate-calc"), signal.SIGKILL)
    with pytest.raises((StaleElementReferenceException, NoSuchWindowException)):
        session.execute_script("desktop: wait", {"element": button, "attribute": "name", "equals": "dead"})
    with pytest.raises(NoSuchWindowException):
        session.find_element("name", "5")
    with pytest.raises(StaleElementReferenceException, match="ended"):
        button.click()


def test_an_application_that_hangs_is_a_timeout_and_the_session_still_ends(open_session) -> None:  # type: ignore[no-untyped-def] # a fixture's callable
    session = open_session(app="mate-calc", commandTimeout=1000)
    display = session.capabilities["lab:display"]
    other = open_session(app="mate-calc")
    os.kill(process_of(session, "mate-calc"), signal.SIGSTOP)
    with pytest.raises(WebDriverException, match="did not answer"):
        session.find_element("name", "5")
    assert other.find_element("name", "5").is_enabled()
    session.quit()
    assert processes_of(display) == {}


def test_a_closed_dialog_makes_its_elements_stale(open_session) -> None:  # type: ignore[no-untyped-def] # a fixture's callable
    session = open_session(app="mousepad")
    editor = session.find_element(By.CSS_SELECTOR, "text[multi-line], text[editable='true']")
    editor.send_keys("unsaved")
    assert editor.text == "unsaved"
    main = session.current_window_handle
    session.execute_script("desktop: menu", {"path": ["File", "Save As..."]})
    session.switch_to.window(opened_beside(session, main))
    cancel = session.find_element("name", "Cancel")
    cancel.click()
    with pytest.raises((StaleElementReferenceException, NoSuchWindowException)):
        session.execute_script("desktop: wait", {"element": cancel, "attribute": "name", "equals": "closed"})
    session.switch_to.window(main)
    assert session.title.endswith("Mousepad")


def test_a_program_that_answered_has_no_window_any_more(open_session) -> None:  # type: ignore[no-untyped-def] # a fixture's callable
    session = open_session(app="zenity", appArguments=["--entry", "--text=Your name?", "--entry-text=nobody"])
    assert session.find_element("name", "Your name?").text == "Your name?"
    entry = session.find_element(By.CSS_SELECTOR, "text")
    entry.send_keys("X")
    assert entry.text == "nobodyX"
    session.find_element("name", "OK").click()
    with pytest.raises((StaleElementReferenceException, NoSuchWindowException)):
        session.execute_script("desktop: wait", {"element": entry, "equals": "closed", "timeout": 20_000})
    with pytest.raises(NoSuchWindowException, match="has ended"):
        _ = session.title


@pytest.mark.parametrize(
    ("capabilities", "error", "said"),
    [
        ({"app": "no-such-program-at-all"}, SessionNotCreatedException, "no program no-such-program-at-all"),
        ({"app": "false"}, SessionNotCreatedException, "exit code 1"),
        ({"app": "mate-calc", "screen": "big"}, InvalidArgumentException, "WIDTHxHEIGHTxDEPTH"),
        ({"app": "mate-calc", "dsiplay": ":1"}, InvalidArgumentException, "no capability lab:dsiplay"),
        ({"app": "mate-calc", "display": ":12345"}, SessionNotCreatedException, ":12345"),
    ],
)
def test_a_session_that_cannot_be_says_why(
    open_session,  # type: ignore[no-untyped-def] # a fixture's callable
    capabilities: dict[str, str],
    error: type[WebDriverException],
    said: str,
) -> None:
    with pytest.raises(error, match=said):
        open_session(**capabilities)


def test_windows_are_moved_sized_and_maximised(open_session) -> None:  # type: ignore[no-untyped-def] # a fixture's callable
    session = open_session(app="mousepad")
    assert session.title.endswith("Mousepad")
    assert session.window_handles == [session.current_window_handle]
    session.set_window_rect(40, 30, 900, 500)
    assert session.get_window_rect() == {"x": 40, "y": 30, "width": 900, "height": 500}
    session.maximize_window()
    assert session.get_window_size() == {"width": 1280, "height": 1024}
    session.set_window_rect(10, 20, 800, 400)
    assert session.get_window_rect() == {"x": 10, "y": 20, "width": 800, "height": 400}
    session.fullscreen_window()
    assert session.get_window_rect() == {"x": 0, "y": 0, "width": 1280, "height": 1024}
    session.minimize_window()
    session.switch_to.window(session.current_window_handle)
    assert session.find_element(By.CSS_SELECTOR, "menu").is_displayed()
