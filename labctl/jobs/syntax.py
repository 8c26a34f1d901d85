"""Reads expressions: from text to a tree, by recursive descent. What they mean stands in `expressions`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

LONGEST = 2000  # characters of one expression
_DEEPEST = 50  # brackets within brackets
_TOKEN = re.compile(
    r"\s*(?:(?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)|(?P<text>'(?:[^']|'')*')|(?P<name>[A-Za-z_][A-Za-z0-9_-]*)"
    r"|(?P<sign>==|!=|<=|>=|&&|\|\||[<>!()\[\].,]))"
)
_WORDS: dict[str, Any] = {"true": True, "false": False, "null": None}
VERDICT_FUNCTIONS = ("always", "cancelled", "failure", "success")
# The least and the most arguments that a function takes.
FUNCTIONS = {
    **dict.fromkeys(VERDICT_FUNCTIONS, (0, 0)),
    "contains": (2, 2),
    "startsWith": (2, 2),
    "endsWith": (2, 2),
    "format": (1, 20),
    "join": (1, 2),
    "toJSON": (1, 1),
    "fromJSON": (1, 1),
}


class ExpressionError(ValueError):
    """An expression that cannot be read, or cannot be worked out."""


@dataclass(frozen=True, slots=True)
class Literal:
    value: Any


@dataclass(frozen=True, slots=True)
class Name:
    name: str


@dataclass(frozen=True, slots=True)
class Property:
    of: Node
    key: Node


@dataclass(frozen=True, slots=True)
class Call:
    function: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Operation:
    sign: str
    operands: tuple[Node, ...]


Node = Literal | Name | Property | Call | Operation


def parse(text: str) -> Node:
    """The tree of an expression. Raises ExpressionError."""
    if len(text) > LONGEST:
        raise ExpressionError(f"the expression is longer than {LONGEST} characters")
    return _Parser(text).whole()


class _Parser:
    """Recursive descent, loosest first: or, and, comparison, not, value."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(self._split())
        self._next = 0
        self._depth = 0

    def whole(self) -> Node:
        if not self._tokens:
            raise ExpressionError("the expression is empty")
        node = self._either()
        if self._next < len(self._tokens):
            raise self._unexpected()
        return node

    def _split(self) -> Iterator[tuple[str, str]]:
        position, end = 0, len(self._text.rstrip())
        while position < end:
            match = _TOKEN.match(self._text, position)
            if match is None or match.lastgroup is None:
                rest = self._text[position:].strip()
                hint = "; write texts in single quotes" if rest.startswith('"') else ""
                raise ExpressionError(f"cannot be read at {rest[:20]!r}{hint}")
            yield match.lastgroup, match[match.lastgroup]
            position = match.end()

    def _peek(self) -> str:
        return self._tokens[self._next][1] if self._next < len(self._tokens) else ""

    def _take(self, *signs: str) -> str | None:
        if self._next < len(self._tokens) and self._tokens[self._next][0] == "sign" and self._peek() in signs:
            self._next += 1
            return self._tokens[self._next - 1][1]
        return None

    def _expect(self, sign: str) -> None:
        if self._take(sign) is None:
            raise ExpressionError(f"{sign!r} is missing {self._place()}")

    def _either(self) -> Node:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise ExpressionError("is nested too deeply")
        node = self._both()
        while self._take("||"):
            node = Operation("||", (node, self._both()))
        self._depth -= 1
        return node

    def _both(self) -> Node:
        node = self._comparison()
        while self._take("&&"):
            node = Operation("&&", (node, self._comparison()))
        return node

    def _comparison(self) -> Node:
        node = self._negation()
        while (sign := self._take("==", "!=", "<=", ">=", "<", ">")) is not None:
            node = Operation(sign, (node, self._negation()))
        return node

    def _negation(self) -> Node:
        turns = 0
        while self._take("!"):
            turns += 1
        node = self._value()
        for _ in range(min(turns, 2 + turns % 2)):  # more than two add nothing
            node = Operation("!", (node,))
        return node

    def _value(self) -> Node:
        if self._take("("):
            node = self._either()
            self._expect(")")
        elif self._next >= len(self._tokens):
            raise ExpressionError(f"ends where a value is missing {self._place()}")
        else:
            node = self._atom()
        while True:
            if self._take("."):
                if self._next >= len(self._tokens) or self._tokens[self._next][0] != "name":
                    raise ExpressionError(f"a name is missing after the dot {self._place()}")
                node = Property(node, Literal(self._peek()))
                self._next += 1
            elif self._take("["):
                node = Property(node, self._either())
                self._expect("]")
            else:
                return node

    def _atom(self) -> Node:
        kind, text = self._tokens[self._next]
        if kind == "sign":
            raise self._unexpected()
        self._next += 1
        if kind == "number":
            return Literal(float(text) if re.search(r"[.eE]", text) else int(text))
        if kind == "text":
            return Literal(text[1:-1].replace("''", "'"))
        if self._take("("):
            return self._function(text)
        return Literal(_WORDS[text]) if text in _WORDS else Name(text)

    def _function(self, name: str) -> Node:
        arguments: list[Node] = []
        if not self._take(")"):
            arguments.append(self._either())
            while self._take(","):
                arguments.append(self._either())
            self._expect(")")
        if name not in FUNCTIONS:
            raise ExpressionError(f"there is no function {name}(); there are {', '.join(sorted(FUNCTIONS))}")
        least, most = FUNCTIONS[name]
        if not least <= len(arguments) <= most:
            wanted = str(least) if least == most else f"{least} to {most}"
            raise ExpressionError(f"{name}() takes {wanted} arguments, not {len(arguments)}")
        return Call(name, tuple(arguments))

    def _unexpected(self) -> ExpressionError:
        return ExpressionError(f"{self._peek()!r} is not expected {self._place()}")

    def _place(self) -> str:
        return f"in {self._text.strip()!r}"
