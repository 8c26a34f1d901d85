"""The tree as XML: what page source shows and what xpath and css locators are matched against."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from lxml import etree

from devices.desktop.mirror import Node
from devices.desktop.names import has_state, role_tag
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

    One root of role "application" is the document's root itself; several, or windows, stand below <desktop>. A node that is
    left out leaves out all below it.
    """
    nodes: dict[etree._Element, Node] = {}
    listed = list(roots)
    document = etree.Element("desktop")
    for root in listed:
        _append(document, root, include, texts or {}, rects or {}, nodes)
    if len(document) == 1 and nodes[document[0]].role == "application":
        document = document[0]
        parent = document.getparent()
        if parent is not None:
            parent.remove(document)
    return document, nodes


def _append(
    parent: etree._Element,
    node: Node,
    include: Callable[[Node], bool],
    texts: Mapping[Node, str],
    rects: Mapping[Node, Rect],
    nodes: dict[etree._Element, Node],
) -> None:
    tag = role_tag(node.role)
    attributes = {"name": clean(node.name), "class": tag, "role": node.role}
    if node.identifier:
        attributes["id"] = clean(node.identifier)
    if node.description:
        attributes["description"] = clean(node.description)
    for state in STATE_ATTRIBUTES:
        if has_state(node.states, state):
            attributes[state] = "true"
    text = texts.get(node)
    if text is not None:
        attributes["text"] = clean(text)
    rect = rects.get(node)
    if rect is not None:
        attributes |= {"x": str(rect.x), "y": str(rect.y), "width": str(rect.width), "height": str(rect.height)}
    element = etree.SubElement(parent, tag, attributes)
    nodes[element] = node
    for child in node.children:
        if include(child):
            _append(element, child, include, texts, rects, nodes)


def to_xml(document: etree._Element) -> str:
    """The document as text, indented, with a declaration."""
    etree.indent(document)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + etree.tostring(document, encoding="unicode")
