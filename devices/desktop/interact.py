"""What a user does to elements: click by accessible action or pointer, type, clear, set."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from dbus_fast import Variant

from devices.desktop.actions import Action, Key
from devices.desktop.atspi import ACTION, COMPONENT, EDITABLE_TEXT, TEXT, VALUE, AtspiError, Call
from devices.desktop.keys import NULL_KEY, check_text, is_modifier
from devices.desktop.mirror import Mirror
from devices.desktop.session import Session
from devices.desktop.tree import Node
from devices.desktop.x11 import BUTTONS, SHIFT, Rect
from devices.webdriver import WebDriverError

FOCUS_S = 1.0
KEYS_AT_ONCE = 100
SCROLL_S = 2.0
ITEM_ROLES = frozenset({"menu item", "check menu item", "radio menu item"})

_PRESSING = ("click", "press", "activate", "toggle", "jump", "open", "expand or contract", "select")


class Interaction:
    """The input of one session: which keys and buttons are down, and where the pointer is."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.sources: dict[str, str] = {}
        self.held: list[Action] = []  # what actions hold down, in the order it was pressed
        self._shifted: set[str] = set()  # keys that brought a shift of their own

    # Elements

    async def click(
        self, mirror: Mirror, node: Node, how: str | None = None, *, button: int = 0, count: int = 1
    ) -> None:
        """Click an element: by its accessible action where it has one, by the real pointer otherwise or when `how`
        says so.
        """
        way = how or self.session.settings.click
        if way not in ("action", "pointer"):
            raise WebDriverError("invalid argument", f"a click is made by action or pointer, not by {way!r}")
        if way == "action" and button == 0 and count == 1 and not _may_ask(node):
            if not (node.has("sensitive") or node.has("enabled")):
                raise WebDriverError("element not interactable", f"{describe(node)} is disabled")
            names = await self.actions_of(node)
            wanted = next((names.index(name) for name in _PRESSING if name in names), None)
            if wanted is not None:
                await self.do_action(mirror, node, wanted)
                return
        await self._pointer_click(mirror, node, button, count)

    async def actions_of(self, node: Node) -> list[str]:
        """The names of the element's accessible actions, in lower case."""
        if not node.offers(ACTION):
            return []
        count = int(await self.session.bus.property(node.ref, ACTION, "NActions"))
        answers = await self.session.bus.batch([Call(node.ref, ACTION, "GetName", "i", (n,)) for n in range(count)])
        return ["" if isinstance(answer, AtspiError) else str(answer).lower() for answer in answers]

    async def do_action(self, mirror: Mirror, node: Node, number: int) -> None:
        """Invoke an accessible action.

        An action that opens a modal dialog may answer only when that closes: not waited for.
        """
        session = self.session
        known = {window.ref for _, window in session.windows()}
        calling = asyncio.ensure_future(session.bus.call(node.ref, ACTION, "DoAction", "i", (number,)))
        try:
            done, _ = await asyncio.wait({calling}, timeout=session.settings.command_timeout_s / 2)
            if done:
                if calling.result() is False:
                    raise WebDriverError("element not interactable", f"{describe(node)} refused its action: disabled?")
            else:
                await mirror.refresh()
                if not {window.ref for _, window in session.windows()} - known:
                    await calling
        except AtspiError as error:
            if error.gone and not error.name.endswith("UnknownObject"):
                mirror.alive = False  # the click that closes an application is a click
                return
            raise
        finally:
            if not calling.done():
                calling.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def _pointer_click(self, mirror: Mirror, node: Node, button: int, count: int) -> None:
        if button not in BUTTONS:
            raise WebDriverError("invalid argument", f"no mouse button {button}; there are {sorted(BUTTONS)}")
        rect = await self.into_view(mirror, node)
        x, y = rect.centre
        session = self.session
        if node.role not in ITEM_ROLES:
            await self.raise_window(mirror, node)
            x, y = (await session.extents(node.ref)).centre
        window = await self._x_window(mirror, node)

        def covered() -> bool:
            top = session.display.client_at(x, y)
            return window is not None and top is not None and top != session.display.client_of(window)

        if await session.x(covered):
            raise WebDriverError("element click intercepted", f"another window covers {describe(node)} at ({x}, {y})")

        def press() -> None:
            session.display.move_pointer(x, y)
            for _ in range(count):
                session.display.button(BUTTONS[button], down=True)
                session.display.button(BUTTONS[button], down=False)

        await session.x(press)
        await self.settle(mirror, node)

    async def _x_window(self, mirror: Mirror, node: Node) -> int | None:
        window = node.window()
        if window is None or window not in mirror.windows():
            window = next((each for each in mirror.windows() if each.ref == self.session.window), None)
        if window is None:
            return None
        try:
            return await self.session.x_window(mirror, window)
        except WebDriverError:
            return None

    async def raise_window(self, mirror: Mirror, node: Node) -> None:
        """Give the window of an element the keyboard and the top place, unless a popup holds them."""
        number = await self._x_window(mirror, node)
        window = node.window()
        if number is not None and window is not None and not window.has("active"):
            await self.session.x(lambda: self.session.display.activate(number))

    async def settle(self, mirror: Mirror | None = None, node: Node | None = None) -> None:
        """Wait until the application has taken all X input so far, and its events have arrived."""
        session = self.session
        number = None
        if mirror is not None and node is not None:
            number = await self._x_window(mirror, node)
        if number is None:
            number = await session.x(session.display.active)
        answered = number is None or await session.x(
            lambda: session.display.ping(number, session.settings.command_timeout_s)
        )
        for each in session.mirrors:
            if each.alive:
                each.doubt()
        if not answered:
            await session.refresh()  # says so if it hangs; an application may also answer no pings

    async def into_view(self, mirror: Mirror, node: Node) -> Rect:
        """Scroll until the element is on the screen; where it stands then. Raises "element not interactable"."""
        session = self.session
        number = session.element_id(mirror, node)

        async def look() -> Rect | None:
            rect = await session.extents(node.ref)
            _, now = await session.element(number)
            # GTK says of table cells out of sight that they are showing, at the least of all places.
            shown = now.has("showing") and rect.width > 0 and min(rect.x, rect.y) > -(2**31) + 1
            return rect if shown else None

        seen: list[Rect | None] = [None]

        async def rest() -> Rect | None:
            # Views glide to where they are sent, and tell nothing of it.
            seen.append(await look())
            return seen[-1] if seen[-1] == seen[-2] else None

        rect = await look()
        for member, signature, body in (("ScrollTo", "u", (6,)), ("GrabFocus", "", ())):
            if rect is not None:
                return rect
            try:
                await session.bus.call(node.ref, COMPONENT, member, signature, body)
            except AtspiError:
                continue
            rect = await session.until(rest, SCROLL_S)
        if rect is None:
            raise WebDriverError("element not interactable", f"{describe(node)} is not shown and cannot be scrolled to")
        return rect

    async def focus(self, mirror: Mirror, node: Node) -> None:
        """Give an element the keyboard; raises "element not interactable" when it does not take it."""
        session = self.session
        await self.raise_window(mirror, node)
        if node.has("focused"):
            return
        try:
            await session.bus.call(node.ref, COMPONENT, "GrabFocus")
        except AtspiError as error:
            if error.gone:
                raise
        number = session.element_id(mirror, node)

        async def look() -> bool | None:
            _, now = await session.element(number)
            return True if now.has("focused") else None

        if await session.until(look, FOCUS_S) is None and not node.has("focusable"):
            raise WebDriverError("element not interactable", f"{describe(node)} does not take the keyboard")

    async def clear(self, node: Node) -> None:
        """Empty an editable element. Raises "invalid element state" for one that is not editable."""
        if not node.offers(EDITABLE_TEXT) or not (node.has("editable") or node.has("sensitive")):
            raise WebDriverError("invalid element state", f"{describe(node)} is not editable")
        if not await self.session.bus.call(node.ref, EDITABLE_TEXT, "SetTextContents", "s", ("",)):
            raise WebDriverError("invalid element state", f"{describe(node)} refuses to be emptied: read-only?")

    async def type_text(self, mirror: Mirror, node: Node, text: str) -> None:
        """Focus an element and type: characters, and W3C's special keys; modifiers hold until the NULL key or the
        end.
        """
        check_text(text)
        if not node.has("sensitive") and not node.has("enabled"):
            raise WebDriverError("element not interactable", f"{describe(node)} is disabled")
        await self.focus(mirror, node)
        if node.offers(TEXT):
            count = int(await self.session.bus.property(node.ref, TEXT, "CharacterCount"))
            await self.session.bus.batch([Call(node.ref, TEXT, "SetCaretOffset", "i", (count,))])
        held: list[str] = []
        try:
            await self._type(text, held)
        finally:
            await self._release(held)
        await self.settle(mirror, node)

    async def _type(self, text: str, held: list[str]) -> None:
        run: list[str] = []
        for key in text:
            if key == NULL_KEY or is_modifier(key):
                await self._strike(run)
                run = []
                if key == NULL_KEY:
                    await self._release(held)
                elif key in held:
                    held.remove(key)
                    await self.key(key, down=False)
                else:
                    held.append(key)
                    await self.key(key, down=True)
            else:
                run.append(key)
        await self._strike(run)

    async def _release(self, held: list[str]) -> None:
        while held:
            await self.key(held.pop(), down=False)

    async def _strike(self, keys: list[str]) -> None:
        """Type characters, spare keys first given to those that the layout lacks."""
        session = self.session
        keyboard = session.display.keyboard

        def strike(part: list[str]) -> None:
            places = [keyboard.place(key) for key in part]
            shift = keyboard.place_of(SHIFT)
            for code, shifted, _ in places:
                if shifted:
                    keyboard.key(shift, down=True)
                keyboard.key(code, down=True)
                keyboard.key(code, down=False)
                if shifted:
                    keyboard.key(shift, down=False)

        # No more at once than the application takes in good time, and no more different characters than there are spare
        # keys, so that none is taken from one not yet handled.
        part: list[str] = []
        for key in keys:
            part.append(key)
            if len(part) >= KEYS_AT_ONCE or len(set(part)) >= keyboard.room:
                await session.x(partial(strike, part))
                await self.settle()
                part = []
        if part:
            await session.x(lambda: strike(part))

    async def key(self, key: str, *, down: bool) -> None:
        """Press or release one key, with the shift that its character needs."""
        keyboard = self.session.display.keyboard

        def move() -> None:
            code, shifted, _ = keyboard.place(key)
            shift = keyboard.place_of(SHIFT)
            if down and shifted and not any(isinstance(a, Key) and a.key in "\ue008\ue050" for a in self.held):
                keyboard.key(shift, down=True)
                self._shifted.add(key)
            keyboard.key(code, down=down)
            if not down and key in self._shifted:
                self._shifted.discard(key)
                keyboard.key(shift, down=False)

        await self.session.x(move)

    # Values

    async def set_value(self, node: Node, value: Any) -> None:
        """Set a value through accessibility: a number of a slider or spin button, the text of an entry."""
        bus = self.session.bus
        if isinstance(value, int | float) and not isinstance(value, bool) and node.offers(VALUE):
            await bus.set_property(node.ref, VALUE, "CurrentValue", Variant("d", float(value)))
            return
        if node.offers(EDITABLE_TEXT):
            if await bus.call(node.ref, EDITABLE_TEXT, "SetTextContents", "s", (str(value),)):
                return
            raise WebDriverError("invalid element state", f"{describe(node)} refuses the text: read-only?")
        raise WebDriverError("invalid element state", f"{describe(node)} has neither a text nor a value to set")


def _may_ask(node: Node) -> bool:
    # GTK answers nothing while a modal dialog is open that an accessible action opened with gtk_dialog_run. Items of
    # menus, and buttons whose names end in an ellipsis (so the desktops' guidelines), open such dialogs.
    return node.has("showing") and (node.role in ITEM_ROLES or node.name.strip().endswith(("...", "…")))


def describe(node: Node) -> str:
    """An element in a message: role and name."""
    return f"{node.role} {node.name!r}" if node.name else f"{node.role} without a name"
