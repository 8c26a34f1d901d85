"""A Selenium 4 client drives Winium.Desktop."""

from __future__ import annotations

import base64
import io
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

import pytest
from PIL import Image
from selenium.common import exceptions
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver

from devices.webdriver import ELEMENT_KEY
from drivers.sim.winium import Application, WiniumFaults, WiniumServer
from drivers.sim.winium.application import Control
from drivers.sim.winium.commands import Refusal
from drivers.sim.winium.desktop import WindowsCommands

Opened = Callable[..., AbstractContextManager[Any]]


def test_a_session_reaches_the_application_without_vendor_prefixes(driver: WebDriver, winium: WiniumServer) -> None:
    assert winium.commands.capabilities["app"] == "C:\\orders.exe"
    assert driver.capabilities["platformName"] == "windows"
    assert driver.capabilities["winium:app"] == "C:\\orders.exe"
    assert driver.session_id != "AwesomeSession"


def test_text_is_typed_and_a_button_clicked(driver: WebDriver, desk: Application) -> None:
    driver.find_element(By.ID, "customer").send_keys("Zoë Ångström €😀")
    driver.find_element(By.NAME, "Save").click()
    assert desk.customer.value == "Zoë Ångström €😀"
    assert driver.find_element(By.ID, "status").text == "saved Zoë Ångström €😀"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """How Winium was asked to find elements."""
    seen: list[tuple[str, str]] = []
    find = Application.find

    def noting(self: Application, below: Control, using: str, value: str) -> list[Control]:
        seen.append((using, value))
        return find(self, below, using, value)

    monkeypatch.setattr(Application, "find", noting)
    return seen


@pytest.mark.parametrize(
    ("by", "value", "wire"),
    [
        (By.ID, "customer", ("id", "customer")),
        (By.NAME, "Customer", ("name", "Customer")),
        (By.CSS_SELECTOR, "#customer", ("id", "customer")),
        (By.CSS_SELECTOR, "*[name='Customer']", ("name", "Customer")),
        (By.CSS_SELECTOR, "[class=TextBox]", ("class name", "TextBox")),
        (By.CLASS_NAME, "TextBox", ("class name", "TextBox")),
        (By.XPATH, "//Edit[@Name='Customer']", ("xpath", "//Edit[@Name='Customer']")),
        (By.LINK_TEXT, "Customer", ("name", "Customer")),
        (By.PARTIAL_LINK_TEXT, "ustom", ("xpath", ".//*[contains(@Name, 'ustom')]")),
        (By.TAG_NAME, "Edit", ("xpath", ".//Edit")),
        ("accessibility id", "customer", ("id", "customer")),
    ],
)
def test_every_way_to_find_the_same_field(
    driver: WebDriver, asked: list[tuple[str, str]], by: str, value: str, wire: tuple[str, str]
) -> None:
    element = driver.find_element(by, value)
    assert element.get_attribute("AutomationId") == "customer"
    assert asked == [wire]


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ("Menu > MenuItem", ["File"]),
        ("#OrderDesk Edit[name^=No]", ["Note"]),
        ("CheckBox, Button", ["Save", "Express"]),
        ("Edit.TextBox[name$=mer]", ["Customer"]),
    ],
)
def test_css_selectors_go_through_the_tree(
    driver: WebDriver, desk: Application, selector: str, names: list[str]
) -> None:
    found = driver.find_elements(By.CSS_SELECTOR, selector)
    assert [each.get_attribute("Name") for each in found] == names


def test_children_are_found_below_an_element(driver: WebDriver, desk: Application) -> None:
    grid = driver.find_element(By.ID, "orders")
    assert grid.find_element(By.NAME, "R2C1").text == "R2C1"
    assert len(grid.find_elements(By.CLASS_NAME, "DataGridCell")) == 15
    assert driver.find_elements(By.ID, "nothing") == []


def test_states_and_rectangles(driver: WebDriver, desk: Application) -> None:
    save, note = driver.find_element(By.ID, "save"), driver.find_element(By.ID, "note")
    assert save.rect == {"x": 340, "y": 60, "width": 80, "height": 24}
    assert (save.is_enabled(), note.is_enabled()) == (True, False)
    assert (save.is_displayed(), driver.find_element(By.NAME, "Item 9").is_displayed()) == (True, False)
    assert (save.tag_name, save.accessible_name, save.aria_role) == ("button", "Save", "button")
    express = driver.find_element(By.ID, "express")
    express.click()
    assert express.is_selected()
    assert driver.find_element(By.ID, "save") == save


def test_a_rectangle_comes_from_the_bounding_rectangle_where_there_is_no_location(
    open_gateway: Opened, open_selenium: Opened
) -> None:
    with WiniumServer(has_location=False) as winium, open_gateway(winium.url) as url, open_selenium(url) as driver:
        assert driver.find_element(By.ID, "save").rect == {"x": 340, "y": 60, "width": 80, "height": 24}


def test_clear_submit_and_the_active_element(driver: WebDriver, desk: Application) -> None:
    field = driver.find_element(By.ID, "customer")
    field.send_keys("abc")
    assert driver.switch_to.active_element == field
    field.clear()
    assert desk.customer.value == ""
    driver.execute_script("automation: ValuePattern.SetValue", field, "by pattern")
    field.submit()
    assert desk.status.name == "saved by pattern"


def test_windows_are_named_and_switched_to(driver: WebDriver, desk: Application) -> None:
    handle = driver.current_window_handle
    assert driver.window_handles == [handle]
    driver.switch_to.window(handle)
    with pytest.raises(exceptions.NoSuchWindowException, match="no window '1'"):
        driver.switch_to.window("1")
    driver.close()
    assert not desk.running


def test_screenshots_of_all_and_of_one_element(driver: WebDriver, desk: Application) -> None:
    whole = Image.open(io.BytesIO(driver.get_screenshot_as_png()))
    assert whole.size == (800, 600)
    button = Image.open(io.BytesIO(base64.b64decode(driver.find_element(By.ID, "save").screenshot_as_base64)))
    assert button.size == (80, 24)
    assert button.convert("RGB").getpixel((40, 12)) == (60, 90, 200)


def test_implicit_waits_reach_the_server(driver: WebDriver, winium: WiniumServer) -> None:
    driver.implicitly_wait(0.25)
    assert winium.commands.implicit_wait_ms == 250
    assert driver.timeouts.implicit_wait == 0.25


# -- actions -------------------------------------------------------------------------------------------------------


def test_a_click_by_actions(driver: WebDriver, desk: Application) -> None:
    ActionChains(driver).click(driver.find_element(By.ID, "express")).perform()
    assert desk.express.selected


def test_a_move_off_the_centre_counts_from_the_corner(driver: WebDriver, desk: Application) -> None:
    save = driver.find_element(By.ID, "save")
    ActionChains(driver).move_to_element_with_offset(save, 10, -4).perform()
    assert desk.mouse == (340 + 40 + 10, 60 + 12 - 4)
    ActionChains(driver).move_by_offset(0, 30).click().perform()
    assert desk.express.selected


def test_a_move_on_the_screen_is_exact_wherever_the_mouse_was(driver: WebDriver, desk: Application) -> None:
    desk.mouse = (711.0, 3.0)
    actions = ActionChains(driver)
    actions.w3c_actions.pointer_action.move_to_location(350, 100)
    actions.click().perform()
    assert desk.mouse == (350, 100)
    assert desk.express.selected


def test_double_and_right_clicks_and_drags(driver: WebDriver, desk: Application) -> None:
    save, express = driver.find_element(By.ID, "save"), driver.find_element(By.ID, "express")
    ActionChains(driver).double_click(save).context_click(save).drag_and_drop(save, express).perform()
    assert desk.log == ["double click Save", "right click Save", "press Save", "release Express"]
    assert desk.buttons == set()


def test_control_is_held_over_clicks_and_released(driver: WebDriver, desk: Application) -> None:
    first, second = driver.find_element(By.NAME, "Item 1"), driver.find_element(By.NAME, "Item 3")
    ActionChains(driver).click(first).key_down(Keys.CONTROL).click(second).key_up(Keys.CONTROL).perform()
    assert [item.name for item in desk.items.children if item.selected] == ["Item 1", "Item 3"]
    assert desk.modifiers == set()


def test_released_actions_leave_no_key_and_no_button_held(driver: WebDriver, desk: Application) -> None:
    save = driver.find_element(By.ID, "save")
    ActionChains(driver).key_down(Keys.SHIFT).move_to_element(save).click_and_hold().perform()
    assert (desk.modifiers, desk.buttons) == ({"\ue008"}, {0})
    ActionChains(driver).reset_actions()
    assert (desk.modifiers, desk.buttons) == (set(), set())


def test_a_client_that_quits_with_a_key_held_down_leaves_it_to_nobody(
    gateway_url: str, winium: WiniumServer, open_selenium: Opened
) -> None:
    with open_selenium(gateway_url) as driver:
        desk = winium.application
        ActionChains(driver).key_down(Keys.SHIFT).click_and_hold(driver.find_element(By.ID, "save")).perform()
        assert (desk.modifiers, desk.buttons) == ({"\ue008"}, {0})
    assert (desk.modifiers, desk.buttons) == (set(), set())


def test_actions_under_way_end_with_their_session(
    gateway_url: str, winium: WiniumServer, open_selenium: Opened
) -> None:
    with ThreadPoolExecutor(1) as pool:
        with open_selenium(gateway_url) as driver:
            save = {ELEMENT_KEY: driver.find_element(By.ID, "save").id}
            mouse = [{"type": "pointerMove", "x": 0, "y": 0, "origin": save}, {"type": "pause", "duration": 5_000}]
            body = json.dumps({"actions": [{"type": "pointer", "id": "mouse", "actions": mouse}]}).encode()
            acting = pool.submit(refused, f"{gateway_url}/session/{driver.session_id}/actions", body)
            while not any("moveto" in each for each in winium.requests):
                assert not acting.done()
                time.sleep(0.01)
        assert acting.result(10)[1]["error"] == "invalid session id"


def test_keys_go_to_what_has_the_focus(driver: WebDriver, desk: Application) -> None:
    ActionChains(driver).click(driver.find_element(By.ID, "customer")).send_keys("abc").perform()
    assert desk.customer.value == "abc"


def test_what_a_mouse_cannot_do_is_refused(driver: WebDriver, desk: Application) -> None:
    with pytest.raises(exceptions.WebDriverException, match="has no wheel"):
        ActionChains(driver).scroll_by_amount(0, 10).perform()


# -- scripts and extensions ----------------------------------------------------------------------------------------


def test_scripts_reach_winium_with_its_element_keys(driver: WebDriver, desk: Application) -> None:
    driver.find_element(By.NAME, "Item 0").click()
    driver.execute_script("input: ctrl_click", driver.find_element(By.NAME, "Item 2"))
    assert [item.name for item in desk.items.children if item.selected] == ["Item 0", "Item 2"]
    with pytest.raises(exceptions.JavascriptException, match="Unknown script command"):
        driver.execute_script("input: dance", driver.find_element(By.ID, "save"))


def test_grids_lists_boxes_and_menus_are_scripts(driver: WebDriver, desk: Application) -> None:
    grid, items = driver.find_element(By.ID, "orders"), driver.find_element(By.ID, "items")
    assert driver.execute_script("winium: getDataGridRowCount", grid) == 5
    assert driver.execute_script("winium: getDataGridColumnCount", grid) == 3
    assert driver.execute_script("winium: findDataGridCell", grid, {"row": 4, "column": 2}).text == "R4C2"
    driver.execute_script("winium: selectDataGridCell", grid, {"row": 1, "column": 1})
    assert desk.grid.children[1].children[1].selected
    last = driver.execute_script("winium: scrollToListBoxItem", items, {"using": "name", "value": "Item 19"})
    assert last.is_displayed()
    box = driver.find_element(By.ID, "size")
    driver.execute_script("winium: expandComboBox", box)
    assert driver.execute_script("winium: isComboBoxExpanded", box) is True
    assert driver.execute_script("winium: findComboBoxSelectedItem", box).text == "medium"
    menu = driver.find_element(By.ID, "menu")
    driver.execute_script("winium: selectMenuItem", menu, {"path": "File$Open"})
    assert "menu File$Open" in desk.log


@pytest.mark.parametrize(
    ("script", "args", "message"),
    [
        ("winium: selectMenu", [], "has no script 'winium: selectMenu'; known are findDataGridCell"),
        ("winium: selectMenuItem", [], r"takes \(element, \{path\}\)"),
    ],
)
def test_a_wrong_extension_says_what_is_known(
    driver: WebDriver, desk: Application, script: str, args: list[Any], message: str
) -> None:
    with pytest.raises(exceptions.WebDriverException, match=message):
        driver.execute_script(script, *args)


def test_winiums_own_paths_pass(driver: WebDriver, gateway_url: str, desk: Application) -> None:
    grid = driver.find_element(By.ID, "orders")
    path = f"{gateway_url}/session/{driver.session_id}/element/{grid.id}/datagrid/row/count"
    with urllib.request.urlopen(urllib.request.Request(path, b"{}", method="POST")) as answer:
        assert json.load(answer) == {"value": 5}


# -- errors --------------------------------------------------------------------------------------------------------


def test_errors_are_those_of_the_standard(driver: WebDriver, desk: Application) -> None:
    with pytest.raises(exceptions.NoSuchElementException, match="cannot be found by id nothing"):
        driver.find_element(By.ID, "nothing")
    with pytest.raises(exceptions.InvalidSelectorException):
        driver.find_element(By.XPATH, "//Edit[")
    with pytest.raises(exceptions.InvalidSelectorException, match="is no CSS selector"):
        driver.find_element(By.CSS_SELECTOR, "##")
    with pytest.raises(exceptions.ElementNotInteractableException, match="not visible"):
        driver.find_element(By.NAME, "Item 9").click()
    with pytest.raises(exceptions.InvalidElementStateException, match="takes no text"):
        driver.find_element(By.ID, "note").send_keys("x")
    gone = driver.find_element(By.NAME, "R0C0")
    desk.grid.children.clear()
    with pytest.raises(exceptions.StaleElementReferenceException):
        gone.click()


@pytest.mark.parametrize("command", ["/url", "/cookie", "/print", "/frame", "/appium/device/app_state", "/contexts"])
def test_what_a_desktop_has_not_is_an_unsupported_operation(driver: WebDriver, gateway_url: str, command: str) -> None:
    status, error = refused(f"{gateway_url}/session/{driver.session_id}{command}")
    assert (status, error["error"]) == (500, "unsupported operation")
    assert "Winium.Desktop" in error["message"]


def test_commands_the_server_does_not_have_are_unsupported(driver: WebDriver, desk: Application) -> None:
    with pytest.raises(exceptions.WebDriverException, match="Unknown command"):
        _ = driver.page_source


def test_unknown_commands_methods_and_sessions(driver: WebDriver, gateway_url: str) -> None:
    session = f"{gateway_url}/session/{driver.session_id}"
    assert (refused(f"{session}/dance")[0], refused(f"{session}/dance")[1]["error"]) == (404, "unknown command")
    assert refused(f"{session}/actions")[1]["error"] == "unknown method"
    assert refused(f"{gateway_url}/session/nobody/title")[1]["error"] == "invalid session id"
    assert refused(f"{session}/element", b"[1]")[1]["error"] == "invalid argument"


def test_a_second_session_is_refused_until_the_first_has_quit(gateway_url: str, open_selenium: Opened) -> None:
    with open_selenium(gateway_url):
        with pytest.raises(exceptions.SessionNotCreatedException, match="one session"), open_selenium(gateway_url):
            pass
        assert status(gateway_url)["ready"] is False
    assert status(gateway_url)["ready"] is True
    with open_selenium(gateway_url) as driver:
        assert driver.find_element(By.ID, "save").is_enabled()


@pytest.mark.parametrize(
    ("implicit", "error"), [("long", "invalid argument"), (1 << 40, "session not created: the number is too large")]
)
def test_a_session_whose_timeouts_are_not_taken_is_none(
    open_gateway: Opened, monkeypatch: pytest.MonkeyPatch, implicit: Any, error: str
) -> None:
    def as_winium(_self: Any, body: Any) -> None:
        if body["ms"] >= 1 << 31:
            raise Refusal(13, "the number is too large")

    monkeypatch.setattr(WindowsCommands, "_implicit", as_winium)
    wanted = {"platformName": "windows", "winium:app": "C:\\orders.exe", "timeouts": {"implicit": implicit}}
    body = json.dumps({"capabilities": {"alwaysMatch": wanted}}).encode()
    with WiniumServer() as winium, open_gateway(winium.url) as url:
        told = refused(f"{url}/session", body)[1]
        assert error.partition(": ")[0] == told["error"]
        assert error.partition(": ")[2] in told["message"]
        assert status(url)["ready"] is True


def test_a_session_that_winium_refuses_is_not_created(gateway_url: str, open_selenium: Opened) -> None:
    refusal = pytest.raises(exceptions.SessionNotCreatedException, match="app capability is not set")
    with refusal, open_selenium(gateway_url, app=""):
        pass
    with open_selenium(gateway_url):
        pass


@pytest.mark.parametrize(
    ("faults", "message"),
    [
        (WiniumFaults(hang_s=60), "did not answer GET .*/element/.*/text within 1 s"),
        (WiniumFaults(cut=0), "closed the connection|broke off"),
        (WiniumFaults(cut=120), "no JSON|broke off"),
        (WiniumFaults(rubbish="<html>oops</html>"), "no JSON: '<html>oops</html>'"),
        (WiniumFaults(rubbish="[1, 2]"), "is no JSON Wire"),
    ],
)
def test_a_server_in_trouble_is_told(
    open_gateway: Opened, open_selenium: Opened, faults: WiniumFaults, message: str
) -> None:
    with WiniumServer() as winium, open_gateway(winium.url, timeout_s=1.0) as url, open_selenium(url) as driver:
        status = driver.find_element(By.ID, "status")
        winium.faults = faults
        with pytest.raises(exceptions.WebDriverException, match=message):
            _ = status.text
        winium.recover()


def test_a_value_of_a_shape_that_nobody_expects_is_an_error_of_webdriver(
    driver: WebDriver, winium: WiniumServer
) -> None:
    status = driver.find_element(By.ID, "status")
    winium.faults = WiniumFaults(rubbish='{"status": 0, "value": null}')
    with pytest.raises(exceptions.WebDriverException, match=r"GET .*/rect failed"):
        _ = status.rect
    winium.recover()


def test_a_server_that_is_not_there_is_told(open_gateway: Opened, open_selenium: Opened) -> None:
    with open_gateway("http://127.0.0.1:1") as url:
        assert "cannot reach the JSON Wire server" in status(url)["message"]
        with pytest.raises(exceptions.SessionNotCreatedException, match="check that it runs"), open_selenium(url):
            pass


def test_a_client_of_the_old_protocol_passes_as_it_is(gateway_url: str, winium: WiniumServer) -> None:
    begun = post(f"{gateway_url}/session", {"desiredCapabilities": {"app": "C:\\old.exe"}})
    assert begun["status"] == 0
    session = f"{gateway_url}/session/{begun['sessionId']}"
    found = post(f"{session}/element", {"using": "id", "value": "customer"})
    assert found["value"].keys() == {"ELEMENT"}
    post(f"{session}/element/{found['value']['ELEMENT']}/value", {"value": ["o", "l", "d"]})
    assert winium.application.customer.value == "old"
    assert post(f"{session}/element", {"using": "id", "value": "nothing"})["status"] == 7


def post(url: str, body: Any) -> Any:
    with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), method="POST")) as answer:
        return json.load(answer)


def status(url: str) -> Any:
    with urllib.request.urlopen(f"{url}/status") as answer:
        return json.load(answer)["value"]


def refused(url: str, body: bytes | None = None) -> tuple[int, dict[str, str]]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body)):
            raise AssertionError(f"{url} was not refused")
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, json.load(exc)["value"]
