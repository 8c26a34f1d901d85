"""WebDriver sessions on the lab's devices: leased, recorded, in the history. The hub itself is `devices.hub`."""

from labctl.webdriver.gate import PREFIX
from labctl.webdriver.service import OpenSession, WebDriverService
from labctl.webdriver.steps import StepSessions
from labctl.webdriver.targets import webdriver_devices

__all__ = ["PREFIX", "OpenSession", "StepSessions", "WebDriverService", "webdriver_devices"]
