"""The application that the simulated Winium drives: an order form with every control that has commands of its own."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from lxml import etree

CTRL, NULL = "\ue009", "\ue000"
MODIFIERS = frozenset("\ue008\ue009\ue00a")
_GREY, _WHITE, _BLUE = (200, 200, 200), (255, 255, 255), (60, 90, 200)


@dataclass(eq=False)
class Control:
    """A control as UI Automation shows it. `rect`: x, y, width, height in pixels of the screen."""

    kind: str
    name: str = ""
    automation_id: str = ""
    class_name: str = ""
    rect: tuple[int, int, int, int] = (0, 0, 0, 0)
    enabled: bool = True
    visible: bool = True
    selected: bool = False
    value: str | None = None
    expanded: bool = False
    children: list[Control] = field(default_factory=list)
    on_click: Callable[[], None] | None = None

    def walk(self) -> Iterator[Control]:
        """This control and all below it."""
        yield self
        for child in self.children:
            yield from child.walk()

    @property
    def centre(self) -> tuple[float, float]:
        x, y, width, height = self.rect
        return x + width / 2, y + height / 2


class Application:
    """A window with the mouse and the keyboard on it."""

    def __init__(self) -> None:
        self.mouse = (0.0, 0.0)
        self.buttons: set[int] = set()
        self.modifiers: set[str] = set()
        self.focus: Control | None = None
        self.running = True
        self.log: list[str] = []
        self._build()

    def _build(self) -> None:
        self.customer = Control("Edit", "Customer", "customer", "TextBox", (120, 60, 200, 24), value="")
        self.note = Control("Edit", "Note", "note", "TextBox", (120, 90, 200, 24), value="", enabled=False)
        self.status = Control("Text", "ready", "status", "TextBlock", (120, 560, 400, 20))
        self.save = Control("Button", "Save", "save", "Button", (340, 60, 80, 24), on_click=self._save)
        self.express = Control("CheckBox", "Express", "express", "CheckBox", (340, 90, 100, 24))
        self.express.on_click = lambda: self._toggle(self.express)
        items = [
            Control(
                "ListItem", f"Item {number}", "", "ListBoxItem", (20, 140 + 24 * number, 200, 24), visible=number < 5
            )
            for number in range(20)
        ]
        for item in items:
            item.on_click = lambda item=item: self._choose(item)
        self.items = Control("List", "Items", "items", "ListBox", (20, 140, 200, 120), children=items)
        sizes = [
            Control("ListItem", size, "", "ComboBoxItem", (240, 164 + 24 * index, 120, 24), selected=index == 1)
            for index, size in enumerate(("small", "medium", "large"))
        ]
        self.size = Control("ComboBox", "Size", "size", "ComboBox", (240, 140, 120, 24), children=sizes)
        rows = [
            Control(
                "DataItem", f"row {row}", "", "DataGridRow", (20, 300 + 24 * row, 360, 24),
                children=[
                    Control(
                        "Custom", f"R{row}C{column}", "", "DataGridCell", (20 + 120 * column, 300 + 24 * row, 120, 24)
                    )
                    for column in range(3)
                ],
            )
            for row in range(5)
        ]  # fmt: skip
        self.grid = Control("DataGrid", "Orders", "orders", "DataGrid", (20, 300, 360, 120), children=rows)
        entries = {
            entry: Control("MenuItem", entry, "", "MenuItem", (20, 44 + 24 * index, 100, 24))
            for index, entry in enumerate(("Open", "Exit"))
        }
        file = Control("MenuItem", "File", "", "MenuItem", (20, 20, 60, 24), children=list(entries.values()))
        self.menu = Control("Menu", "Menu", "menu", "Menu", (20, 20, 600, 24), children=[file])
        self.window = Control(
            "Window", "Order desk – Bestellungen", "OrderDesk", "Window", (10, 10, 640, 580),
            children=[
                self.menu, self.customer, self.note, self.save, self.express, self.items, self.size, self.grid,
                self.status,
            ],
        )  # fmt: skip
        self.desktop = Control("Pane", "Desktop", "", "#32769", (0, 0, 800, 600), children=[self.window])

    # -- what people do ------------------------------------------------------------------------------------------

    def at(self, x: float, y: float) -> Control:
        """The control under a point, the one on top."""
        found = self.desktop
        for control in self.desktop.walk():
            left, top, width, height = control.rect
            if control.visible and left <= x < left + width and top <= y < top + height:
                found = control
        return found

    def click(self, control: Control) -> None:
        """What a click on it does."""
        self.log.append(f"click {control.name}")
        self.focus = control if control.kind == "Edit" and control.enabled else self.focus
        if control.enabled and control.on_click is not None:
            control.on_click()

    def press_mouse(self, button: int) -> None:
        self.buttons.add(button)
        self.log.append(f"press {self.at(*self.mouse).name}")

    def release_mouse(self, button: int) -> None:
        """Let go: a drag, when the mouse has moved onto something else."""
        self.buttons.discard(button)
        self.log.append(f"release {self.at(*self.mouse).name}")

    def type(self, text: str) -> None:
        """Keys to what has the focus; a modifier sent again is released, NULL releases all."""
        for key in text:
            if key == NULL:
                self.modifiers.clear()
            elif key in MODIFIERS:
                self.modifiers ^= {key}
            elif self.focus is not None:
                self.focus.value = (self.focus.value or "") + key

    def select_menu(self, path: str) -> Control | None:
        """The entry at "File$Open"."""
        here: Control | None = self.menu
        for part in path.split("$"):
            here = next((child for child in here.children if child.name == part), None) if here else None
        return here

    def _save(self) -> None:
        self.status.name = f"saved {self.customer.value}"
        self.note.enabled = True

    def _toggle(self, box: Control) -> None:
        box.selected = not box.selected

    def _choose(self, item: Control) -> None:
        if CTRL not in self.modifiers:
            for other in self.items.children:
                other.selected = False
        item.selected = True

    # -- what drivers see ----------------------------------------------------------------------------------------

    def find(self, below: Control, using: str, value: str) -> list[Control]:
        """Controls below one, by id, name, class name or xpath. Raises ValueError for a bad expression."""
        attribute = {"id": "automation_id", "name": "name", "class name": "class_name"}.get(using)
        if attribute is not None:
            return [each for each in below.walk() if each is not below and getattr(each, attribute) == value]
        if using != "xpath":
            raise ValueError(f"{using} is not a strategy")
        controls: list[Control] = []
        tree = _as_xml(below, controls)
        try:
            found = tree.getroottree().xpath(value) if value.startswith("/") else tree.xpath(value)
        except etree.XPathError as exc:
            raise ValueError(str(exc)) from None
        return [controls[int(str(each.get("_")))] for each in found if isinstance(each, etree._Element)]

    def source(self) -> str:
        """The tree as XML."""
        return etree.tostring(_as_xml(self.desktop, []), encoding="unicode")

    def screenshot(self) -> str:
        """The screen as a PNG in base64: each control a rectangle, its colour by kind."""
        _, _, width, height = self.desktop.rect
        rows = [bytearray(bytes(_GREY) * width) for _ in range(height)]
        for control in self.desktop.walk():
            colour = {"Edit": _WHITE, "Button": _BLUE}.get(control.kind)
            if colour is not None and control.visible:
                x, y, w, h = control.rect
                for row in rows[y : y + h]:
                    row[3 * x : 3 * (x + w)] = bytes(colour) * w
        raw = b"".join(b"\0" + bytes(row) for row in rows)
        header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        chunks = (_chunk(b"IHDR", header), _chunk(b"IDAT", zlib.compress(raw)), _chunk(b"IEND", b""))
        return base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"".join(chunks)).decode("ascii")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _as_xml(control: Control, controls: list[Control]) -> etree._Element:
    controls.append(control)
    element = etree.Element(
        control.kind,
        {
            "AutomationId": control.automation_id,
            "Name": control.name,
            "ClassName": control.class_name,
            "_": str(len(controls) - 1),
        },
    )
    for child in control.children:
        element.append(_as_xml(child, controls))
    return element
