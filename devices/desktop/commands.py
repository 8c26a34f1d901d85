"""W3C WebDriver's commands on a session, each a function, and the table of their routes."""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from devices.desktop.actions import parse_actions
from devices.desktop.atspi import ACCESSIBLE, VALUE
from devices.desktop.capabilities import read_timeouts
from devices.desktop.finding import find, identify, source, texts_of
from devices.desktop.interact import Interaction
from devices.desktop.mirror import Mirror
from devices.desktop.names import STATES, role_tag, state_names
from devices.desktop.png import encode_png
from devices.desktop.session import Session
from devices.desktop.tree import Node
from devices.desktop.x11 import Rect
from devices.webdriver import ELEMENT_KEY, WebDriverError


@dataclass(frozen=True)
class Context:
    """What a command works on: the session, the parts of the route by name, and the JSON body."""

    session: Session
    input: Interaction
    parts: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)

    async def element(self) -> tuple[Mirror, Node]:
        """The element that the route names."""
        return await self.session.element(self.parts["element"])


Command = Callable[[Context], Awaitable[Any]]


def reference(number: str) -> dict[str, str]:
    """An element on the wire."""
    return {ELEMENT_KEY: number}


# Time-outs


async def get_timeouts(on: Context) -> Any:
    session = on.session
    return {
        "implicit": int(session.implicit_s * 1000),
        "pageLoad": int(session.page_load_s * 1000),
        "script": None if session.script_s is None else int(session.script_s * 1000),
    }


async def set_timeouts(on: Context) -> Any:
    implicit, load, script = read_timeouts(on.body)
    if implicit is not None:
        on.session.implicit_s = implicit / 1000
    if load is not None:
        on.session.page_load_s = load / 1000
    if "script" in on.body:
        on.session.script_s = None if script is None else script / 1000


# Elements


async def find_element(on: Context) -> Any:
    (found,) = await find(on.session, on.body.get("using"), on.body.get("value"), on.parts.get("element"), many=False)
    return reference(found)


async def find_elements(on: Context) -> Any:
    found = await find(on.session, on.body.get("using"), on.body.get("value"), on.parts.get("element"), many=True)
    return [reference(number) for number in found]


async def active_element(on: Context) -> Any:
    await on.session.gather()
    found = [
        (mirror, node) for mirror in on.session.mirrors for node in mirror.root.walk() if node.has("focused")
    ]  # fmt: skip
    # A container is focused together with the element in it that the keys go to: the innermost counts.
    best = max(found, key=lambda pair: (pair[1].window() is not None, _depth(pair[1])), default=None)
    if best is None:
        raise WebDriverError("no such element", "no element has the keyboard")
    return reference(on.session.element_id(*best))


def _depth(node: Node) -> int:
    depth = 0
    while node.parent is not None:
        node, depth = node.parent, depth + 1
    return depth


async def element_text(on: Context) -> Any:
    _, node = await on.element()
    return await on.session.text(node)


async def element_tag(on: Context) -> Any:
    _, node = await on.element()
    return role_tag(node.role)


async def element_role(on: Context) -> Any:
    _, node = await on.element()
    return node.role


async def element_label(on: Context) -> Any:
    _, node = await on.element()
    return node.name


async def element_rect(on: Context) -> Any:
    _, node = await on.element()
    return (await on.session.extents(node.ref))._asdict()


async def element_enabled(on: Context) -> Any:
    _, node = await on.element()
    return node.has("enabled") or node.has("sensitive")


async def element_selected(on: Context) -> Any:
    _, node = await on.element()
    return node.has("selected") or node.has("checked") or (node.role == "toggle button" and node.has("pressed"))


async def element_displayed(on: Context) -> Any:
    _, node = await on.element()
    return node.has("showing") and node.has("visible")


async def element_attribute(on: Context) -> Any:
    value = await attribute(on, on.parts["element"], on.parts["name"])
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)


async def element_property(on: Context) -> Any:
    return await attribute(on, on.parts["element"], on.parts["name"])


async def attribute(on: Context, number: str, name: str) -> Any:  # noqa: PLR0911, PLR0912 - one case a name
    """An element's property by name: text, value, rect, id, a state, an object attribute; None if it has none."""
    session = on.session
    _, node = await session.element(number)
    plain = name.replace("_", "-")
    match name.lower():
        case "name" | "accessible-name" | "label" | "title":
            return node.name
        case "role":
            return node.role
        case "class" | "classname" | "tagname" | "tag":
            return role_tag(node.role)
        case "description" | "help":
            return node.description
        case "text" | "textcontent" | "innertext":
            return await session.text(node)
        case "value":
            if node.offers(VALUE):
                return await session.bus.property(node.ref, VALUE, "CurrentValue")
            return await session.text(node)
        case "x" | "y" | "width" | "height":
            return (await session.extents(node.ref))._asdict()[name.lower()]
        case "rect" | "bounds":
            return (await session.extents(node.ref))._asdict()
        case "states":
            return state_names(node.states)
        case "interfaces":
            return sorted(node.interfaces)
        case "actions":
            return await on.input.actions_of(node)
        case "id" | "accessible-id" | "automationid":
            await identify(session, [node])
            return node.identifier or None
        case _ if plain in STATES:
            return "true" if node.has(plain) else "false"
    found = await session.bus.call(node.ref, ACCESSIBLE, "GetAttributes")
    return found.get(name)


async def element_css(_: Context) -> Any:
    raise WebDriverError("unsupported operation", "a desktop application has no style sheets")


async def element_click(on: Context) -> Any:
    await on.input.click(*await on.element())


async def element_clear(on: Context) -> Any:
    await on.input.clear((await on.element())[1])


async def element_send_keys(on: Context) -> Any:
    text = on.body.get("text")
    if not isinstance(text, str):
        raise WebDriverError("invalid argument", f"text must be a string, not {text!r}")
    await on.input.type_text(*await on.element(), text)


# Actions


async def perform_actions(on: Context) -> Any:
    await on.input.perform(parse_actions(on.body, on.input.sources))


async def release_actions(on: Context) -> Any:
    await on.input.release()


# Windows


async def get_window(on: Context) -> Any:
    return on.session.handle((await on.session.current())[1])


async def get_windows(on: Context) -> Any:
    await on.session.gather()
    return [on.session.handle(node) for _, node in on.session.windows()]


async def switch_window(on: Context) -> Any:
    handle = on.body.get("handle", on.body.get("name"))
    if not isinstance(handle, str):
        raise WebDriverError("invalid argument", f"handle must be a string, not {handle!r}")
    session = on.session
    await session.gather()
    for mirror, node in session.windows():
        if handle == session.handle(node):
            number = await session.x_window(mirror, node)
            await session.x(partial(session.display.activate, number))
            session.window = node.ref
            return
    names = ", ".join(f"{session.handle(node)} {node.name!r}" for _, node in session.windows())
    raise WebDriverError("no such window", f"no window {handle!r}; there are: {names or 'none'}")


async def close_window(on: Context) -> Any:
    session = on.session
    mirror, node = await session.current()
    number = await session.x_window(mirror, node)
    await session.x(lambda: session.display.close_window(number))

    async def look() -> bool | None:
        try:
            await session.gather()
        except WebDriverError as error:
            if error.code != "no such window":
                raise
            return True
        listed = [each.ref for _, each in session.windows()]
        return True if node.ref not in listed or session.dialog() else None

    await session.until(look, session.settings.command_timeout_s)
    return [session.handle(each) for _, each in session.windows()]


async def new_window(_: Context) -> Any:
    raise WebDriverError(
        "unsupported operation", "an application opens its windows itself; desktop: launch starts another"
    )


async def _x(on: Context) -> int:
    return await on.session.x_window(*await on.session.current())


async def get_window_rect(on: Context) -> Any:
    number = await _x(on)
    return (await on.session.x(lambda: on.session.display.outer_rect(number)))._asdict()


async def set_window_rect(on: Context) -> Any:
    for name in ("x", "y", "width", "height"):
        value = on.body.get(name)
        least = 0 if name in ("width", "height") else -(2**31)
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < 2**31
        ):
            raise WebDriverError("invalid argument", f"{name} must be a number of pixels, not {value!r}")
    number = await _x(on)
    display = on.session.display

    def place() -> Rect:
        display.activate(number)
        maximised = [name for name in display.state(number) if "MAXIMIZED" in name or "FULLSCREEN" in name]
        if maximised:
            display.set_state(number, maximised, on=False)
        now = display.outer_rect(number)
        wanted = {name: int(on.body[name]) for name in now._fields if on.body.get(name) is not None}
        # A frame that comes back with the end of a maximised state changes what the size inside it has to be.
        for _ in range(3):
            display.place(number, now._replace(**wanted))
            if display.outer_rect(number) == now._replace(**wanted):
                break
        return display.outer_rect(number)

    return (await on.session.x(place))._asdict()


async def maximize_window(on: Context) -> Any:
    return await _state(on, ["_NET_WM_STATE_MAXIMIZED_VERT", "_NET_WM_STATE_MAXIMIZED_HORZ"])


async def fullscreen_window(on: Context) -> Any:
    return await _state(on, ["_NET_WM_STATE_FULLSCREEN"])


async def _state(on: Context, names: list[str]) -> Any:
    number = await _x(on)
    display = on.session.display

    def change() -> Rect:
        _need_manager(on)
        display.activate(number)
        display.set_state(number, names, on=True)
        return display.outer_rect(number)

    return (await on.session.x(change))._asdict()


async def minimize_window(on: Context) -> Any:
    number = await _x(on)

    def change() -> Rect:
        _need_manager(on)
        on.session.display.iconify(number)
        return on.session.display.outer_rect(number)

    return (await on.session.x(change))._asdict()


def _need_manager(on: Context) -> None:
    if not on.session.display.has_window_manager():
        raise WebDriverError(
            "unsupported operation", f"no window manager runs on {on.session.display.name}; install openbox for one"
        )


async def get_title(on: Context) -> Any:
    return (await on.session.current())[1].name


# Pictures and source


async def screenshot(on: Context) -> Any:
    return await _picture(on, None)


async def element_screenshot(on: Context) -> Any:
    mirror, node = await on.element()
    return await _picture(on, await on.input.into_view(mirror, node))


async def _picture(on: Context, area: Rect | None) -> str:
    data = await on.session.x(lambda: encode_png(on.session.display.picture(area)))
    return base64.b64encode(data).decode()


async def get_source(on: Context) -> Any:
    return await source(on.session)


# Modal dialogs as alerts


async def _dialog(on: Context) -> tuple[Mirror, Node]:
    await on.session.gather()
    found = on.session.dialog()
    if found is None:
        raise WebDriverError("no such alert", "no modal dialog is open")
    return found


async def alert_text(on: Context) -> Any:
    _, dialog = await _dialog(on)
    labels = [node for node in dialog.walk() if node.role in ("label", "static") and node.has("showing")]
    texts = await texts_of(on.session, labels)
    return "\n".join(texts.get(node, node.name) for node in labels if texts.get(node, node.name)) or dialog.name


async def accept_alert(on: Context) -> Any:
    await _answer_dialog(on, ("ok", "yes", "save", "open", "apply", "close"), default=True)


async def dismiss_alert(on: Context) -> Any:
    await _answer_dialog(on, ("cancel", "no", "close", "ok"), default=False)


async def _answer_dialog(on: Context, names: tuple[str, ...], *, default: bool) -> None:
    mirror, dialog = await _dialog(on)
    buttons = [node for node in dialog.walk() if node.role == "push button" and node.has("showing")]
    named = {node.name.replace("_", "").replace("&", "").strip().lower(): node for node in reversed(buttons)}
    chosen = next((node for node in buttons if default and node.has("is-default")), None)
    chosen = chosen or next((named[name] for name in names if name in named), None)
    if chosen is None:
        raise WebDriverError(
            "unsupported operation",
            f"the dialog {dialog.name!r} has none of the buttons {', '.join(names)}; it has: {', '.join(named)}",
        )
    await on.input.click(mirror, chosen)

    async def look() -> bool | None:
        try:
            await on.session.gather()
        except WebDriverError as error:
            if error.code != "no such window":
                raise
            return True
        now = on.session.dialog()
        return True if now is None or now[1].ref != dialog.ref else None

    await on.session.until(look, on.session.settings.command_timeout_s)


async def type_in_alert(on: Context) -> Any:
    text = on.body.get("text")
    if not isinstance(text, str):
        raise WebDriverError("invalid argument", f"text must be a string, not {text!r}")
    mirror, dialog = await _dialog(on)
    entry = next((node for node in dialog.walk() if node.has("editable") and node.has("showing")), None)
    if entry is None:
        raise WebDriverError("element not interactable", f"the dialog {dialog.name!r} has no field to type in")
    await on.input.clear(entry)
    await on.input.type_text(mirror, entry, text)


# What a desktop has not


async def unsupported(_: Context) -> Any:
    raise WebDriverError("unsupported operation", "a desktop application has no pages, frames, cookies or scripts")


async def execute(on: Context) -> Any:
    from devices.desktop.extensions import run_script  # noqa: PLC0415 - the extensions use this module's commands

    script, arguments = on.body.get("script"), on.body.get("args", [])
    if not isinstance(script, str) or not isinstance(arguments, list):
        raise WebDriverError("invalid argument", "script must be a string and args a list")
    return await run_script(on, script, arguments)


_S = "/session/{session}"
_E = _S + "/element/{element}"
COMMANDS: list[tuple[str, str, Command]] = [
    ("GET", f"{_S}/timeouts", get_timeouts),
    ("POST", f"{_S}/timeouts", set_timeouts),
    ("POST", f"{_S}/element", find_element),
    ("POST", f"{_S}/elements", find_elements),
    ("GET", f"{_S}/element/active", active_element),
    ("POST", f"{_E}/element", find_element),
    ("POST", f"{_E}/elements", find_elements),
    ("GET", f"{_E}/text", element_text),
    ("GET", f"{_E}/name", element_tag),
    ("GET", f"{_E}/computedrole", element_role),
    ("GET", f"{_E}/computedlabel", element_label),
    ("GET", f"{_E}/rect", element_rect),
    ("GET", f"{_E}/enabled", element_enabled),
    ("GET", f"{_E}/selected", element_selected),
    ("GET", f"{_E}/displayed", element_displayed),
    ("GET", f"{_E}/attribute/{{name}}", element_attribute),
    ("GET", f"{_E}/property/{{name}}", element_property),
    ("GET", f"{_E}/css/{{name}}", element_css),
    ("GET", f"{_E}/screenshot", element_screenshot),
    ("POST", f"{_E}/click", element_click),
    ("POST", f"{_E}/clear", element_clear),
    ("POST", f"{_E}/value", element_send_keys),
    ("POST", f"{_S}/actions", perform_actions),
    ("DELETE", f"{_S}/actions", release_actions),
    ("GET", f"{_S}/window", get_window),
    ("POST", f"{_S}/window", switch_window),
    ("DELETE", f"{_S}/window", close_window),
    ("GET", f"{_S}/window/handles", get_windows),
    ("POST", f"{_S}/window/new", new_window),
    ("GET", f"{_S}/window/rect", get_window_rect),
    ("POST", f"{_S}/window/rect", set_window_rect),
    ("POST", f"{_S}/window/maximize", maximize_window),
    ("POST", f"{_S}/window/minimize", minimize_window),
    ("POST", f"{_S}/window/fullscreen", fullscreen_window),
    ("GET", f"{_S}/title", get_title),
    ("GET", f"{_S}/screenshot", screenshot),
    ("GET", f"{_S}/source", get_source),
    ("GET", f"{_S}/alert/text", alert_text),
    ("POST", f"{_S}/alert/text", type_in_alert),
    ("POST", f"{_S}/alert/accept", accept_alert),
    ("POST", f"{_S}/alert/dismiss", dismiss_alert),
    ("POST", f"{_S}/execute/sync", execute),
    ("POST", f"{_S}/execute/async", execute),
    *((method, f"{_S}/url", unsupported) for method in ("GET", "POST")),
    *(
        ("POST", f"{_S}/{name}", unsupported)
        for name in ("back", "forward", "refresh", "frame", "frame/parent", "print")
    ),
    *((method, f"{_S}/cookie", unsupported) for method in ("GET", "POST", "DELETE")),
    *((method, f"{_S}/cookie/{{name}}", unsupported) for method in ("GET", "DELETE")),
    ("GET", f"{_E}/shadow", unsupported),
]
