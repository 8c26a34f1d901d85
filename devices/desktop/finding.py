"""Finding: what a locator means in a session's windows, and the page source that xpath and css look at."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from lxml import etree

from devices.desktop import locators
from devices.desktop.atspi import ACCESSIBLE, COMPONENT, TEXT, AtspiError, Call, Ref, property_call, property_value
from devices.desktop.mirror import Mirror
from devices.desktop.session import Session
from devices.desktop.source import build_document, to_xml
from devices.desktop.tree import Node
from devices.desktop.x11 import Rect
from devices.webdriver import WebDriverError

SCROLLING_ROLES = frozenset({"viewport", "scroll pane", "list", "list box", "tree", "tree table", "table"})


def included(session: Session, node: Node) -> bool:
    """Whether a find considers the node: what shows, or would if it were scrolled to."""
    if session.settings.hidden or node.has("showing"):
        return True
    if not node.has("visible"):
        return False
    above = node.parent
    while above is not None and above.has("visible"):
        if above.role in SCROLLING_ROLES and above.has("showing"):
            return True
        above = above.parent
    return False


async def roots(session: Session, start: Node | None, mirror: Mirror | None) -> list[tuple[Mirror, Node]]:
    """Where a find looks: below an element, or in the current window and the popups of its application, or
    everywhere.
    """
    if start is not None and mirror is not None:
        return [(mirror, start)]
    if session.settings.scope == "application" or session.settings.whole_desktop:
        await session.gather(follow=True)
        return [(each, each.root) for each in session.mirrors]
    current, window = await session.current()
    return [(current, window), *((current, popup) for popup in current.popups())]


async def find(session: Session, using: object, value: object, element: str | None, *, many: bool) -> list[str]:
    """References of what a locator means; with `many` false the first only. Waits as long as the implicit time-out.

    Raises WebDriverError("no such element") when nothing is found and `many` is false.
    """
    strategy, expression = locators.check(using, value)
    # These look at states that an application may change without a word after input.
    thorough = strategy in locators.NEEDS_TEXTS

    async def look() -> list[str] | None:
        if thorough:
            await session.refresh()
        matches = await search()
        if any(each.doubted for each in session.mirrors) and (not matches or await _renamed(session, matches)):
            await session.refresh()
            matches = await search()
        return [session.element_id(owner, node) for owner, node in matches] or None

    async def search() -> list[tuple[Mirror, Node]]:
        mirror, start = (None, None) if element is None else await session.element(element)
        if mirror is not None:
            await mirror.follow()
        places = await roots(session, start, mirror)
        matches = await _match(session, strategy, expression, places, whole=start is None)
        return matches if many else matches[:1]

    found = await session.until(look, session.implicit_s)
    if found is None:
        # Something may have changed without a word: read everything once more before saying no.
        for each in session.mirrors:
            each.doubt()
        found = await look()
    if found is None and not many:
        raise WebDriverError("no such element", _nothing(session, strategy, expression))
    return found or []


async def _renamed(session: Session, matches: list[tuple[Mirror, Node]]) -> bool:
    """Whether one of them has got another name without a word, as GTK's font button does."""
    doubtful = [node for mirror, node in matches if mirror.doubted]
    names = await session.bus.batch([property_call(node.ref, ACCESSIBLE, "Name") for node in doubtful])
    return any(property_value(name, "") != node.name for name, node in zip(names, doubtful, strict=True))


def _nothing(session: Session, strategy: str, expression: str) -> str:
    where = next((repr(node.name) for _, node in session.windows() if node.ref == session.window), "the application")
    others = [f"{session.handle(node)} {node.name!r}" for _, node in session.windows() if node.ref != session.window]
    hint = f"; other windows, to be switched to: {', '.join(others)}" if others else ""
    return f"nothing in {where} with {strategy} {expression!r}{hint}"


async def _match(
    session: Session, strategy: str, expression: str, places: list[tuple[Mirror, Node]], *, whole: bool
) -> list[tuple[Mirror, Node]]:
    owner = {root.ref.bus: mirror for mirror, root in places}
    nodes = [root for _, root in places]
    include = _include(session, nodes)
    if strategy in locators.NEEDS_IDENTIFIERS:
        await identify(session, [node for root in nodes for node in root.walk() if include(node)])
    texts: dict[Node, str] = {}
    if strategy in locators.NEEDS_TEXTS and "text" in expression:
        texts = await texts_of(session, [node for root in nodes for node in root.walk() if include(node)])

    def document() -> tuple[etree._Element, dict[etree._Element, Node]]:
        return build_document(_document_roots(nodes) if whole else nodes, include, texts=texts)

    return [
        (owner[node.ref.bus], node)
        for node in locators.match(strategy, expression, nodes, include, document, whole=whole)
    ]  # fmt: skip


def _include(session: Session, starts: Iterable[Node]) -> Callable[[Node], bool]:
    inside = {root.ref for root in starts}
    tops = {node.ref for mirror in session.mirrors for node in mirror.root.children}

    def include(node: Node) -> bool:
        # Of an application's windows only those that are looked in; with the application itself a root, all of
        # them.
        if node.ref in tops and node.ref not in inside and not any(m.root.ref in inside for m in session.mirrors):
            return False
        return included(session, node)

    return include


def _document_roots(nodes: list[Node]) -> list[Node]:
    above: dict[Ref, Node] = {}
    for node in nodes:
        root = node if node.parent is None else node.parent
        above[root.ref] = root
    return list(above.values())


async def identify(session: Session, nodes: Iterable[Node]) -> None:
    """Ask for the accessible ids of those nodes that were not asked yet."""
    fresh = [n for n in nodes if n.identifier is None and n.ref.bus not in session.no_identifier]
    if not fresh:
        return
    first = await session.bus.batch([property_call(fresh[0].ref, ACCESSIBLE, "AccessibleId")])
    if isinstance(first[0], AtspiError) and not first[0].gone:
        session.no_identifier.add(fresh[0].ref.bus)  # Qt 5, GTK 2
        answers = await session.bus.batch([Call(node.ref, ACCESSIBLE, "GetAttributes") for node in fresh])
        for node, answer in zip(fresh, answers, strict=True):
            node.identifier = "" if isinstance(answer, AtspiError) else str(answer.get("id", ""))
        return
    answers = await session.bus.batch([property_call(node.ref, ACCESSIBLE, "AccessibleId") for node in fresh])
    for node, answer in zip(fresh, answers, strict=True):
        node.identifier = str(property_value(answer, ""))


async def texts_of(session: Session, nodes: list[Node]) -> dict[Node, str]:
    """The texts of those of the nodes that hold text."""
    holders = [node for node in nodes if node.offers(TEXT)]
    answers = await session.bus.batch([Call(node.ref, TEXT, "GetText", "ii", (0, -1)) for node in holders])
    return {
        node: answer for node, answer in zip(holders, answers, strict=True) if not isinstance(answer, AtspiError)
    }  # fmt: skip


async def source(session: Session) -> str:
    """The tree of the current window (or of all, by lab:scope) as XML, with identifiers, texts and places."""
    await session.gather()
    nodes = [root for _, root in await roots(session, None, None)]
    include = _include(session, nodes)
    listed = [*nodes, *locators.walk_included(nodes, include)]
    await identify(session, listed)
    placed = [node for node in listed if node.offers(COMPONENT)]
    holders = [node for node in listed if node.offers(TEXT)]
    answers = await session.bus.batch(
        [Call(node.ref, COMPONENT, "GetExtents", "u", (0,)) for node in placed]
        + [Call(node.ref, TEXT, "GetText", "ii", (0, -1)) for node in holders]
    )
    rects = {
        node: Rect(*answer) for node, answer in zip(placed, answers, strict=False) if not isinstance(answer, AtspiError)
    }
    texts = {
        node: answer
        for node, answer in zip(holders, answers[len(placed) :], strict=True)
        if not isinstance(answer, AtspiError)
    }
    document, _ = build_document(_document_roots(nodes), include, texts=texts, rects=rects)
    return to_xml(document)
