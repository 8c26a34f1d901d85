"""Steps that use a phone, a browser or a desktop through its WebDriver session, so that a job needs no code."""

from labctl.actions.webdriver.acting import Click, Close, Go, Open, Script, Type
from labctl.actions.webdriver.looking import Compare, Expect, Find, Layout, Screenshot

__all__ = ["Click", "Close", "Compare", "Expect", "Find", "Go", "Layout", "Open", "Screenshot", "Script", "Type"]
