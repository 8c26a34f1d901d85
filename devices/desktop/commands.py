"""W3C WebDriver's commands on a session, each a function, and the table of their routes."""

from __future__ import annotations

import base64
import json
from typing import Any

from devices.desktop import dialogs, performing, windows
from devices.desktop.actions import parse_actions
from devices.desktop.capabilities import read_timeouts
from devices.desktop.context import Command, Context, reference
from devices.desktop.extensions import run_script
from devices.desktop.finding import find, source
from devices.desktop.names import role_tag
from devices.desktop.png import encode_png
from devices.desktop.properties import attribute
from devices.desktop.tree import Node
from devices.desktop.x11 import Rect
from devices.webdriver import WebDriverError

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
    await performing.perform(on.input, parse_actions(on.body, on.input.sources))


async def release_actions(on: Context) -> Any:
    await performing.release(on.input)


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


# What a desktop has not


async def unsupported(_: Context) -> Any:
    raise WebDriverError("unsupported operation", "a desktop application has no pages, frames, cookies or scripts")


async def execute(on: Context) -> Any:
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
    ("GET", f"{_S}/window", windows.get_window),
    ("POST", f"{_S}/window", windows.switch_window),
    ("DELETE", f"{_S}/window", windows.close_window),
    ("GET", f"{_S}/window/handles", windows.get_windows),
    ("POST", f"{_S}/window/new", windows.new_window),
    ("GET", f"{_S}/window/rect", windows.get_window_rect),
    ("POST", f"{_S}/window/rect", windows.set_window_rect),
    ("POST", f"{_S}/window/maximize", windows.maximize_window),
    ("POST", f"{_S}/window/minimize", windows.minimize_window),
    ("POST", f"{_S}/window/fullscreen", windows.fullscreen_window),
    ("GET", f"{_S}/title", windows.get_title),
    ("GET", f"{_S}/screenshot", screenshot),
    ("GET", f"{_S}/source", get_source),
    ("GET", f"{_S}/alert/text", dialogs.alert_text),
    ("POST", f"{_S}/alert/text", dialogs.type_in_alert),
    ("POST", f"{_S}/alert/accept", dialogs.accept_alert),
    ("POST", f"{_S}/alert/dismiss", dialogs.dismiss_alert),
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
