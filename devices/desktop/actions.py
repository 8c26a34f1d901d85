"""W3C WebDriver's actions: the JSON of "Perform Actions" as typed ticks. Pure; the session dispatches them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from devices.desktop.keys import check_text
from devices.webdriver import ELEMENT_KEY, WebDriverError

_LARGEST = 2**53 - 1


@dataclass(frozen=True)
class Pause:
    """Nothing for `duration_ms`."""

    source: str
    duration_ms: float


@dataclass(frozen=True)
class Key:
    """A key, as a character or a special key of W3C's table, pressed or released."""

    source: str
    key: str
    down: bool


@dataclass(frozen=True)
class Button:
    """A pointer's button in W3C's numbering."""

    source: str
    button: int
    down: bool


@dataclass(frozen=True)
class Move:
    """The pointer to (x, y) of `origin`: "viewport" (the display), "pointer", or an element's id (from its centre)."""

    source: str
    x: float
    y: float
    origin: str
    element: str | None
    duration_ms: float


@dataclass(frozen=True)
class Scroll:
    """The wheel by (dx, dy) pixels with the pointer at (x, y) of `origin`."""

    source: str
    x: float
    y: float
    dx: float
    dy: float
    origin: str
    element: str | None
    duration_ms: float


Action = Pause | Key | Button | Move | Scroll
Tick = list[Action]


def parse_actions(body: Mapping[str, Any], sources: dict[str, str]) -> list[Tick]:
    """The ticks of a request. `sources`: the kind of each input source known so far; new ones are added.

    Raises WebDriverError "invalid argument", and "unsupported operation" for touch and pen.
    """
    sequences = body.get("actions")
    if not isinstance(sequences, list):
        raise _bad(f"actions must be a list, not {sequences!r}")
    ticks: list[Tick] = []
    for sequence in sequences:
        kind, source, items = _sequence(sequence, sources)
        for number, item in enumerate(items):
            if not isinstance(item, dict):
                raise _bad(f"action {number} of {source} must be an object, not {item!r}")
            while len(ticks) <= number:
                ticks.append([])
            ticks[number].append(_action(kind, source, item))
    return ticks


def _sequence(sequence: Any, sources: dict[str, str]) -> tuple[str, str, list[Any]]:
    if not isinstance(sequence, dict):
        raise _bad(f"each entry of actions must be an object, not {sequence!r}")
    kind, source, items = sequence.get("type"), sequence.get("id"), sequence.get("actions")
    if kind not in ("none", "key", "pointer", "wheel"):
        raise _bad(f"the type of an input source must be none, key, pointer or wheel, not {kind!r}")
    if not isinstance(source, str):
        raise _bad(f"the id of an input source must be a string, not {source!r}")
    if sources.setdefault(source, kind) != kind:
        raise _bad(f"the input source {source} is a {sources[source]}, not a {kind}")
    if not isinstance(items, list):
        raise _bad(f"the actions of {source} must be a list, not {items!r}")
    if kind == "pointer":
        parameters = sequence.get("parameters") or {}
        pointer = parameters.get("pointerType", "mouse") if isinstance(parameters, dict) else None
        if pointer not in ("mouse", "pen", "touch"):
            raise _bad(f"pointerType must be mouse, pen or touch, not {pointer!r}")
        if pointer != "mouse":
            raise WebDriverError("unsupported operation", f"a desktop has a mouse but no {pointer}")
    return kind, source, items


def _action(kind: str, source: str, item: dict[str, Any]) -> Action:
    what = item.get("type")
    if what == "pause":
        return Pause(source, _number(item, "duration", 0.0, least=0.0))
    match kind, what:
        case "key", "keyDown" | "keyUp":
            value = item.get("value")
            if not isinstance(value, str) or len(value) != 1:
                raise _bad(f"the value of {what} must be one character, not {value!r}")
            check_text(value)
            return Key(source, value, what == "keyDown")
        case "pointer", "pointerDown" | "pointerUp":
            button = item.get("button")
            if isinstance(button, bool) or not isinstance(button, int) or button < 0:
                raise _bad(f"the button of {what} must be a whole number from 0 on, not {button!r}")
            return Button(source, button, what == "pointerDown")
        case "pointer", "pointerMove":
            origin, element = _origin(item, ("viewport", "pointer"))
            x, y = _number(item, "x"), _number(item, "y")
            return Move(source, x, y, origin, element, _number(item, "duration", 0.0, least=0.0))
        case "wheel", "scroll":
            origin, element = _origin(item, ("viewport",))
            x, y, dx, dy = (_number(item, name) for name in ("x", "y", "deltaX", "deltaY"))
            duration = _number(item, "duration", 0.0, least=0.0)
            return Scroll(source, x, y, dx, dy, origin, element, duration)
        case _:
            raise _bad(f"an input source of type {kind} has no action {what!r}")


def _origin(item: dict[str, Any], names: tuple[str, ...]) -> tuple[str, str | None]:
    origin = item.get("origin", "viewport")
    if origin in names:
        return str(origin), None
    if isinstance(origin, dict) and isinstance(origin.get(ELEMENT_KEY), str):
        return "element", origin[ELEMENT_KEY]
    raise _bad(f"origin must be {' or '.join(names)} or an element, not {origin!r}")


def _number(item: dict[str, Any], name: str, default: float | None = None, *, least: float | None = None) -> float:
    value = item.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > _LARGEST:
        raise _bad(f"{name} must be a number, not {value!r}")
    if least is not None and value < least:
        raise _bad(f"{name} must be {least:g} or more, not {value!r}")
    return value


def _bad(message: str) -> WebDriverError:
    return WebDriverError("invalid argument", message)


def tick_duration_ms(tick: Tick) -> float:
    """How long a tick lasts: its longest action."""
    return max((action.duration_ms for action in tick if isinstance(action, Pause | Move | Scroll)), default=0.0)
