"""What must hold between the elements of a GUI at all times: `save.enabled iff name.text != "" and not busy.displayed`.

Words: `iff`, `implies`, `and`, `or`, `not`, comparisons, strings, numbers, `len(...)`; properties of elements: `text`,
`enabled`, `displayed`, `selected`, `present`, and any attribute as `element["attribute"]`.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

PROPERTIES = ("text", "enabled", "displayed", "selected", "present")
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge, ast.In: lambda left, right: left in right, ast.NotIn: lambda left, right: left not in right,
}  # fmt: skip
_QUOTED = re.compile(r"""("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')""")


class InvariantError(ValueError):
    """An invariant that makes no sense."""


class Elements(Protocol):
    """The screen, asked one property at a time: `read("save", "enabled")`, any attribute as "@name"."""

    def read(self, element: str, prop: str) -> Any: ...


@dataclass(frozen=True, slots=True)
class Broken:
    """An invariant that does not hold, with the values that it was judged by."""

    invariant: str
    values: Mapping[str, Any]

    def __str__(self) -> str:
        seen = ", ".join(f"{name} is {value!r}" for name, value in self.values.items())
        return f"{self.invariant}: does not hold, {seen}"


@dataclass(frozen=True)
class Invariant:
    """A parsed invariant. `elements`: those it names."""

    text: str
    elements: frozenset[str]
    tree: ast.expr

    def check(self, screen: Elements) -> Broken | None:
        """None where it holds now. What need not be known is not asked for."""
        values: dict[str, Any] = {}
        holds = _evaluate(self.tree, screen, values)
        return None if holds else Broken(self.text, values)


def parse_invariant(text: str, known: frozenset[str]) -> Invariant:
    """`known`: the names of elements that may stand in it. Raises InvariantError."""
    try:
        tree = ast.parse(_as_python(text), mode="eval").body
    except (SyntaxError, ValueError) as exc:
        raise InvariantError(f"{text!r} makes no sense: {getattr(exc, 'msg', exc)}") from None
    names: set[str] = set()
    _check(tree, text, known, names)
    return Invariant(text, frozenset(names), tree)


def _as_python(text: str) -> str:
    """`a iff b` becomes `bool(a) == bool(b)`, `a implies b` becomes `not (a) or (b)`; words inside strings stay."""
    for word, form in ((" iff ", "bool({0}) == bool({1})"), (" implies ", "(not ({0})) or ({1})")):
        masked = _QUOTED.sub(lambda found: "_" * len(found[0]), text)
        if masked.count(word) > 1:
            raise InvariantError(f"{text!r} has{word}twice: make it two invariants")
        if (at := masked.find(word)) >= 0:
            if masked[:at].count("(") != masked[:at].count(")"):
                raise InvariantError(f"{text!r} has{word}in brackets: it may only be the outermost word")
            return form.format(_as_python(text[:at]), _as_python(text[at + len(word) :]))
    return text.strip()


def _check(node: ast.expr, text: str, known: frozenset[str], names: set[str]) -> None:
    match node:
        case ast.BoolOp(values=values):
            for each in values:
                _check(each, text, known, names)
        case ast.UnaryOp(op=ast.Not(), operand=operand) | ast.UnaryOp(op=ast.USub(), operand=operand):
            _check(operand, text, known, names)
        case ast.Compare(left=left, ops=ops, comparators=others):
            if not all(type(each) in _COMPARISONS for each in ops):
                raise InvariantError(f"{text!r}: compare with == != < <= > >= in")
            for each in (left, *others):
                _check(each, text, known, names)
        case ast.Call(func=ast.Name(id="len" | "bool"), args=[argument], keywords=[]):
            _check(argument, text, known, names)
        case ast.Attribute(value=ast.Name(id=name), attr=prop):
            _element(name, text, known, names)
            if prop not in PROPERTIES:
                raise InvariantError(
                    f'{text!r}: elements have {", ".join(PROPERTIES)}, not {prop!r}; an attribute is {name}["{prop}"]'
                )
        case ast.Subscript(value=ast.Name(id=name), slice=ast.Constant(value=str())):
            _element(name, text, known, names)
        case ast.Constant(value=str() | int() | float() | bool()):
            pass
        case _:
            raise InvariantError(f"{text!r}: {ast.unparse(node)!r} is none of an invariant's words")


def _element(name: str, text: str, known: frozenset[str], names: set[str]) -> None:
    if name not in known:
        raise InvariantError(f"{text!r}: no element is called {name!r}; known are {', '.join(sorted(known)) or 'none'}")
    names.add(name)


def _evaluate(node: ast.expr, screen: Elements, values: dict[str, Any]) -> Any:  # noqa: PLR0911 - a case a node
    match node:
        case ast.BoolOp(op=ast.And(), values=parts):
            return all(_evaluate(each, screen, values) for each in parts)
        case ast.BoolOp(values=parts):
            return any(_evaluate(each, screen, values) for each in parts)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return not _evaluate(operand, screen, values)
        case ast.UnaryOp(operand=operand):
            return -_evaluate(operand, screen, values)
        case ast.Compare():
            return _compare(node, screen, values)
        case ast.Call(func=ast.Name(id="len"), args=[argument]):
            return len(str(_evaluate(argument, screen, values)))
        case ast.Call(args=[argument]):
            return bool(_evaluate(argument, screen, values))
        case ast.Constant(value=value):
            return value
        case ast.Attribute(value=ast.Name(id=name), attr=prop):
            return _read(screen, values, name, prop, f"{name}.{prop}")
        case ast.Subscript(value=ast.Name(id=name), slice=ast.Constant(value=str(attribute))):
            return _read(screen, values, name, f"@{attribute}", f'{name}["{attribute}"]')
    raise InvariantError(f"{ast.unparse(node)!r} was not checked")


def _compare(node: ast.Compare, screen: Elements, values: dict[str, Any]) -> bool:
    left = _evaluate(node.left, screen, values)
    for sign, other in zip(node.ops, node.comparators, strict=True):
        right = _evaluate(other, screen, values)
        try:
            if not _COMPARISONS[type(sign)](left, right):
                return False
        except TypeError:  # a text against a number
            return False
        left = right
    return True


def _read(screen: Elements, values: dict[str, Any], element: str, prop: str, name: str) -> Any:
    if name not in values:
        values[name] = screen.read(element, prop)
    return values[name]
