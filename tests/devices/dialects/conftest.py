"""A simulated Winium.Desktop, the gateway in front of it, and Selenium 4 in front of that."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
from selenium import webdriver
from selenium.webdriver.common.options import ArgOptions
from selenium.webdriver.remote.webdriver import WebDriver

from devices.dialects import CODED_UI, DESKTOP, MOBILE, Flavour, Gateway
from drivers.sim.winium import Application, WiniumServer


class WindowsOptions(ArgOptions):
    """What a test of a Windows application asks for."""

    @property
    def default_capabilities(self) -> dict[str, str]:
        return {"platformName": "windows"}


@contextmanager
def gateway(url: str, flavour: Flavour = DESKTOP, timeout_s: float = 10.0) -> Iterator[str]:
    """A gateway on a loop of its own; gives its URL."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    running = Gateway(url, flavour, timeout_s=timeout_s)
    try:
        yield asyncio.run_coroutine_threadsafe(running.start(), loop).result(10)
    finally:
        asyncio.run_coroutine_threadsafe(running.close(), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextmanager
def selenium(url: str, app: str = "C:\\orders.exe") -> Iterator[WebDriver]:
    options = WindowsOptions()
    options.set_capability("winium:app", app)
    driver = webdriver.Remote(command_executor=url, options=options)
    try:
        yield driver
    finally:
        driver.quit()


GatewayOpener = Callable[..., AbstractContextManager[str]]
SeleniumOpener = Callable[..., AbstractContextManager[WebDriver]]


@pytest.fixture
def open_gateway() -> GatewayOpener:
    return gateway


@pytest.fixture
def open_selenium() -> SeleniumOpener:
    return selenium


@pytest.fixture
def winium() -> Iterator[WiniumServer]:
    with WiniumServer() as server:
        yield server


@pytest.fixture
def gateway_url(winium: WiniumServer) -> Iterator[str]:
    with gateway(winium.url) as url:
        yield url


@pytest.fixture
def driver(gateway_url: str) -> Iterator[WebDriver]:
    with selenium(gateway_url) as running:
        yield running


@pytest.fixture
def desk(driver: WebDriver, winium: WiniumServer) -> Application:
    """The application, as it really is."""
    return winium.application


@pytest.fixture
def phone() -> Iterator[tuple[WebDriver, Application]]:
    """A Winium.Mobile session, and the application on the phone."""
    with WiniumServer(kind="mobile") as server, gateway(server.url, MOBILE) as url, selenium(url) as running:
        yield running, server.application


@pytest.fixture
def coded_ui() -> Iterator[tuple[WebDriver, WiniumServer]]:
    """A session on Winium.StoreApps.CodedUi, and the server."""
    with WiniumServer(kind="coded-ui") as server, gateway(server.url, CODED_UI) as url, selenium(url) as running:
        yield running, server
