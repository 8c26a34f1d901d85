"""Locators that no longer find their element: what became of it, how sure that is, and a locator that finds it now."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import cssselect
from lxml import etree, html

from devices.healing.heuristics import STANDARD, Heuristic
from devices.healing.matching import match_trees
from devices.healing.tree import Node, SourceError, Tree, parse_source

# No wrong match of the graded dialogs reaches this confidence; see benchmarks/healing.py.
THRESHOLD = 0.9


class HealingMode(StrEnum):
    """`off`: a locator that finds nothing finds nothing. `suggest`: it is said what it might be now. `heal`: that is
    used where the confidence reaches the threshold, and recorded.
    """

    OFF = "off"
    SUGGEST = "suggest"
    HEAL = "heal"


@dataclass(frozen=True)
class Locator:
    """A WebDriver location strategy with its value."""

    using: str
    value: str

    def __str__(self) -> str:
        return f"{self.using} {self.value!r}"


@dataclass(frozen=True)
class Heal:
    """What a broken locator's element became. `confidence`: 0 .. 1; `evidence`: why, the strongest first."""

    broken: Locator
    replacement: Locator
    was: str
    now: str
    confidence: float
    evidence: tuple[str, ...]


class Healer:
    """Remembers the last source in which all locators were found, and heals by it.

    `heuristics`: what is matched by, in the order of trust; `(*STANDARD, Heuristic(...))` adds one of your own.
    """

    def __init__(self, heuristics: Sequence[Heuristic] = STANDARD) -> None:
        self._heuristics = heuristics
        self._good: str | None = None

    def remember(self, source: str) -> None:
        """Note a source in which the locators of the test were found."""
        self._good = source

    def heal(self, broken: Locator, source: str) -> Heal | None:
        """What the locator's element is in the present `source`; None when it is gone, or was never seen.

        Raises SourceError for a source that is no tree.
        """
        if self._good is None:
            return None
        old, new = parse_source(self._good), parse_source(source)
        found = locate(old, broken)
        if not found:
            return None
        pair = match_trees(old, new, self._heuristics).pair(found[0])
        if pair is None:
            return None
        replacement = locator_for(new, pair.new)
        return Heal(broken, replacement, str(pair.old), str(pair.new), pair.confidence, pair.evidence)


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
