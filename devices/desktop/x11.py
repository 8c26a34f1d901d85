"""One X display: input by XTEST, top-level windows by EWMH, pictures. Blocking; the session runs it in a thread of
its own.
"""

from __future__ import annotations

import itertools
import select
import time
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from Xlib import X, display, error, protocol
from Xlib.ext import xtest

from devices.desktop.keyboard import Keyboard
from devices.desktop.png import decode_zpixmap
from devices.webdriver import WebDriverError

BUTTONS = {0: 1, 1: 2, 2: 3, 3: 8, 4: 9}  # W3C's button numbers (left, middle, right, back, forward) as X has them
WHEEL = {"up": 4, "down": 5, "left": 6, "right": 7}
SHIFT = 0xFFE1

MAP_TIMEOUT_S = 2.0

GONE = (error.ConnectionClosedError, ConnectionError)  # what a connection to a server that ended raises


class Rect(NamedTuple):
    """Place and size in pixels of the display."""

    x: int
    y: int
    width: int
    height: int

    @property
    def centre(self) -> tuple[int, int]:
        """The pixel in the middle."""
        return self.x + self.width // 2, self.y + self.height // 2


class Display:
    """A connection to an X display. Raises WebDriverError("session not created") when there is none."""

    def __init__(self, name: str) -> None:
        try:
            self._display = display.Display(name)
        except (error.DisplayError, OSError) as problem:
            raise WebDriverError("session not created", f"no X display {name}: {problem}") from problem
        self.name = name
        self._screen = self._display.screen()
        self._root = self._screen.root
        if not self._display.has_extension("XTEST"):
            raise WebDriverError(
                "session not created", f"the X display {name} has no XTEST extension to make input with"
            )
        # Answers to pings come to the root window as its children's structure does.
        self._root.change_attributes(event_mask=X.SubstructureNotifyMask | X.PropertyChangeMask)
        self._serial = itertools.count(1)
        self._probe: Any = None  # a window that is never shown, to ask the window manager with
        self.keyboard = Keyboard(self._display)
        self._sync()

    def close(self) -> None:
        """Hang up."""
        self._display.close()

    def _sync(self) -> None:
        self._display.sync()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the display in pixels."""
        geometry = self._root.get_geometry()
        return geometry.width, geometry.height

    # Windows

    def _atom(self, name: str) -> int:
        return int(self._display.get_atom(name))

    def _property(self, window: Any, name: str) -> Any:
        try:
            found = window.get_full_property(self._atom(name), X.AnyPropertyType)
        except error.BadWindow:
            return None
        return None if found is None else found.value

    def has_window_manager(self) -> bool:
        """Whether a window manager after EWMH runs on the display."""
        return self._property(self._root, "_NET_SUPPORTING_WM_CHECK") is not None

    def wait_for_window_manager(self, timeout_s: float) -> bool:
        """Wait until there is one, by the root window's changes."""
        deadline = time.monotonic() + timeout_s
        while not self.has_window_manager():
            if not self._next_event(deadline):
                return self.has_window_manager()
        return True

    def _next_event(self, deadline: float) -> Any:
        while not self._display.pending_events():
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            select.select([self._display.fileno()], [], [], left)
        return self._display.next_event()

    def windows(self) -> list[int]:
        """The top-level windows that are shown to a user, lowest first."""
        if self.has_window_manager():
            listed = self._property(self._root, "_NET_CLIENT_LIST_STACKING")
            return [int(number) for number in listed] if listed is not None else []
        found = []
        for window in self._root.query_tree().children:
            try:
                if window.get_attributes().map_state == X.IsViewable:
                    found.append(int(window.id))
            except error.BadWindow:
                continue
        return found

    def _window(self, number: int) -> Any:
        return self._display.create_resource_object("window", number)

    def pid(self, number: int) -> int | None:
        """The process that says the window is its own (_NET_WM_PID)."""
        value = self._property(self._window(number), "_NET_WM_PID")
        return int(value[0]) if value is not None and len(value) else None

    def title(self, number: int) -> str:
        """The window's title."""
        value = self._property(self._window(number), "_NET_WM_NAME")
        if value is None:
            value = self._property(self._window(number), "WM_NAME")
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")

    def rect(self, number: int) -> Rect:
        """Where the window's inner area stands on the display. Raises WebDriverError("no such window")."""
        window = self._window(number)
        try:
            geometry = window.get_geometry()
            place = window.translate_coords(self._root, 0, 0)
        except (error.BadWindow, error.BadDrawable) as problem:
            raise WebDriverError("no such window", f"X window {number:#x} is gone") from problem
        # The answer is what to add to the root's coordinates to get the window's.
        return Rect(-place.x, -place.y, geometry.width, geometry.height)

    def frame(self, number: int) -> tuple[int, int, int, int]:
        """The widths of the window manager's frame: left, right, top, bottom."""
        value = self._property(self._window(number), "_NET_FRAME_EXTENTS")
        return (int(value[0]), int(value[1]), int(value[2]), int(value[3])) if value is not None else (0, 0, 0, 0)

    def _ask_manager(self, number: int, message: str, data: list[int]) -> None:
        event = protocol.event.ClientMessage(
            window=self._window(number), client_type=self._atom(message), data=(32, (data + [0] * 5)[:5])
        )
        self._root.send_event(event, event_mask=X.SubstructureRedirectMask | X.SubstructureNotifyMask)
        self._sync()

    def state(self, number: int) -> set[str]:
        """The window's _NET_WM_STATE atoms by name."""
        value = self._property(self._window(number), "_NET_WM_STATE")
        return {self._display.get_atom_name(atom) for atom in value} if value is not None else set()

    def set_state(self, number: int, names: list[str], *, on: bool) -> None:
        """Ask the window manager to add or remove states, and wait until it has, with the frame and size that go with
        them.
        """
        if all((name in self.state(number)) is on for name in names):
            return
        for pair in range(0, len(names), 2):
            atoms = [self._atom(name) for name in names[pair : pair + 2]]
            self._ask_manager(number, "_NET_WM_STATE", [int(on), *atoms, *([0] if len(atoms) == 1 else []), 1])
        self._wait(number, lambda: all((name in self.state(number)) is on for name in names))
        self._await_manager()

    def _await_manager(self) -> None:
        """Wait until the window manager has done all that it was asked so far.

        It answers in order, and any window may ask what its frame would be (_NET_REQUEST_FRAME_EXTENTS of EWMH): with
        that answer here, what was asked before is done. Managers that lack the message are not waited for.
        """
        supported = self._property(self._root, "_NET_SUPPORTED")
        if supported is None or self._atom("_NET_REQUEST_FRAME_EXTENTS") not in list(supported):
            return
        if self._probe is None:
            self._probe = self._root.create_window(-10, -10, 1, 1, 0, X.CopyFromParent)
        probe = self._probe
        probe.delete_property(self._atom("_NET_FRAME_EXTENTS"))
        self._ask_manager(probe.id, "_NET_REQUEST_FRAME_EXTENTS", [])
        self._wait(probe.id, lambda: self._property(probe, "_NET_FRAME_EXTENTS") is not None)

    def iconify(self, number: int) -> None:
        """Have the window manager minimise the window."""
        self._ask_manager(number, "WM_CHANGE_STATE", [3])
        self._wait(number, lambda: self._wm_state(number) == 3 or "_NET_WM_STATE_HIDDEN" in self.state(number))

    def _wm_state(self, number: int) -> int:
        value = self._property(self._window(number), "WM_STATE")
        return int(value[0]) if value is not None and len(value) else 0

    def activate(self, number: int) -> None:
        """Raise the window, give it the keyboard, undo that it is minimised; waits until it is so."""
        if self.has_window_manager():
            if self.active() == number:
                return
            self._ask_manager(number, "_NET_ACTIVE_WINDOW", [2, X.CurrentTime, 0])
            self._wait(number, lambda: self.active() == number)
            return
        window = self._window(number)
        window.configure(stack_mode=X.Above)
        window.set_input_focus(X.RevertToPointerRoot, X.CurrentTime, onerror=error.CatchError(error.BadMatch))
        self._sync()

    def active(self) -> int | None:
        """The window that has the keyboard."""
        value = self._property(self._root, "_NET_ACTIVE_WINDOW")
        return int(value[0]) if value is not None and len(value) else None

    def close_window(self, number: int) -> None:
        """Ask the window to close, as its close button does."""
        if self.has_window_manager():
            self._ask_manager(number, "_NET_CLOSE_WINDOW", [X.CurrentTime, 2])
            return
        event = protocol.event.ClientMessage(
            window=self._window(number),
            client_type=self._atom("WM_PROTOCOLS"),
            data=(32, [self._atom("WM_DELETE_WINDOW"), X.CurrentTime, 0, 0, 0]),
        )
        self._window(number).send_event(event)
        self._sync()

    def place(self, number: int, rect: Rect) -> None:
        """Move and size the window, frame included, and wait for it as far as the application's size limits let it."""
        left, right, top, bottom = self.frame(number)
        width, height = max(rect.width - left - right, 1), max(rect.height - top - bottom, 1)
        if self.has_window_manager():
            # Gravity static: the place meant is that of the window's own area.
            flags = 10 | 0xF << 8 | 2 << 12
            before = self.rect(number)
            self._ask_manager(number, "_NET_MOVERESIZE_WINDOW", [flags, rect.x + left, rect.y + top, width, height])
            self._await_manager()
            if before != Rect(rect.x + left, rect.y + top, width, height):
                self._wait(number, lambda: self.rect(number) != before, seconds=0.5)
        else:
            self._window(number).configure(x=rect.x, y=rect.y, width=width, height=height)
            self._sync()

    def outer_rect(self, number: int) -> Rect:
        """The window's place and size with its frame."""
        left, right, top, bottom = self.frame(number)
        inner = self.rect(number)
        return Rect(inner.x - left, inner.y - top, inner.width + left + right, inner.height + top + bottom)

    def _wait(self, number: int, reached: Any, seconds: float = MAP_TIMEOUT_S) -> bool:
        """Wait for a condition of one window, by its events; False when it did not come about in time."""
        window = self._window(number)
        window.change_attributes(
            event_mask=X.PropertyChangeMask | X.StructureNotifyMask, onerror=error.CatchError(error.BadWindow)
        )
        deadline = time.monotonic() + seconds
        while not reached():
            if self._next_event(deadline) is None:
                return bool(reached())
        return True

    def client_at(self, x: int, y: int) -> int | None:
        """The X client whose window is on top at a pixel, as `client_of` numbers them; None on the bare desktop."""
        window = self._root
        try:
            while child := window.translate_coords(self._root, x, y).child:
                window = self._window(int(getattr(child, "id", child)))
        except (error.BadWindow, error.BadDrawable):
            return None
        return None if window is self._root else self.client_of(int(window.id))

    def client_of(self, number: int) -> int:
        """The X client that made a window: its windows share the number's high bits."""
        return int(number) & ~int(self._display.display.info.resource_id_mask)

    def ping(self, number: int, timeout_s: float) -> bool:
        """Wait until the application has handled all input sent so far (_NET_WM_PING of EWMH); False if it gives no
        answer in that time.

        The X server delivers a client's events in order, so the answer to a ping says that all before it was taken.
        """
        window = self._window(number)
        protocols = self._property(window, "WM_PROTOCOLS")
        ping = self._atom("_NET_WM_PING")
        if protocols is None or ping not in list(protocols):
            return True
        serial = next(self._serial)
        event = protocol.event.ClientMessage(
            window=window, client_type=self._atom("WM_PROTOCOLS"), data=(32, [ping, serial, number, 0, 0])
        )
        window.send_event(event, onerror=error.CatchError(error.BadWindow))
        self._display.flush()
        deadline = time.monotonic() + timeout_s
        while (answer := self._next_event(deadline)) is not None:
            if answer.type == X.ClientMessage and list(answer.data[1])[:2] == [ping, serial]:
                return True
        return False

    # Input

    def move_pointer(self, x: int, y: int) -> None:
        """Move the pointer to a pixel of the display."""
        xtest.fake_input(self._display, X.MotionNotify, x=x, y=y)
        self._display.flush()

    def button(self, number: int, *, down: bool) -> None:
        """Press or release a button, in X's numbering."""
        xtest.fake_input(self._display, X.ButtonPress if down else X.ButtonRelease, number)
        self._display.flush()

    def pointer(self) -> tuple[int, int]:
        """Where the pointer is."""
        place = self._root.query_pointer()
        return place.root_x, place.root_y

    # Pictures

    def picture(self, area: Rect | None = None) -> npt.NDArray[np.uint8]:
        """What the display shows, or an area of it cut to its edges, as RGB (height, width, 3).

        Raises WebDriverError("unable to capture screen") for an empty area and displays that are not TrueColor.
        """
        width, height = self.size
        area = area or Rect(0, 0, width, height)
        left, top = max(area.x, 0), max(area.y, 0)
        right, bottom = min(area.x + area.width, width), min(area.y + area.height, height)
        if right <= left or bottom <= top:
            raise WebDriverError(
                "unable to capture screen", f"the area {tuple(area)} is not on the display {self.name}"
            )
        visual, bits = self._visual()
        big_endian = self._display.display.info.image_byte_order == X.MSBFirst
        strips = []
        strip = max(1, 262_144 // ((right - left) * bits // 8))  # python-xlib copies long answers again and again
        for y in range(top, bottom, strip):
            rows = min(strip, bottom - y)
            image = self._root.get_image(left, y, right - left, rows, X.ZPixmap, 0xFFFFFFFF)
            data = image.data if isinstance(image.data, bytes) else image.data.encode("latin-1")
            try:
                strips.append(
                    decode_zpixmap(data, right - left, rows, bits, visual, big_endian=big_endian)
                )  # fmt: skip
            except ValueError as problem:
                raise WebDriverError("unable to capture screen", f"display {self.name}: {problem}") from problem
        return np.concatenate(strips)

    def _visual(self) -> tuple[tuple[int, int, int], int]:
        bits = {form.depth: form.bits_per_pixel for form in self._display.display.info.pixmap_formats}
        for depth in self._screen.allowed_depths:
            for visual in depth.visuals:
                if visual.visual_id == self._screen.root_visual:
                    return (visual.red_mask, visual.green_mask, visual.blue_mask), bits[depth.depth]
        raise WebDriverError("unable to capture screen", f"the display {self.name} does not describe its root window")
