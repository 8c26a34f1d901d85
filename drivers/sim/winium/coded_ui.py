"""Winium.StoreApps.CodedUi's commands, after its sources (2GIS): it taps, sets texts and launches apps by their tiles.

Its driver on the desktop passes all but a few commands on to a test that runs on the phone. What that has not is
answered with HTTP 501, what throws there with HTTP 400, both as plain text.
"""

from __future__ import annotations

from typing import Any

from lxml import etree

from drivers.sim.winium.application import Control
from drivers.sim.winium.commands import (
    NO_WINDOW,
    UNKNOWN,
    UNKNOWN_COMMAND,
    Commands,
    PlainError,
    Refusal,
    Route,
    route,
)

_NULL_REFERENCE = "System.NullReferenceException: Object reference not set to an instance of an object."
_NO_KEY = "System.Collections.Generic.KeyNotFoundException: The given key was not present in the dictionary."
# Paths that its table of commands has and the phone's side does not: method, path, name.
_NOT_YET = (
    ("POST", "~/element/active", "getActiveElement"),
    ("POST", "~/element/{id}/clear", "clearElement"),
    ("POST", "~/element/{id}/submit", "submitElement"),
    ("GET", "~/element/{id}/name", "getElementTagName"),
    ("GET", "~/element/{id}/selected", "isElementSelected"),
    ("GET", "~/element/{id}/enabled", "isElementEnabled"),
    ("GET", "~/element/{id}/equals/{other}", "elementEquals"),
    ("GET", "~/window_handle", "getCurrentWindowHandle"),
    ("GET", "~/window_handles", "getWindowHandles"),
    ("GET", "~/title", "getTitle"),
    ("GET", "~/screenshot", "screenshot"),
    ("GET", "~/orientation", "getOrientation"),
    ("POST", "~/timeouts", "setTimeout"),
    ("POST", "~/timeouts/implicit_wait", "implicitlyWait"),
    ("POST", "~/doubleclick", "mouseDoubleClick"),
    ("POST", "~/buttondown", "mouseDown"),
    ("POST", "~/buttonup", "mouseUp"),
    ("POST", "~/keys", "sendKeysToActiveElement"),
    ("POST", "~/touch/down", "touchDown"),
    ("POST", "~/touch/up", "touchUp"),
    ("POST", "~/touch/move", "touchMove"),
)


class CodedUiCommands(Commands):
    """Winium.StoreApps.CodedUi. `tiles`: the apps it can launch; `files`: those in the app's local folder."""

    version = "1.0.0"

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.tiles = {"2gis.orders_1!App", "2gis.settings_1!App"}
        self.files = {"orders.txt": "42\n"}
        self._opened: list[str] = []

    def routes(self) -> list[Route]:
        """All commands that the server has, and those that it names without having them."""
        return [
            *super().routes(),
            route("POST", "~/window", self._launch),
            route("DELETE", "~/window", self._close),
            route("GET", "~/source", lambda _: etree.tostring(_as_xml(self.application.desktop, "42"), encoding=str)),
            route("POST", "~/execute", self._execute),
            route("POST", "~/moveto", self._move),
            route("POST", "~/click", lambda _: self._tap(*self.application.mouse)),
            route("POST", "~/touch/click", lambda body: self._click(body, body["element"])),
            route("POST", "~/touch/doubleclick", lambda body: self._gesture("double tap", body)),
            route("POST", "~/touch/longclick", lambda body: self._gesture("long press", body)),
            route("POST", "~/touch/scroll", self._slide),
            route("POST", "~/touch/flick", self._flick),
            *(route(method, path, _not_yet(name)) for method, path, name in _NOT_YET),
        ]

    def _begin(self, body: Any) -> Any:
        wanted = body["desiredCapabilities"]
        super()._begin({"desiredCapabilities": {"app": "deployed by hand"} | wanted})
        self._opened.clear()
        named = {"app": "", "deviceName": "", "deviceIpAddress": "localhost", "innerPort": 9998, "locale": "en-US"}
        return {"platformName": "WindowsPhone", **{key: wanted.get(key, value) for key, value in named.items()}}

    def _find(self, body: Any, parent: str | None = None) -> list[Control]:
        using = {"tag name": "class name"}.get(body["using"], body["using"])
        if using not in ("id", "name", "class name"):
            raise Refusal(UNKNOWN, f"Unknown By strategy {using}.")
        return super()._find({"using": using, "value": body["value"]}, parent)

    def _tap(self, x: float, y: float) -> None:
        self.application.mouse = (x, y)
        self.application.click(self.application.at(x, y))

    def _click(self, _body: Any, key: str) -> Any:
        self._tap(*self._element(key).centre)

    def _value(self, body: Any, key: str) -> Any:
        control = self._element(key)
        if control.value is None:
            raise Refusal(UNKNOWN, "Element does not support sending keys.")
        if not body["value"]:
            raise PlainError("400 Bad Request", "System.InvalidOperationException: Sequence contains no elements")
        control.value = "".join(body["value"])
        self._tap(0, 0)

    def _attribute(self, _body: Any, key: str, name: str) -> Any:
        control = self._element(key)
        values = {
            "Name": control.name,
            "AutomationId": control.automation_id,
            "ClassName": control.class_name,
            "ControlType": "System.Windows.Automation.ControlType",
            "LocalizedControlType": control.kind.lower(),
            "IsEnabled": str(control.enabled),
            "IsOffscreen": str(not control.visible),
            "BoundingRectangle": ",".join(str(each) for each in control.rect),
        }
        if name not in values:
            raise PlainError("400 Bad Request", _NULL_REFERENCE)
        return values[name]

    def _location(self, _body: Any, key: str) -> Any:
        return dict(zip("xy", self._element(key).centre, strict=True))  # the clickable point, not the corner

    def _launch(self, body: Any) -> Any:
        if body["name"] not in self.tiles:
            raise Refusal(NO_WINDOW, f"The tile {body['name']} was not found.")
        self._opened.append(body["name"])
        self.application.log.append(f"launch {body['name']}")
        return body["name"]

    def _close(self, _body: Any) -> Any:
        if not self._opened:
            raise Refusal(NO_WINDOW, "Only windows that were opened by switching to them can be closed.")
        self.application.log.append(f"close {self._opened.pop()}")

    def _move(self, body: Any) -> Any:
        if not {"element", "xoffset", "yoffset"} <= body.keys():
            raise PlainError("400 Bad Request", _NO_KEY)
        x, y, _, _ = self._element(body["element"]).rect
        self.application.mouse = (x + int(body["xoffset"]), y + int(body["yoffset"]))

    def _gesture(self, name: str, body: Any) -> None:
        self.application.log.append(f"{name} {self._element(body['element']).name}")

    def _slide(self, body: Any) -> None:
        control = self._element(body["element"])
        self.application.log.append(f"slide {control.name} by {body['xoffset']}, {body['yoffset']}")

    def _flick(self, body: Any) -> None:
        if "element" not in body:
            raise Refusal(UNKNOWN, "A flick needs an element to begin at.")
        self._slide(body)
        self.application.log[-1] += f" at {body['speed']}"

    def _execute(self, body: Any) -> Any:
        prefix, _, command = body["script"].partition(":")
        if prefix != "storage":
            raise PlainError("501 Not Implemented", "Command 'executeScript' not yet implemented.")
        if command.strip() != "ReadLocalTextFile" or not body["args"]:
            raise Refusal(UNKNOWN_COMMAND, f"Unknown storage command: {command.strip()}")
        if body["args"][0] not in self.files:
            raise Refusal(UNKNOWN, f"Unknown error: no file {body['args'][0]}")
        return self.files[body["args"][0]]


def _not_yet(name: str) -> Any:
    def refuse(*_: Any) -> None:
        raise PlainError("501 Not Implemented", f"Command '{name}' not yet implemented.")

    return refuse


def _as_xml(control: Control, runtime_id: str) -> etree._Element:
    element = etree.Element(
        f"W{runtime_id}",
        {
            "class": control.class_name,
            "id": control.automation_id,
            "name": control.name,
            "rect": ",".join(str(each) for each in control.rect),
        },
    )
    element.extend(_as_xml(child, f"{runtime_id}{number}") for number, child in enumerate(control.children))
    return element
