"""Driving inputs of a pilot's page: velocities as keys held down, a pad dragged, a stick deflected.

Each satisfies `courses.inputs.DrivingInput`. All are repeated by the driving code at 20 Hz or more; our own page lets
go by itself when that ends (`devices.pilot.page.DEADMAN_MS`).
"""

from __future__ import annotations

import itertools
from typing import Any, Protocol

from devices.client import WebDriverSession
from devices.pilot.client import OUR_KEYS, OUR_PAD, OUR_STICK, Keys, Pad, PilotClient, Stick
from devices.webdriver import ELEMENT_KEY

Velocity = tuple[float, float]
Chord = tuple[frozenset[str], Velocity]


class PilotInput(Protocol):
    """What drives through a page, and what it lets go of."""

    @property
    def name(self) -> str: ...

    def drive(self, linear: float, angular: float) -> None: ...

    def stop(self) -> None: ...


class KeyboardInput:
    """Keys held down. They know few velocities: what each step rounds off is carried to the next, so
    that on the average the robot does as wished."""

    name = "keyboard"

    def __init__(self, session: WebDriverSession, keys: Keys = OUR_KEYS) -> None:
        self._session = session
        self._keys = keys
        self._chords = chords(keys)
        self._held: frozenset[str] = frozenset()
        self._owed = (0.0, 0.0)

    def drive(self, linear: float, angular: float) -> None:
        wish = (linear + self._owed[0], angular + self._owed[1])
        keys, (got_linear, got_angular) = nearest_keys(self._chords, *wish)
        owed_linear, owed_angular = linear + self._owed[0] - got_linear, angular + self._owed[1] - got_angular
        self._owed = (
            _clipped(owed_linear, self._keys.speed_m_s / 2), _clipped(owed_angular, self._keys.turn_rad_s / 2)
        )  # fmt: skip
        self._hold(keys)

    def stop(self) -> None:
        self._owed = (0.0, 0.0)
        self._hold(frozenset())

    def _hold(self, keys: frozenset[str]) -> None:
        # A key that stays down is pressed again, as a keyboard repeats it: that is the page's sign of life.
        # The slow key goes down first: nothing is fast for a moment.
        slow = self._keys.slow and self._keys.value(self._keys.slow)
        changes = [{"type": "keyUp", "value": key} for key in sorted(self._held - keys)]
        changes += [{"type": "keyDown", "value": key} for key in sorted(keys, key=lambda key: (key != slow, key))]
        if changes:
            self._session.actions({"type": "key", "id": "keyboard", "actions": changes})
        self._held = keys


class MouseInput:
    """The drive pad, dragged with the mouse; any velocity."""

    name = "mouse"

    def __init__(self, session: WebDriverSession, pad: Pad = OUR_PAD) -> None:
        self._session = session
        self._full = pad
        self._pad = session.find("css selector", pad.css)
        self._radius = session.rect(self._pad)["width"] / 2
        self._down = False
        self._jitter = itertools.cycle((0, 1))

    def drive(self, linear: float, angular: float) -> None:
        x = -_clipped(angular / self._full.full_rad_s, 1.0) * self._radius
        y = -_clipped(linear / self._full.full_m_s, 1.0) * self._radius
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

    def __init__(self, session: WebDriverSession, stick: Stick = OUR_STICK) -> None:
        self._session = session
        self._full = stick
        session.execute(_VIRTUAL_GAMEPAD)

    def drive(self, linear: float, angular: float) -> None:
        x, y = -_clipped(angular / self._full.full_rad_s, 1.0), -_clipped(linear / self._full.full_m_s, 1.0)
        self._session.execute("window.labGamepad.deflect(arguments[0], arguments[1])", x, y)

    def stop(self) -> None:
        self._session.execute("window.labGamepad.deflect(0, 0)")


def open_input(name: str, session: WebDriverSession, client: PilotClient | None = None) -> PilotInput:
    """The input of that name, of our own page or of another client's. Raises ValueError for one that it has not."""
    keys = OUR_KEYS if client is None else client.keyboard
    pad = OUR_PAD if client is None else client.mouse
    stick = OUR_STICK if client is None else client.gamepad
    if name == "keyboard" and keys is not None:
        return KeyboardInput(session, keys)
    if name == "mouse" and pad is not None:
        return MouseInput(session, pad)
    if name == "gamepad" and stick is not None:
        return GamepadInput(session, stick)
    known = ("keyboard", "mouse", "gamepad") if client is None else client.inputs
    raise ValueError(f"the pilot's page is driven by {', '.join(known)}, not by {name!r}")


def chords(keys: Keys) -> tuple[Chord, ...]:
    """What can be held down together, and the velocities (m/s, rad/s) that it asks for."""
    found: list[Chord] = []
    for along, turn in itertools.product((0, 1, -1), (0, 1, -1)):
        names = [*({1: [keys.ahead], -1: [keys.back]}.get(along, []))]
        names += {1: [keys.left], -1: [keys.right]}.get(turn, [])
        held = frozenset(keys.value(name) for name in names)
        found.append((held, (along * keys.speed_m_s, turn * keys.turn_rad_s)))
        if held and keys.slow is not None:
            found.append((held | {keys.value(keys.slow)}, (along * keys.slow_m_s, turn * keys.slow_rad_s)))
    return tuple(found)


def nearest_keys(known: tuple[Chord, ...], linear: float, angular: float) -> Chord:
    """The chord whose velocities are nearest to a wish, as shares of the fastest."""
    fastest = max(chord[1][0] for chord in known), max(chord[1][1] for chord in known)
    return min(known, key=lambda chord: _off(chord[1], (linear, angular), fastest))


def _off(got: Velocity, wished: Velocity, fastest: Velocity) -> float:
    return ((got[0] - wished[0]) / fastest[0]) ** 2 + ((got[1] - wished[1]) / fastest[1]) ** 2


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
