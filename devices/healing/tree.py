"""An application's tree of elements as one moment's source shows it: XML of a desktop or phone, HTML of a page."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from lxml import etree, html

# What the drivers that we know call the same thing, best first.
_IDS = ("id", "resource-id", "AutomationId", "accessibility-id", "data-testid")
_NAMES = ("name", "Name", "content-desc", "aria-label", "label", "title", "placeholder")
_TEXTS = ("text", "value", "Value")
_CLASSES = ("class", "ClassName")
_PREFIXES = frozenset(
    "btn txt lbl chk cmb cbo edt label button text input field tab mnu menu img ico".split()  # noqa: SIM905 - reads best
)
_BOUNDS = re.compile(r"\[(-?\d+),(-?\d+)\]\[(-?\d+),(-?\d+)\]")
_UNSEEN_TAGS = frozenset({"script", "style", "head", "meta", "link", "title", "template", "noscript"})


# Control types and tags of the toolkits, by what sort of control they are.
_KINDS = {
    "a": "button", "button": "button", "pushbutton": "button", "input-submit": "button", "input-button": "button",
    "edit": "field", "entry": "field", "text-field": "field", "textbox": "field", "input": "field", "textarea": "field",
    "input-text": "field", "input-password": "field", "input-email": "field", "password-text": "field",
    "android.widget.button": "button", "android.widget.imagebutton": "button", "android.widget.edittext": "field",
    "label": "label", "text": "label", "span": "label", "textblock": "label", "android.widget.textview": "label",
    "checkbox": "check", "check-box": "check", "input-checkbox": "check", "android.widget.checkbox": "check",
    "switch": "check", "combobox": "choice", "combo-box": "choice", "select": "choice",
}  # fmt: skip


class SourceError(Exception):
    """A source that is no tree."""


@dataclass(eq=False, slots=True, repr=False)
class Node:
    """An element.

    `kind`: what sort of control it is, whichever toolkit it is of. `words`: its label in lower-case words, `id_words`
    its id. `path`: XPath in its own tree. `rect`: x, y, width, height in pixels where the source tells it. `content`:
    the words of the labels below it that are nowhere else. `index`: its place among its parent's children.
    """

    tag: str
    kind: str
    words: str
    id: str
    id_words: str
    name: str
    text: str
    class_name: str
    attributes: Mapping[str, str]
    rect: tuple[float, float, float, float] | None
    path: str
    parent: Node | None
    order: int
    children: list[Node] = field(default_factory=list)
    content: frozenset[str] = frozenset()
    index: int = 0

    @property
    def label(self) -> str:
        """What a person would call it: its text, else its name."""
        return self.text or self.name

    def sibling(self, step: int) -> Node | None:
        """The one before (-1) or after (1) it."""
        if self.parent is None:
            return None
        place = self.index + step
        return self.parent.children[place] if 0 <= place < len(self.parent.children) else None

    def __str__(self) -> str:
        known = [self.tag, f"#{self.id}" if self.id else "", f"{self.label!r}" if self.label else ""]
        return " ".join(filter(None, known))

    __repr__ = __str__


@dataclass(frozen=True)
class Tree:
    """All elements in the order of the document. `document`: the parsed source, for XPath."""

    nodes: tuple[Node, ...]
    document: etree._Element
    by_element: Mapping[etree._Element, Node]

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def xpath(self, expression: str) -> list[Node]:
        """What an XPath 1.0 expression finds. Raises SourceError for one that makes no sense."""
        try:
            found = self.document.getroottree().xpath(expression)
        except etree.XPathError as exc:
            raise SourceError(f"{expression!r} is no XPath: {exc}") from None
        elements = found if isinstance(found, list) else []
        return [
            self.by_element[each] for each in elements if isinstance(each, etree._Element) and each in self.by_element
        ]


def parse_source(source: str) -> Tree:
    """The tree in a page source, XML or HTML. Raises SourceError when it is neither."""
    text = source.strip()
    if not text:
        raise SourceError("the source is empty")
    document = _parse(text)
    nodes: list[Node] = []
    by_element: dict[etree._Element, Node] = {}
    tree = document.getroottree()

    def add(element: etree._Element, parent: Node | None) -> None:
        if not isinstance(element.tag, str) or element.tag.lower() in _UNSEEN_TAGS:
            return
        node = _node(element, tree.getpath(element), parent, len(nodes))
        nodes.append(node)
        by_element[element] = node
        if parent is not None:
            node.index = len(parent.children)
            parent.children.append(node)
        for child in element:
            add(child, node)

    add(document, None)
    _say_contents(nodes)
    return Tree(tuple(nodes), document, by_element)


def _say_contents(nodes: list[Node]) -> None:
    """Tell each container what is below it that is nowhere else: the "Edit" of every row says nothing of any row."""
    times = Counter(node.words for node in nodes)
    for node in reversed(nodes):  # children come after their parents
        below = (each.content | {each.words} for each in node.children)
        node.content = frozenset(each for each in frozenset[str]().union(*below) if each and times[each] == 1)


def _parse(text: str) -> etree._Element:
    is_html = re.match(r"(<!doctype html|<html)", text, re.IGNORECASE) is not None
    try:
        if is_html:
            return html.document_fromstring(text)
        parser = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=False)
        return etree.fromstring(text.encode(), parser)
    except (etree.LxmlError, ValueError) as exc:
        raise SourceError(f"the source is neither XML nor HTML: {exc}") from None


def _node(element: etree._Element, path: str, parent: Node | None, order: int) -> Node:
    attributes = {str(key): str(value) for key, value in element.attrib.items()}
    identity = _first(attributes, _IDS)
    name = _first(attributes, _NAMES)
    text = _first(attributes, _TEXTS) or " ".join((element.text or "").split())
    return Node(
        tag=str(element.tag),
        kind=_kind(str(element.tag), attributes),
        words=words(text or name),
        id=identity,
        id_words=_bare(identity),
        name=name,
        text=text,
        class_name=_first(attributes, _CLASSES),
        attributes=attributes,
        rect=_rect(attributes),
        path=path,
        parent=parent,
        order=order,
    )


def words(text: str) -> str:
    """Lower-case words: "btnSave_2" and "Save…" become "btn save 2" and "save"."""
    split = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", text)
    return " ".join(re.findall(r"[^\W_]+", split.lower()))


def _bare(identity: str) -> str:
    """The words of an id without its package and without a prefix that names the toolkit's class; none for an id that
    a machine made, which says nothing.
    """
    if _generated(identity):
        return ""
    plain = words(identity.rpartition("/")[2])
    first, _, rest = plain.partition(" ")
    return rest if rest and first in _PREFIXES else plain


def _generated(name: str) -> bool:
    """Whether an id looks made by a machine, and says nothing: ":r1a:", "ember1234", a UUID."""
    return (
        re.fullmatch(r"(:r\w+:|ember\d+|[0-9a-f]{8}-[0-9a-f-]{27}|\d+|\w*[_-]?[0-9a-f]{8,})", name.lower()) is not None
    )


def _kind(tag: str, attributes: Mapping[str, str]) -> str:
    plain = tag.lower().replace(" ", "-")
    if plain == "input" and (typed := attributes.get("type")):
        plain = f"input-{typed.lower()}"
    return _KINDS.get(plain, plain)


def _first(attributes: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((attributes[name] for name in names if attributes.get(name)), "")


def _rect(attributes: Mapping[str, str]) -> tuple[float, float, float, float] | None:
    if (bounds := _BOUNDS.fullmatch(attributes.get("bounds", ""))) is not None:  # Android's
        left, top, right, bottom = map(float, bounds.groups())
        return left, top, right - left, bottom - top
    try:
        x, y, width, height = (float(attributes[key]) for key in ("x", "y", "width", "height"))
    except (KeyError, ValueError):
        return None
    return x, y, width, height
