"""Locators that break when a page changes: an unmodified Selenium test, with healing off, suggested and on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from urllib.parse import quote

import pytest
from selenium import webdriver
from selenium.common.exceptions import NoSuchElementException
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver

OLD = """<!doctype html><title>t</title><label>Customer</label><input id="txtCustomer">
<button id="btnSave">Save</button>"""
NEW = """<!doctype html><title>t</title><div><label>Customer</label><input id="customer"></div>
<button id="cancel">Cancel</button><button id="save-order">Save</button>"""
Opened = Callable[..., AbstractContextManager[WebDriver]]


def page(text: str) -> str:
    return "data:text/html;charset=utf-8," + quote(text)


@pytest.fixture
def opened(lab: Any) -> Opened:
    @contextmanager
    def open_session(healing: Any) -> Iterator[WebDriver]:
        options = webdriver.ChromeOptions()
        options.set_capability("lab:device", "chrome")
        options.set_capability("lab:healing", healing)
        driver = webdriver.Remote(lab.endpoint, options=options)
        try:
            yield driver
        finally:
            driver.quit()

    return open_session


def use_the_old_page(driver: WebDriver) -> None:
    driver.get(page(OLD))
    driver.find_element(By.ID, "txtCustomer").send_keys("Zoë")
    driver.find_element(By.ID, "btnSave").click()


def ended(lab: Any, driver: WebDriver) -> dict[str, Any]:
    """The run of a session, once it has its verdict."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        run: dict[str, Any] = lab.get(f"/api/v1/runs/{driver.capabilities['lab:run']}")
        if run["state"] == "finished":
            return run
        time.sleep(0.05)
    raise AssertionError("the run has not ended")


def test_a_renamed_field_is_found_again_and_that_is_a_measurement(opened: Opened, lab: Any) -> None:
    with opened("heal") as driver:
        use_the_old_page(driver)
        driver.get(page(NEW))
        field = driver.find_element(By.ID, "txtCustomer")
        assert field.get_attribute("id") == "customer"
        field.send_keys("Zoë")
        with pytest.raises(NoSuchElementException):
            driver.find_element(By.ID, "never-seen")
    run = ended(lab, driver)
    (healing,) = [each for each in run["measurements"] if "healing" in each["name"]]
    assert "txtCustomer" in healing["name"]
    assert "now id 'customer'" in healing["name"]
    assert healing["value"] >= healing["low"] == 0.9


def test_a_suggestion_is_written_down_and_the_test_fails_as_ever(opened: Opened, lab: Any) -> None:
    with opened("suggest") as driver:
        use_the_old_page(driver)
        driver.get(page(NEW))
        with pytest.raises(NoSuchElementException):
            driver.find_element(By.ID, "txtCustomer")
    run = ended(lab, driver)
    assert any("now id 'customer'" in each["name"] for each in run["measurements"])


def test_what_a_session_found_heals_the_next_after_a_release(opened: Opened, lab: Any) -> None:
    """The page changes between two runs of a test, as it does in practice, and the second never saw the old one."""
    healing = {"mode": "heal", "memory": "orders"}
    with opened(healing) as driver:
        use_the_old_page(driver)
    ended(lab, driver)  # with its run over, what it found is kept
    with opened(healing) as driver:
        driver.get(page(NEW))
        assert driver.find_element(By.ID, "btnSave").get_attribute("id") == "save-order"
        assert driver.find_element(By.ID, "txtCustomer").get_attribute("id") == "customer"
    assert sum("healing of" in each["name"] for each in ended(lab, driver)["measurements"]) == 2


def test_what_only_comes_late_is_not_healed(opened: Opened, lab: Any) -> None:
    late = NEW + "<script>setTimeout(() => { document.body.innerHTML += '<input id=txtCustomer>'; }, 400)</script>"
    with opened("heal") as driver:
        use_the_old_page(driver)
        driver.get(page(late))
        assert driver.find_element(By.ID, "txtCustomer").get_attribute("id") == "txtCustomer"
    assert not any("healing" in each["name"] for each in ended(lab, driver)["measurements"])


def test_off_is_off(opened: Opened, lab: Any) -> None:
    with opened("off") as driver:
        use_the_old_page(driver)
        driver.get(page(NEW))
        with pytest.raises(NoSuchElementException):
            driver.find_element(By.ID, "txtCustomer")
    assert ended(lab, driver)["measurements"] == []


@pytest.mark.parametrize(
    ("healing", "message"),
    [
        ("yes", "lab:healing must be one of off, suggest, heal"),
        ({"mode": "heal", "memory": "../../etc"}, "lab:healing.memory must be a name"),
        ({"mode": "heal", "threshold": 2}, "lab:healing.threshold must be a number between 0.5 and 1"),
    ],
)
def test_a_wish_that_makes_no_sense_is_refused(lab: Any, healing: Any, message: str) -> None:
    capabilities = {"alwaysMatch": {"browserName": "chrome", "lab:healing": healing}}
    answer = lab.http.post("/webdriver/session", json={"capabilities": capabilities})
    assert answer.status_code == 400
    assert message in answer.json()["value"]["message"]
