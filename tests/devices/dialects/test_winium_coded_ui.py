"""A Selenium 4 client drives Winium.StoreApps.CodedUi, which taps, sets texts and has little else."""

from __future__ import annotations

import threading
from typing import Any
from xml.etree import ElementTree

import pytest
from selenium.common import exceptions
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.actions import interaction
from selenium.webdriver.common.actions.action_builder import ActionBuilder
from selenium.webdriver.common.actions.pointer_input import PointerInput
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver

from drivers.sim.winium import WiniumFaults, WiniumServer
from drivers.sim.winium.application import Control

Phone = tuple[WebDriver, WiniumServer]


def finger(driver: WebDriver) -> ActionBuilder:
    return ActionBuilder(driver, mouse=PointerInput(interaction.POINTER_TOUCH, "finger"))


def asked(server: WiniumServer) -> list[str]:
    """What was asked since the last time: method and path below the session."""
    paths = [request.replace("/session/AwesomeSession", "") for request in server.requests]
    server.requests.clear()
    return paths


def test_capabilities_go_without_prefix_and_come_back_with_one(coded_ui: Phone) -> None:
    driver, server = coded_ui
    assert server.commands.capabilities["app"] == "C:\\orders.exe"
    assert driver.capabilities["platformName"] == "WindowsPhone"
    assert driver.capabilities["winium:innerPort"] == 9998


@pytest.mark.parametrize(
    ("by", "value"),
    [
        (By.ID, "customer"),
        (By.NAME, "Customer"),
        (By.CSS_SELECTOR, "#customer"),
        (By.CSS_SELECTOR, "[name='Customer']"),
        (By.CLASS_NAME, "TextBox"),
        (By.TAG_NAME, "TextBox"),
        (By.LINK_TEXT, "Customer"),
        ("accessibility id", "customer"),
    ],
)
def test_every_way_to_find_the_same_field(coded_ui: Phone, by: str, value: str) -> None:
    driver, _ = coded_ui
    found = driver.find_element(by, value)
    assert found.get_attribute("AutomationId") == "customer"
    assert driver.find_element(By.ID, "OrderDesk").find_elements(by, value)[0] == found


@pytest.mark.parametrize(
    ("by", "value"), [(By.XPATH, "//Edit"), (By.CSS_SELECTOR, "Window > Edit"), (By.PARTIAL_LINK_TEXT, "ustom")]
)
def test_what_needs_the_structure_of_the_tree_is_an_invalid_selector(coded_ui: Phone, by: str, value: str) -> None:
    driver, _ = coded_ui
    with pytest.raises(exceptions.InvalidSelectorException, match=r"by structure|by 'xpath' here"):
        driver.find_element(by, value)


def test_typing_adds_to_the_text_that_the_server_would_replace(coded_ui: Phone) -> None:
    driver, server = coded_ui
    field = driver.find_element(By.ID, "customer")
    field.send_keys("Zoë ")
    field.send_keys("😀")
    assert (field.text, server.application.customer.value) == ("Zoë 😀", "Zoë 😀")
    with pytest.raises(exceptions.WebDriverException, match=r"no keys?:? U\+E007"):
        field.send_keys(Keys.ENTER)
    assert field.text == "Zoë 😀"
    field.clear()
    assert server.application.customer.value == ""


def test_the_rectangle_is_not_the_point_to_click_at(coded_ui: Phone) -> None:
    driver, _ = coded_ui
    assert driver.find_element(By.ID, "save").rect == {"x": 340, "y": 60, "width": 80, "height": 24}


def test_states_names_and_properties(coded_ui: Phone) -> None:
    driver, _ = coded_ui
    save, note = driver.find_element(By.ID, "save"), driver.find_element(By.ID, "note")
    assert (save.is_enabled(), note.is_enabled()) == (True, False)
    assert (save.is_displayed(), driver.find_element(By.NAME, "Item 9").is_displayed()) == (True, False)
    assert (save.tag_name, save.accessible_name, save.aria_role) == ("Button", "Save", "button")
    assert save.get_attribute("IsOffscreen") == "False"
    assert save.get_attribute("Colour") is None  # the server answers with the name of an exception


def test_a_click_taps_what_is_on_top_at_the_elements_point(coded_ui: Phone) -> None:
    driver, server = coded_ui
    driver.find_element(By.ID, "express").click()
    assert server.application.express.selected


def test_a_mouse_moves_by_corners_and_clicks(coded_ui: Phone) -> None:
    driver, server = coded_ui
    express = driver.find_element(By.ID, "express")
    ActionChains(driver).click(express).perform()
    assert server.application.mouse == (390, 102)
    ActionChains(driver).move_to_element_with_offset(express, -10, 4).click().perform()
    assert server.application.mouse == (380, 106)
    assert not server.application.express.selected  # clicked twice


@pytest.mark.parametrize(
    ("chain", "lacks"),
    [
        (lambda on, save: ActionChains(on).double_click(save), "mouseDoubleClick"),
        (lambda on, save: ActionChains(on).click_and_hold(save), "mouseDown"),
        (lambda on, _: ActionChains(on).send_keys("x"), "sendKeysToActiveElement"),
    ],
)
def test_what_its_hands_cannot_do_is_unsupported(coded_ui: Phone, chain: Any, lacks: str) -> None:
    driver, _ = coded_ui
    with pytest.raises(exceptions.WebDriverException, match=f"'{lacks}' not yet implemented"):
        chain(driver, driver.find_element(By.ID, "save")).perform()


def test_places_count_from_elements_alone(coded_ui: Phone) -> None:
    driver, _ = coded_ui
    chain = ActionChains(driver)
    chain.w3c_actions.pointer_action.move_to_location(30, 150)
    with pytest.raises(exceptions.WebDriverException, match="count places from an element"):
        chain.perform()
    touch = finger(driver)
    touch.pointer_action.move_to_location(30, 150).pointer_down().pointer_up()
    with pytest.raises(exceptions.WebDriverException, match="move to one first"):
        touch.perform()
    touch = finger(driver)
    touch.pointer_action.move_to(driver.find_element(By.ID, "save"), 5, 5).pointer_down()
    with pytest.raises(exceptions.WebDriverException, match="in the middle of an element"):
        touch.perform()


def test_fingers_make_whole_gestures(coded_ui: Phone) -> None:
    driver, server = coded_ui
    items, save = driver.find_element(By.ID, "items"), driver.find_element(By.ID, "save")
    log = server.application.log

    touch = finger(driver)
    touch.pointer_action.move_to(driver.find_element(By.ID, "express")).click()
    touch.perform()
    assert (server.application.express.selected, log) == (True, ["click Express"])

    touch = finger(driver)
    touch.pointer_action.move_to(save).double_click()
    touch.perform()
    assert log.pop() == "double tap Save"

    touch = finger(driver)
    touch.pointer_action.move_to(save).pointer_down().pause(0.6).pointer_up()
    touch.perform()
    assert log.pop() == "long press Save"

    touch = finger(driver)
    touch.pointer_action.move_to(items).pointer_down().move_by(0, -30).move_by(5, -50).pointer_up()
    touch.perform()
    assert log.pop() == "slide Items by 5, -80"

    touch = finger(driver)
    touch.pointer_action.move_to(items).pointer_down().move_to(save).pointer_up()
    touch.perform()
    assert log.pop() == f"slide Items by {380 - 120}, {72 - 200}"

    touch = finger(driver)
    touch.pointer_action.move_to(items).pointer_down().move_to_location(130, 210).pointer_up()
    touch.perform()
    assert log.pop() == "slide Items by 10, 10"

    touch = finger(driver)
    touch.pointer_action.move_to(save, -10, 0).click()
    touch.perform()
    assert (server.application.mouse, log.pop()) == ((370, 72), "click Save")


def test_a_flick_is_a_script_with_a_speed(coded_ui: Phone) -> None:
    driver, server = coded_ui
    items = driver.find_element(By.ID, "items")
    driver.execute_script("winium: flick", items, {"xoffset": 0, "yoffset": -120, "speed": 800})
    assert server.application.log == ["slide Items by 0, -120 at 800"]
    for wrong in ({"xoffset": 0, "yoffset": -120}, {"xoffset": 0.5, "yoffset": 1, "speed": 1}):
        with pytest.raises(exceptions.InvalidArgumentException, match="whole numbers, a speed above 0"):
            driver.execute_script("winium: flick", items, wrong)
    with pytest.raises(exceptions.InvalidArgumentException, match="a speed above 0"):
        driver.execute_script("winium: flick", items, {"xoffset": 0, "yoffset": 9, "speed": 0})


def test_two_fingers_are_unsupported(coded_ui: Phone) -> None:
    driver, server = coded_ui
    pinch = ActionBuilder(driver, mouse=PointerInput(interaction.POINTER_TOUCH, "finger"))
    other = pinch.add_pointer_input(interaction.POINTER_TOUCH, "other finger")
    for each in (pinch.pointer_action.source, other):
        each.create_pointer_move(x=0, y=0, origin=driver.find_element(By.ID, "save"))
        each.create_pointer_down(button=0)
        each.create_pointer_up(0)
    with pytest.raises(exceptions.WebDriverException, match="finger"):
        pinch.perform()
    assert server.application.log == []


def test_a_gesture_that_is_begun_and_released_never_happens(coded_ui: Phone) -> None:
    driver, server = coded_ui
    touch = finger(driver)
    touch.pointer_action.move_to(driver.find_element(By.ID, "save")).pointer_down()
    touch.perform()
    asked(server)
    ActionChains(driver).reset_actions()
    assert (asked(server), server.application.log) == ([], [])


def test_apps_are_switched_to_by_the_names_of_their_tiles(coded_ui: Phone) -> None:
    driver, server = coded_ui
    driver.switch_to.window("2gis.settings_1!App")
    with pytest.raises(exceptions.NoSuchWindowException, match="has no window 'nobody!App'"):
        driver.switch_to.window("nobody!App")
    driver.close()
    assert server.application.log == ["launch 2gis.settings_1!App", "close 2gis.settings_1!App"]
    with pytest.raises(exceptions.NoSuchWindowException, match="opened by switching"):
        driver.close()


def test_the_gateway_waits_for_elements_as_the_server_does_not(coded_ui: Phone) -> None:
    driver, server = coded_ui
    driver.implicitly_wait(20)
    assert driver.timeouts.implicit_wait == 20
    late = Control("Button", "Late", "late", "Button", (0, 0, 10, 10))
    asked(server)

    def appear() -> None:
        while len(server.requests) < 2:  # it has been asked in vain
            threading.Event().wait(0.01)
        server.application.window.children.append(late)

    appearing = threading.Thread(target=appear)
    appearing.start()
    assert driver.find_element(By.ID, "late").text == "Late"
    appearing.join()
    assert set(asked(server)) == {"POST /element", "GET " + "/element/42-1/text"}
    driver.implicitly_wait(0)
    assert driver.find_elements(By.ID, "never") == []
    with pytest.raises(exceptions.NoSuchElementException):
        driver.find_element(By.ID, "never")


def test_the_source_and_files_of_the_app(coded_ui: Phone) -> None:
    driver, _ = coded_ui
    root = ElementTree.fromstring(driver.page_source)
    save = root.find(".//*[@id='save']")
    assert save is not None
    assert (save.tag, save.get("rect")) == ("W4203", "340,60,80,24")
    assert driver.execute_script("storage: ReadLocalTextFile", "orders.txt") == "42\n"
    with pytest.raises(exceptions.WebDriverException, match="Unknown storage command"):
        driver.execute_script("storage: Burn")


@pytest.mark.parametrize(
    "command",
    [
        lambda driver: driver.get_screenshot_as_png(),
        lambda driver: driver.window_handles,
        lambda driver: driver.title,
        lambda driver: driver.switch_to.active_element,
        lambda driver: driver.find_element(By.ID, "express").is_selected(),
        lambda driver: driver.execute_script("automation: InvokePattern.Invoke", driver.find_element(By.ID, "save")),
        lambda driver: driver.execute_script("winium: expandComboBox", driver.find_element(By.ID, "size")),
        lambda driver: driver.get("http://127.0.0.1/"),
        lambda driver: driver.get_cookies(),
    ],
)
def test_what_it_has_not_is_unsupported(coded_ui: Phone, command: Any) -> None:
    driver, _ = coded_ui
    with pytest.raises(
        exceptions.WebDriverException, match=r"not yet implemented|has nothing like|has no script 'winium:"
    ):
        command(driver)


def test_a_phone_that_is_lost_is_told(coded_ui: Phone) -> None:
    driver, server = coded_ui
    status = driver.find_element(By.ID, "status")
    server.faults = WiniumFaults(rubbish="")
    with pytest.raises(exceptions.WebDriverException, match=r"answered GET .*/text with nothing: look whether"):
        _ = status.text
    server.recover()
    assert status.text == "ready"
