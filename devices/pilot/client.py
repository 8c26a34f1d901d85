"""What the lab knows of a pilot's client: where its page is, what its inputs mean, what it shows of the robot.

The lab file's pydantic models embed these classes. `OURS` is the page that comes with the program.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

# Stands in a page's address for the lab's own pilot socket.
SOCKET = "{socket}"

_FORBID: dict[str, str] = {"extra": "forbid"}
# Key values of WebDriver (W3C WebDriver section 17.4.2) by their names in DOM events.
_KEYS: Mapping[str, str] = {
    "ArrowLeft": "\ue012", "ArrowUp": "\ue013", "ArrowRight": "\ue014", "ArrowDown": "\ue015", "Shift": "\ue008",
    "Control": "\ue009", "Alt": "\ue00a", "Enter": "\ue007", "Tab": "\ue004", "Escape": "\ue00c", "Space": " ",
    "PageUp": "\ue00e", "PageDown": "\ue00f",
}  # fmt: skip


def _speed(name: str, value: float) -> None:
    if not (math.isfinite(value) and 0 < value <= 5):
        raise ValueError(f"{name} is {value}, must be above 0 and at most 5")


@dataclass(frozen=True, slots=True)
class Keys:
    """The keyboard: keys by their names in DOM events (`ArrowUp`, `w`, `Space`), and what they ask for, m/s and rad/s.

    `slow` is held with another key to ask for `slow_m_s`, `slow_rad_s`; without it there is one speed.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _FORBID
    speed_m_s: float
    turn_rad_s: float
    ahead: str = "ArrowUp"
    back: str = "ArrowDown"
    left: str = "ArrowLeft"
    right: str = "ArrowRight"
    slow: str | None = None
    slow_m_s: float = 0.05
    slow_rad_s: float = 0.15

    def __post_init__(self) -> None:
        for name in ("speed_m_s", "turn_rad_s", "slow_m_s", "slow_rad_s"):
            _speed(name, getattr(self, name))
        keys = [self.ahead, self.back, self.left, self.right, *([self.slow] if self.slow else [])]
        if len(set(keys)) < len(keys):
            raise ValueError(f"a key means two things: {', '.join(keys)}")
        for key in keys:
            if key not in _KEYS and len(key) != 1:
                raise ValueError(f"no key is called {key!r}; a single character, or one of {', '.join(_KEYS)}")

    @staticmethod
    def value(key: str) -> str:
        """The key's value in WebDriver."""
        return _KEYS.get(key, key)


@dataclass(frozen=True, slots=True)
class Pad:
    """An element that is dragged in with the mouse, from its middle: up is ahead. `css` finds it; speeds at its rim."""

    __pydantic_config__: ClassVar[dict[str, str]] = _FORBID
    css: str
    full_m_s: float
    full_rad_s: float

    def __post_init__(self) -> None:
        _speed("full_m_s", self.full_m_s)
        _speed("full_rad_s", self.full_rad_s)


@dataclass(frozen=True, slots=True)
class Stick:
    """A gamepad's left stick; speeds at full deflection."""

    __pydantic_config__: ClassVar[dict[str, str]] = _FORBID
    full_m_s: float
    full_rad_s: float

    def __post_init__(self) -> None:
        _speed("full_m_s", self.full_m_s)
        _speed("full_rad_s", self.full_rad_s)


@dataclass(frozen=True, slots=True)
class PilotClient:
    """A page that drives a robot.

    `url`: with `{socket}` in it, the page drives through the lab's own pilot socket, whose address is put there.
    `wheels`: a script that returns what the wheels did, [left, right] in metres since any time; `alive`: one that
    returns whether the page is connected to its robot; `battery`: one that returns 0 .. 1. `ready_within_s`: how long
    the page may take to show its robot, also after the robot's power came back.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _FORBID
    url: str
    wheels: str
    alive: str = "return true"
    battery: str | None = None
    keyboard: Keys | None = None
    mouse: Pad | None = None
    gamepad: Stick | None = None
    ready_within_s: float = 30.0

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise ValueError(f"url {self.url!r} must start with http:// or https://")
        if not self.inputs:
            raise ValueError("give at least one of keyboard, mouse and gamepad")
        if not 1 <= self.ready_within_s <= 600:
            raise ValueError(f"ready_within_s is {self.ready_within_s}, must lie in 1 .. 600")

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the inputs that it has."""
        return tuple(name for name in ("keyboard", "mouse", "gamepad") if getattr(self, name) is not None)

    def fastest(self, name: str) -> tuple[float, float]:
        """The most that an input of that name, which it has, asks for: m/s and rad/s."""
        if name == "keyboard" and self.keyboard is not None:
            return self.keyboard.speed_m_s, self.keyboard.turn_rad_s
        full = self.mouse if name == "mouse" else self.gamepad
        if full is None:
            raise ValueError(f"the client has no {name}")
        return full.full_m_s, full.full_rad_s


# The page of `drivers.sim.pilot`.
OUR_KEYS = Keys(speed_m_s=0.25, turn_rad_s=0.6, slow="Shift")
OUR_PAD = Pad("#pad", full_m_s=0.35, full_rad_s=1.2)
OUR_STICK = Stick(full_m_s=0.35, full_rad_s=1.2)
