"""The driver's pure parts: actions, capabilities, pictures, keys."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from devices.desktop.actions import Button, Key, Move, Pause, Scroll, parse_actions, tick_duration_ms
from devices.desktop.capabilities import negotiate, read_timeouts
from devices.desktop.keys import SPECIAL_KEYS, is_modifier, keysym_of
from devices.desktop.png import decode_zpixmap, encode_png
from devices.webdriver import WebDriverError

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


# Actions


def test_sources_act_tick_by_tick_side_by_side() -> None:
    ticks = parse_actions(
        {
            "actions": [
                {"type": "key", "id": "k", "actions": [{"type": "keyDown", "value": "a"}, {"type": "pause"}]},
                {
                    "type": "pointer",
                    "id": "p",
                    "actions": [
                        {"type": "pointerMove", "x": 3, "y": 4, "duration": 250, "origin": {ELEMENT: "e1"}},
                        {"type": "pointerDown", "button": 2},
                        {"type": "pointerUp", "button": 2},
                    ],
                },
                {
                    "type": "wheel",
                    "id": "w",
                    "actions": [{"type": "scroll", "x": 1, "y": 2, "deltaX": 0, "deltaY": -120, "duration": 10}],
                },
            ]
        },
        {},
    )
    assert ticks == [
        [
            Key("k", "a", down=True),
            Move("p", 3, 4, "element", "e1", 250),
            Scroll("w", 1, 2, 0, -120, "viewport", None, 10),
        ],
        [Pause("k", 0.0), Button("p", 2, down=True)],
        [Button("p", 2, down=False)],
    ]
    assert [tick_duration_ms(tick) for tick in ticks] == [250, 0, 0]


@pytest.mark.parametrize(
    ("sequence", "said"),
    [
        ("x", "each entry of actions"),
        ({"type": "brain", "id": "b", "actions": []}, "none, key, pointer or wheel"),
        ({"type": "key", "id": 3, "actions": []}, "must be a string"),
        ({"type": "key", "id": "k", "actions": "now"}, "must be a list"),
        ({"type": "key", "id": "k", "actions": [7]}, "action 0 of k"),
        ({"type": "key", "id": "k", "actions": [{"type": "keyDown", "value": "ab"}]}, "one character"),
        ({"type": "key", "id": "k", "actions": [{"type": "pointerDown", "button": 0}]}, "has no action"),
        ({"type": "pointer", "id": "p", "actions": [{"type": "pointerDown", "button": -1}]}, "whole number"),
        ({"type": "pointer", "id": "p", "actions": [{"type": "pointerMove", "x": 1}]}, "y must be a number"),
        ({"type": "none", "id": "n", "actions": [{"type": "pause", "duration": -1}]}, "0 or more"),
        ({"type": "pointer", "id": "known", "actions": []}, "is a key, not a pointer"),
        (
            {"type": "pointer", "id": "p", "actions": [{"type": "pointerMove", "x": 1, "y": 1, "origin": "moon"}]},
            "origin must be",
        ),
    ],
)
def test_malformed_actions_are_invalid_arguments(sequence: Any, said: str) -> None:
    with pytest.raises(WebDriverError, match=said) as refused:
        parse_actions({"actions": [sequence]}, {"known": "key"})
    assert refused.value.code == "invalid argument"


@pytest.mark.parametrize("pointer", ["touch", "pen"])
def test_a_desktop_has_no_fingers(pointer: str) -> None:
    sequence = {"type": "pointer", "id": "f", "parameters": {"pointerType": pointer}, "actions": []}
    with pytest.raises(WebDriverError) as refused:
        parse_actions({"actions": [sequence]}, {})
    assert refused.value.code == "unsupported operation"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
action_items = st.fixed_dictionaries(
    {"type": st.sampled_from(["pause", "keyDown", "pointerMove", "pointerDown", "scroll", "x"])},
    optional=dict.fromkeys(("value", "button", "x", "y", "origin", "duration", "deltaX", "deltaY"), json_values),
)
sequences = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["none", "key", "pointer", "wheel", 3]),
        "id": st.sampled_from(["a", "b", None]),
        "actions": st.lists(action_items | json_values, max_size=4) | json_values,
        "parameters": json_values,
    },
)


@given(st.lists(sequences | json_values, max_size=3) | json_values)
def test_any_json_gives_ticks_or_a_webdriver_error(actions: Any) -> None:
    code = None
    try:
        ticks = parse_actions({"actions": actions}, {})
    except WebDriverError as refused:
        code = refused.code
    if code is None:
        assert len(ticks) == max((len(sequence["actions"]) for sequence in actions), default=0)
    assert code in (None, "invalid argument", "unsupported operation")


# Capabilities


def ask(always: dict[str, Any], *first: dict[str, Any]) -> Any:
    return negotiate({"capabilities": {"alwaysMatch": always, **({"firstMatch": list(first)} if first else {})}})


def test_the_first_set_that_a_linux_desktop_can_serve_is_taken() -> None:
    settings, answer = ask(
        {"appium:app": "mate-calc --solve '1 + 1'"},
        {"platformName": "windows"},
        {"browserName": "chrome"},
        {"platformName": "Linux", "lab:click": "pointer"},
        {},
    )
    assert settings.command == ("mate-calc", "--solve", "1 + 1")
    assert settings.click == "pointer"
    assert (answer["platformName"], answer["browserName"]) == ("linux", "desktop")


def test_times_are_read_in_the_units_of_their_capabilities() -> None:
    settings, answer = ask(
        {
            "lab:app": ["x"],
            "lab:commandTimeout": 1500,
            "lab:startTimeout": 2000,
            "appium:newCommandTimeout": 90,
            "timeouts": {"implicit": 250, "script": None},
        }
    )
    assert (settings.command_timeout_s, settings.start_timeout_s, settings.idle_timeout_s) == (1.5, 2.0, 90.0)
    assert (settings.implicit_s, settings.script_s) == (0.25, None)
    assert answer["timeouts"] == {"implicit": 250, "pageLoad": 300_000, "script": None}


@pytest.mark.parametrize(
    ("asked", "code", "said"),
    [
        ({"platformName": "windows"}, "session not created", "platformName is windows"),
        ({"browserName": "firefox"}, "session not created", "drives desktop applications"),
        ({"appium:automationName": "UiAutomator2"}, "session not created", "automationName is UiAutomator2"),
        ({"goog:chromeOptions": {}}, "session not created", "goog:chromeOptions"),
        ({"webSocketUrl": True}, "session not created", "webSocketUrl"),
        ({"lab:attach": {"pid": 3}}, "invalid argument", "needs lab:display"),
        ({"lab:attach": {"pid": "3"}, "lab:display": ":1"}, "invalid argument", "lab:attach must be"),
        ({"lab:attach": {"name": "x"}, "lab:display": ":1", "lab:app": "y"}, "invalid argument", "not both"),
        ({"lab:arguments": ["x"]}, "invalid argument", "no appium:app"),
        ({"lab:app": 3}, "invalid argument", "a string or a list"),
        ({"lab:app": "'open"}, "invalid argument", "quotation"),
        ({"lab:hidden": 1}, "invalid argument", "true or false"),
        ({"lab:scope": "world"}, "invalid argument", "window, application"),
        ({"lab:environment": {"A": 1}}, "invalid argument", "object of strings"),
        ({"lab:screen": "0x10x24"}, "invalid argument", "WIDTHxHEIGHTxDEPTH"),
        ({"lab:commandTimeout": True}, "invalid argument", "must be a number"),
    ],
)
def test_what_cannot_be_served_is_named(asked: dict[str, Any], code: str, said: str) -> None:
    with pytest.raises(WebDriverError, match=said) as refused:
        ask(asked)
    assert refused.value.code == code


@given(
    st.dictionaries(
        st.sampled_from(
            ["platformName", "browserName", "timeouts", "lab:app", "lab:attach", "lab:screen", "lab:hidden"]
        )
        | st.sampled_from(["appium:app", "lab:display", "lab:commandTimeout", "appium:newCommandTimeout", "x:y"]),
        json_values,
    )
)
def test_any_capabilities_give_settings_or_a_webdriver_error(asked: dict[str, Any]) -> None:
    code = None
    try:
        settings, answer = ask(asked)
    except WebDriverError as refused:
        code = refused.code
    if code is None:
        assert settings.command_timeout_s > 0
        assert answer["browserName"] == "desktop"
    assert code in (None, "invalid argument", "session not created")


@pytest.mark.parametrize("value", [-1, 0.5, True, "1", 2**53])
def test_a_timeout_is_a_whole_number_of_milliseconds(value: Any) -> None:
    with pytest.raises(WebDriverError, match="implicit"):
        read_timeouts({"implicit": value})


# Pictures


@given(arrays.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))))
def test_a_png_gives_the_pixels_back(pixels: Any) -> None:
    height, width, _ = pixels.shape
    data = encode_png(pixels)
    chunks, place = {}, 8
    while place < len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        kind, body = data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        assert struct.unpack(">I", data[place + 8 + length : place + 12 + length])[0] == zlib.crc32(kind + body)
        chunks[kind] = body
        place += 12 + length
    assert chunks[b"IHDR"] == struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, 1 + width * 3)
    assert set(rows[:, 0]) == {1}
    undone = np.cumsum(rows[:, 1:].reshape(height, width, 3), axis=1, dtype=np.uint8)  # filter "Sub"
    assert np.array_equal(undone, pixels)


@given(
    arrays.arrays(np.uint8, st.tuples(st.integers(1, 5), st.integers(1, 5), st.just(3))),
    st.sampled_from([24, 32]),
    st.booleans(),
)
def test_pictures_of_an_x_server_are_read_in_both_byte_orders(pixels: Any, bits: int, big: bool) -> None:
    height, width, _ = pixels.shape
    values = pixels[:, :, 0].astype(np.uint32) << 16 | pixels[:, :, 1].astype(np.uint32) << 8 | pixels[:, :, 2]
    rows = []
    for row in values:
        line = b"".join(int(value).to_bytes(bits // 8, "big" if big else "little") for value in row)
        rows.append(line.ljust((width * bits + 31) // 32 * 4, b"\xaa"))
    decoded = decode_zpixmap(b"".join(rows), width, height, bits, (0xFF0000, 0xFF00, 0xFF), big_endian=big)
    assert np.array_equal(decoded, pixels)


def test_sixteen_bits_a_pixel_are_spread_over_the_whole_range() -> None:
    words = struct.pack("<4H", 0xF800, 0x07E0, 0x001F, 0x8410)
    (row,) = decode_zpixmap(words, 4, 1, 16, (0xF800, 0x07E0, 0x001F), big_endian=False)
    assert row.tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255], [132, 130, 132]]
    with pytest.raises(ValueError, match="8 bits a pixel"):
        decode_zpixmap(words, 4, 1, 8, (0xE0, 0x1C, 0x3), big_endian=False)


# Keys


@given(st.characters(exclude_categories=("Cs", "Cc", "Co")))
def test_a_character_has_the_keysym_of_the_x_protocol(character: str) -> None:
    code = ord(character)
    assert keysym_of(character) == (code if code <= 0xFF else 0x01000000 + code)


def test_special_keys_are_those_of_w3c() -> None:
    assert keysym_of("\ue007") == 0xFF8D  # Enter, the keypad's
    assert keysym_of("\ue004") == keysym_of("\t") == 0xFF09
    assert keysym_of("\ue031") == 0xFFBE  # F1
    assert keysym_of("\ue03c") == 0xFFC9  # F12
    assert [key for key in SPECIAL_KEYS if is_modifier(key)] == list("\ue008\ue009\ue00a\ue03d\ue050\ue051\ue052\ue053")
    assert len(set(SPECIAL_KEYS)) >= 60
