"""Matrices: full and pairwise, with what is taken out and put in."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labctl.jobs.matrix import MatrixError, expand, title

AXES = {"platform": ["android", "ios"], "robot": ["r1", "r2"], "input": ["keyboard", "mouse", "gamepad"]}


def test_full_is_every_combination_in_order() -> None:
    found = expand(AXES)
    assert [tuple(each.values()) for each in found] == list(itertools.product(*AXES.values()))
    assert title("call", found[0]) == "call (android, r1, keyboard)"


def test_exclude_takes_out_and_include_adds_as_in_github_actions() -> None:
    found = expand(
        {
            "os": ["linux", "mac"],
            "node": [18, 20],
            "exclude": [{"os": "mac", "node": 18}],
            "include": [{"os": "linux", "fast": True}, {"os": "windows", "node": 20}],
        }
    )
    assert found == [
        {"os": "linux", "node": 18, "fast": True},
        {"os": "linux", "node": 20, "fast": True},
        {"os": "mac", "node": 20},
        {"os": "windows", "node": 20},
    ]


def test_pairwise_needs_far_fewer() -> None:
    axes = {name: list(range(5)) for name in "abcdef"}
    assert len(expand({**axes, "expand": "pairwise"})) < 60 < 5**6


SIZES = st.lists(st.integers(1, 4), min_size=2, max_size=5)


@settings(max_examples=60, deadline=None)
@given(SIZES, st.data())
def test_pairwise_has_every_pair_that_is_possible_and_nothing_excluded(sizes: list[int], data: Any) -> None:
    axes: dict[str, Any] = {f"x{at}": list(range(size)) for at, size in enumerate(sizes)}
    names = data.draw(st.lists(st.sampled_from(sorted(axes)), max_size=2, unique=True))
    exclude = [dict.fromkeys(names, 0)] if names else []
    every = [dict(zip(axes, each, strict=True)) for each in itertools.product(*axes.values())]
    allowed = [each for each in every if not any(entry.items() <= each.items() for entry in exclude)]
    wanted = {**axes, "exclude": exclude, "expand": "pairwise"}
    if not allowed:
        with pytest.raises(MatrixError):
            expand(wanted)
        return
    found = expand(wanted)
    assert all(each in allowed for each in found)

    def pairs(combinations: list[dict[str, Any]]) -> set[Any]:
        return {pair for each in combinations for pair in itertools.combinations(sorted(each.items()), 2)}

    assert pairs(found) == pairs(allowed)


@pytest.mark.parametrize(
    ("matrix", "where", "message"),
    [
        ({"a": []}, ("a",), "at least one"),
        ({"a": 3}, ("a",), "a list of values"),
        ({"a": [1], "expand": "some"}, ("expand",), "full or pairwise"),
        ({"a": [1], "exclude": [{"b": 1}]}, ("exclude", 0), "no axis 'b'"),
        ({"a": [1], "include": [1]}, ("include",), "a list of objects"),
        ({"a": [1], "exclude": [{"a": 1}]}, (), "no combination is left"),
        ({name: list(range(40)) for name in "ab"}, (), "1600 jobs"),
        ({name: list(range(90)) for name in "abcd"}, (), "pairwise"),
        ({**{name: list(range(60)) for name in "ab"}, "expand": "pairwise"}, (), "more than 1000 jobs"),
    ],
)
def test_what_cannot_be_expanded_is_told_with_its_place(matrix: Any, where: tuple[str, ...], message: str) -> None:
    with pytest.raises(MatrixError, match=message) as refused:
        expand(matrix)
    assert refused.value.where == where
