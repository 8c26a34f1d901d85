"""Real browsers on the pilot's page, Firefox in the long series alone; a robot that another maker's page drives."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from _browsers import BrowserDriver, browser_driver

from devices.client import WebDriverSession


@pytest.fixture(scope="module", params=["chrome", pytest.param("firefox", marks=pytest.mark.soak)])
def driver(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserDriver]:
    """A driver of our own: what uses it is tried in each browser."""
    with browser_driver(request.param, tmp_path_factory.mktemp("driver")) as running:
        yield running


@pytest.fixture(scope="module")
def browser(driver: BrowserDriver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebDriverSession]:
    """A browser that tests share: each opens the page anew."""
    with driver.open(tmp_path_factory.mktemp("browser") / "profile") as session:
        yield session


@pytest.fixture
def own_browser(driver: BrowserDriver, tmp_path: Path) -> Iterator[WebDriverSession]:
    """A browser of the same kind for a test that breaks it."""
    with browser_driver(driver.browser, tmp_path) as own, own.broken(tmp_path / "profile") as session:
        yield session
