"""What must hold between the elements of a GUI."""

from __future__ import annotations

from typing import Any

import pytest

from devices.looks import InvariantError, parse_invariant

KNOWN = frozenset({"save", "name", "busy"})


class Screen:
    """Elements with fixed properties, and what was asked of them."""

    def __init__(self, **elements: dict[str, Any]) -> None:
        self.elements = elements
        self.asked: list[str] = []

    def read(self, element: str, prop: str) -> Any:
        self.asked.append(f"{element}.{prop}")
        return self.elements[element][prop]


def screen(text: str, enabled: bool, busy: bool = False) -> Screen:
    return Screen(name={"text": text, "@maxlength": "12"}, save={"enabled": enabled}, busy={"displayed": busy})


RULE = 'save.enabled iff name.text != "" and not busy.displayed'


@pytest.mark.parametrize(
    ("text", "enabled", "busy", "holds"),
    [("x", True, False, True), ("", False, False, True), ("x", False, False, False), ("x", True, True, False)],
)
def test_an_equivalence_holds_both_ways(text: str, enabled: bool, busy: bool, holds: bool) -> None:
    assert (parse_invariant(RULE, KNOWN).check(screen(text, enabled, busy)) is None) is holds


def test_what_is_broken_says_what_was_seen() -> None:
    broken = parse_invariant(RULE, KNOWN).check(screen("Zoë", False))
    assert str(broken) == (f"{RULE}: does not hold, save.enabled is False, name.text is 'Zoë', busy.displayed is False")


def test_what_need_not_be_known_is_not_asked() -> None:
    shown = screen("", False, True)
    assert parse_invariant('name.text != "" and busy.displayed implies save.enabled', KNOWN).check(shown) is None
    assert shown.asked == ["name.text"]


@pytest.mark.parametrize(
    "text",
    [
        "len(name.text) <= 12",
        'name["maxlength"] == "12"',
        '"o" in name.text',
        "1 < len(name.text) < 9",
        'not name.text == " iff "',
    ],
)
def test_other_ways_to_say_things(text: str) -> None:
    assert parse_invariant(text, KNOWN).check(screen("Zoo", True)) is None


def test_a_text_is_never_less_than_a_number() -> None:
    assert parse_invariant("name.text < 5", KNOWN).check(screen("1", True)) is not None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("save.enabled iff", "makes no sense"),
        ("safe.enabled", "no element is called 'safe'; known are busy, name, save"),
        ("save.colour == 1", r'not .colour.; an attribute is save\["colour"\]'),
        ("__import__('os')", "is none of an invariant's words"),
        ("save.enabled.__class__", "is none of an invariant's words"),
        ("(lambda: 1)()", "is none of an invariant's words"),
        ("save is name", "is none|compare with"),
        ("save.enabled iff name.text iff busy.displayed", "twice: make it two invariants"),
        ("(save.enabled iff name.present) and busy.present", "iff in brackets: it may only be the outermost word"),
    ],
)
def test_what_makes_no_sense_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvariantError, match=message):
        parse_invariant(text, KNOWN)
