"""W3C actions as the steps of a JSON Wire server, which has one mouse, one keyboard or one finger: pure.

W3C WebDriver section 15 lets several devices act in one tick; a JSON Wire server does one thing after the other, so the
things of a tick follow in the order of their sources. Pauses of a tick overlap, so only the longest counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from devices.dialects.elements import element_id
from devices.webdriver import WebDriverError

NULL_KEY = "\ue000"
MODIFIERS = frozenset("\ue008\ue009\ue00a\ue03d\ue050\ue051\ue052\ue053")
# Two clicks of one button with no longer pause between them are a double click.
_DOUBLE_CLICK_MS = 500


@dataclass(frozen=True, slots=True)
class MoveToElement:
    """To an element's centre, or so many pixels right of and below it."""

    element: str
    x: int = 0
    y: int = 0


@dataclass(frozen=True, slots=True)
class MoveTo:
    """To a point, counted from the corner of the tree's root."""

    x: int
    y: int


@dataclass(frozen=True, slots=True)
class MoveBy:
    """So many pixels from here."""

    x: int
    y: int


@dataclass(frozen=True, slots=True)
class Press:
    button: int


@dataclass(frozen=True, slots=True)
class Release:
    button: int


@dataclass(frozen=True, slots=True)
class Click:
    button: int


@dataclass(frozen=True, slots=True)
class DoubleClick:
    pass


@dataclass(frozen=True, slots=True)
class Keys:
    """Characters; a modifier is held until it comes again, or until NULL_KEY."""

    text: str


@dataclass(frozen=True, slots=True)
class Pause:
    ms: int


Move = MoveToElement | MoveTo | MoveBy
Step = Move | Press | Release | Click | DoubleClick | Keys | Pause


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do, and whether a finger does it."""

    steps: tuple[Step, ...]
    touch: bool


def plan(sources: Sequence[Any]) -> Plan:
    """The steps for the `actions` of a Perform Actions command.

    Raises WebDriverError ("invalid argument", and "unsupported operation" for wheels and several fingers).
    """
    if not isinstance(sources, list):
        raise WebDriverError("invalid argument", "actions must be a list of input sources")
    columns: list[list[Step]] = []
    touches = 0
    for source in sources:
        column, touch = _column(source)
        touches += touch
        columns.append(column)
    if touches > 1:
        raise WebDriverError("unsupported operation", "this server has one finger, the actions ask for several")
    steps: list[Step] = []
    for tick in range(max(map(len, columns), default=0)):
        present = [column[tick] for column in columns if tick < len(column)]
        steps.extend(each for each in present if not isinstance(each, Pause))
        if longest := max((each.ms for each in present if isinstance(each, Pause)), default=0):
            steps.append(Pause(longest))
    return Plan(tuple(_joined(steps)), touches == 1)


def _column(source: Any) -> tuple[list[Step], bool]:
    """The steps of one source, one a tick, and whether it is a finger."""
    if not isinstance(source, dict) or not isinstance(source.get("actions"), list):
        raise WebDriverError("invalid argument", "an input source needs its type, id and a list of actions")
    kind = source.get("type")
    if kind == "wheel":
        raise WebDriverError("unsupported operation", "this server has no wheel")
    if kind not in ("none", "key", "pointer"):
        raise WebDriverError("invalid argument", f"unknown type of input source {kind!r}")
    parameters = source.get("parameters") or {}
    touch = kind == "pointer" and parameters.get("pointerType", "mouse") == "touch"
    return [_step(kind, each) for each in source["actions"]], touch


def _step(kind: str, action: Any) -> Step:
    name = action.get("type") if isinstance(action, dict) else None
    if name == "pause":
        return Pause(_whole(action, "duration", 0))
    if kind == "key" and name in ("keyDown", "keyUp"):
        key = action.get("value")
        if not isinstance(key, str) or not key:
            raise WebDriverError("invalid argument", f"{name} needs a value, one character")
        return Keys(key if name == "keyDown" or key in MODIFIERS else "")
    if kind == "pointer" and name == "pointerMove":
        return _move(action)
    if kind == "pointer" and name in ("pointerDown", "pointerUp"):
        button = _whole(action, "button", 0)
        return Press(button) if name == "pointerDown" else Release(button)
    if kind == "pointer" and name == "pointerCancel":
        raise WebDriverError("unsupported operation", "this server cannot cancel a pointer")
    raise WebDriverError("invalid argument", f"unknown action {name!r} of a {kind} source")


def _move(action: dict[str, Any]) -> Move:
    x, y = _whole(action, "x", 0), _whole(action, "y", 0)
    origin = action.get("origin", "viewport")
    if (element := element_id(origin)) is not None:
        return MoveToElement(element, x, y)
    if origin == "pointer":
        return MoveBy(x, y)
    if origin == "viewport":
        return MoveTo(x, y)
    raise WebDriverError("invalid argument", f"unknown origin of a pointer move: {origin!r}")


def _whole(action: dict[str, Any], key: str, default: int) -> int:
    value = action.get(key, default)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise WebDriverError("invalid argument", f"{key} must be a number, not {value!r}")
    return round(value)


def _joined(steps: list[Step]) -> list[Step]:
    """Presses with their releases as clicks, two clicks as a double click, keys in one go."""
    joined: list[Step] = []
    for step in steps:
        last = joined[-1] if joined else None
        if isinstance(step, Keys) and not step.text:
            continue
        if isinstance(step, Keys) and isinstance(last, Keys):
            joined[-1] = Keys(last.text + step.text)
        elif isinstance(step, Release) and last == Press(step.button):
            joined[-1] = Click(step.button)
            _double(joined)
        else:
            joined.append(step)
    return joined


def _double(joined: list[Step]) -> None:
    match joined:
        case [*_, Click(button=0), Click(button=0)]:
            joined[-2:] = [DoubleClick()]
        case [*_, Click(button=0), Pause(ms=ms), Click(button=0)] if ms <= _DOUBLE_CLICK_MS:
            joined[-3:] = [DoubleClick()]
