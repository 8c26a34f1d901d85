"""Rules of layout in words."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from devices.looks import LayoutError, Rect, annotate, parse_layout

SCREEN = (800.0, 600.0)
PLACES = {
    "header": Rect(0, 0, 800, 60),
    "logo": Rect(10, 10, 100, 40, "Acme"),
    "menu": Rect(120, 12, 300, 40),
    "content": Rect(0, 65, 800, 500),
    "save": Rect(360, 500, 80, 24, "Save"),
    "banner": None,
}


def broken(element: str, rule: str) -> str | None:
    """What a rule measured, when it does not hold."""
    (finding,) = parse_layout([{"rules": {element: rule}}]).check(PLACES, SCREEN)
    return None if finding.passed else finding.measured


@pytest.mark.parametrize(
    ("element", "rule"),
    [
        ("logo", "width 100 px"), ("logo", "width 90..110 px"), ("logo", "height < 41 px"), ("logo", "height <= 40 px"),
        ("menu", "width 37..38 % of header"), ("logo", "inside header"), ("logo", "inside header 10 px left top"),
        ("logo", "inside header 5..15 px left, 10 px bottom"), ("header", "above content 0..5 px"),
        ("content", "below header"), ("logo", "left of menu 10 px"), ("menu", "right of logo > 5 px"),
        ("logo", "aligned horizontally with menu within 2 px"), ("save", "centred horizontally inside screen"),
        ("logo", "same height as menu"), ("save", "visible"), ("banner", "absent"), ("save", 'text "Save"'),
        ("logo", 'text matches "^A.+e$"'), ("header", "inside screen 0 px left top right"),
    ],
)  # fmt: skip
def test_rules_that_hold(element: str, rule: str) -> None:
    assert broken(element, rule) is None


@pytest.mark.parametrize(
    ("element", "rule", "measured"),
    [
        ("logo", "width 120 px", "it is 100 px"),
        ("logo", "height < 40 px", "it is 40 px"),
        ("menu", "width > 50 % of header", "it is 37.5 %"),
        ("content", "inside header", "it reaches out by 505 px bottom"),
        ("logo", "inside header 20..30 px left", "it is 10 px left from the edge"),
        ("content", "above header", "they overlap by 565 px"),
        ("content", "below header 10..20 px", "the gap is 5 px"),
        ("menu", "aligned top with logo", "it is +2 px off"),
        ("logo", "centred vertically inside content within 5 px", "it is -285 px off the middle"),
        ("save", "same width as menu", "it differs by -220 px"),
        ("banner", "visible", "it is absent"),
        ("logo", "below banner", "banner is absent"),
        ("save", "absent", "it is there"),
        ("save", 'text "Store"', "it says 'Save'"),
    ],
)
def test_rules_that_do_not_hold_say_what_is(element: str, rule: str, measured: str) -> None:
    assert broken(element, rule) == measured


def test_sections_hold_for_screens_of_their_width() -> None:
    layout = parse_layout([
        {"screen": "< 600 px", "rules": {"menu": "absent"}},
        {"screen": ">= 600 px", "rules": {"menu": ["visible", "inside header"]}},
        {"rules": {"logo": "visible"}},
    ])  # fmt: skip
    assert [str(each) for each in layout.check(PLACES, SCREEN)] == [
        "menu: visible",
        "menu: inside header",
        "logo: visible",
    ]
    narrow = layout.check({**PLACES, "menu": None}, (400, 800))
    assert [(str(each), each.passed) for each in narrow] == [("menu: absent", True), ("logo: visible", True)]
    assert layout.elements == {"menu", "header", "logo"}


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(LayoutError) as told:
        parse_layout([{
            "screen": "wide",
            "rules": {"a": ["floats", "width 20..10 px"], "b": 'text matches "("', "c": "inside d 3 apples"},
        }])  # fmt: skip
    assert str(told.value).splitlines() == [
        "sections[0]: the screen's width 'wide' is no range: give 10, 10..20, < 30 or >= 5",
        "a: floats: not a rule; they begin with width, height, inside, above, below, left of, right of, aligned, "
        "centred, same, visible, absent, text",
        "a: width 20..10 px: width '20..10': the lower end comes first",
        "b: text matches \"(\": '(' is no regular expression: missing ), unterminated subpattern at position 0",
        "c: inside d 3 apples: '3 apples' is no distance: give for example 10..20 px left",
    ]


def test_an_element_that_nobody_placed_is_told() -> None:
    with pytest.raises(LayoutError, match="nobody said where ghost is"):
        parse_layout([{"rules": {"logo": "above ghost"}}]).check(PLACES, SCREEN)


def test_the_screenshot_shows_what_is_off() -> None:
    blank = io.BytesIO()
    Image.new("RGB", (800, 600), "white").save(blank, "PNG")
    layout = parse_layout([{"rules": {"content": "above header", "logo": "visible"}}])
    shown = Image.open(io.BytesIO(annotate(blank.getvalue(), layout.check(PLACES, SCREEN), PLACES)))
    assert shown.getpixel((400, 65)) == (255, 0, 0)  # the content's frame
    assert shown.getpixel((400, 0)) == (0, 0, 255)  # the header's, which it was compared with
    assert shown.getpixel((10, 30)) == (255, 255, 255)  # the logo is where it should be
