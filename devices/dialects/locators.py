"""Locators of today's clients as the few strategies that a JSON Wire server knows.

Selenium 4 sends ids, names and class names as CSS selectors; Appium has strategies of its own. What the server knows
directly goes to it directly; the rest becomes an XPath on its tree, whose elements are named by control type and whose
attributes are the automation properties.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import cssselect
from cssselect.parser import Attrib, Class, Element, Hash, Tree
from cssselect.xpath import GenericTranslator, XPathExpr

from devices.webdriver import WebDriverError


@dataclass(frozen=True, slots=True)
class Locator:
    """A strategy ("using") with its value."""

    using: str
    value: str


@dataclass(frozen=True)
class Strategies:
    """What a server finds elements by.

    `native`: the strategies that it knows. `synonyms`: W3C or Appium strategies that it knows by another name.
    `attributes`: names of HTML attributes in a CSS selector to those of its tree.
    """

    native: frozenset[str]
    synonyms: Mapping[str, str]
    attributes: Mapping[str, str]

    def translate(self, using: str, value: str) -> Locator:
        """The locator for the server. Raises WebDriverError ("invalid selector", "unsupported operation")."""
        if using in self.native:
            return Locator(using, value)
        if using in self.synonyms:
            return Locator(self.synonyms[using], value)
        if using == "css selector":
            return self._css(value)
        if using == "partial link text":
            return self._xpath(f".//*[contains(@{self.attributes['name']}, {_quoted(value)})]")
        if using == "tag name":
            return self._xpath(f".//{value}" if value != "*" else ".//*")
        by_structure = {"partial link text", "tag name"} if "xpath" in self.native else set()
        known = sorted({*self.native, *self.synonyms, "css selector", *by_structure})
        raise WebDriverError("invalid selector", f"no elements can be found by {using!r} here; use {', '.join(known)}")

    def _css(self, selector: str) -> Locator:
        try:
            parsed = cssselect.parse(selector)
        except cssselect.SelectorError as exc:
            raise WebDriverError("invalid selector", f"{selector!r} is no CSS selector: {exc}") from None
        if len(parsed) == 1 and parsed[0].pseudo_element is None and (simple := _simple(parsed[0].parsed_tree)):
            using, value = simple
            if using in self.native:
                return Locator(using, value)
        try:
            return self._xpath(_Translator(self.attributes).css_to_xpath(selector, prefix=".//"))
        except cssselect.SelectorError as exc:
            raise WebDriverError("invalid selector", f"{selector!r} cannot be found in this tree: {exc}") from None

    def _xpath(self, expression: str) -> Locator:
        if "xpath" not in self.native:
            raise WebDriverError(
                "invalid selector", "this server finds nothing by structure, give an id, name or class"
            )
        return Locator("xpath", expression)


def _simple(tree: Tree) -> tuple[str, str] | None:
    """The strategy that a selector of one condition stands for, as Selenium 4 writes them."""
    if not isinstance(inner := getattr(tree, "selector", None), Element) or inner.element is not None:
        return None
    if isinstance(tree, Hash):
        return "id", tree.id
    if isinstance(tree, Class):
        return "class name", tree.class_name
    if isinstance(tree, Attrib) and tree.operator == "=" and tree.value is not None and tree.value.value is not None:
        if tree.attrib in ("id", "name"):
            return tree.attrib, tree.value.value
        if tree.attrib == "class":
            return "class name", tree.value.value
    return None


class _Translator(GenericTranslator):
    """CSS to XPath 1.0 over a tree with other attribute names, where an attribute holds one id or class."""

    def __init__(self, attributes: Mapping[str, str]) -> None:
        super().__init__()
        self._names = attributes

    def xpath_hash(self, id_selector: Hash) -> XPathExpr:
        expression = self.xpath(id_selector.selector)
        return self.xpath_attrib_equals(expression, f"@{self._names['id']}", id_selector.id)

    def xpath_class(self, class_selector: Class) -> XPathExpr:
        expression = self.xpath(class_selector.selector)
        return self.xpath_attrib_equals(expression, f"@{self._names['class']}", class_selector.class_name)

    def xpath_attrib(self, selector: Attrib) -> XPathExpr:
        renamed = self._names.get(selector.attrib.lower(), selector.attrib)
        value = selector.value
        if not re.fullmatch(r"[A-Za-z_][\w.-]*", renamed):
            raise cssselect.ExpressionError(f"{renamed!r} is no attribute name")
        expression = self.xpath(selector.selector)
        text = None if value is None else value.value
        method = getattr(self, f"xpath_attrib_{self.attribute_operator_mapping[selector.operator]}")
        answer: XPathExpr = method(expression, f"@{renamed}", text)
        return answer


def _quoted(text: str) -> str:
    """An XPath 1.0 literal, which knows no escapes."""
    if "'" not in text:
        return f"'{text}'"
    if '"' not in text:
        return f'"{text}"'
    pieces = ', "\'", '.join(f"'{piece}'" for piece in text.split("'"))
    return f"concat({pieces})"
