"""Documents: every problem is told at once, with the place where it stands."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from drivers.documents import DocumentError, load, parse, read, validate


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Wheel(Strict):
    kind: Literal["wheel"] = "wheel"
    radius_m: float


class Arm(Strict):
    kind: Literal["arm"]
    joints: int


class Robot(Strict):
    name: str
    parts: list[Wheel | Arm] = []
    limits: dict[str, Wheel] = {}


def problems(text: str) -> list[str]:
    with pytest.raises(DocumentError) as caught:
        validate(parse(text, "lab.yaml"), Robot)
    return [str(problem) for problem in caught.value.problems]


def test_a_good_document_becomes_the_model() -> None:
    robot = validate(parse("name: robo\nlimits:\n  left: {radius_m: 0.1}\n"), Robot)
    assert robot == Robot(name="robo", limits={"left": Wheel(radius_m=0.1)})


def test_json_is_read_too() -> None:
    assert validate(parse('{"name": "robo", "parts": []}'), Robot).name == "robo"


def test_a_misspelt_key_is_named_with_its_place_and_a_suggestion() -> None:
    found = problems("name: robo\nlimits:\n  left:\n    radius_m: 1\n    radus_m: 2\n")
    assert found == ["lab.yaml:5:5: at limits.left.radus_m unknown key; did you mean 'radius_m'?"]


def test_an_unknown_key_that_resembles_nothing_lists_the_known_ones() -> None:
    assert problems("name: robo\nzzz: 1\n") == [
        "lab.yaml:2:1: at zzz unknown key; known are limits, name, parts",
    ]


def test_all_problems_are_told_at_once() -> None:
    found = problems("nme: robo\nlimits:\n  left: {radius_m: wide}\n")
    assert len(found) == 3
    assert found[0].startswith("lab.yaml:1:1: at name is required")
    assert found[1].startswith("lab.yaml:3:10: at limits.left.radius_m Input should be a valid number")
    assert "'wide'" in found[1]
    assert found[2].startswith("lab.yaml:1:1: at nme unknown key; did you mean 'name'?")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("- a\n- b\n", ":1:1: must be a mapping of keys to values (limits, name, parts), not a list"),
        ("5\n", ":1:1: must be a mapping of keys to values (limits, name, parts), not 5"),
        ("name: no\n", ":1:1: at name must be a text, not false; put it in quotes"),
        ("name: 1.10\n", ":1:1: at name must be a text, not 1.1; put it in quotes"),
        ("name: []\n", ":1:1: at name must be a text, not a list"),
        (
            "name: a\nlimits: {left: {<<: 5}}\n",
            "limits.left cannot be understood: keys are not merged (<<); write them out",
        ),
        ("name: a\nlimits: [1]\n", ":2:1: at limits must be a mapping of keys to values, not a list"),
        ("name: a\nlimits: {left: 3}\n", "limits.left must be a mapping of keys to values (kind, radius_m), not 3"),
        (
            "name: a\nlimits: {left: }\n",
            "limits.left must be a mapping of keys to values (kind, radius_m), not nothing",
        ),
        ("name: a\nparts: {kind: arm}\n", ":2:1: at parts must be a list, not a mapping"),
    ],
)
def test_a_wrong_shape_is_said_in_plain_words(text: str, told: str) -> None:
    (found,) = problems(text)
    assert told in found


def test_a_key_given_twice_is_refused() -> None:
    with pytest.raises(DocumentError, match=r"lab.yaml:2:1: at name is given twice"):
        parse("name: a\nname: b\n", "lab.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ":1:1: the document is empty"),
        ("a: [1,", ":1:7: not valid YAML"),
        ("a: !!python/object:os.system x", ":1:4: at a cannot be understood"),
        ("a: &x [*x]", ":1:4: at a[0] refers to itself"),
        ("a: 2026-99-99", ":1:4: at a cannot be understood"),
        ("? [a]\n: 1\n", "cannot be understood"),
        ("\x00", "not valid YAML"),
    ],
)
def test_what_is_no_document_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(DocumentError) as caught:
        parse(text, "lab.yaml")
    assert message in str(caught.value)


def test_a_missing_file_and_a_binary_file_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match=r"cannot be read: No such file"):
        read(tmp_path / "absent.yaml")
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DocumentError, match="is not UTF-8 text"):
        load(binary, Robot)


def test_a_billion_laughs_does_not_grow() -> None:
    lines = ["a0: &a0 [1, 1]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60)]
    with pytest.raises(DocumentError, match="too many values"):
        parse("\n".join(lines))


def test_deep_nesting_is_refused_not_a_crash() -> None:
    with pytest.raises(DocumentError, match="nested too deeply"):
        parse("[" * 5000 + "]" * 5000)


@given(st.text(max_size=200))
def test_any_text_is_either_parsed_or_refused_with_a_place(text: str) -> None:
    places = [(1, 1)]
    try:
        parse(text)
    except DocumentError as error:
        places = [(problem.line, problem.column) for problem in error.problems]
    assert places
    assert all(line >= 1 and column >= 1 for line, column in places)
