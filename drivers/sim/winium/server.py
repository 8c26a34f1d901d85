"""Winium.Desktop and Winium.Mobile on the wire: JSON Wire over an HTTP of its own.

After the sources of Winium.Desktop 1.6 (2GIS): one connection at a time, closed after the answer, no Content-Length in
answers; header names are looked up as written and a body's length counts characters; errors come with HTTP 200 and a
status; unknown paths as plain text.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote

from drivers.sim.winium.application import Application, Control

SESSION = "AwesomeSession"
_SUCCESS, _NO_ELEMENT, _UNKNOWN_COMMAND, _STALE, _NOT_VISIBLE, _UNKNOWN, _SCRIPT = 0, 7, 9, 10, 11, 13, 17
_NO_WINDOW, _SELECTOR, _NO_SESSION = 23, 32, 33
_CR_LF = "\r\n"


@dataclass
class WiniumFaults:
    """What goes wrong on purpose. `hang_s`: seconds before each answer; `cut`: characters of the answer that still go
    out before the connection closes; `rubbish`: the answer's body instead."""

    hang_s: float = 0.0
    cut: int | None = None
    rubbish: str | None = None


class _Refusal(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class _Request:
    method: str
    path: str
    body: dict[str, Any]


@dataclass
class WiniumServer:
    """The server; a context that runs it in a thread. `requests`: what was asked, for tests to look at.

    `mobile`: it is Winium.Mobile, with fingers for a mouse and other scripts. `has_location`: it knows the command for
    an element's place, which older ones lack.
    """

    host: str = "127.0.0.1"
    port: int = 0
    faults: WiniumFaults = field(default_factory=WiniumFaults)
    has_location: bool = True
    mobile: bool = False

    def __post_init__(self) -> None:
        self.application = Application()
        self.requests: list[str] = []
        self.capabilities: dict[str, Any] = {}
        self.implicit_wait_ms = 0
        self._elements: dict[str, Control] = {}
        self._session = False
        self._stop = threading.Event()
        self._wake = threading.Event()

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def __enter__(self) -> Self:
        self._listener = socket.create_server((self.host, self.port), backlog=8)
        self.port = self._listener.getsockname()[1]
        self._listener.settimeout(0.1)
        self._thread = threading.Thread(target=self._run, name="winium", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._wake.set()
        self._thread.join()
        self._listener.close()

    def recover(self) -> None:
        """End all faults, a hang under way too."""
        self.faults = WiniumFaults()
        self._wake.set()
        self._wake = threading.Event()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            with client:
                client.settimeout(60)
                with contextlib.suppress(OSError):
                    self._converse(client)

    def _converse(self, client: socket.socket) -> None:
        reader = client.makefile("r", encoding="utf-8", newline="")
        start = reader.readline().strip()
        headers: dict[str, str] = {}
        while line := reader.readline().strip():
            parts = line.split(":")
            headers[parts[0]] = parts[1].strip()
        length = int(headers.get("Content-Length", "0"))
        text = reader.read(length) if length else ""
        if not start:
            return
        method, target, _ = start.split(" ")
        self.requests.append(f"{method} {target}")
        status, body = self._respond(method, target, text)
        if self.faults.hang_s:
            self._wake.wait(self.faults.hang_s)
        if self._stop.is_set():
            return
        if self.faults.rubbish is not None:
            body = self.faults.rubbish
        head = f"HTTP/1.1 {status}{_CR_LF}Content-Type: application/json;charset=UTF-8{_CR_LF}Connection: close"
        answer = (head + _CR_LF * 2 + body).encode()
        client.sendall(answer if self.faults.cut is None else answer[: self.faults.cut])

    def _respond(self, method: str, target: str, text: str) -> tuple[str, str]:
        routes = _MOBILE_ROUTES if self.mobile else _ROUTES
        matches = (
            (found, command)
            for verb, pattern, command in routes
            if verb == method and (found := pattern.fullmatch(target)) is not None
        )
        if (match := next(matches, None)) is None:
            return "404 Not Found", f"Unknown command {self.url}{target}"
        found, command = match
        at = [unquote(each) for each in found.groups()]
        try:
            value = command(self, json.loads(text) if text else {}, *at)
            status: int = _SUCCESS
        except _Refusal as exc:
            status, value = exc.status, str(exc)
        except LookupError as exc:
            status, value = _UNKNOWN, f"{type(exc).__name__}: {exc}"
        return "200 OK", json.dumps({"sessionId": SESSION, "status": status, "value": value}, indent=2)

    # -- session -------------------------------------------------------------------------------------------------

    def _status(self, _body: Any) -> Any:
        return {"build": {"version": "1.6.0"}, "os": {"name": "windows"}}

    def _begin(self, body: Any) -> Any:
        self.capabilities = body["desiredCapabilities"]
        if not self.capabilities.get("app"):
            raise _Refusal(_NO_SESSION, "app capability is not set")
        self.application, self._elements, self._session = Application(), {}, True
        return {"app": self.capabilities["app"], "args": "", "innerPort": 9998, "launchDelay": 0}

    def _end(self, _body: Any) -> Any:
        self._session, self.application.running = False, False

    def _implicit(self, body: Any) -> Any:
        self.implicit_wait_ms = int(body["ms"])

    def _window_handle(self, _body: Any) -> Any:
        return "65538"

    def _window_handles(self, _body: Any) -> Any:
        return ["65538"] if self.application.running else []

    def _switch(self, body: Any) -> Any:
        if body["name"] != "65538":
            raise _Refusal(_NO_ELEMENT, "Window cannot be found")

    def _close(self, _body: Any) -> Any:
        self.application.running = False

    # -- elements ------------------------------------------------------------------------------------------------

    def _find(self, body: Any, parent: str | None = None) -> list[Control]:
        below = self.application.desktop if parent is None else self._element(parent)
        until = time.monotonic() + self.implicit_wait_ms / 1000
        while True:
            try:
                found = self.application.find(below, body["using"], body["value"])
            except ValueError as exc:
                raise _Refusal(_SELECTOR, str(exc)) from None
            if found or time.monotonic() >= until or self._stop.wait(0.02):
                return found

    def _find_one(self, body: Any, parent: str | None = None) -> Any:
        found = self._find(body, parent)
        if not found:
            raise _Refusal(_NO_ELEMENT, f"Element cannot be found by {body['using']} {body['value']}")
        return self._register(found[0])

    def _find_all(self, body: Any, parent: str | None = None) -> Any:
        return [self._register(each) for each in self._find(body, parent)]

    def _active(self, _body: Any) -> Any:
        return self._register(self.application.focus or self.application.window)

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
            raise _Refusal(_STALE, "Stale element reference")
        return control

    def _click(self, _body: Any, key: str) -> Any:
        control = self._element(key)
        if not control.visible:
            raise _Refusal(_NOT_VISIBLE, "Element is not visible")
        self.application.mouse = control.centre
        self.application.click(control)

    def _text(self, _body: Any, key: str) -> Any:
        control = self._element(key)
        return control.name if control.value is None else control.value

    def _value(self, body: Any, key: str) -> Any:
        control = self._element(key)
        if control.value is None or not control.enabled:
            raise _Refusal(12, "Element takes no text")
        self.application.focus = control
        self.application.type("".join(body["value"]))

    def _clear(self, _body: Any, key: str) -> Any:
        self._element(key).value = ""

    def _submit(self, _body: Any, _key: str) -> Any:
        self.application.click(self.application.save)

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
            raise _Refusal(_UNKNOWN_COMMAND, "'getElementLocation' is not valid or implemented command.")
        return dict(zip("xy", self._element(key).rect[:2], strict=True))

    def _scroll_to(self, body: Any, key: str) -> Any:
        parent = self._element(key)
        try:
            found = self.application.find(parent, body["using"], body["value"])
        except ValueError as exc:
            raise _Refusal(_SELECTOR, str(exc)) from None
        if not found:
            raise _Refusal(_NO_ELEMENT, "no such item")
        top = parent.children.index(found[0])
        for index, item in enumerate(parent.children):
            item.visible = top <= index < top + 5
        return self._register(found[0])

    def _cell(self, key: str, row: str, column: str) -> Control:
        try:
            return self._element(key).children[int(row)].children[int(column)]
        except IndexError:
            raise _Refusal(_NO_ELEMENT, f"no cell {row}, {column}") from None

    def _select_cell(self, _body: Any, key: str, row: str, column: str) -> Any:
        self._cell(key, row, column).selected = True

    def _expand(self, key: str, expanded: bool) -> None:
        self._element(key).expanded = expanded

    def _menu_item(self, _body: Any, key: str, path: str) -> Any:
        self._element(key)
        item = self.application.select_menu(path)
        if item is None:
            raise _Refusal(_NO_ELEMENT, f"no menu item {path}")
        return self._register(item)

    def _menu_select(self, body: Any, key: str, path: str) -> Any:
        self._menu_item(body, key, path)
        self.application.log.append(f"menu {path}")

    def _chosen(self, _body: Any, key: str) -> Any:
        return self._register(next(each for each in self._element(key).children if each.selected))

    # -- Winium.Mobile -------------------------------------------------------------------------------------------

    def _execute_mobile(self, body: Any) -> Any:
        prefix, _, command = body["script"].partition(":")
        args, command = body["args"], command.strip()
        if prefix == "mobile" and command in ("App.Open", "App.Close"):
            self.application.running = command == "App.Open"
        elif prefix == "automation" and command in ("InvokePattern.Invoke", "TogglePattern.Toggle"):
            self.application.click(self._element(args[0]["ELEMENT"]))
        elif (prefix, command) == ("attribute", "set"):
            control, name, value = self._element(args[0]["ELEMENT"]), args[1], args[2]
            if name != "Text":
                raise _Refusal(_SCRIPT, f"Could not access attribute {name}")
            control.value = str(value)
        else:
            raise _Refusal(_SCRIPT, f"Unknown script command '{body['script']}'")

    def _source(self, _body: Any) -> Any:
        return self.application.source()

    def _tap(self, body: Any, taps: int = 1) -> Any:
        control = self._element(body["element"])
        self.application.mouse = control.centre
        for _ in range(taps):
            self.application.click(control)

    def _touch(self, body: Any) -> None:
        self.application.mouse = (body["x"], body["y"])

    def _touch_down(self, body: Any) -> Any:
        self._touch(body)
        self.application.press_mouse(0)

    def _touch_up(self, body: Any) -> Any:
        self._touch(body)
        self.application.release_mouse(0)

    # -- scripts, mouse, keyboard --------------------------------------------------------------------------------

    def _execute(self, body: Any) -> Any:
        prefix, _, command = body["script"].partition(":")
        args, command = body["args"], command.strip()
        if (prefix, command) == ("automation", "ValuePattern.SetValue"):
            self._element(args[0]["ELEMENT"]).value = str(args[1])
        elif prefix == "input" and command in ("ctrl_click", "brc_click"):
            self.application.modifiers ^= {"\ue009"}
            self._click({}, args[0]["ELEMENT"])
            self.application.modifiers ^= {"\ue009"}
        else:
            raise _Refusal(_SCRIPT, f"Unknown script command '{body['script']}'")

    def _move(self, body: Any) -> Any:
        x, y = self.application.mouse
        if "element" in body:
            control = self._element(body["element"])
            x, y = control.rect[:2] if "xoffset" in body else control.centre
        elif "xoffset" not in body:
            raise _Refusal(_UNKNOWN, "WRONG PARAMETERS")
        self.application.mouse = (x + int(body.get("xoffset", 0)), y + int(body.get("yoffset", 0)))

    def _mouse_click(self, body: Any) -> Any:
        if body["button"] not in (0, 2):
            raise _Refusal(_UNKNOWN_COMMAND, "Mouse button behavior is not implemented")
        control = self.application.at(*self.application.mouse)
        if body["button"] == 2:
            self.application.log.append(f"right click {control.name}")
        else:
            self.application.click(control)

    def _double_click(self, _body: Any) -> Any:
        self.application.log.append(f"double click {self.application.at(*self.application.mouse).name}")


def _route(method: str, path: str, command: Callable[..., Any]) -> tuple[str, re.Pattern[str], Callable[..., Any]]:
    return method, re.compile(re.sub(r"\{\w+\}", "([^/]+)", path.replace("~", f"/session/{SESSION}"))), command


_ROUTES = [
    _route("GET", "/status", WiniumServer._status),
    _route("POST", "/session", WiniumServer._begin),
    _route("DELETE", "~", WiniumServer._end),
    _route("POST", "~/timeouts/implicit_wait", WiniumServer._implicit),
    _route("GET", "~/window_handle", WiniumServer._window_handle),
    _route("GET", "~/window_handles", WiniumServer._window_handles),
    _route("POST", "~/window", WiniumServer._switch),
    _route("DELETE", "~/window", WiniumServer._close),
    _route("GET", "~/screenshot", lambda self, _body: self.application.screenshot()),
    _route("GET", "~/orientation", lambda _self, _body: "LANDSCAPE"),
    _route("POST", "~/element", WiniumServer._find_one),
    _route("POST", "~/elements", WiniumServer._find_all),
    _route("POST", "~/element/active", WiniumServer._active),
    _route("POST", "~/element/{id}/element", WiniumServer._find_one),
    _route("POST", "~/element/{id}/elements", WiniumServer._find_all),
    _route("POST", "~/element/{id}/click", WiniumServer._click),
    _route("GET", "~/element/{id}/text", WiniumServer._text),
    _route("POST", "~/element/{id}/value", WiniumServer._value),
    _route("POST", "~/element/{id}/clear", WiniumServer._clear),
    _route("POST", "~/element/{id}/submit", WiniumServer._submit),
    _route("GET", "~/element/{id}/attribute/{name}", WiniumServer._attribute),
    _route("GET", "~/element/{id}/selected", lambda self, _body, key: self._element(key).selected),
    _route("GET", "~/element/{id}/enabled", lambda self, _body, key: self._element(key).enabled),
    _route("GET", "~/element/{id}/displayed", lambda self, _body, key: self._element(key).visible),
    _route("GET", "~/element/{id}/size", WiniumServer._size),
    _route("GET", "~/element/{id}/location", WiniumServer._location),
    _route("GET", "~/element/{id}/equals/{other}", lambda self, _b, a, b: self._element(a) is self._element(b)),
    _route("POST", "~/execute", WiniumServer._execute),
    _route("POST", "~/moveto", WiniumServer._move),
    _route("POST", "~/click", WiniumServer._mouse_click),
    _route("POST", "~/doubleclick", WiniumServer._double_click),
    _route("POST", "~/buttondown", lambda self, body: self.application.press_mouse(body.get("button", 0))),
    _route("POST", "~/buttonup", lambda self, body: self.application.release_mouse(body.get("button", 0))),
    _route("POST", "~/keys", lambda self, body: self.application.type("".join(body["value"]))),
    _route("POST", "~/element/{id}/datagrid/cell/{r}/{c}", lambda self, _b, *at: self._register(self._cell(*at))),
    _route(
        "POST",
        "~/element/{id}/datagrid/column/count",
        lambda self, _b, key: len(self._element(key).children[0].children),
    ),
    _route("POST", "~/element/{id}/datagrid/row/count", lambda self, _b, key: len(self._element(key).children)),
    _route("POST", "~/element/{id}/datagrid/scroll/{r}/{c}", lambda self, _b, *at: self._register(self._cell(*at))),
    _route("POST", "~/element/{id}/datagrid/select/{r}/{c}", WiniumServer._select_cell),
    _route("POST", "~/element/{id}/combobox/expanded", lambda self, _b, key: self._element(key).expanded),
    _route("POST", "~/element/{id}/combobox/expand", lambda self, _b, key: self._expand(key, True)),
    _route("POST", "~/element/{id}/combobox/collapse", lambda self, _b, key: self._expand(key, False)),
    _route("POST", "~/element/{id}/combobox/items/selected", WiniumServer._chosen),
    _route("POST", "~/element/{id}/combobox/scroll", WiniumServer._scroll_to),
    _route("POST", "~/element/{id}/listbox/scroll", WiniumServer._scroll_to),
    _route("POST", "~/element/{id}/menu/item/{path}", WiniumServer._menu_item),
    _route("POST", "~/element/{id}/menu/select/{path}", WiniumServer._menu_select),
]
_WITHOUT_MOUSE = {f"/session/{SESSION}/{each}" for each in ("click", "doubleclick", "moveto", "buttondown", "buttonup")}
_MOBILE_ROUTES = [
    *(route for route in _ROUTES if route[1].pattern not in {*_WITHOUT_MOUSE, f"/session/{SESSION}/execute"}),
    _route("POST", "~/execute", WiniumServer._execute_mobile),
    _route("GET", "~/source", WiniumServer._source),
    _route("GET", "~/element/{id}/name", lambda self, _b, key: f"Windows.UI.Xaml.Controls.{self._element(key).kind}"),
    _route("POST", "~/touch/click", WiniumServer._tap),
    _route("POST", "~/touch/doubleclick", lambda self, body: self._tap(body, 2)),
    _route("POST", "~/touch/down", WiniumServer._touch_down),
    _route("POST", "~/touch/move", WiniumServer._touch),
    _route("POST", "~/touch/up", WiniumServer._touch_up),
]
