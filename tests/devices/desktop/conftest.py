"""A desktop driver as its users start it, and sessions on it by unmodified clients."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from selenium import webdriver
from selenium.common.exceptions import InvalidSessionIdException
from selenium.webdriver.common.options import ArgOptions

OpenSession = Callable[..., webdriver.Remote]


@pytest.fixture(scope="session")
def driver_url() -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "devices.desktop", "--port", "0"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    url = process.stdout.readline().split()[-1]
    yield url
    process.terminate()
    process.wait(30)
    process.stdout.close()


def options(**capabilities: Any) -> ArgOptions:
    asked = ArgOptions()
    asked.set_capability("platformName", "linux")
    for name, value in capabilities.items():
        vendor = "appium" if name in ("app", "appArguments", "newCommandTimeout") else "lab"
        asked.set_capability(f"{vendor}:{name}", value)
    return asked


@pytest.fixture
def open_session(driver_url: str) -> Iterator[OpenSession]:
    opened: list[webdriver.Remote] = []

    def start(**capabilities: Any) -> webdriver.Remote:
        session = webdriver.Remote(driver_url, options=options(**capabilities))
        session.implicitly_wait(10)
        opened.append(session)
        return session

    yield start
    for session in opened:
        with suppress(InvalidSessionIdException):  # the test has quit it
            session.quit()


@pytest.fixture(scope="module")
def calculator(driver_url: str) -> Iterator[webdriver.Remote]:
    session = webdriver.Remote(driver_url, options=options(app="mate-calc"))
    session.implicitly_wait(10)
    session.execute_script("desktop: menu", {"path": ["Mode", "Advanced"]})
    session.find_element("name", "x_pow_y")
    yield session
    session.quit()
