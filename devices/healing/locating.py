"""Locators of WebDriver looked up in a source, and the locator of an element there that lasts longest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cssselect
from lxml import etree, html

from devices.healing.tree import Node, SourceError, Tree


@dataclass(frozen=True)
class Locator:
    """A WebDriver location strategy with its value."""

    using: str
    value: str

    def __str__(self) -> str:
        return f"{self.using} {self.value!r}"


def locate(tree: Tree, locator: Locator) -> list[Node]:
    """The elements of a tree that a locator finds. Raises SourceError for a strategy or value that makes no sense."""
    if locator.using == "xpath":
        return tree.xpath(locator.value)
    if locator.using == "css selector":
        return _by_css(tree, locator.value)
    if (finds := _STRATEGIES.get(locator.using)) is None:
        raise SourceError(f"elements by {locator.using!r} cannot be looked up in a source")
    return [node for node in tree if finds(node, locator.value)]


def locator_for(tree: Tree, node: Node) -> Locator:
    """A locator that finds this element alone, the one that lasts longest."""
    for candidate in (Locator("id", node.id), Locator("name", node.name)):
        if candidate.value and locate(tree, candidate) == [node]:
            return candidate
    return Locator("xpath", node.path)


def _named(node: Node) -> tuple[str, ...]:
    return tuple(filter(None, (node.name, node.attributes.get("name", ""))))


_STRATEGIES: dict[str, Callable[[Node, str], bool]] = {
    "id": lambda node, value: value == node.id,
    "accessibility id": lambda node, value: value in (node.id, *_named(node)),
    "name": lambda node, value: value in _named(node),
    "class name": lambda node, value: value in node.class_name.split(),
    "tag name": lambda node, value: value == node.tag,
    "link text": lambda node, value: value == node.label,
    "partial link text": lambda node, value: value in node.label,
}


def _by_css(tree: Tree, selector: str) -> list[Node]:
    is_html = isinstance(tree.document, html.HtmlElement)
    translator = cssselect.HTMLTranslator() if is_html else cssselect.GenericTranslator()
    try:
        return tree.xpath(translator.css_to_xpath(selector, prefix="descendant-or-self::"))
    except (cssselect.SelectorError, etree.XPathError) as exc:
        raise SourceError(f"{selector!r} is no CSS selector: {exc}") from None
