"""A Selenium 4 client drives Winium.Mobile: fingers for a mouse, and scripts of its own."""

from __future__ import annotations

import pytest
from selenium.common import exceptions
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.actions import interaction
from selenium.webdriver.common.actions.action_builder import ActionBuilder
from selenium.webdriver.common.actions.pointer_input import PointerInput
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver

from drivers.sim.winium import Application

Phone = tuple[WebDriver, Application]


def finger(driver: WebDriver) -> ActionBuilder:
    return ActionBuilder(driver, mouse=PointerInput(interaction.POINTER_TOUCH, "finger"))


def test_a_tap_on_an_element(phone: Phone) -> None:
    driver, desk = phone
    touch = finger(driver)
    touch.pointer_action.move_to(driver.find_element(By.ID, "express")).click()
    touch.perform()
    assert desk.express.selected


def test_a_swipe_goes_down_moves_and_lifts(phone: Phone) -> None:
    driver, desk = phone
    touch = finger(driver)
    touch.pointer_action.move_to_location(30, 150).pointer_down().move_to_location(350, 70).pointer_up()
    touch.perform()
    assert desk.log == ["press Item 0", "release Save"]
    assert desk.mouse == (350, 70)


def test_a_flick_is_a_script_with_a_speed(phone: Phone) -> None:
    driver, desk = phone
    items = driver.find_element(By.ID, "items")
    driver.execute_script("winium: flick", items, {"xoffset": 0, "yoffset": -120, "speed": 800})
    assert desk.log == ["flick Items by 0, -120 at 800"]
    with pytest.raises(exceptions.WebDriverException, match="has no script 'winium: getDataGridRowCount'"):
        driver.execute_script("winium: getDataGridRowCount", items)


def test_a_finger_left_on_the_glass_is_lifted_by_releasing_actions(phone: Phone) -> None:
    driver, desk = phone
    touch = finger(driver)
    touch.pointer_action.move_to_location(350, 70).pointer_down()
    touch.perform()
    assert desk.buttons == {0}
    ActionChains(driver).reset_actions()
    assert desk.buttons == set()


def test_scripts_of_the_phone(phone: Phone) -> None:
    driver, desk = phone
    customer = driver.find_element(By.NAME, "Customer")
    driver.execute_script("attribute: set", customer, "Text", "Zoë")
    driver.execute_script("automation: InvokePattern.Invoke", driver.find_element(By.NAME, "Save"))
    assert desk.status.name == "saved Zoë"
    with pytest.raises(exceptions.JavascriptException, match="Could not access attribute Colour"):
        driver.execute_script("attribute: set", customer, "Colour", "red")
    driver.execute_script("mobile: App.Close")
    assert not desk.running


def test_source_and_tag_names_are_the_phones(phone: Phone) -> None:
    driver, _ = phone
    assert 'AutomationId="customer"' in driver.page_source
    assert driver.find_element(By.ID, "save").tag_name == "Windows.UI.Xaml.Controls.Button"


def test_a_mouse_is_not_to_be_had(phone: Phone) -> None:
    driver, _ = phone
    with pytest.raises(exceptions.WebDriverException, match="Unknown command"):
        ActionChains(driver).click(driver.find_element(By.ID, "save")).perform()
    with pytest.raises(exceptions.WebDriverException, match="has no script 'winium: expandComboBox'"):
        driver.execute_script("winium: expandComboBox", driver.find_element(By.ID, "size"))
