"""What the simulated servers of Winium have in common: the session, and elements found and read."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from typing import Any

from drivers.sim.winium.application import Application, Control

SESSION = "AwesomeSession"
NO_ELEMENT, UNKNOWN_COMMAND, STALE, NOT_VISIBLE, NOT_EDITABLE, UNKNOWN, SCRIPT = 7, 9, 10, 11, 12, 13, 17
NO_WINDOW, SELECTOR, NO_SESSION = 23, 32, 33

Command = Callable[..., Any]
Route = tuple[str, re.Pattern[str], Command]


class Refusal(Exception):
    """A command that is answered with a status of JSON Wire other than 0."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class PlainError(Exception):
    """A command that is answered with an HTTP status and plain text."""

    def __init__(self, http_status: str, text: str) -> None:
        super().__init__(text)
        self.http_status = http_status


def route(method: str, path: str, command: Command) -> Route:
    """A command at a path; "~" is the session, "{...}" any one word, given to the command in their order."""
    return method, re.compile(re.sub(r"\{\w+\}", "([^/]+)", path.replace("~", f"/session/{SESSION}"))), command


class Commands:
    """One session's commands; each takes the JSON body and the words of its path. `ended`: no more waiting."""

    version = "1.6.0"

    def __init__(self, ended: threading.Event, *, has_location: bool = True) -> None:
        self.ended = ended
        self.has_location = has_location
        self.application = Application()
        self.capabilities: dict[str, Any] = {}
        self.implicit_wait_ms = 0
        self._elements: dict[str, Control] = {}
        self._session = False

    def routes(self) -> list[Route]:
        """All commands that the server has."""
        return [
            route("GET", "/status", self._status),
            route("POST", "/session", self._begin),
            route("DELETE", "~", self._end),
            route("POST", "~/element", self._find_one),
            route("POST", "~/elements", self._find_all),
            route("POST", "~/element/{id}/element", self._find_one),
            route("POST", "~/element/{id}/elements", self._find_all),
            route("POST", "~/element/{id}/click", self._click),
            route("GET", "~/element/{id}/text", self._text),
            route("POST", "~/element/{id}/value", self._value),
            route("GET", "~/element/{id}/attribute/{name}", self._attribute),
            route("GET", "~/element/{id}/displayed", lambda _, key: self._element(key).visible),
            route("GET", "~/element/{id}/size", self._size),
            route("GET", "~/element/{id}/location", self._location),
        ]

    def _status(self, _body: Any) -> Any:
        return {"build": {"version": self.version}, "os": {"name": "windows"}}

    def _begin(self, body: Any) -> Any:
        self.capabilities = body["desiredCapabilities"]
        if not self.capabilities.get("app"):
            raise Refusal(NO_SESSION, "app capability is not set")
        self.application, self._elements, self._session = Application(), {}, True
        return {"app": self.capabilities["app"], "args": "", "innerPort": 9998, "launchDelay": 0}

    def _end(self, _body: Any) -> Any:
        self._session, self.application.running = False, False

    def _find(self, body: Any, parent: str | None = None) -> list[Control]:
        below = self.application.desktop if parent is None else self._element(parent)
        until = time.monotonic() + self.implicit_wait_ms / 1000
        while True:
            try:
                found = self.application.find(below, body["using"], body["value"])
            except ValueError as exc:
                raise Refusal(SELECTOR, str(exc)) from None
            if found or time.monotonic() >= until or self.ended.wait(0.02):
                return found

    def _find_one(self, body: Any, parent: str | None = None) -> Any:
        found = self._find(body, parent)
        if not found:
            raise Refusal(NO_ELEMENT, f"Element cannot be found by {body['using']} {body['value']}")
        return self._register(found[0])

    def _find_all(self, body: Any, parent: str | None = None) -> Any:
        return [self._register(each) for each in self._find(body, parent)]

    def _register(self, control: Control) -> dict[str, str]:
        for key, known in self._elements.items():
            if known is control:
                return {"ELEMENT": key}
        key = f"42-{len(self._elements) + 1}"
        self._elements[key] = control
        return {"ELEMENT": key}

    def _element(self, key: str) -> Control:
        control = self._elements.get(key)
        if control is None or all(each is not control for each in self.application.desktop.walk()):
            raise Refusal(STALE, "Stale element reference")
        return control

    def _click(self, _body: Any, key: str) -> Any:
        control = self._element(key)
        if not control.visible:
            raise Refusal(NOT_VISIBLE, "Element is not visible")
        self.application.mouse = control.centre
        self.application.click(control)

    def _text(self, _body: Any, key: str) -> Any:
        control = self._element(key)
        return control.name if control.value is None else control.value

    def _value(self, body: Any, key: str) -> Any:
        control = self._element(key)
        if control.value is None or not control.enabled:
            raise Refusal(NOT_EDITABLE, "Element takes no text")
        self.application.focus = control
        self.application.type("".join(body["value"]))

    def _attribute(self, _body: Any, key: str, name: str) -> Any:
        control = self._element(key)
        rect = ",".join(str(each) for each in control.rect)
        values = {
            "Name": control.name, "AutomationId": control.automation_id, "ClassName": control.class_name,
            "ControlType": f"ControlType.{control.kind}", "IsEnabled": str(control.enabled), "BoundingRectangle": rect,
        }  # fmt: skip
        return values.get(name)

    def _size(self, _body: Any, key: str) -> Any:
        return dict(zip(("width", "height"), self._element(key).rect[2:], strict=True))

    def _location(self, _body: Any, key: str) -> Any:
        if not self.has_location:
            raise Refusal(UNKNOWN_COMMAND, "'getElementLocation' is not valid or implemented command.")
        return dict(zip("xy", self._element(key).rect[:2], strict=True))
