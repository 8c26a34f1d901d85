"""WebDriver servers that the lab starts and watches: chromedriver, geckodriver, Appium and others."""

from devices.targets.process import ServerState, WatchedServer
from devices.targets.programs import Program, appium, chromedriver, command, geckodriver

__all__ = ["Program", "ServerState", "WatchedServer", "appium", "chromedriver", "command", "geckodriver"]
