"""Reads YAML and JSON documents into pydantic models; every problem is told at once with file:line:column."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

Model = TypeVar("Model", bound=BaseModel)
Location = tuple[str | int, ...]

MAX_VALUES = 200_000  # a lab file or a course has hundreds


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a document. `line` and `column` count from 1."""

    source: str
    line: int
    column: int
    where: str
    message: str

    def __str__(self) -> str:
        at = f" at {self.where}" if self.where else ""
        return f"{self.source}:{self.line}:{self.column}:{at} {self.message}"


class DocumentError(ValueError):
    """A document that cannot be used, with all its problems."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


@dataclass(frozen=True)
class Document:
    """A parsed document that still knows where each value stood."""

    source: str
    value: Any
    marks: dict[Location, tuple[int, int]]

    def problem(self, location: Location, message: str) -> Problem:
        """A problem at `location` (keys and list indices), or at the nearest enclosing value that has a place."""
        probe = location
        while probe and probe not in self.marks:
            probe = probe[:-1]
        line, column = self.marks.get(probe, (1, 1))
        return Problem(self.source, line, column, _pointer(location), message)

    def error(self, location: Location, message: str) -> DocumentError:
        """`problem` as an exception."""
        return DocumentError([self.problem(location, message)])


def parse(text: str, source: str = "<text>") -> Document:
    """Parse YAML (and so JSON). Raises DocumentError on bad syntax, duplicate keys or an empty document."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        what = " ".join(part for part in (exc.context, exc.problem) if part)
        raise DocumentError([Problem(source, line, column, "", f"not valid YAML: {what}")]) from None
    except RecursionError:
        raise DocumentError([Problem(source, 1, 1, "", "is nested too deeply")]) from None
    except (yaml.YAMLError, ValueError) as exc:
        raise DocumentError([Problem(source, 1, 1, "", f"not valid YAML: {exc}")]) from None
    if node is None:
        raise DocumentError([Problem(source, 1, 1, "", "the document is empty")])
    builder = _Builder(source)
    value = builder.build(node)
    if builder.problems:
        raise DocumentError(builder.problems)
    return Document(source, value, builder.marks)


def read(path: str | Path) -> Document:
    """Read and parse a file. Raises DocumentError, also when the file is missing or not UTF-8 text."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as exc:
        raise DocumentError([Problem(str(path), 1, 1, "", f"cannot be read: {exc.strerror}")]) from None
    except UnicodeDecodeError as exc:
        raise DocumentError([Problem(str(path), 1, 1, "", f"is not UTF-8 text (byte {exc.start})")]) from None
    return parse(text, str(path))


def validate(document: Document, model: type[Model]) -> Model:
    """The document as a `model`. Raises DocumentError with every problem and its place."""
    try:
        return model.model_validate(document.value)
    except ValidationError as exc:
        problems = []
        for error in exc.errors(include_url=False):
            location = tuple(part for part in error["loc"] if _is_place(part, document, error["loc"]))
            message = error["msg"].removeprefix("Value error, ")
            if error["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
                message = _unknown_key(str(error["loc"][-1]), _known_keys(model, error["loc"][:-1]))
            elif error["type"] == "missing":
                message = "is required"
            elif error["type"] in _MAPPING_WANTED:
                keys = _known_keys(model, error["loc"])
                message = "must be a mapping of keys to values" + (f" ({', '.join(keys)})" if keys else "")
                message += f", not {_shape(error['input'])}"
            elif error["type"] in _LIST_WANTED:
                message = f"must be a list, not {_shape(error['input'])}"
            elif error["type"] == "string_type":
                quotes = "; put it in quotes" if isinstance(error["input"], bool | int | float) else ""
                message = f"must be a text, not {_shape(error['input'])}{quotes}"
            elif isinstance(error.get("input"), str | int | float | bool):
                message = f"{message} (got {error['input']!r})"
            problems.append(document.problem(location, message))
        raise DocumentError(problems) from None


_MAPPING_WANTED = frozenset({"model_type", "model_attributes_type", "dict_type", "dataclass_type"})
_LIST_WANTED = frozenset({"list_type", "tuple_type"})


def _shape(value: object) -> str:
    match value:
        case None:
            return "nothing"
        case list():
            return "a list"
        case dict():
            return "a mapping"
        case bool():
            return str(value).lower()  # as YAML and JSON have it
        case _:
            return repr(value)


def load(path: str | Path, model: type[Model]) -> Model:
    """Read a file as a `model`."""
    return validate(read(path), model)


class _Builder:
    """Turns a tree of YAML nodes into plain values, noting where each stood."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.marks: dict[Location, tuple[int, int]] = {}
        self.problems: list[Problem] = []
        self._open: set[int] = set()
        self._left = MAX_VALUES

    def build(self, node: yaml.Node, location: Location = ()) -> Any:
        """The value of `node`, which stands at `location`."""
        self.marks.setdefault(location, _place(node))
        if id(node) in self._open:
            self._complain(node, location, "refers to itself")
            return None
        self._left -= 1
        if self._left < 0:  # aliases of aliases grow without end
            message = f"has too many values (more than {MAX_VALUES}, aliases counted)"
            raise DocumentError([Problem(self.source, *_place(node), "", message)])
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode):
                return [self.build(child, (*location, index)) for index, child in enumerate(node.value)]
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, location)
            return self._scalar(node, location)
        finally:
            self._open.discard(id(node))

    def _mapping(self, node: yaml.MappingNode, location: Location) -> dict[Any, Any]:
        mapping: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = self._scalar(key_node, location)
            here: Location = (*location, key if isinstance(key, int) else str(key))
            if key in mapping:
                self._complain(key_node, here, "is given twice")
            self.marks[here] = _place(key_node)
            mapping[key] = self.build(value_node, here)
        return mapping

    def _scalar(self, node: yaml.Node, location: Location) -> Hashable:
        loader = yaml.SafeLoader("")
        try:
            value: Hashable = loader.construct_object(node, deep=True)
            hash(value)
        except (yaml.YAMLError, ValueError, TypeError) as exc:
            what = exc.problem if isinstance(exc, yaml.MarkedYAMLError) else str(exc)
            if node.tag == "tag:yaml.org,2002:merge":
                what = "keys are not merged (<<); write them out"
            self._complain(node, location, f"cannot be understood: {what}")
            return None
        finally:
            loader.dispose()
        return value

    def _complain(self, node: yaml.Node, location: Location, message: str) -> None:
        self.problems.append(Problem(self.source, *_place(node), _pointer(location), message))


def _place(node: yaml.Node) -> tuple[int, int]:
    return (node.start_mark.line + 1, node.start_mark.column + 1)


def _pointer(location: Location) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _is_place(part: str | int, document: Document, location: Sequence[str | int]) -> bool:
    """Whether a part of pydantic's location stands in the document (tags of unions and validators do not)."""
    if isinstance(part, int):
        return True
    return any(part in known for known in document.marks) or part == location[-1]


def _unknown_key(key: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    if close:
        return f"unknown key; did you mean {close[0]!r}?"
    return "unknown key" + (f"; known are {', '.join(sorted(known))}" if known else "")


def _known_keys(model: Any, location: Sequence[str | int]) -> list[str]:
    """The keys that the (sub)model at `location` takes, as far as annotations tell."""
    found = [model]
    for part in location:
        # Where none of the arms has such a field it is the tag of their union: stay where we are.
        found = [child for each in found for child in _children(each, part)] or (found if isinstance(part, str) else [])
    keys: set[str] = set()
    for each in found:
        for candidate in _flatten(each):
            keys.update(_fields(candidate))
    return sorted(keys)


def _fields(candidate: Any) -> dict[str, Any]:
    if isinstance(candidate, type) and issubclass(candidate, BaseModel):
        return {info.alias or name: info.annotation for name, info in candidate.model_fields.items()}
    if isinstance(candidate, type) and is_dataclass(candidate):
        hints = typing.get_type_hints(candidate)
        return {f.name: hints[f.name] for f in fields(candidate)}
    return {}


def _children(annotation: Any, part: str | int) -> list[Any]:
    children: list[Any] = []
    for candidate in _flatten(annotation):
        known = _fields(candidate)
        if part in known:
            children.append(known[str(part)])
        elif not known:
            arguments = typing.get_args(candidate)
            if arguments:
                children.append(arguments[-1] if typing.get_origin(candidate) is dict else arguments[0])
    return children


def _flatten(annotation: Any) -> list[Any]:
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _flatten(typing.get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType):
        return [leaf for arm in typing.get_args(annotation) for leaf in _flatten(arm)]
    return [annotation]
