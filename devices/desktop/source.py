"""The tree as XML: what page source shows and what xpath and css locators are matched against."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from lxml import etree

from devices.desktop.names import has_state, role_tag
from devices.desktop.tree import Node
from devices.desktop.x11 import Rect

# States as attributes, "true" or absent; those that every element has are left out.
STATE_ATTRIBUTES = (
    "active", "busy", "checked", "collapsed", "editable", "enabled", "expandable", "expanded", "focusable", "focused",
    "indeterminate", "is-default", "modal", "pressed", "read-only", "required", "selectable", "selected", "sensitive",
    "showing", "visible",
)  # fmt: skip

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def clean(text: str) -> str:
    """The text without the characters that XML cannot hold."""
    return _NOT_XML.sub("\ufffd", text)


def build_document(
    roots: Iterable[Node],
    include: Callable[[Node], bool],
    *,
    texts: Mapping[Node, str] | None = None,
    rects: Mapping[Node, Rect] | None = None,
) -> tuple[etree._Element, dict[etree._Element, Node]]:
    """The nodes that `include` lets through, below one root element, and the node of each element.

    One root of role "application" is the document's root itself; several, or windows, stand below <desktop>. A node
    that is left out leaves out all below it.
    """
    nodes: dict[etree._Element, Node] = {}
    listed = list(roots)

    def append(parent: etree._Element | None, node: Node) -> etree._Element:
        tag = role_tag(node.role)
        attributes = _attributes(node, (texts or {}).get(node), (rects or {}).get(node))
        element = etree.Element(tag, attributes) if parent is None else etree.SubElement(parent, tag, attributes)
        nodes[element] = node
        for child in node.children:
            if include(child):
                append(element, child)
        return element

    if len(listed) == 1 and listed[0].role == "application":
        return append(None, listed[0]), nodes
    document = etree.Element("desktop")
    for root in listed:
        append(document, root)
    return document, nodes


def _attributes(node: Node, text: str | None, rect: Rect | None) -> dict[str, str]:
    attributes = {"name": clean(node.name), "class": role_tag(node.role), "role": node.role}
    if node.identifier:
        attributes["id"] = clean(node.identifier)
    if node.description:
        attributes["description"] = clean(node.description)
    for state in STATE_ATTRIBUTES:
        if has_state(node.states, state):
            attributes[state] = "true"
    if text is not None:
        attributes["text"] = clean(text)
    if rect is not None:
        attributes |= {"x": str(rect.x), "y": str(rect.y), "width": str(rect.width), "height": str(rect.height)}
    return attributes


def to_xml(document: etree._Element) -> str:
    """The document as text, indented, with a declaration."""
    etree.indent(document)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + etree.tostring(document, encoding="unicode")
