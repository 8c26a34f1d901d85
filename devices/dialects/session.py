"""One W3C session on a JSON Wire server: each W3C command as the commands that the server knows."""

from __future__ import annotations

import asyncio
import base64
import io
import re
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

from devices.dialects import actions as acts
from devices.dialects.atoms import atom
from devices.dialects.elements import element_id, to_w3c, to_wire
from devices.dialects.errors import UNKNOWN_COMMAND, wire_error
from devices.dialects.extensions import extension
from devices.dialects.flavours import Flavour
from devices.dialects.wire import WireAnswer, WireLink
from devices.webdriver import WebDriverError

Body = dict[str, Any]
Command = Callable[["WireSession", Body, dict[str, str]], Awaitable[Any]]
_TIMEOUTS = {"script": 30_000, "pageLoad": 300_000, "implicit": 0}
# The JSON Wire names of the timeouts that W3C counts.
_WIRE_TIMEOUTS = {"script": "script", "pageLoad": "page load", "implicit": "implicit"}


class WireSession:
    """A session. Each method named in COMMANDS answers one W3C command with its value, or raises WebDriverError."""

    def __init__(self, link: WireLink, flavour: Flavour, wire_id: str) -> None:
        self.link = link
        self.flavour = flavour
        self.wire_id = wire_id
        self.timeouts: dict[str, Any] = dict(_TIMEOUTS)
        self._held_buttons: set[int] = set()
        self._held_keys: set[str] = set()
        self._touched: tuple[str, int, int] | None = None

    # -- asking the server ---------------------------------------------------------------------------------------

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        """The value that the server gives for a command below the session; raises WebDriverError for a refusal."""
        answer = await self._answer(method, path, body)
        if answer.status:
            raise wire_error(answer, f"{self.flavour.title} {method} {path}")
        return to_w3c(answer.value)

    async def _answer(self, method: str, path: str, body: Any = None) -> WireAnswer:
        return await self.link.call(method, f"/session/{self.wire_id}{path}", to_wire(body))

    async def _first(self, *asked: tuple[str, str, Any]) -> Any:
        """The value of the first command that the server has."""
        for index, each in enumerate(asked):
            answer = await self._answer(*each)
            if answer.status != UNKNOWN_COMMAND or index == len(asked) - 1:
                break
        if answer.status:
            raise wire_error(answer, f"{self.flavour.title} {each[0]} {each[1]}")
        return to_w3c(answer.value)

    # -- session, windows, source --------------------------------------------------------------------------------

    async def quit(self, _body: Body, _at: dict[str, str]) -> None:
        await self.link.call("DELETE", f"/session/{self.wire_id}")

    async def get_timeouts(self, _body: Body, _at: dict[str, str]) -> Any:
        return self.timeouts

    async def set_timeouts(self, body: Body, _at: dict[str, str]) -> None:
        for name, value in body.items():
            if name not in _TIMEOUTS:
                raise WebDriverError("invalid argument", f"unknown timeout {name!r}; known are {', '.join(_TIMEOUTS)}")
            if isinstance(value, bool) or not isinstance(value, int | float | None) or (value or 0) < 0:
                raise WebDriverError("invalid argument", f"the timeout {name} must be milliseconds, not {value!r}")
        for name, value in body.items():
            if name == "implicit":
                await self._first(
                    ("POST", "/timeouts/implicit_wait", {"ms": value or 0}),
                    ("POST", "/timeouts", {"type": _WIRE_TIMEOUTS[name], "ms": value or 0}),
                )
            self.timeouts[name] = value

    async def window(self, _body: Body, _at: dict[str, str]) -> Any:
        return _text(await self.ask("GET", "/window_handle"))

    async def windows(self, _body: Body, _at: dict[str, str]) -> Any:
        return [_text(each) for each in await self.ask("GET", "/window_handles") or []]

    async def switch_window(self, body: Body, _at: dict[str, str]) -> None:
        handle = _required(body, "handle", str)
        answer = await self._answer("POST", "/window", {"name": handle, "handle": handle})
        if answer.status in (7, 13) or answer.status == 23:
            raise WebDriverError("no such window", f"{self.flavour.title} has no window {handle!r}")
        if answer.status:
            raise wire_error(answer, f"switching to window {handle}")

    async def close_window(self, body: Body, at: dict[str, str]) -> Any:
        await self.ask("DELETE", "/window")
        try:
            return await self.windows(body, at)
        except WebDriverError:  # the last window took the application with it
            return []

    async def window_rect(self, _body: Body, _at: dict[str, str]) -> Any:
        size = await self.ask("GET", "/window/current/size")
        place = await self.ask("GET", "/window/current/position")
        return {"x": place["x"], "y": place["y"], "width": size["width"], "height": size["height"]}

    async def set_window_rect(self, body: Body, at: dict[str, str]) -> Any:
        if body.get("x") is not None and body.get("y") is not None:
            await self.ask("POST", "/window/current/position", {"x": body["x"], "y": body["y"]})
        if body.get("width") is not None and body.get("height") is not None:
            size = {"width": body["width"], "height": body["height"]}
            await self.ask("POST", "/window/current/size", size)
        return await self.window_rect(body, at)

    async def maximize(self, body: Body, at: dict[str, str]) -> Any:
        await self.ask("POST", "/window/current/maximize")
        return await self.window_rect(body, at)

    async def title(self, _body: Body, _at: dict[str, str]) -> Any:
        return await self.ask("GET", "/title")

    async def source(self, _body: Body, _at: dict[str, str]) -> Any:
        return await self.ask("GET", "/source")

    async def back(self, _body: Body, _at: dict[str, str]) -> Any:
        return await self.ask("POST", "/back")

    # -- elements ------------------------------------------------------------------------------------------------

    async def find(self, body: Body, at: dict[str, str]) -> Any:
        return await self._find("/element", body, at)

    async def find_all(self, body: Body, at: dict[str, str]) -> Any:
        return await self._find("/elements", body, at) or []

    async def _find(self, command: str, body: Body, at: dict[str, str]) -> Any:
        locator = self.flavour.strategies.translate(_required(body, "using", str), _required(body, "value", str))
        above = f"/element/{quote(at['element'], safe='')}" if "element" in at else ""
        return await self.ask("POST", above + command, {"using": locator.using, "value": locator.value})

    async def active(self, _body: Body, _at: dict[str, str]) -> Any:
        return await self.ask("POST", "/element/active")

    async def attribute(self, _body: Body, at: dict[str, str]) -> Any:
        return await self.ask("GET", f"{_of(at)}/attribute/{quote(at['name'], safe='')}")

    async def css_value(self, _body: Body, at: dict[str, str]) -> Any:
        return await self.ask("GET", f"{_of(at)}/css/{quote(at['name'], safe='')}")

    async def label(self, _body: Body, at: dict[str, str]) -> Any:
        return await self.ask("GET", f"{_of(at)}/attribute/Name")

    async def role(self, _body: Body, at: dict[str, str]) -> Any:
        kind = await self.ask("GET", f"{_of(at)}/attribute/ControlType")
        return str(kind or "").rpartition(".")[2].lower()

    async def text(self, _body: Body, at: dict[str, str]) -> Any:
        return _text(await self.ask("GET", f"{_of(at)}/text"))

    async def tag_name(self, body: Body, at: dict[str, str]) -> Any:
        answer = await self._answer("GET", f"{_of(at)}/name")
        if answer.status == UNKNOWN_COMMAND:
            return await self.role(body, at)
        if answer.status:
            raise wire_error(answer, f"{self.flavour.title} name of an element")
        return answer.value

    async def rect(self, _body: Body, at: dict[str, str]) -> Any:
        return await self._rect(at["element"])

    async def _rect(self, element: str) -> dict[str, float]:
        of = f"/element/{quote(element, safe='')}"
        place = await self._answer("GET", f"{of}/location")
        if place.status == UNKNOWN_COMMAND and self.flavour.bounds:
            bounds = await self.ask("GET", f"{of}/attribute/{self.flavour.bounds}")
            return _bounds(bounds)
        if place.status:
            raise wire_error(place, f"{self.flavour.title} location of an element")
        size = await self.ask("GET", f"{of}/size")
        return {
            "x": place.value["x"], "y": place.value["y"], "width": size["width"], "height": size["height"],
        }  # fmt: skip

    async def is_selected(self, _body: Body, at: dict[str, str]) -> Any:
        return await self.ask("GET", f"{_of(at)}/selected")

    async def is_enabled(self, _body: Body, at: dict[str, str]) -> Any:
        return await self.ask("GET", f"{_of(at)}/enabled")

    async def is_displayed(self, _body: Body, at: dict[str, str]) -> Any:
        return await self.ask("GET", f"{_of(at)}/displayed")

    async def click(self, _body: Body, at: dict[str, str]) -> None:
        await self.ask("POST", f"{_of(at)}/click")

    async def clear(self, _body: Body, at: dict[str, str]) -> None:
        await self.ask("POST", f"{_of(at)}/clear")

    async def submit(self, _body: Body, at: dict[str, str]) -> None:
        await self.ask("POST", f"{_of(at)}/submit")

    async def send_keys(self, body: Body, at: dict[str, str]) -> None:
        await self.ask("POST", f"{_of(at)}/value", {"value": list(_required(body, "text", str))})

    async def equals(self, _body: Body, at: dict[str, str]) -> Any:
        return await self.ask("GET", f"{_of(at)}/equals/{quote(at['other'], safe='')}")

    # -- pictures ------------------------------------------------------------------------------------------------

    async def screenshot(self, _body: Body, _at: dict[str, str]) -> Any:
        return await self.ask("GET", "/screenshot")

    async def element_screenshot(self, body: Body, at: dict[str, str]) -> Any:
        rect = await self._rect(at["element"])
        root = await self._rect(await self._root())
        picture = await self.screenshot(body, at)
        return await asyncio.to_thread(_cut_out, str(picture), rect, root)

    # -- scripts -------------------------------------------------------------------------------------------------

    async def execute(self, body: Body, _at: dict[str, str]) -> Any:
        script, args = _required(body, "script", str), body.get("args") or []
        if not isinstance(args, list):
            raise WebDriverError("invalid argument", "args must be a list")
        if script.strip() == "return window.name":  # Selenium, when a window handle is unknown
            return None
        if (command := atom(script, args)) is not None:
            return await self.ask(*command)
        if (call := extension(script, args)) is not None:
            if not self.flavour.extensions:
                raise WebDriverError("unsupported operation", f"{self.flavour.title} has no {script!r}")
            return await self.ask("POST", call.path, call.body)
        return await self.ask("POST", "/execute", {"script": script, "args": args})

    # -- alerts, orientation -------------------------------------------------------------------------------------

    async def alert_text(self, _body: Body, _at: dict[str, str]) -> Any:
        return await self.ask("GET", "/alert_text")

    async def set_alert_text(self, body: Body, _at: dict[str, str]) -> None:
        await self.ask("POST", "/alert_text", {"text": _required(body, "text", str)})

    async def accept_alert(self, _body: Body, _at: dict[str, str]) -> None:
        await self.ask("POST", "/accept_alert")

    async def dismiss_alert(self, _body: Body, _at: dict[str, str]) -> None:
        await self.ask("POST", "/dismiss_alert")

    async def orientation(self, _body: Body, _at: dict[str, str]) -> Any:
        return await self.ask("GET", "/orientation")

    async def set_orientation(self, body: Body, _at: dict[str, str]) -> Any:
        return await self.ask("POST", "/orientation", {"orientation": _required(body, "orientation", str)})

    # -- actions -------------------------------------------------------------------------------------------------

    async def perform(self, body: Body, _at: dict[str, str]) -> None:
        plan = acts.plan(body.get("actions", []))
        if plan.touch and not self.flavour.touch:
            raise WebDriverError("unsupported operation", f"{self.flavour.title} has no touch screen; use a mouse")
        for step in plan.steps:
            if plan.touch:
                await self._finger(step)
            else:
                await self._mouse(step)

    async def _mouse(self, step: acts.Step) -> None:
        match step:
            case acts.Pause(ms):
                await asyncio.sleep(ms / 1000)
            case acts.Keys(text):
                await self._keys(text)
            case acts.Click(button):
                await self.ask("POST", "/click", {"button": button})
            case acts.DoubleClick():
                await self.ask("POST", "/doubleclick")
            case acts.Press(button):
                await self.ask("POST", "/buttondown", {"button": button})
                self._held_buttons.add(button)
            case acts.Release(button):
                await self.ask("POST", "/buttonup", {"button": button})
                self._held_buttons.discard(button)
            case acts.MoveBy(x, y):
                await self.ask("POST", "/moveto", {"xoffset": x, "yoffset": y})
            case acts.MoveTo(x, y):
                # The wire counts from an element's corner or from where the mouse is, and only the former is known.
                root = await self._root()
                corner = await self._rect(root)
                offsets = {"xoffset": round(x - corner["x"]), "yoffset": round(y - corner["y"])}
                await self.ask("POST", "/moveto", {"element": root, **offsets})
            case acts.MoveToElement(element, 0, 0):
                await self.ask("POST", "/moveto", {"element": element})
            case acts.MoveToElement(element, x, y):
                size = await self.ask("GET", f"/element/{quote(element, safe='')}/size")
                offsets = {"xoffset": round(size["width"] / 2 + x), "yoffset": round(size["height"] / 2 + y)}
                await self.ask("POST", "/moveto", {"element": element, **offsets})

    async def _keys(self, text: str) -> None:
        await self.ask("POST", "/keys", {"value": list(text)})
        for key in text:
            if key == acts.NULL_KEY:
                self._held_keys.clear()
            elif key in acts.MODIFIERS and self.flavour.sticky_modifiers:
                self._held_keys ^= {key}

    async def _finger(self, step: acts.Step) -> None:
        match step:
            case acts.Pause(ms):
                await asyncio.sleep(ms / 1000)
            case acts.MoveToElement(element, x, y) if not self._held_buttons:
                self._touched = (element, x, y)
            case acts.Click() if self._touched is not None and self._touched[1:] == (0, 0):
                await self.ask("POST", "/touch/click", {"element": self._touched[0]})
            case acts.DoubleClick() if self._touched is not None and self._touched[1:] == (0, 0):
                await self.ask("POST", "/touch/doubleclick", {"element": self._touched[0]})
            case acts.Click() | acts.DoubleClick():
                x, y = await self._finger_at()
                await self.ask("POST", "/touch/down", {"x": x, "y": y})
                await self.ask("POST", "/touch/up", {"x": x, "y": y})
            case acts.Press():
                x, y = await self._finger_at()
                await self.ask("POST", "/touch/down", {"x": x, "y": y})
                self._held_buttons.add(0)
            case acts.Release():
                x, y = await self._finger_at()
                await self.ask("POST", "/touch/up", {"x": x, "y": y})
                self._held_buttons.clear()
            case acts.MoveTo() | acts.MoveBy() | acts.MoveToElement():
                await self._finger_moves(step)
            case acts.Keys(text):
                await self._keys(text)

    async def _finger_moves(self, step: acts.Move) -> None:
        match step:
            case acts.MoveTo(x, y):
                self._touched = ("", x, y)
            case acts.MoveBy(x, y):
                here = await self._finger_at()
                self._touched = ("", here[0] + x, here[1] + y)
            case acts.MoveToElement(element, x, y):
                self._touched = (element, x, y)
        if self._held_buttons:
            x, y = await self._finger_at()
            await self.ask("POST", "/touch/move", {"x": x, "y": y})

    async def _finger_at(self) -> tuple[int, int]:
        """Where the finger is, on the screen."""
        element, x, y = self._touched or ("", 0, 0)
        if not element:
            return x, y
        rect = await self._rect(element)
        return round(rect["x"] + rect["width"] / 2 + x), round(rect["y"] + rect["height"] / 2 + y)

    async def release(self, _body: Body, _at: dict[str, str]) -> None:
        """Let go of every button and key that was held."""
        if self._held_keys:
            await self.ask("POST", "/keys", {"value": [acts.NULL_KEY]})
            self._held_keys.clear()
        for button in tuple(self._held_buttons):
            if self.flavour.touch:
                x, y = await self._finger_at()
                await self.ask("POST", "/touch/up", {"x": x, "y": y})
            else:
                await self.ask("POST", "/buttonup", {"button": button})
            self._held_buttons.discard(button)

    async def _root(self) -> str:
        found = element_id(await self.ask("POST", "/element", {"using": "xpath", "value": self.flavour.root}))
        if found is None:
            raise WebDriverError("unsupported operation", f"{self.flavour.title} does not show the root of its tree")
        return found


def _of(at: dict[str, str]) -> str:
    return f"/element/{quote(at['element'], safe='')}"


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _required(body: Body, key: str, kind: type) -> Any:
    if not isinstance(body.get(key), kind):
        raise WebDriverError("invalid argument", f"{key} is required, a {kind.__name__}, not {body.get(key)!r}")
    return body[key]


def _bounds(value: Any) -> dict[str, float]:
    """A Windows rectangle, "x,y,width,height"; a decimal comma makes its separator a semicolon."""
    if isinstance(value, dict):
        lower = {str(key).lower(): each for key, each in value.items()}
        if {"x", "y", "width", "height"} <= lower.keys():
            return {key: float(lower[key]) for key in ("x", "y", "width", "height")}
    text = str(value or "")
    parts = [part.replace(",", ".") for part in text.split(";")] if ";" in text else text.split(",")
    if len(parts) != 4 or not all(re.fullmatch(r"\s*-?\d+(\.\d+)?\s*", part) for part in parts):
        raise WebDriverError("unsupported operation", f"the server gives no rectangle for the element, but {value!r}")
    x, y, width, height = map(float, parts)
    return {"x": x, "y": y, "width": width, "height": height}


def _cut_out(picture: str, rect: dict[str, float], root: dict[str, float]) -> str:
    """The part of a screenshot (base64 PNG) that an element takes, when the whole shows the root."""
    from PIL import Image  # noqa: PLC0415 - seldom wanted, slow to load

    try:
        whole = Image.open(io.BytesIO(base64.b64decode(picture)))
    except (OSError, ValueError) as exc:
        raise WebDriverError("unable to capture screen", f"the server's screenshot cannot be read: {exc}") from None
    scale_x = whole.width / root["width"] if root["width"] else 1.0
    scale_y = whole.height / root["height"] if root["height"] else 1.0
    left, top = (rect["x"] - root["x"]) * scale_x, (rect["y"] - root["y"]) * scale_y
    box = (left, top, left + rect["width"] * scale_x, top + rect["height"] * scale_y)
    clipped = (
        max(0, round(box[0])),
        max(0, round(box[1])),
        min(whole.width, round(box[2])),
        min(whole.height, round(box[3])),
    )
    if clipped[0] >= clipped[2] or clipped[1] >= clipped[3]:
        raise WebDriverError("unable to capture screen", "the element lies outside of the screen")
    out = io.BytesIO()
    whole.crop(clipped).save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode("ascii")


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
