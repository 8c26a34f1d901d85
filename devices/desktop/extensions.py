"""`desktop: ...` scripts: what desktop applications offer beyond W3C's commands."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

from devices.desktop.atspi import SELECTION
from devices.desktop.context import Context, reference
from devices.desktop.finding import roots
from devices.desktop.interact import describe
from devices.desktop.mirror import Mirror
from devices.desktop.properties import attribute
from devices.desktop.tree import Node
from devices.webdriver import ELEMENT_KEY, WebDriverError

Extension = Callable[[Context, dict[str, Any]], Awaitable[Any]]

# Selenium's clients send some commands as scripts of their own, each with its name in a comment at the start.
_ATOM = re.compile(r"/\*\s*(getAttribute|isDisplayed|submitForm)\s*\*/")


async def run_script(on: Context, script: str, arguments: list[Any]) -> Any:
    """Run `desktop: name` with one object of arguments, or one of the scripts that Selenium's clients stand on.

    Raises WebDriverError("javascript error") for any other script: a desktop application runs none.
    """
    atom = _ATOM.match(script.strip())
    if atom is not None:
        return await _run_atom(on, atom[1], arguments)
    name = script.partition(":")[2].strip() if script.startswith("desktop:") else None
    if name is None or name not in EXTENSIONS:
        raise WebDriverError(
            "javascript error",
            f"no script {script[:60]!r}; there are: desktop: {', desktop: '.join(sorted(EXTENSIONS))}",
        )
    given = arguments[0] if arguments else {}
    if not isinstance(given, dict) or len(arguments) > 1:
        raise WebDriverError("invalid argument", f"desktop: {name} takes one object of arguments, not {arguments!r}")
    return await EXTENSIONS[name](on, given)


async def _run_atom(on: Context, name: str, arguments: list[Any]) -> Any:
    number = _number(arguments[0] if arguments else None)
    if name == "getAttribute":
        value = await attribute(on, number, str(arguments[1]))
        return value if value is None or isinstance(value, str) else str(value)
    mirror, node = await on.session.element(number)
    if name == "isDisplayed":
        return node.has("showing") and node.has("visible")
    await on.input.type_text(mirror, node, "\n")
    return None


def _number(value: Any) -> str:
    if isinstance(value, dict) and isinstance(value.get(ELEMENT_KEY), str):
        return str(value[ELEMENT_KEY])
    raise WebDriverError("invalid argument", f"an element is needed, not {value!r}")


async def _element(on: Context, given: dict[str, Any], name: str = "element") -> tuple[Mirror, Node]:
    return await on.session.element(_number(given.get(name)))


async def click(on: Context, given: dict[str, Any]) -> Any:
    """{element, by: action|pointer, button: 0, count: 1}"""
    mirror, node = await _element(on, given)
    button, count = given.get("button", 0), given.get("count", 1)
    if not isinstance(button, int) or not isinstance(count, int) or not 1 <= count <= 10:
        raise WebDriverError("invalid argument", "button is a whole number, count one from 1 to 10")
    await on.input.click(mirror, node, given.get("by"), button=button, count=count)


async def invoke(on: Context, given: dict[str, Any]) -> Any:
    """{element, action: name or number; the first if not given}"""
    mirror, node = await _element(on, given)
    names = await on.input.actions_of(node)
    wanted = given.get("action", 0)
    number = names.index(wanted.lower()) if isinstance(wanted, str) and wanted.lower() in names else wanted
    if not isinstance(number, int) or not 0 <= number < len(names):
        raise WebDriverError(
            "invalid argument", f"{describe(node)} has no action {wanted!r}; it has: {', '.join(names)}"
        )
    await on.input.do_action(mirror, node, number)


async def set_value(on: Context, given: dict[str, Any]) -> Any:
    """{element, value: number or text}"""
    _, node = await _element(on, given)
    if not isinstance(given.get("value"), str | int | float):
        raise WebDriverError("invalid argument", f"value must be a number or a string, not {given.get('value')!r}")
    await on.input.set_value(node, given["value"])


async def toggle(on: Context, given: dict[str, Any]) -> Any:
    """{element, to: true|false; the opposite if not given}; answers the state it has then"""
    mirror, node = await _element(on, given)
    to = given.get("to")
    before = node.has("checked") or node.has("pressed")
    if to is not None and bool(to) is before:
        return before
    await on.input.click(mirror, node, "action")
    number = on.session.element_id(mirror, node)

    async def look() -> bool | None:
        _, now = await on.session.element(number)
        return True if (now.has("checked") or now.has("pressed")) is not before else None

    changed = await on.session.until(look, on.session.settings.command_timeout_s)
    if not changed:
        raise WebDriverError("invalid element state", f"{describe(node)} did not change when it was toggled")
    return not before


async def select(on: Context, given: dict[str, Any]) -> Any:
    """{element: a list, combo box, tab list or tree, name or index: of the child}"""
    mirror, node = await _element(on, given)
    await mirror.refresh()
    listing = next((each for each in node.walk() if len(each.children) > 1), node)
    # GTK's combo box selects by itself: in the menu that holds its items a selection only highlights.
    own = node.role == "combo box" and node.offers(SELECTION)
    holder = node if own else listing
    names = [child.name for child in listing.children]
    wanted = given.get("index", given.get("name"))
    number = names.index(wanted) if isinstance(wanted, str) and wanted in names else wanted
    if not isinstance(number, int) or not 0 <= number < len(names) or not holder.offers(SELECTION):
        raise WebDriverError("invalid argument", f"{describe(node)} has no item {wanted!r}; it has: {', '.join(names)}")
    if not await on.session.bus.call(holder.ref, SELECTION, "SelectChild", "i", (number,)):
        raise WebDriverError("invalid element state", f"{describe(node)} does not let {names[number]!r} be selected")


async def scroll_into_view(on: Context, given: dict[str, Any]) -> Any:
    """{element}; answers its rect then"""
    return (await on.input.into_view(*await _element(on, given)))._asdict()


async def menu(on: Context, given: dict[str, Any]) -> Any:
    """{path: ["View", "Toolbars", "Main"]}: opens each menu and chooses the last item"""
    path = given.get("path")
    if not isinstance(path, list) or not path or not all(isinstance(step, str) for step in path):
        raise WebDriverError("invalid argument", f"path must be a list of item names, not {path!r}")
    session = on.session
    roles = ("menu", "menu item", "check menu item", "radio menu item", "popup menu")
    start: Node | None = None
    for depth, step in enumerate(path):

        async def look(step: str = step, above: Node | None = start) -> tuple[Mirror, Node] | None:
            for mirror, root in await roots(session, None, None):
                for node in (above or root).walk():
                    # GTK pads the names of items that have a shortcut.
                    if (
                        node.name.strip() == step.strip()
                        and node.role in roles
                        and node is not above
                        and node.has("showing")
                    ):
                        return mirror, node
            return None

        found = await session.until(look, max(session.implicit_s, 2.0))
        if found is None:
            raise WebDriverError("no such element", f"no menu item {step!r} (step {depth + 1} of {' > '.join(path)})")
        start = found[1]
        await on.input.click(*found, "action")


async def wait(on: Context, given: dict[str, Any]) -> Any:
    """{element, attribute: name, equals or contains: text, timeout: ms}: waits on events until it is so; answers the
    value
    """
    number, name = _number(given.get("element")), given.get("attribute", "text")
    timeout = given.get("timeout", 5000)
    if not isinstance(name, str) or isinstance(timeout, bool) or not isinstance(timeout, int | float) or timeout < 0:
        raise WebDriverError("invalid argument", "attribute is a name, timeout a number of ms")
    last: Any = None

    async def look() -> list[Any] | None:
        nonlocal last
        last = await attribute(on, number, name)
        if "contains" in given:
            return [last] if str(given["contains"]) in str(last) else None
        return [last] if last == given.get("equals") else None

    found = await on.session.until(look, timeout / 1000)
    if found is None:
        wanted = {key: given[key] for key in ("equals", "contains") if key in given}
        raise WebDriverError("timeout", f"{name} did not become {wanted} within {timeout:g} ms: it is {last!r}")
    return found[0]


async def launch(on: Context, given: dict[str, Any]) -> Any:
    """{command: [words], workingDirectory}: another application on the session's desktop; its window becomes the
    current one
    """
    command = given.get("command")
    if not isinstance(command, list) or not command or not all(isinstance(word, str) for word in command):
        raise WebDriverError("invalid argument", f"command must be a list of words, not {command!r}")
    session = on.session
    await session.gather()
    before = {node.ref for _, node in session.windows()}
    await session.desk.start(tuple(command), given.get("workingDirectory"))

    async def look() -> Node | None:
        await session.gather()
        fresh = [node for _, node in session.windows() if node.ref not in before and node.has("showing")]
        return fresh[0] if fresh else None

    window = await session.until(look, session.settings.start_timeout_s)
    if window is None:
        raise WebDriverError(
            "timeout", f"{' '.join(command)} showed no window; it said: {session.desk.output() or 'nothing'}"
        )
    session.window = window.ref
    return session.handle(window)


async def actions(on: Context, given: dict[str, Any]) -> Any:
    """{element}; answers the names of its accessible actions"""
    return await on.input.actions_of((await _element(on, given))[1])


async def states(on: Context, given: dict[str, Any]) -> Any:
    """{element}; answers the names of its states"""
    return await attribute(on, _number(given.get("element")), "states")


async def parent(on: Context, given: dict[str, Any]) -> Any:
    """{element}; answers the element above it"""
    mirror, node = await _element(on, given)
    if node.parent is None:
        raise WebDriverError("no such element", f"nothing is above {describe(node)}")
    return reference(on.session.element_id(mirror, node.parent))


EXTENSIONS: dict[str, Extension] = {
    "actions": actions,
    "click": click,
    "invoke": invoke,
    "launch": launch,
    "menu": menu,
    "parent": parent,
    "scrollIntoView": scroll_into_view,
    "select": select,
    "setValue": set_value,
    "states": states,
    "toggle": toggle,
    "wait": wait,
}
