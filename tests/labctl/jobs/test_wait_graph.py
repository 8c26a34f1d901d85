"""Meetings that can never happen are found before a job is accepted; those that can are let through."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labctl.jobs.wait_graph import Meeting, check

KINDS = {"n": "notify", "w": "wait", "b": "barrier"}


def lanes(**written: str) -> dict[str, list[Meeting]]:
    """`lanes(a="w:x n:y? b:z/3")`: a waits for x, notifies y under an `if`, stands at z with two others."""
    found: dict[str, list[Meeting]] = {}
    for lane, text in written.items():
        found[lane] = []
        for index, each in enumerate(text.split()):
            kind, _, name = each.partition(":")
            name, _, count = name.partition("/")
            at = ("lanes", lane, "steps", index, KINDS[kind])
            plain = name.removesuffix("?")
            meeting = Meeting(lane, KINDS[kind], plain, at, name.endswith("?"), int(count) if count else None)  # type: ignore[arg-type]
            found[lane].append(meeting)
    return found


def errors(outside: tuple[str, ...] = (), **written: str) -> list[str]:
    return [each.message for each in check(lanes(**written), outside)[0]]


@pytest.mark.parametrize(
    "written",
    [
        {"a": "w:x n:y", "b": "n:x w:y"},
        {"a": "b:all n:x", "b": "b:all w:x"},
        {"a": "w:x w:x", "b": "n:x"},
        {"a": "n:x w:x"},
        {"a": "w:x? n:y", "b": "w:y n:x"},  # the first wait may be left out
        {"a": "b:p b:q", "b": "b:p", "c": "b:q"},
        {"a": "b:p", "b": "b:p", "c": "b:p/2"},
    ],
)
def test_what_can_happen_is_let_through(written: dict[str, str]) -> None:
    assert errors(**written) == []


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"a": "w:x"}, "nobody notifies 'x'; let a lane notify it, or name it under signals"),
        ({"a": "w:acepted", "b": "n:accepted"}, "nobody notifies 'acepted'; did you mean 'accepted'?"),
        ({"a": "b:all"}, "the barrier 'all' needs 2 lanes, and a alone comes"),
        ({"a": "b:al", "b": "b:all", "c": "b:all"}, "needs 2 lanes, and a alone comes; did you mean 'all'?"),
        ({"a": "b:all/3", "b": "b:all"}, "the barrier 'all' needs 3 lanes, and a, b alone come"),
        ({"a": "b:all b:all", "b": "b:all"}, "the lane a was at the barrier 'all' before, in {0}"),
        ({"a": "b:all/2", "b": "b:all/3", "c": "b:all"}, "given different counts"),
        ({"a": "w:x n:y", "b": "w:y n:x"}, "a waits for 'x' ({0}) before b notifies it ({1}); b waits for 'y' ({2})"),
        ({"a": "w:x n:x"}, "a waits for 'x' ({0}) before a notifies it ({1})"),
        ({"a": "b:p w:x", "b": "n:x? w:y b:p", "c": "b:p n:y"}, "for ever"),
        ({"a": "b:p b:q", "b": "b:q b:p"}, "a stands at the barrier 'p' ({0}) before b comes there ({1})"),
    ],
)
def test_what_can_never_happen_is_refused(written: dict[str, str], message: str) -> None:
    assert any(message in each for each in errors(**written)), errors(**written)


def test_signals_from_outside_need_no_lane() -> None:
    assert errors(("x",), a="w:x") == []


def test_a_wait_that_hangs_on_a_condition_is_a_warning() -> None:
    found, doubts = check(lanes(a="w:x", b="n:x?"), ())
    assert (found, [each.message for each in doubts]) == ([], ["'x' is notified only under an if ({0})"])


@settings(max_examples=200, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(2, 4), st.integers(1, 6))
def test_a_schedule_that_was_played_is_never_refused(dice: random.Random, count: int, length: int) -> None:
    """Meetings written down in the order in which they took place."""
    written: dict[str, list[str]] = {f"l{at}": [] for at in range(count)}
    for turn in range(length):
        if dice.random() < 0.3:
            for each in written.values():
                each.append(f"b:b{turn}")
            continue
        sender, waiter = dice.sample(sorted(written), 2)
        written[sender].append(f"n:s{turn}")
        written[waiter].append(f"w:s{turn}")
    assert errors(**{lane: " ".join(each) for lane, each in written.items()}) == []
