"""Locator strategies: which nodes of a tree an expression means."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from cssselect import GenericTranslator, SelectorError
from lxml import etree

from devices.desktop.names import role_tag
from devices.desktop.tree import Node
from devices.webdriver import WebDriverError

STRATEGIES = (
    "accessibility id", "class name", "css selector", "id", "link text", "name", "partial link text", "tag name",
    "xpath",
)  # fmt: skip

# These look at identifiers or texts that are not part of the mirror as it is read; the caller fetches them first.
NEEDS_IDENTIFIERS = frozenset({"accessibility id", "id", "css selector", "xpath"})
NEEDS_TEXTS = frozenset({"css selector", "xpath"})

Include = Callable[[Node], bool]
DocumentOf = Callable[[], tuple[etree._Element, dict[etree._Element, Node]]]


def check(strategy: object, expression: object) -> tuple[str, str]:
    """The locator of a request; raises WebDriverError "invalid argument" or "invalid selector"."""
    if not isinstance(strategy, str) or not isinstance(expression, str):
        raise WebDriverError(
            "invalid argument", f'"using" and "value" must be strings, not {strategy!r} and {expression!r}'
        )
    if strategy not in STRATEGIES:
        raise WebDriverError("invalid selector", f"no locator strategy {strategy!r}; there are {', '.join(STRATEGIES)}")
    if strategy in ("xpath", "css selector"):
        _compile(strategy, expression, below=False)
    return strategy, expression


def walk_included(roots: Iterable[Node], include: Include, *, whole: bool = False) -> Iterator[Node]:
    """The nodes below the roots, with these when `whole`, that `include` lets through, in document order."""
    for root in roots:
        if whole:
            yield root
        stack = [child for child in reversed(root.children) if include(child)]
        while stack:
            node = stack.pop()
            yield node
            stack.extend(child for child in reversed(node.children) if include(child))


def match(
    strategy: str, expression: str, roots: list[Node], include: Include, document: DocumentOf, *, whole: bool
) -> list[Node]:
    """The nodes below `roots` (with them when `whole`) that the locator means, in document order.

    `document` gives the XML and the node of each element.

    Raises WebDriverError("invalid selector") for expressions that do not parse or select no elements.
    """
    nodes = walk_included(roots, include, whole=whole)
    match strategy:
        case "accessibility id":
            listed = list(nodes)
            return [node for node in listed if node.identifier == expression] or [
                node for node in listed if node.name == expression
            ]
        case "id":
            return [node for node in nodes if node.identifier == expression]
        case "name" | "link text":
            return [node for node in nodes if node.name == expression]
        case "partial link text":
            return [node for node in nodes if expression in node.name]
        case "class name" | "tag name":
            wanted = role_tag(expression)
            return [node for node in nodes if wanted in ("*", role_tag(node.role))]
        case _:
            return _by_path(strategy, expression, None if whole else roots[0], document)


def _compile(strategy: str, expression: str, *, below: bool) -> etree.XPath:
    try:
        if strategy == "css selector":
            prefix = "descendant::" if below else "descendant-or-self::"
            expression = GenericTranslator().css_to_xpath(expression, prefix=prefix)
        return etree.XPath(expression)
    except (etree.XPathError, SelectorError, ValueError) as error:
        raise WebDriverError("invalid selector", f"{strategy} {expression!r}: {error}") from error


def _by_path(strategy: str, expression: str, start: Node | None, document: DocumentOf) -> list[Node]:
    root, nodes = document()
    context = next((element for element, node in nodes.items() if node is start), root)
    compiled = _compile(strategy, expression, below=start is not None)
    try:
        found = compiled(context)
    except etree.XPathError as error:
        raise WebDriverError("invalid selector", f"{strategy} {expression!r}: {error}") from error
    if not isinstance(found, list) or not all(isinstance(element, etree._Element) for element in found):
        raise WebDriverError("invalid selector", f"{strategy} {expression!r} selects no elements but a value")
    return [nodes[element] for element in found if element in nodes]
