"""An unmodified Selenium client drives mate-calc (GTK 3): finding, clicking, typing, windows, pictures, source."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Any

import pytest
from lxml import etree
from selenium import webdriver
from selenium.common.exceptions import (
    InvalidArgumentException,
    InvalidElementStateException,
    InvalidSelectorException,
    JavascriptException,
    MoveTargetOutOfBoundsException,
    NoAlertPresentException,
    NoSuchElementException,
    NoSuchWindowException,
    WebDriverException,
)
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement


@pytest.fixture
def bar(calculator: webdriver.Remote) -> WebElement:
    found = calculator.find_element(By.CSS_SELECTOR, "editbar")
    found.clear()
    return found


def becomes(session: webdriver.Remote, element: WebElement, value: str, attribute: str = "text") -> Any:
    wanted = {"element": element, "attribute": attribute, "equals": value, "timeout": 20_000}
    return session.execute_script("desktop: wait", wanted)


@pytest.mark.parametrize("how", ["action", "pointer"])
def test_two_to_the_eighth_is_256(calculator: webdriver.Remote, bar: WebElement, how: str) -> None:
    for name in ("2", "x_pow_y", "8", "result"):
        button = calculator.find_element("name", name)
        calculator.execute_script("desktop: click", {"element": button, "by": how})
    assert becomes(calculator, bar, "256") == "256"


@pytest.mark.parametrize(
    ("strategy", "expression"),
    [
        ("accessibility id", "x_pow_y"),
        ("name", "x_pow_y"),
        (By.NAME, "x_pow_y"),
        ("xpath", "//push-button[@name='x_pow_y']"),
        ("xpath", "/application/frame//*[@role='push button' and @name='x_pow_y']"),
        ("css selector", "panel > push-button[name='x_pow_y']"),
        (By.LINK_TEXT, "x_pow_y"),
        (By.PARTIAL_LINK_TEXT, "pow_y"),
    ],
)
def test_every_strategy_finds_the_same_element(calculator: webdriver.Remote, strategy: str, expression: str) -> None:
    expected = calculator.find_element("xpath", "//*[@name='x_pow_y']")
    assert calculator.find_element(strategy, expression) == expected
    frame = calculator.find_element("tag name", "frame")
    if not expression.startswith("/application"):
        assert frame.find_elements(strategy, expression) == [expected]


def test_class_and_tag_name_are_the_role(calculator: webdriver.Remote) -> None:
    by_tag = calculator.find_elements(By.TAG_NAME, "push-button")
    assert by_tag == calculator.find_elements(By.CLASS_NAME, "push-button")
    assert {element.tag_name for element in by_tag} == {"push-button"}


def test_what_is_hidden_is_not_found(calculator: webdriver.Remote) -> None:
    calculator.implicitly_wait(0)
    try:
        assert len(calculator.find_elements("name", "2")) == 1  # the other modes' panels have a 2 each
    finally:
        calculator.implicitly_wait(10)


def test_properties_of_an_element(calculator: webdriver.Remote) -> None:
    button = calculator.find_element("name", "factor")
    assert button.accessible_name == "factor"
    assert button.aria_role == "push button"
    assert str(button.get_attribute("description")).startswith("Factorize")
    assert button.get_dom_attribute("focusable") == "true"
    assert button.is_displayed()
    assert button.is_enabled()
    assert not button.is_selected()
    assert button.rect == {name: button.get_property(name) for name in ("x", "y", "width", "height")}


def test_characters_of_any_script_are_typed(calculator: webdriver.Remote, bar: WebElement) -> None:
    text = "Ab(1)+π×Жüß√日本"
    bar.send_keys(text)
    assert bar.text == text


def test_special_keys_and_modifiers_are_keys(calculator: webdriver.Remote, bar: WebElement) -> None:
    bar.send_keys("12+30", Keys.ENTER)
    assert becomes(calculator, bar, "42") == "42"
    bar.send_keys(Keys.CONTROL, "a", Keys.NULL, "7")
    assert bar.text == "7"
    bar.send_keys("65", Keys.BACK_SPACE, Keys.HOME, "9")
    assert bar.text == "976"


def test_actions_press_keys_and_click(calculator: webdriver.Remote, bar: WebElement) -> None:
    five = calculator.find_element("name", "5")
    chain = ActionChains(calculator, duration=20)
    chain.click(bar).send_keys("Q").pause(0.01).key_down(Keys.SHIFT).send_keys("x").key_up(Keys.SHIFT)
    chain.click(five).move_to_element_with_offset(five, 2, 2).click().perform()
    assert bar.text == "QX55"


def test_releasing_actions_lets_go_of_a_held_key(calculator: webdriver.Remote, bar: WebElement) -> None:
    bar.send_keys("w")
    ActionChains(calculator).key_down(Keys.SHIFT).perform()
    ActionChains(calculator).reset_actions()
    ActionChains(calculator).send_keys("q").perform()
    assert bar.text == "wq"


def test_the_focused_element_is_the_active_one(calculator: webdriver.Remote, bar: WebElement) -> None:
    bar.send_keys("1")
    assert calculator.switch_to.active_element == bar


def pixels(png: bytes) -> tuple[int, int, list[bytes]]:
    width, height = struct.unpack(">II", png[16:24])
    start = png.index(b"IDAT")
    length = struct.unpack(">I", png[start - 4 : start])[0]
    rows = zlib.decompress(png[start + 4 : start + 4 + length])
    stride = 1 + 3 * width
    return width, height, [rows[row * stride : (row + 1) * stride] for row in range(height)]


def test_pictures_have_the_size_of_what_they_show(calculator: webdriver.Remote) -> None:
    width, height, _ = pixels(calculator.get_screenshot_as_png())
    assert (width, height) == (1280, 1024)
    button = calculator.find_element("name", "5")
    width, height, rows = pixels(base64.b64decode(button.screenshot_as_base64))
    assert (width, height) == (button.rect["width"], button.rect["height"])
    assert len(set(rows)) > 3  # the button's label is on it


def test_the_source_is_xml_with_places_and_texts(calculator: webdriver.Remote, bar: WebElement) -> None:
    bar.send_keys("77")
    root = etree.fromstring(calculator.page_source.encode())
    assert root.tag == "application"
    (entry,) = root.iter("editbar")
    assert entry.get("text") == "77"
    assert {name: int(entry.get(name, "")) for name in bar.rect} == bar.rect


def test_errors_are_those_of_w3c(calculator: webdriver.Remote, bar: WebElement) -> None:
    calculator.implicitly_wait(0)
    try:
        with pytest.raises(NoSuchElementException, match="nothing in 'Calculator' with"):
            calculator.find_element("name", "nonsense")
        assert calculator.find_elements("name", "nonsense") == []
        with pytest.raises(InvalidSelectorException):
            calculator.find_element(By.XPATH, "//[")
        with pytest.raises(InvalidSelectorException, match="selects no elements"):
            calculator.find_element(By.XPATH, "count(//*)")
        with pytest.raises(NoSuchWindowException):
            calculator.execute("switchToWindow", {"handle": "window-of-nobody"})
        with pytest.raises(NoAlertPresentException):
            _ = calculator.switch_to.alert.text
        with pytest.raises(JavascriptException, match="desktop: click"):
            calculator.execute_script("return 1")
        with pytest.raises(WebDriverException, match="no pages, frames, cookies or scripts"):
            calculator.get("http://127.0.0.1/")
        with pytest.raises(InvalidElementStateException):
            calculator.find_element("name", "5").clear()
        with pytest.raises(MoveTargetOutOfBoundsException):
            ActionChains(calculator).move_by_offset(100_000, 0).perform()
        with pytest.raises(InvalidArgumentException):
            calculator.set_window_rect(0, 0, -5, 10)
    finally:
        calculator.implicitly_wait(10)
