"""One W3C session on a JSON Wire server: each W3C command as the commands that the server knows."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

from devices.dialects import actions as acts
from devices.dialects.atoms import atom
from devices.dialects.conversation import Conversation, of_element
from devices.dialects.errors import UNKNOWN_COMMAND, wire_error
from devices.dialects.extensions import extension
from devices.dialects.flavours import Flavour
from devices.dialects.hands import Hands
from devices.dialects.pictures import cut_out
from devices.dialects.wire import WireLink
from devices.webdriver import WebDriverError
from drivers.errors import DeviceError

Body = dict[str, Any]
Command = Callable[["WireSession", Body, dict[str, str]], Awaitable[Any]]
_TIMEOUTS = {"script": 30_000, "pageLoad": 300_000, "implicit": 0}
# How often a server that waits for no element is asked again.
_ASK_AGAIN_S = 0.1
_NO_SUCH_ELEMENT = "no such element"


class WireSession:
    """A session. Each method named in COMMANDS answers one W3C command with its value, or raises WebDriverError."""

    def __init__(self, link: WireLink, flavour: Flavour, wire_id: str) -> None:
        self.wire = Conversation(link, flavour, wire_id)
        self.flavour = flavour
        self.timeouts: dict[str, Any] = dict(_TIMEOUTS)
        self._hands = Hands(self.wire)
        self._switch_refused = ""  # why the last switch to another window failed

    # -- session, windows, source --------------------------------------------------------------------------------

    async def quit(self, _body: Body, _at: dict[str, str]) -> None:
        with contextlib.suppress(DeviceError, WebDriverError):  # keys and buttons are those of the machine, and stay
            await self._hands.release()
        await self.wire.link.call("DELETE", f"/session/{self.wire.wire_id}")

    async def get_timeouts(self, _body: Body, _at: dict[str, str]) -> Any:
        return self.timeouts

    async def set_timeouts(self, body: Body, _at: dict[str, str]) -> None:
        for name, value in body.items():
            if name not in _TIMEOUTS:
                raise WebDriverError("invalid argument", f"unknown timeout {name!r}; known are {', '.join(_TIMEOUTS)}")
            if isinstance(value, bool) or not isinstance(value, int | float | None) or (value or 0) < 0:
                raise WebDriverError("invalid argument", f"the timeout {name} must be milliseconds, not {value!r}")
        for name, value in body.items():
            if name == "implicit" and self.flavour.waits:
                await self.wire.first(
                    ("POST", "/timeouts/implicit_wait", {"ms": value or 0}),
                    ("POST", "/timeouts", {"type": "implicit", "ms": value or 0}),
                )
            self.timeouts[name] = value

    async def window(self, _body: Body, _at: dict[str, str]) -> Any:
        answer = await self.wire.answer("GET", "/window_handle")
        if answer.status == UNKNOWN_COMMAND:
            # Selenium asks after a switch that failed, and shows the answer to this.
            raise WebDriverError(
                "no such window", self._switch_refused or f"{self.flavour.title} gives its windows no handles"
            )
        return _text(self.wire.value(answer, "window handle"))

    async def windows(self, _body: Body, _at: dict[str, str]) -> Any:
        return [_text(each) for each in await self.wire.ask("GET", "/window_handles") or []]

    async def switch_window(self, body: Body, _at: dict[str, str]) -> None:
        handle = _required(body, "handle", str)
        answer = await self.wire.answer("POST", "/window", {"name": handle, "handle": handle})
        if answer.status in (7, 13, 23):
            self._switch_refused = f"{self.flavour.title} has no window {handle!r}"
            raise WebDriverError("no such window", self._switch_refused)
        if answer.status:
            raise wire_error(answer, f"switching to window {handle}")

    async def close_window(self, body: Body, at: dict[str, str]) -> Any:
        await self.wire.ask("DELETE", "/window")
        try:
            return await self.windows(body, at)
        except WebDriverError:  # the last window took the application with it
            return []

    async def window_rect(self, _body: Body, _at: dict[str, str]) -> Any:
        size = await self.wire.ask("GET", "/window/current/size")
        place = await self.wire.ask("GET", "/window/current/position")
        return {"x": place["x"], "y": place["y"], "width": size["width"], "height": size["height"]}

    async def set_window_rect(self, body: Body, at: dict[str, str]) -> Any:
        if body.get("x") is not None and body.get("y") is not None:
            await self.wire.ask("POST", "/window/current/position", {"x": body["x"], "y": body["y"]})
        if body.get("width") is not None and body.get("height") is not None:
            size = {"width": body["width"], "height": body["height"]}
            await self.wire.ask("POST", "/window/current/size", size)
        return await self.window_rect(body, at)

    async def maximize(self, body: Body, at: dict[str, str]) -> Any:
        await self.wire.ask("POST", "/window/current/maximize")
        return await self.window_rect(body, at)

    async def title(self, _body: Body, _at: dict[str, str]) -> Any:
        return await self.wire.ask("GET", "/title")

    async def source(self, _body: Body, _at: dict[str, str]) -> Any:
        return await self.wire.ask("GET", "/source")

    async def back(self, _body: Body, _at: dict[str, str]) -> Any:
        return await self.wire.ask("POST", "/back")

    # -- elements ------------------------------------------------------------------------------------------------

    async def find(self, body: Body, at: dict[str, str]) -> Any:
        return await self._find("/element", body, at)

    async def find_all(self, body: Body, at: dict[str, str]) -> Any:
        return await self._find("/elements", body, at) or []

    async def _find(self, command: str, body: Body, at: dict[str, str]) -> Any:
        locator = self.flavour.strategies.translate(_required(body, "using", str), _required(body, "value", str))
        path = (_of(at) if "element" in at else "") + command
        until = time.monotonic() + (0.0 if self.flavour.waits else (self.timeouts["implicit"] or 0) / 1000)
        while True:
            left = until - time.monotonic()
            try:
                found = await self.wire.ask("POST", path, {"using": locator.using, "value": locator.value})
            except WebDriverError as error:
                if error.code != _NO_SUCH_ELEMENT or left <= 0:
                    raise
                found = None
            if found or left <= 0:
                return found
            await asyncio.sleep(min(left, _ASK_AGAIN_S))

    async def active(self, _body: Body, _at: dict[str, str]) -> Any:
        return await self.wire.ask("POST", "/element/active")

    async def attribute(self, _body: Body, at: dict[str, str]) -> Any:
        return await self._attribute(f"{_of(at)}/attribute/{quote(at['name'], safe='')}")

    async def _attribute(self, path: str) -> Any:
        answer = await self.wire.answer("GET", path)
        # Winium.StoreApps.CodedUi looks properties up by reflection: this is what it says of one that there is not.
        if answer.http_status == 400 and "NullReferenceException" in str(answer.value):
            return None
        return self.wire.value(answer, f"GET {path}")

    async def css_value(self, _body: Body, at: dict[str, str]) -> Any:
        return await self.wire.ask("GET", f"{_of(at)}/css/{quote(at['name'], safe='')}")

    async def label(self, _body: Body, at: dict[str, str]) -> Any:
        return await self.wire.ask("GET", f"{_of(at)}/attribute/Name")

    async def role(self, _body: Body, at: dict[str, str]) -> Any:
        kind = await self.wire.ask("GET", f"{_of(at)}/attribute/{self.flavour.role}")
        return str(kind or "").rpartition(".")[2].lower()

    async def text(self, _body: Body, at: dict[str, str]) -> Any:
        return _text(await self.wire.ask("GET", f"{_of(at)}/text"))

    async def tag_name(self, body: Body, at: dict[str, str]) -> Any:
        if self.flavour.tag:
            return await self._attribute(f"{_of(at)}/attribute/{self.flavour.tag}")
        answer = await self.wire.answer("GET", f"{_of(at)}/name")
        if answer.status == UNKNOWN_COMMAND:
            return await self.role(body, at)
        return self.wire.value(answer, "name of an element")

    async def rect(self, _body: Body, at: dict[str, str]) -> Any:
        return await self.wire.rect(at["element"])

    async def is_selected(self, _body: Body, at: dict[str, str]) -> Any:
        return await self.wire.ask("GET", f"{_of(at)}/selected")

    async def is_enabled(self, _body: Body, at: dict[str, str]) -> Any:
        enabled = ("GET", f"{_of(at)}/enabled", None)
        value = await self.wire.first(enabled, ("GET", f"{_of(at)}/attribute/IsEnabled", None))
        return value if isinstance(value, bool) else str(value).lower() == "true"

    async def is_displayed(self, _body: Body, at: dict[str, str]) -> Any:
        return await self.wire.ask("GET", f"{_of(at)}/displayed")

    async def click(self, _body: Body, at: dict[str, str]) -> None:
        await self.wire.ask("POST", f"{_of(at)}/click")

    async def clear(self, _body: Body, at: dict[str, str]) -> None:
        if self.flavour.replaces:
            await self.wire.ask("POST", f"{_of(at)}/value", {"value": [""]})
        else:
            await self.wire.ask("POST", f"{_of(at)}/clear")

    async def submit(self, _body: Body, at: dict[str, str]) -> None:
        await self.wire.ask("POST", f"{_of(at)}/submit")

    async def send_keys(self, body: Body, at: dict[str, str]) -> None:
        text = _required(body, "text", str)
        if self.flavour.replaces:
            if special := sorted({key for key in text if "\ue000" <= key <= "\uf8ff"}):
                keys = ", ".join(f"U+{ord(key):04X}" for key in special)
                raise WebDriverError(
                    "unsupported operation", f"{self.flavour.title} sets texts and has no keys: {keys}"
                )
            text = _text(await self.wire.ask("GET", f"{_of(at)}/text")) + text
        await self.wire.ask("POST", f"{_of(at)}/value", {"value": list(text) or [""]})

    async def equals(self, _body: Body, at: dict[str, str]) -> Any:
        answer = await self.wire.answer("GET", f"{_of(at)}/equals/{quote(at['other'], safe='')}")
        if answer.status == UNKNOWN_COMMAND:
            return at["element"] == at["other"]  # an element has one id as long as the session lasts
        return self.wire.value(answer, "equality of elements")

    # -- pictures ------------------------------------------------------------------------------------------------

    async def screenshot(self, _body: Body, _at: dict[str, str]) -> Any:
        return await self.wire.ask("GET", "/screenshot")

    async def element_screenshot(self, body: Body, at: dict[str, str]) -> Any:
        rect = await self.wire.rect(at["element"])
        root = await self.wire.rect(await self.wire.root())
        picture = await self.screenshot(body, at)
        return await asyncio.to_thread(cut_out, str(picture), rect, root)

    # -- scripts -------------------------------------------------------------------------------------------------

    async def execute(self, body: Body, _at: dict[str, str]) -> Any:
        script, args = _required(body, "script", str), body.get("args") or []
        if not isinstance(args, list):
            raise WebDriverError("invalid argument", "args must be a list")
        if script.strip() == "return window.name":  # Selenium, when a window handle is unknown
            return None
        if (command := atom(script, args)) is not None:
            method, path = command
            return await (self._attribute(path) if "/attribute/" in path else self.wire.ask(method, path))
        if (call := extension(script, args, self.flavour.extensions)) is not None:
            return await self.wire.ask("POST", call.path, call.body)
        return await self.wire.ask("POST", "/execute", {"script": script, "args": args})

    # -- alerts, orientation -------------------------------------------------------------------------------------

    async def alert_text(self, _body: Body, _at: dict[str, str]) -> Any:
        return await self.wire.ask("GET", "/alert_text")

    async def set_alert_text(self, body: Body, _at: dict[str, str]) -> None:
        await self.wire.ask("POST", "/alert_text", {"text": _required(body, "text", str)})

    async def accept_alert(self, _body: Body, _at: dict[str, str]) -> None:
        await self.wire.ask("POST", "/accept_alert")

    async def dismiss_alert(self, _body: Body, _at: dict[str, str]) -> None:
        await self.wire.ask("POST", "/dismiss_alert")

    async def orientation(self, _body: Body, _at: dict[str, str]) -> Any:
        return await self.wire.ask("GET", "/orientation")

    async def set_orientation(self, body: Body, _at: dict[str, str]) -> Any:
        return await self.wire.ask("POST", "/orientation", {"orientation": _required(body, "orientation", str)})

    # -- actions -------------------------------------------------------------------------------------------------

    async def perform(self, body: Body, _at: dict[str, str]) -> None:
        await self._hands.perform(acts.plan(body.get("actions", [])))

    async def release(self, _body: Body, _at: dict[str, str]) -> None:
        await self._hands.release()


def _of(at: dict[str, str]) -> str:
    return of_element(at["element"])


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _required(body: Body, key: str, kind: type) -> Any:
    if not isinstance(body.get(key), kind):
        raise WebDriverError("invalid argument", f"{key} is required, a {kind.__name__}, not {body.get(key)!r}")
    return body[key]


# Method and path below /session/{id}, as W3C WebDriver section 6.5 lists them; then Appium's.
COMMANDS: dict[tuple[str, str], Command] = {
    ("DELETE", ""): WireSession.quit,
    ("GET", "/timeouts"): WireSession.get_timeouts,
    ("POST", "/timeouts"): WireSession.set_timeouts,
    ("GET", "/window"): WireSession.window,
    ("POST", "/window"): WireSession.switch_window,
    ("DELETE", "/window"): WireSession.close_window,
    ("GET", "/window/handles"): WireSession.windows,
    ("GET", "/window/rect"): WireSession.window_rect,
    ("POST", "/window/rect"): WireSession.set_window_rect,
    ("POST", "/window/maximize"): WireSession.maximize,
    ("GET", "/title"): WireSession.title,
    ("GET", "/source"): WireSession.source,
    ("POST", "/back"): WireSession.back,
    ("POST", "/element"): WireSession.find,
    ("POST", "/elements"): WireSession.find_all,
    ("GET", "/element/active"): WireSession.active,
    ("POST", "/element/{element}/element"): WireSession.find,
    ("POST", "/element/{element}/elements"): WireSession.find_all,
    ("GET", "/element/{element}/attribute/{name}"): WireSession.attribute,
    ("GET", "/element/{element}/property/{name}"): WireSession.attribute,
    ("GET", "/element/{element}/css/{name}"): WireSession.css_value,
    ("GET", "/element/{element}/computedlabel"): WireSession.label,
    ("GET", "/element/{element}/computedrole"): WireSession.role,
    ("GET", "/element/{element}/text"): WireSession.text,
    ("GET", "/element/{element}/name"): WireSession.tag_name,
    ("GET", "/element/{element}/rect"): WireSession.rect,
    ("GET", "/element/{element}/selected"): WireSession.is_selected,
    ("GET", "/element/{element}/enabled"): WireSession.is_enabled,
    ("GET", "/element/{element}/displayed"): WireSession.is_displayed,
    ("GET", "/element/{element}/equals/{other}"): WireSession.equals,
    ("POST", "/element/{element}/click"): WireSession.click,
    ("POST", "/element/{element}/clear"): WireSession.clear,
    ("POST", "/element/{element}/submit"): WireSession.submit,
    ("POST", "/element/{element}/value"): WireSession.send_keys,
    ("GET", "/screenshot"): WireSession.screenshot,
    ("GET", "/element/{element}/screenshot"): WireSession.element_screenshot,
    ("POST", "/execute/sync"): WireSession.execute,
    ("POST", "/actions"): WireSession.perform,
    ("DELETE", "/actions"): WireSession.release,
    ("GET", "/alert/text"): WireSession.alert_text,
    ("POST", "/alert/text"): WireSession.set_alert_text,
    ("POST", "/alert/accept"): WireSession.accept_alert,
    ("POST", "/alert/dismiss"): WireSession.dismiss_alert,
    ("GET", "/orientation"): WireSession.orientation,
    ("POST", "/orientation"): WireSession.set_orientation,
}
