"""Driving inputs of a pilot's page: velocities as keys held down, a pad dragged, a stick deflected.

Each satisfies `courses.inputs.DrivingInput`. All are repeated by the driving code at 20 Hz or more; the page lets go by
itself when that ends (`devices.pilot.page.DEADMAN_MS`).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from devices.client import WebDriverSession
from devices.webdriver import ELEMENT_KEY

# What the page's inputs mean: m/s and rad/s at full deflection, with a key, and with a key and Shift.
FULL = (0.35, 1.2)
KEY = (0.25, 0.6)
KEY_SLOW = (0.05, 0.15)
_AHEAD, _BACK, _LEFT, _RIGHT, _SHIFT = "\ue013", "\ue015", "\ue012", "\ue014", "\ue008"


class PilotInput(Protocol):
    """What drives through a page, and what it lets go of."""

    @property
    def name(self) -> str: ...

    def drive(self, linear: float, angular: float) -> None: ...

    def stop(self) -> None: ...


class KeyboardInput:
    """Arrow keys, with Shift for slow. Keys know few velocities: what each step rounds off is carried to the next, so
    that on the average the robot does as wished."""

    name = "keyboard"

    def __init__(self, session: WebDriverSession) -> None:
        self._session = session
        self._held: frozenset[str] = frozenset()
        self._owed = (0.0, 0.0)

    def drive(self, linear: float, angular: float) -> None:
        keys, (got_linear, got_angular) = nearest_keys(linear + self._owed[0], angular + self._owed[1])
        owed_linear, owed_angular = linear + self._owed[0] - got_linear, angular + self._owed[1] - got_angular
        self._owed = (_clipped(owed_linear, KEY[0] / 2), _clipped(owed_angular, KEY[1] / 2))
        self._hold(keys)

    def stop(self) -> None:
        self._owed = (0.0, 0.0)
        self._hold(frozenset())

    def _hold(self, keys: frozenset[str]) -> None:
        # A key that stays down is pressed again, as a keyboard repeats it: that is the page's sign of life.
        changes = [{"type": "keyUp", "value": key} for key in sorted(self._held - keys)]
        changes += [{"type": "keyDown", "value": key} for key in sorted(keys, reverse=True)]
        if changes:
            self._session.actions({"type": "key", "id": "keyboard", "actions": changes})
        self._held = keys


class MouseInput:
    """The drive pad, dragged with the mouse; any velocity."""

    name = "mouse"

    def __init__(self, session: WebDriverSession) -> None:
        self._session = session
        self._pad = session.find("css selector", "#pad")
        self._radius = session.rect(self._pad)["width"] / 2
        self._down = False
        self._jitter = itertools.cycle((0, 1))

    def drive(self, linear: float, angular: float) -> None:
        x = -_clipped(angular / FULL[1], 1.0) * self._radius
        y = -_clipped(linear / FULL[0], 1.0) * self._radius
        # A browser tells of no movement that is none; a pixel is 0.3 % of the pad.
        actions = [] if self._down else [self._move(0, 0), {"type": "pointerDown", "button": 0}]
        self._act([*actions, self._move(round(x), round(y) + next(self._jitter))])
        self._down = True

    def stop(self) -> None:
        if self._down:
            self._act([{"type": "pointerUp", "button": 0}])
            self._down = False

    def _move(self, x: int, y: int) -> dict[str, Any]:
        return {"type": "pointerMove", "duration": 0, "x": x, "y": y, "origin": {ELEMENT_KEY: self._pad}}

    def _act(self, actions: list[dict[str, Any]]) -> None:
        parameters = {"pointerType": "mouse"}
        self._session.actions({"type": "pointer", "id": "mouse", "parameters": parameters, "actions": actions})


class GamepadInput:
    """A gamepad's left stick. WebDriver knows no gamepads, so the page sees one that a script puts in their place."""

    name = "gamepad"

    def __init__(self, session: WebDriverSession) -> None:
        self._session = session
        session.execute(_VIRTUAL_GAMEPAD)

    def drive(self, linear: float, angular: float) -> None:
        x, y = -_clipped(angular / FULL[1], 1.0), -_clipped(linear / FULL[0], 1.0)
        self._session.execute("window.labGamepad.deflect(arguments[0], arguments[1])", x, y)

    def stop(self) -> None:
        self._session.execute("window.labGamepad.deflect(0, 0)")


INPUTS: Mapping[str, Callable[[WebDriverSession], PilotInput]] = {
    each.name: each for each in (KeyboardInput, MouseInput, GamepadInput)
}


def open_input(name: str, session: WebDriverSession) -> PilotInput:
    """The input of that name. Raises ValueError for another."""
    if name not in INPUTS:
        raise ValueError(f"a pilot's page is driven by {', '.join(INPUTS)}, not by {name!r}")
    return INPUTS[name](session)


def nearest_keys(linear: float, angular: float) -> tuple[frozenset[str], tuple[float, float]]:
    """The keys whose velocities (m/s, rad/s) are nearest to a wish, and these velocities."""
    return min(_CHORDS, key=lambda chord: _off(chord[1], linear, angular))


def _off(velocities: tuple[float, float], linear: float, angular: float) -> float:
    return ((velocities[0] - linear) / KEY[0]) ** 2 + ((velocities[1] - angular) / KEY[1]) ** 2


def _chords() -> list[tuple[frozenset[str], tuple[float, float]]]:
    found = []
    for (along, ahead), (turn, left) in itertools.product(
        ((0, ()), (1, (_AHEAD,)), (-1, (_BACK,))), ((0, ()), (1, (_LEFT,)), (-1, (_RIGHT,)))
    ):
        keys = (*ahead, *left)
        found.append((frozenset(keys), (along * KEY[0], turn * KEY[1])))
        if keys:
            found.append((frozenset((*keys, _SHIFT)), (along * KEY_SLOW[0], turn * KEY_SLOW[1])))
    return found


_CHORDS = _chords()


def _clipped(value: float, limit: float) -> float:
    return max(-limit, min(limit, value))


_VIRTUAL_GAMEPAD = """
const state = {
  id: "lab gamepad", index: 0, connected: true, mapping: "standard", axes: [0, 0, 0, 0], buttons: [],
  timestamp: performance.now(),
};
navigator.getGamepads = () => [state];
window.labGamepad = { deflect(x, y) { state.axes[0] = x; state.axes[1] = y; state.timestamp = performance.now(); } };
"""
