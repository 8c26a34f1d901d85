"""The expression language of `${{ ... }}`: a small, safe part of the one that GitHub Actions has.

Literals (`null`, `true`, numbers, `'text'`), names with properties (`steps.dial.outputs.address`, `vars['a b']`,
`list[0]`), `== != < <= > >= && || !`, brackets and a few functions. Texts compare exactly; values of different types
are never equal; there is no way to call anything else or to loop.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from labctl.jobs.syntax import (
    VERDICT_FUNCTIONS,
    Call,
    ExpressionError,
    Literal,
    Name,
    Node,
    Operation,
    Property,
    parse,
)

_LARGEST_TEXT = 1 << 20
# Brackets within a text of the expression end nothing: format('{{0}}', 1) has some.
_STOP = re.compile(r"\}\}|'[^']*'|'")


class Unknown(NamedTuple):
    """A value that is not known yet, as before a run; every expression with it in is unknown too."""


UNKNOWN = Unknown()
Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Status:
    """What the verdict functions `success()`, `failure()` and `cancelled()` answer."""

    failed: bool = False
    cancelled: bool = False


def evaluate(node: Node, scope: Mapping[str, Any], status: Status | None = None) -> Any:
    """Work out an expression: a JSON value, or UNKNOWN where it needs something unknown.

    `scope`: the names there are. `status`: None where the verdict functions are unknown. Raises ExpressionError.
    """
    match node:
        case Literal(value):
            return value
        case Name(name):
            if name not in scope:
                raise ExpressionError(f"there is no {name!r}; there are {', '.join(sorted(scope))}")
            return scope[name]
        case Property(of, key):
            return _property(evaluate(of, scope, status), evaluate(key, scope, status), node)
        case Call(function, arguments):
            return _call(function, [evaluate(each, scope, status) for each in arguments], status)
        case Operation(sign, operands):
            return _operate(sign, operands, scope, status)


def references(node: Node) -> Iterator[Path]:
    """Every name with its properties that is used, as far as they are written out: ("steps", "dial", "outputs")."""
    match node:
        case Name(name):
            yield (name,)
        case Property():
            path, rest = _written_out(node)
            if path:
                yield path
            for each in rest:
                yield from references(each)
        case Call(_, parts) | Operation(_, parts):
            for each in parts:
                yield from references(each)
        case Literal():
            return


def uses_status(node: Node) -> bool:
    """Whether a verdict function is called: then `success()` is not implied."""
    match node:
        case Call(function, arguments):
            return function in VERDICT_FUNCTIONS or any(map(uses_status, arguments))
        case Operation(_, operands):
            return any(map(uses_status, operands))
        case Property(of, key):
            return uses_status(of) or uses_status(key)
        case _:
            return False


def condition(text: str) -> Node:
    """The tree of an `if:`, which may do without `${{ }}`."""
    stripped = text.strip()
    start = stripped.find("${{")
    found = _template(stripped, start) if start >= 0 else None
    if found is None:
        return parse(stripped)
    if start > 0 or found[1] < len(stripped):
        raise ExpressionError("write either one ${{ ... }} around all of it, or none")
    return parse(found[0])


def templates(value: Any, at: Path = ()) -> Iterator[tuple[Path, str]]:
    """The texts with `${{ }}` in a JSON value, each with its place."""
    if isinstance(value, str) and "${{" in value:
        yield at, value
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from templates(each, (*at, key))
    elif isinstance(value, list | tuple):
        for index, each in enumerate(value):
            yield from templates(each, (*at, index))


def parts(text: str) -> list[str | Node]:
    """A text as its literal pieces and the trees between. Raises ExpressionError."""
    found: list[str | Node] = []
    end = 0
    while (start := text.find("${{", end)) >= 0:
        template = _template(text, start)
        if template is None:
            raise ExpressionError("a ${{ is never closed by }}, or a ' in it by another")
        if start > end:
            found.append(text[end:start])
        found.append(parse(template[0]))
        end = template[1]
    if end < len(text):
        found.append(text[end:])
    return found


def fill(value: Any, scope: Mapping[str, Any], status: Status | None = None) -> Any:
    """A JSON value with its expressions worked out. A text that is one expression takes that one's type.

    What holds an unknown value becomes UNKNOWN itself, if it is a text, and otherwise keeps it inside.
    """
    if isinstance(value, str):
        return _fill_text(value, scope, status) if "${{" in value else value
    if isinstance(value, Mapping):
        return {key: fill(each, scope, status) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [fill(each, scope, status) for each in value]
    return value


def truthy(value: Any) -> bool:
    """As in GitHub Actions: false, 0, "" and null are not, everything else is."""
    return value is not None and value is not False and value not in (0, "")


def _fill_text(text: str, scope: Mapping[str, Any], status: Status | None) -> Any:
    found = parts(text)
    values = [each if isinstance(each, str) else evaluate(each, scope, status) for each in found]
    if UNKNOWN in values:
        return UNKNOWN
    if len(found) == 1:
        return values[0]
    return "".join(_as_text(each) for each in values)


def _template(text: str, start: int) -> tuple[str, int] | None:
    """What stands in the `${{ }}` that begins at `start`, and where that ends; None when nothing closes it."""
    at = begun = start + len("${{")
    while (stop := _STOP.search(text, at)) is not None and stop[0] != "'":
        at = stop.end()
        if stop[0] == "}}":
            return text[begun : stop.start()], at
    return None


def _written_out(node: Node) -> tuple[Path, list[Node]]:
    """The path of a chain of properties, and the keys in it that have to be worked out."""
    match node:
        case Name(name):
            return (name,), []
        case Property(of, Literal(key)) if isinstance(key, str | int):
            path, rest = _written_out(of)
            return ((*path, key) if path and not rest else path), rest
        case Property(of, key):
            path, rest = _written_out(of)
            return path, [*rest, key]
        case _:
            return (), [node]


def _property(value: Any, key: Any, node: Property) -> Any:
    if value is UNKNOWN or key is UNKNOWN:
        return UNKNOWN
    if value is None:  # of a step that was left out, say
        return None
    path = ".".join(str(each) for each in next(references(node), ("the value",)))
    if isinstance(value, Mapping):
        if key not in value:
            raise ExpressionError(f"{path}: there is no {key!r}; there are {', '.join(map(str, value)) or 'none'}")
        return value[key]
    if isinstance(value, list):
        if isinstance(key, int) and not isinstance(key, bool) and 0 <= key < len(value):
            return value[key]
        raise ExpressionError(f"{path}: a list of {len(value)} has no {key!r}")
    raise ExpressionError(f"{path}: {_kind(value)} has no {key!r}")


def _operate(sign: str, operands: tuple[Node, ...], scope: Mapping[str, Any], status: Status | None) -> Any:
    first = evaluate(operands[0], scope, status)
    if sign == "!":
        return UNKNOWN if first is UNKNOWN else not truthy(first)
    if sign in ("&&", "||"):
        if first is UNKNOWN:
            return UNKNOWN
        return first if truthy(first) is (sign == "||") else evaluate(operands[1], scope, status)
    second = evaluate(operands[1], scope, status)
    if first is UNKNOWN or second is UNKNOWN:
        return UNKNOWN
    if sign in ("==", "!="):
        return (_kind(first) == _kind(second) and first == second) is (sign == "==")
    if _kind(first) != _kind(second) or _kind(first) not in ("a number", "a text"):
        raise ExpressionError(f"{_kind(first)} {sign} {_kind(second)}: only two numbers or two texts have an order")
    order: dict[str, bool] = {"<": first < second, "<=": first <= second, ">": first > second, ">=": first >= second}
    return order[sign]


def _call(function: str, arguments: list[Any], status: Status | None) -> Any:
    if function in VERDICT_FUNCTIONS:
        return UNKNOWN if status is None else _VERDICT_FUNCTIONS[function](status)
    if UNKNOWN in arguments:
        return UNKNOWN
    try:
        return _FUNCTIONS[function](*arguments)
    except (TypeError, ValueError, KeyError, IndexError) as exc:
        raise ExpressionError(f"{function}: {exc}") from None


def _kind(value: Any) -> str:
    for kinds, name in (
        (type(None), "null"),
        (bool, "a truth value"),
        ((int, float), "a number"),
        (str, "a text"),
        (list, "a list"),
    ):
        if isinstance(value, kinds):
            return name
    return "an object"


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    return json.dumps(value)


def _contains(where: Any, what: Any) -> bool:
    if isinstance(where, list):
        return any(_kind(each) == _kind(what) and each == what for each in where)
    return _as_text(what) in _as_text(where)


def _format(text: str, *values: Any) -> str:
    def insert(match: re.Match[str]) -> str:
        return {"{{": "{", "}}": "}"}.get(match[0]) or _as_text(values[int(match[1])])

    return _short(re.sub(r"\{\{|\}\}|\{(\d{1,2})\}", insert, text))


def _join(values: Any, between: str = ",") -> str:
    if not isinstance(values, list):
        return _as_text(values)
    return _short(between.join(_as_text(each) for each in values))


def _from_json(text: Any) -> Any:
    if not isinstance(text, str):
        raise TypeError(f"{_kind(text)} is no text with JSON in it")
    value = json.loads(text)
    json.dumps(value, allow_nan=False)  # Python reads NaN, Infinity and 1e999, which are no JSON
    return value


def _short(text: str) -> str:
    if len(text) > _LARGEST_TEXT:
        raise ValueError(f"the text is longer than {_LARGEST_TEXT} characters")
    return text


_VERDICT_FUNCTIONS: dict[str, Callable[[Status], bool]] = {
    "success": lambda status: not status.failed and not status.cancelled,
    "failure": lambda status: status.failed,
    "cancelled": lambda status: status.cancelled,
    "always": lambda _status: True,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "contains": _contains,
    "startsWith": lambda text, start: _as_text(text).startswith(_as_text(start)),
    "endsWith": lambda text, end: _as_text(text).endswith(_as_text(end)),
    "format": _format,
    "join": _join,
    "toJSON": lambda value: _short(json.dumps(value)),
    "fromJSON": _from_json,
}
