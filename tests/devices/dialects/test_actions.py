"""W3C actions as steps of one mouse, one keyboard or one finger."""

from __future__ import annotations

from typing import Any

import pytest

from devices.dialects.actions import (
    Click,
    DoubleClick,
    Keys,
    MoveBy,
    MoveTo,
    MoveToElement,
    Pause,
    Press,
    Release,
    plan,
)
from devices.webdriver import WebDriverError

ELEMENT = {"element-6066-11e4-a52e-4f735466cecf": "42-1"}


def mouse(*actions: dict[str, Any], touch: bool = False) -> dict[str, Any]:
    parameters = {"pointerType": "touch" if touch else "mouse"}
    return {"type": "pointer", "id": "mouse", "parameters": parameters, "actions": list(actions)}


def keyboard(*actions: dict[str, Any]) -> dict[str, Any]:
    return {"type": "key", "id": "keyboard", "actions": list(actions)}


def move(origin: Any, x: float = 0, y: float = 0) -> dict[str, Any]:
    return {"type": "pointerMove", "duration": 250, "x": x, "y": y, "origin": origin}


DOWN, UP = {"type": "pointerDown", "button": 0}, {"type": "pointerUp", "button": 0}


def pause(ms: int = 0) -> dict[str, Any]:
    return {"type": "pause", "duration": ms}


def test_moves_keep_their_origin() -> None:
    steps = plan([mouse(move(ELEMENT, 3, -4), move("pointer", 5, 6), move("viewport", 7.4, 8.6))]).steps
    assert steps == (MoveToElement("42-1", 3, -4), MoveBy(5, 6), MoveTo(7, 9))


def test_a_press_with_its_release_is_a_click_and_two_are_a_double_click() -> None:
    assert plan([mouse(DOWN, UP)]).steps == (Click(0),)
    assert plan([mouse(DOWN, UP, DOWN, UP)]).steps == (DoubleClick(),)
    assert plan([mouse(DOWN, UP, pause(100), DOWN, UP)]).steps == (DoubleClick(),)
    assert plan([mouse(DOWN, UP, pause(900), DOWN, UP)]).steps == (Click(0), Pause(900), Click(0))


def test_a_move_or_a_pause_in_between_keeps_the_button_down() -> None:
    assert plan([mouse(DOWN, move("pointer", 9, 0), UP)]).steps == (Press(0), MoveBy(9, 0), Release(0))
    assert plan([mouse(DOWN, pause(700), UP)]).steps == (Press(0), Pause(700), Release(0))


def test_ticks_interleave_the_sources_and_only_the_longest_pause_counts() -> None:
    keys = keyboard({"type": "keyDown", "value": "\ue009"}, pause(), pause(), {"type": "keyUp", "value": "\ue009"})
    assert plan([keys, mouse(pause(), DOWN, UP)]).steps == (Keys("\ue009"), Click(0), Keys("\ue009"))
    assert plan([keyboard(pause(30)), mouse(pause(80))]).steps == (Pause(80),)


def test_keys_are_typed_when_they_go_down() -> None:
    typed = [{"type": kind, "value": key} for key in "ab" for kind in ("keyDown", "keyUp")]
    assert plan([keyboard(*typed)]).steps == (Keys("ab"),)


def test_a_finger_is_told_from_a_mouse() -> None:
    assert plan([mouse(DOWN, UP, touch=True)]).touch
    assert not plan([mouse(DOWN, UP)]).touch


@pytest.mark.parametrize(
    ("sources", "code", "message"),
    [
        ({}, "invalid argument", "must be a list"),
        ([{"type": "wheel", "actions": []}], "unsupported operation", "no wheel"),
        ([{"type": "nose", "actions": []}], "invalid argument", "unknown type of input source 'nose'"),
        (
            [mouse({"type": "keyDown", "value": "a"})],
            "invalid argument",
            "unknown action 'keyDown' of a pointer source",
        ),
        ([keyboard({"type": "keyDown"})], "invalid argument", "needs a value"),
        ([mouse(move("moon"))], "invalid argument", "unknown origin of a pointer move: 'moon'"),
        ([mouse({"type": "pointerMove", "x": "1"})], "invalid argument", "x must be a number, not '1'"),
        ([mouse(DOWN, touch=True), mouse(DOWN, touch=True)], "unsupported operation", "one finger"),
        ([17], "invalid argument", "needs its type, id and a list of actions"),
    ],
)
def test_what_makes_no_sense_is_refused(sources: Any, code: str, message: str) -> None:
    with pytest.raises(WebDriverError, match=message) as told:
        plan(sources)
    assert told.value.code == code
