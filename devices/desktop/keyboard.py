"""The keys of one X display: which keycode a character has, and keycodes lent to those that the layout lacks."""

from __future__ import annotations

from typing import Any

from Xlib import X
from Xlib.ext import xtest

from devices.desktop.keys import keysym_of
from devices.webdriver import WebDriverError


class Keyboard:
    """Keys of one display by keysym. Characters that the layout lacks get keycodes that no key uses, and keep them."""

    def __init__(self, connection: Any) -> None:
        self._display = connection
        self._lowest = connection.display.info.min_keycode
        self._highest = connection.display.info.max_keycode
        self._places: dict[int, tuple[int, bool]] = {}  # keysym: (keycode, with shift)
        self._spare: list[int] = []
        self._lent: dict[int, int] = {}  # keysym: keycode, in the order of their use
        self._read()

    def _read(self) -> None:
        rows = self._display.get_keyboard_mapping(self._lowest, self._highest - self._lowest + 1)
        for offset, row in enumerate(rows):
            code = self._lowest + offset
            if not any(row):
                self._spare.append(code)
            for level, keysym in enumerate(list(row)[:2]):
                if keysym:
                    self._places.setdefault(keysym, (code, level == 1))
        # A letter's key without capitals of its own gives them by shift.
        for keysym, (code, shifted) in list(self._places.items()):
            if not shifted and 0x61 <= keysym <= 0x7A:
                self._places.setdefault(keysym - 0x20, (code, True))

    def place(self, key: str) -> tuple[int, bool, bool]:
        """Keycode of a character or special key, whether shift goes with it, and whether the layout had to be
        changed.
        """
        keysym = keysym_of(key)
        known = self._places.get(keysym)
        if known is not None:
            if keysym in self._lent:
                self._lent[keysym] = self._lent.pop(keysym)
            return *known, False
        if not self._spare and not self._lent:
            raise WebDriverError("unsupported operation", f"no spare key on the display to type {key!r} with")
        if self._spare:
            code = self._spare.pop()
        else:
            oldest = next(iter(self._lent))
            code = self._lent.pop(oldest)
            del self._places[oldest]
        self._display.change_keyboard_mapping(code, [(keysym, keysym)])
        self._display.sync()
        self._lent[keysym] = code
        self._places[keysym] = (code, False)
        return code, False, True

    @property
    def room(self) -> int:
        """How many different characters that the layout lacks can be typed at once."""
        return max(1, len(self._spare) + len(self._lent))

    def place_of(self, keysym: int) -> int:
        """The keycode of a key that every layout has."""
        return self._places[keysym][0]

    def key(self, code: int, *, down: bool) -> None:
        """Press or release a key by its keycode."""
        xtest.fake_input(self._display, X.KeyPress if down else X.KeyRelease, code)
        self._display.flush()

    def restore(self) -> None:
        """Take back the keycodes lent to characters."""
        for code in self._lent.values():
            self._display.change_keyboard_mapping(code, [(0, 0)])
            self._spare.append(code)
        for keysym in self._lent:
            del self._places[keysym]
        self._lent.clear()
        self._display.sync()
