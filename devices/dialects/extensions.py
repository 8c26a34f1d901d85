"""Winium's own commands for grids, lists and menus, as scripts: `driver.execute_script("winium: selectMenuItem", ...)`.

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


@dataclass(frozen=True, slots=True)
class ExtensionCall:
    """A POST below the session."""

    path: str
    body: dict[str, Any]


def extension(script: str, args: list[Any]) -> ExtensionCall | None:
    """The call that a script "winium: NAME" stands for; None for any other script.

    `args`: the element, then a dictionary of the rest: {"row", "column"}, {"path"} ("File$Open" in Winium's notation)
    or {"using", "value"}. Raises WebDriverError ("javascript error" for an unknown name, "invalid argument").
    """
    prefix, colon, name = script.partition(":")
    if not colon or prefix.strip() != "winium":
        return None
    name = name.strip()
    if name not in _COMMANDS:
        raise WebDriverError("javascript error", f"unknown script {script!r}; known are {', '.join(_COMMANDS)}")
    path, names, locator = _COMMANDS[name]
    element = element_id(args[0]) if args else None
    given = args[1] if len(args) > 1 and isinstance(args[1], dict) else {}
    wanted = (*names, *(("using", "value") if locator else ()))
    missing = [each for each in wanted if each not in given]
    if element is None or missing:
        rest = f", {{{', '.join(wanted)}}}" if wanted else ""
        raise WebDriverError("invalid argument", f"{script} takes (element{rest})")
    filled = path.format(**{each: quote(str(given[each]), safe="") for each in names})
    body = {each: given[each] for each in ("using", "value")} if locator else {}
    return ExtensionCall(f"/element/{quote(element, safe='')}{filled}", body)
