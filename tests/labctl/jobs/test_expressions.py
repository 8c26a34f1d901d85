"""Expressions: what they mean, what they refuse, and that no text breaks the reader."""

from __future__ import annotations

import contextlib
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labctl.jobs.expressions import UNKNOWN, Status, condition, evaluate, fill, references, truthy
from labctl.jobs.syntax import ExpressionError, parse

SCOPE = {
    "vars": {"n": 3, "text": "it's", "empty": "", "list": [1, "two", None], "flag": True, "none": None},
    "steps": {"dial": {"outputs": {"address": "127.0.0.1:5"}}, "skipped": {"outputs": None}},
    "matrix": {"a b": 1},
    "later": UNKNOWN,
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 + 1", ExpressionError),
        ("vars.n", 3),
        ("vars['n'] >= 3 && vars.n < 3.5", True),
        ("vars.text == 'it''s'", True),
        ("vars.list[1]", "two"),
        ("matrix['a b'] != 1", False),
        ("'3' == vars.n", False),
        ("true == 1", False),
        ("vars.empty || 'default'", "default"),
        ("vars.flag && vars.n", 3),
        ("!vars.empty && !!vars.n", True),
        ("(1 < 2) == !false", True),
        ("steps.skipped.outputs.anything", None),
        ("contains(vars.list, 'two') && contains('abc', 'b')", True),
        ("contains(vars.list, '1')", False),
        ("startsWith('abc', 'ab') && endsWith('abc', 'bc')", True),
        ("format('{0}/{1} {{}}', 'a', 2)", "a/2 {}"),
        ("join(vars.list, '-')", "1-two-"),
        ("fromJSON('{\"a\": [1]}').a[0]", 1),
        ("toJSON(vars.list)", '[1, "two", null]'),
        ("always() && success() && !failure() && !cancelled()", True),
        ("later.anything == 1", UNKNOWN),
        ("-1.5e1", -15.0),
        ("vars.m", ExpressionError),
        ("vars.n.m", ExpressionError),
        ("vars.list[9]", ExpressionError),
        ("vars.none.m", None),
        ("1 < 'a'", ExpressionError),
        ("open('x')", ExpressionError),
        ("contains('a')", ExpressionError),
        ('"double"', ExpressionError),
        ("", ExpressionError),
        ("a b", ExpressionError),
        ("(1", ExpressionError),
        ("fromJSON('{')", ExpressionError),
        ("__import__", ExpressionError),
        ("(" * 60 + "1" + ")" * 60, ExpressionError),
    ],
)
def test_what_an_expression_is_worth(text: str, value: Any) -> None:
    if value is ExpressionError:
        with pytest.raises(ExpressionError):
            evaluate(parse(text), SCOPE, Status())
    else:
        worth = evaluate(parse(text), SCOPE, Status())
        assert (worth, type(worth)) == (value, type(value))


def test_a_text_that_is_one_expression_takes_its_type() -> None:
    filled = fill({"n": "${{ vars.n }}", "s": "n=${{ vars.n }}", "l": ["${{ vars.list }}"], "k": "plain"}, SCOPE)
    assert filled == {"n": 3, "s": "n=3", "l": [[1, "two", None]], "k": "plain"}
    assert fill("x ${{ later }}", SCOPE) is UNKNOWN


def test_brackets_within_a_text_do_not_end_an_expression() -> None:
    assert fill("${{ format('{{{0}}}', vars.n) }}: it's ${{ '}}' }}", SCOPE) == "{3}: it's }}"
    assert condition("${{ vars.text == '}}' }}") == condition("vars.text == '}}'")
    for text in ("${{ vars.n", "${{ vars.n }} ${{ 'it }}", "${{" * 1000):
        with pytest.raises(ExpressionError, match="never closed"):
            fill(text, SCOPE)


def test_the_names_that_an_expression_uses_are_known_beforehand() -> None:
    node = parse("vars.a && contains(steps.b.outputs['c d'], matrix[vars.key].x) || list[0]")
    assert list(references(node)) == [
        ("vars", "a"),
        ("steps", "b", "outputs", "c d"),
        ("matrix",),
        ("vars", "key"),
        ("list", 0),
    ]


def test_a_condition_may_do_without_braces() -> None:
    assert condition("failure()") == condition("${{ failure() }}")
    with pytest.raises(ExpressionError, match="one"):
        condition("${{ a }} && ${{ b }}")


@given(st.text(alphabet=string.printable, max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(ExpressionError):
        evaluate(parse(text), SCOPE, Status())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | st.text(alphabet="ab'", max_size=4),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)


@given(JSON, JSON)
def test_operators_agree_with_each_other(a: Any, b: Any) -> None:
    scope = {"a": a, "b": b}

    def worth(text: str) -> Any:
        return evaluate(parse(text), scope, Status())

    assert worth("a == b") is (not worth("a != b"))
    assert truthy(worth("a && b")) is (truthy(a) and truthy(b))
    assert truthy(worth("a || b")) is (truthy(a) or truthy(b))
    assert worth("!(a && b)") is worth("!a || !b")
