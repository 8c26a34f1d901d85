"""Toggles, lists, numbers, wheels and pages of a GTK dialog, by the `desktop:` scripts and by hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from selenium import webdriver
from selenium.common.exceptions import InvalidArgumentException, InvalidElementStateException, TimeoutException
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.options import ArgOptions
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait


@pytest.fixture(scope="module")
def preferences(driver_url: str) -> Iterator[webdriver.Remote]:
    """Mousepad's preferences: check boxes, a spin button, a combo box, tabs."""
    asked = ArgOptions()
    asked.set_capability("appium:app", "mousepad")
    session = webdriver.Remote(driver_url, options=asked)
    session.implicitly_wait(10)
    main = session.current_window_handle
    session.execute_script("desktop: menu", {"path": ["Edit", "Preferences..."]})
    WebDriverWait(session, 20, poll_frequency=0.05).until(lambda on: len(on.window_handles) == 2)
    session.switch_to.window(next(handle for handle in session.window_handles if handle != main))
    yield session
    session.quit()


def run(session: webdriver.Remote, script: str, element: WebElement, **given: Any) -> Any:
    return session.execute_script(f"desktop: {script}", {"element": element, **given})


def test_toggle_answers_the_state_and_leaves_what_is_right(preferences: webdriver.Remote) -> None:
    box = preferences.find_element("name", "Show line numbers")
    before = box.is_selected()
    assert run(preferences, "toggle", box) is not before
    assert box.is_selected() is not before
    assert run(preferences, "toggle", box, to=before) is before
    assert run(preferences, "toggle", box, to=before) is before
    assert box.is_selected() is before


def test_a_value_is_set_as_number_or_as_text(preferences: webdriver.Remote) -> None:
    margin = preferences.find_element(By.CSS_SELECTOR, "spin-button")
    run(preferences, "toggle", preferences.find_element("name", "Long line margin at column:"), to=True)
    run(preferences, "setValue", margin, value=96)
    assert run(preferences, "wait", margin, attribute="value", equals=96) == 96
    assert margin.text == "96"
    label = preferences.find_element("name", "Show line numbers")
    with pytest.raises(InvalidElementStateException, match="neither a text nor a value"):
        run(preferences, "setValue", label, value="x")


def test_the_wheel_turns_what_is_under_the_pointer(preferences: webdriver.Remote) -> None:
    margin = preferences.find_element(By.CSS_SELECTOR, "spin-button")
    run(preferences, "toggle", preferences.find_element("name", "Long line margin at column:"), to=True)
    run(preferences, "setValue", margin, value=50)
    place = margin.rect
    x, y = place["x"] + place["width"] // 2, place["y"] + place["height"] // 2
    chain = ActionChains(preferences)
    chain.w3c_actions.wheel_action.scroll(x=x, y=y, delta_y=-240)
    chain.perform()
    assert run(preferences, "wait", margin, attribute="value", equals=52) == 52
    chain = ActionChains(preferences)
    chain.w3c_actions.wheel_action.scroll(x=x, y=y, delta_y=120)
    chain.perform()
    assert run(preferences, "wait", margin, attribute="value", equals=51) == 51


def test_items_are_selected_by_name_and_by_index(preferences: webdriver.Remote) -> None:
    tabs = preferences.find_element(By.CSS_SELECTOR, "page-tab-list")
    run(preferences, "select", tabs, name="Editor")
    editor = preferences.find_element("name", "Editor")
    assert run(preferences, "wait", editor, attribute="selected", equals="true") == "true"
    assert preferences.find_element("xpath", "//spin-button").is_displayed()
    run(preferences, "select", tabs, index=0)
    assert run(preferences, "wait", editor, attribute="selected", equals="false") == "false"
    with pytest.raises(InvalidArgumentException, match="it has: View, Editor"):
        run(preferences, "select", tabs, name="Nonsense")


def test_an_item_of_a_combo_box_becomes_its_name(preferences: webdriver.Remote) -> None:
    combo = preferences.find_element(By.CSS_SELECTOR, "combo-box")
    before = combo.accessible_name
    run(preferences, "select", combo, index=1)
    WebDriverWait(preferences, 20, poll_frequency=0.05).until(lambda _: combo.accessible_name != before)


def test_what_an_element_can_do_and_where_it_belongs(preferences: webdriver.Remote) -> None:
    box = preferences.find_element("name", "Display whitespace")
    assert "click" in run(preferences, "actions", box)
    assert {"sensitive", "showing", "visible"} <= set(run(preferences, "states", box))
    above = run(preferences, "parent", box)
    assert box in above.find_elements("name", "Display whitespace")
    before = box.is_selected()
    run(preferences, "invoke", box, action="click")
    assert run(preferences, "wait", box, attribute="checked", equals=str(not before).lower())
    run(preferences, "invoke", box)
    assert run(preferences, "wait", box, attribute="checked", equals=str(before).lower())
    with pytest.raises(InvalidArgumentException, match="has no action 'fly'"):
        run(preferences, "invoke", box, action="fly")


def test_a_wait_says_what_it_saw_last(preferences: webdriver.Remote) -> None:
    box = preferences.find_element("name", "Display whitespace")
    with pytest.raises(TimeoutException, match="it is 'Display whitespace'"):
        run(preferences, "wait", box, attribute="name", contains="nothing like it", timeout=50)


def test_a_row_far_down_is_scrolled_to_and_clicked(open_session: Any) -> None:
    rows = [word for number in range(60) for word in ("FALSE", f"row {number}")]
    session = open_session(app=["zenity", "--list", "--radiolist", "--column=x", "--column=name", *rows])
    last = session.find_element("name", "row 55")
    assert last.rect["x"] < 0  # out of sight
    seen = run(session, "scrollIntoView", last)
    table = session.find_element(By.CSS_SELECTOR, "table").rect
    assert table["y"] <= seen["y"] <= table["y"] + table["height"] - seen["height"]
    assert seen == last.rect
