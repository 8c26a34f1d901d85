"""Winium.Desktop's commands: windows, a mouse and a keyboard, and grids, boxes, lists and menus of their own."""

from __future__ import annotations

from typing import Any

from drivers.sim.winium.application import Control
from drivers.sim.winium.commands import (
    NO_ELEMENT,
    SCRIPT,
    SELECTOR,
    UNKNOWN,
    UNKNOWN_COMMAND,
    Commands,
    Refusal,
    Route,
    route,
)


class WindowsCommands(Commands):
    """What Winium.Desktop and Winium.Mobile share beyond finding: windows, waiting, keys and the states of elements."""

    def routes(self) -> list[Route]:
        """All commands that the server has."""
        return [
            *super().routes(),
            route("POST", "~/timeouts/implicit_wait", self._implicit),
            route("GET", "~/window_handle", self._window_handle),
            route("GET", "~/window_handles", self._window_handles),
            route("POST", "~/window", self._switch),
            route("DELETE", "~/window", self._close),
            route("GET", "~/screenshot", lambda _: self.application.screenshot()),
            route("GET", "~/orientation", lambda _: "LANDSCAPE"),
            route("POST", "~/element/active", self._active),
            route("POST", "~/element/{id}/clear", self._clear),
            route("POST", "~/element/{id}/submit", self._submit),
            route("GET", "~/element/{id}/selected", lambda _, key: self._element(key).selected),
            route("GET", "~/element/{id}/enabled", lambda _, key: self._element(key).enabled),
            route("GET", "~/element/{id}/equals/{other}", lambda _, a, b: self._element(a) is self._element(b)),
            route("POST", "~/keys", lambda body: self.application.type("".join(body["value"]))),
        ]

    def _implicit(self, body: Any) -> Any:
        self.implicit_wait_ms = int(body["ms"])

    def _window_handle(self, _body: Any) -> Any:
        return "65538"

    def _window_handles(self, _body: Any) -> Any:
        return ["65538"] if self.application.running else []

    def _switch(self, body: Any) -> Any:
        if body["name"] != "65538":
            raise Refusal(NO_ELEMENT, "Window cannot be found")

    def _close(self, _body: Any) -> Any:
        self.application.running = False

    def _active(self, _body: Any) -> Any:
        return self._register(self.application.focus or self.application.window)

    def _clear(self, _body: Any, key: str) -> Any:
        self._element(key).value = ""

    def _submit(self, _body: Any, _key: str) -> Any:
        self.application.click(self.application.save)


class DesktopCommands(WindowsCommands):
    """Winium.Desktop."""

    def routes(self) -> list[Route]:
        """All commands that the server has."""
        of = "~/element/{id}"
        return [
            *super().routes(),
            route("POST", "~/execute", self._execute),
            route("POST", "~/moveto", self._move),
            route("POST", "~/click", self._mouse_click),
            route("POST", "~/doubleclick", self._double_click),
            route("POST", "~/buttondown", lambda body: self.application.press_mouse(body.get("button", 0))),
            route("POST", "~/buttonup", lambda body: self.application.release_mouse(body.get("button", 0))),
            route("POST", f"{of}/datagrid/cell/{{r}}/{{c}}", lambda _, *at: self._register(self._cell(*at))),
            route("POST", f"{of}/datagrid/column/count", lambda _, key: len(self._cell_row(key, "0").children)),
            route("POST", f"{of}/datagrid/row/count", lambda _, key: len(self._element(key).children)),
            route("POST", f"{of}/datagrid/scroll/{{r}}/{{c}}", lambda _, *at: self._register(self._cell(*at))),
            route("POST", f"{of}/datagrid/select/{{r}}/{{c}}", self._select_cell),
            route("POST", f"{of}/combobox/expanded", lambda _, key: self._element(key).expanded),
            route("POST", f"{of}/combobox/expand", lambda _, key: self._expand(key, True)),
            route("POST", f"{of}/combobox/collapse", lambda _, key: self._expand(key, False)),
            route("POST", f"{of}/combobox/items/selected", self._chosen),
            route("POST", f"{of}/combobox/scroll", self._scroll_to),
            route("POST", f"{of}/listbox/scroll", self._scroll_to),
            route("POST", f"{of}/menu/item/{{path}}", self._menu_item),
            route("POST", f"{of}/menu/select/{{path}}", self._menu_select),
        ]

    def _scroll_to(self, body: Any, key: str) -> Any:
        parent = self._element(key)
        try:
            found = self.application.find(parent, body["using"], body["value"])
        except ValueError as exc:
            raise Refusal(SELECTOR, str(exc)) from None
        if not found:
            raise Refusal(NO_ELEMENT, "no such item")
        top = parent.children.index(found[0])
        for index, item in enumerate(parent.children):
            item.visible = top <= index < top + 5
        return self._register(found[0])

    def _cell_row(self, key: str, row: str) -> Control:
        return self._element(key).children[int(row)]

    def _cell(self, key: str, row: str, column: str) -> Control:
        try:
            return self._cell_row(key, row).children[int(column)]
        except IndexError:
            raise Refusal(NO_ELEMENT, f"no cell {row}, {column}") from None

    def _select_cell(self, _body: Any, key: str, row: str, column: str) -> Any:
        self._cell(key, row, column).selected = True

    def _expand(self, key: str, expanded: bool) -> None:
        self._element(key).expanded = expanded

    def _menu_item(self, _body: Any, key: str, path: str) -> Any:
        self._element(key)
        item = self.application.select_menu(path)
        if item is None:
            raise Refusal(NO_ELEMENT, f"no menu item {path}")
        return self._register(item)

    def _menu_select(self, body: Any, key: str, path: str) -> Any:
        self._menu_item(body, key, path)
        self.application.log.append(f"menu {path}")

    def _chosen(self, _body: Any, key: str) -> Any:
        return self._register(next(each for each in self._element(key).children if each.selected))

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
            raise Refusal(SCRIPT, f"Unknown script command '{body['script']}'")

    def _move(self, body: Any) -> Any:
        x, y = self.application.mouse
        if "element" in body:
            control = self._element(body["element"])
            x, y = control.rect[:2] if "xoffset" in body else control.centre
        elif "xoffset" not in body:
            raise Refusal(UNKNOWN, "WRONG PARAMETERS")
        self.application.mouse = (x + int(body.get("xoffset", 0)), y + int(body.get("yoffset", 0)))

    def _mouse_click(self, body: Any) -> Any:
        if body["button"] not in (0, 2):
            raise Refusal(UNKNOWN_COMMAND, "Mouse button behavior is not implemented")
        control = self.application.at(*self.application.mouse)
        if body["button"] == 2:
            self.application.log.append(f"right click {control.name}")
        else:
            self.application.click(control)

    def _double_click(self, _body: Any) -> Any:
        self.application.log.append(f"double click {self.application.at(*self.application.mouse).name}")
