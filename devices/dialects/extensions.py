"""Winium's own commands for grids, lists, menus and flicks: `driver.execute_script("winium: selectMenuItem", ...)`.

Clients that extend the wire protocol, as Winium's own bindings do, may use its paths as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from devices.dialects.elements import element_id
from devices.webdriver import WebDriverError

# Name: path below the element, parameters in the path, whether a locator goes in the body.
_COMMANDS: dict[str, tuple[str, tuple[str, ...], bool]] = {
    "findDataGridCell": ("/datagrid/cell/{row}/{column}", ("row", "column"), False),
    "getDataGridColumnCount": ("/datagrid/column/count", (), False),
    "getDataGridRowCount": ("/datagrid/row/count", (), False),
    "scrollToDataGridCell": ("/datagrid/scroll/{row}/{column}", ("row", "column"), False),
    "selectDataGridCell": ("/datagrid/select/{row}/{column}", ("row", "column"), False),
    "isComboBoxExpanded": ("/combobox/expanded", (), False),
    "expandComboBox": ("/combobox/expand", (), False),
    "collapseComboBox": ("/combobox/collapse", (), False),
    "findComboBoxSelectedItem": ("/combobox/items/selected", (), False),
    "scrollToComboBoxItem": ("/combobox/scroll", (), True),
    "scrollToListBoxItem": ("/listbox/scroll", (), True),
    "findMenuItem": ("/menu/item/{path}", ("path",), False),
    "selectMenuItem": ("/menu/select/{path}", ("path",), False),
}
PATHS = tuple(path for path, _, _ in _COMMANDS.values())
OF_WINDOWS = frozenset(_COMMANDS)
FLICK = "flick"
_OF_A_FLICK = ("xoffset", "yoffset", "speed")


@dataclass(frozen=True, slots=True)
class ExtensionCall:
    """A POST below the session."""

    path: str
    body: dict[str, Any]


def extension(script: str, args: list[Any], offered: frozenset[str]) -> ExtensionCall | None:
    """The call that a script "winium: NAME" stands for; None for any other script. `offered`: names that a server has.

    `args`: the element, then a dictionary of the rest: {"row", "column"}, {"path"} ("File$Open" in Winium's notation),
    {"using", "value"} or {"xoffset", "yoffset", "speed"} in pixels and pixels a second. Raises WebDriverError
    ("javascript error" for an unknown name, "unsupported operation" for one that the server has not, "invalid
    argument").
    """
    prefix, colon, name = script.partition(":")
    if not colon or prefix.strip() != "winium":
        return None
    name = name.strip()
    if name not in offered:
        known = ", ".join(each for each in (*_COMMANDS, FLICK) if each in offered) or "none"
        code = "unsupported operation" if name in _COMMANDS or name == FLICK else "javascript error"
        raise WebDriverError(code, f"this server has no script {script!r}; known are {known}")
    element = element_id(args[0]) if args else None
    given = args[1] if len(args) > 1 and isinstance(args[1], dict) else {}
    if name == FLICK:
        return _flick(script, element, given)
    path, names, locator = _COMMANDS[name]
    wanted = (*names, *(("using", "value") if locator else ()))
    missing = [each for each in wanted if each not in given]
    if element is None or missing:
        rest = f", {{{', '.join(wanted)}}}" if wanted else ""
        raise WebDriverError("invalid argument", f"{script} takes (element{rest})")
    filled = path.format(**{each: quote(str(given[each]), safe="") for each in names})
    body = {each: given[each] for each in ("using", "value")} if locator else {}
    return ExtensionCall(f"/element/{quote(element, safe='')}{filled}", body)


def _flick(script: str, element: str | None, given: dict[str, Any]) -> ExtensionCall:
    """A fling from the middle of an element. The servers read whole numbers, and divide by the speed."""
    numbers = [given.get(each) for each in _OF_A_FLICK]
    whole = all(isinstance(each, int) and not isinstance(each, bool) for each in numbers)
    if element is None or not whole or given["speed"] <= 0:
        told = ", ".join(_OF_A_FLICK)
        raise WebDriverError(
            "invalid argument", f"{script} takes (element, {{{told}}}), whole numbers, a speed above 0"
        )
    return ExtensionCall("/touch/flick", {"element": element, **{each: given[each] for each in _OF_A_FLICK}})
