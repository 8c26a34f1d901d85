"""A mirror of one application's accessible tree: read in bulk, kept right by events, read again only when they say
so.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from devices.desktop.atspi import (
    ACCESSIBLE,
    CACHE,
    CACHE_PATH,
    NULL_PATH,
    AtspiBus,
    AtspiError,
    Call,
    Event,
    Ref,
    property_call,
    property_value,
    states_of,
)
from devices.desktop.names import STATE_BIT, WINDOW_ROLES, has_state, role_name
from devices.webdriver import WebDriverError

# Without Cache.GetItems (Qt 5) an application's events are known to be incomplete: such a mirror is also read again
# after this.
UNCACHED_AGE_S = 0.1

# States that say where an element stands in the tree's visible part; the others are set in place.
_STRUCTURE_STATES = frozenset({"showing", "visible", "defunct"})


@dataclass(eq=False, slots=True)
class Node:
    """One accessible object as last seen. `states` is the 64-bit state set of AT-SPI."""

    ref: Ref
    role: str = "unknown"
    name: str = ""
    description: str = ""
    states: int = 0
    interfaces: frozenset[str] = frozenset()
    parent: Node | None = field(default=None, repr=False)
    children: list[Node] = field(default_factory=list, repr=False)
    identifier: str | None = None  # the accessible id; None: not asked for yet

    def has(self, state: str) -> bool:
        """Whether it is in the state of this name."""
        return has_state(self.states, state)

    def offers(self, interface: str) -> bool:
        """Whether it implements the AT-SPI interface."""
        return interface in self.interfaces

    def walk(self) -> Iterator[Node]:
        """Itself and everything below it, in document order."""
        stack = [self]
        while stack:
            node = stack.pop()
            yield node
            stack.extend(reversed(node.children))

    def window(self) -> Node | None:
        """The top level it belongs to; None for the application's root."""
        node: Node | None = self
        while node is not None and node.parent is not None and node.parent.parent is not None:
            node = node.parent
        return node if node is not None and node.parent is not None else None


@dataclass(slots=True)
class _Item:
    """What one read brought of an object, before it is part of a tree."""

    ref: Ref
    parent: Ref | None
    index: int
    child_count: int  # -1: the application does not say
    interfaces: frozenset[str]
    name: str
    role: str
    description: str
    states: int


class Mirror:
    """The tree of one application on the accessibility bus.

    `changed` is set whenever an event of the application arrives; whoever waits clears it first and looks again after
    it.
    """

    def __init__(self, bus: AtspiBus, root: Ref, pid: int | None) -> None:
        self.bus = bus
        self.root = Node(root, role="application")
        self.pid = pid
        self.alive = True
        self.reads = 0  # whole reads so far
        self._nodes: dict[Ref, Node] = {root: self.root}
        self._listed: dict[Ref, list[Ref]] = {}  # answers of GetChildren that no event has outdated
        self._stale = True
        self._read_at = 0.0
        self._cached: bool | None = None  # whether the application serves Cache.GetItems

    def __repr__(self) -> str:
        return f"{self.root.name or 'application'} (process {self.pid})"

    def on_event(self, event: Event) -> None:
        """Take one event of this application into account."""
        node = self._nodes.get(event.ref)
        detail = str(event.body[0]) if event.body else ""
        match event.kind:
            case "Object.StateChanged":
                if node is not None and detail in STATE_BIT:
                    bit = STATE_BIT[detail]
                    node.states = node.states | bit if event.body[1] else node.states & ~bit
                if detail in _STRUCTURE_STATES:
                    self._stale = True
            case "Object.PropertyChange":
                value = event.body[3].value
                if node is not None and detail == "accessible-name" and isinstance(value, str):
                    node.name = value
                elif node is not None and detail == "accessible-description" and isinstance(value, str):
                    node.description = value
                elif detail in ("accessible-name", "accessible-role", "accessible-parent", "accessible-description"):
                    self._stale = True
            case "Object.ChildrenChanged":
                self._listed.pop(event.ref, None)
                self._stale = True
            case kind if kind.startswith("Window."):
                self._stale = True

    def mark_stale(self) -> None:
        """Have the next `refresh` read the tree again, children lists included."""
        self._listed.clear()
        self._stale = True

    def find(self, ref: Ref) -> Node | None:
        """The node of this reference, if the tree has it."""
        return self._nodes.get(ref)

    def windows(self) -> list[Node]:
        """The top levels that are windows to a user, in the application's order."""
        return [node for node in self.root.children if node.role in WINDOW_ROLES and not self._is_popup(node)]

    def popups(self) -> list[Node]:
        """The other top levels: menus, lists of combo boxes, tool tips."""
        return [node for node in self.root.children if node.role not in WINDOW_ROLES or self._is_popup(node)]

    @staticmethod
    def _is_popup(node: Node) -> bool:
        # GTK shows the menu of a combo box and tool tips as a nameless "window".
        return node.role == "window" and not node.name

    async def refresh(self) -> None:
        """Make the mirror as the application is: one round trip when nothing changed, else a bulk read.

        Raises WebDriverError "no such window" when the application has ended, "timeout" when it hangs.
        """
        if not self.alive:
            raise self.ended()
        try:
            # Replies and events of an application come in order: after this answer all earlier events have arrived.
            states = await self.bus.call(self.root.ref, ACCESSIBLE, "GetState")
        except AtspiError as error:
            if error.gone:
                self.alive = False
                raise self.ended() from error
            raise
        self.root.states = states_of(states)
        outdated = self._cached is False and time.monotonic() - self._read_at > UNCACHED_AGE_S
        if self._stale or outdated:
            await self._read()

    def ended(self) -> WebDriverError:
        """The error for anything asked of an application that is no longer there."""
        return WebDriverError("no such window", f"the application {self!r} has ended")

    async def _read(self) -> None:
        for _ in range(3):
            self._stale = False
            if self._cached is not False:
                items = await self._read_cache()
            if self._cached is False:
                self._listed.clear()
                items = {}
            self._read_at = time.monotonic()
            await self._complete(items)
            self._build(items)
            self.reads += 1
            if not self._stale:
                return

    async def _read_cache(self) -> dict[Ref, _Item]:
        try:
            rows = await self.bus.call(Ref(self.root.ref.bus, CACHE_PATH), CACHE, "GetItems")
        except AtspiError as error:
            if error.gone and error.name.endswith(("NoReply", "ServiceUnknown", "NameHasNoOwner")):
                self.alive = False
                raise self.ended() from error
            # The ATK bridge serves its cache only from the first question on that it answers.
            rows = []
        if not rows:
            self._cached = False
            return {}
        self._cached = True
        items = [
            _Item(
                Ref(*row[0]), Ref(*row[2]), row[3], row[4], frozenset(row[5]), row[6], role_name(row[7]), row[8],
                states_of(row[9]),
            )
            for row in rows
        ]  # fmt: skip
        return {item.ref: item for item in items}

    async def _complete(self, items: dict[Ref, _Item]) -> None:
        """Read one by one what the bulk read left out: the ATK bridge's cache knows no widget made after the first
        read.
        """
        counts: dict[Ref, int] = {}
        for item in items.values():
            if item.parent is not None:
                counts[item.parent] = counts.get(item.parent, 0) + 1
        if self.root.ref not in items:
            items[self.root.ref] = await self._read_one(self.root.ref)
        unsure = [
            item.ref
            for item in items.values()
            if item.child_count != counts.get(item.ref, 0) and not _childless(item)
        ]  # fmt: skip
        while unsure:
            fresh = [ref for ref in unsure if ref not in self._listed]
            answers = await self.bus.batch([Call(ref, ACCESSIBLE, "GetChildren") for ref in fresh])
            for ref, answer in zip(fresh, answers, strict=True):
                if isinstance(answer, AtspiError):
                    self._listed[ref] = []
                else:
                    self._listed[ref] = [Ref(*child) for child in answer if child[1] != NULL_PATH]
            missing = [(child, ref) for ref in unsure for child in self._listed[ref] if child not in items]
            found = await self._read_many([child for child, _ in missing], dict(missing))
            items.update({item.ref: item for item in found})
            unsure = [item.ref for item in found if item.child_count != 0 and self._worth_descending(item)]

    def _worth_descending(self, item: _Item) -> bool:
        # A toolkit without a cache is walked object by object: its closed menus, often most of the tree, are left
        # closed.
        return self._cached is True or has_state(item.states, "showing") or item.role in WINDOW_ROLES

    async def _read_one(self, ref: Ref) -> _Item:
        found = await self._read_many([ref], {})
        if not found:
            self.alive = False
            raise self.ended()
        return found[0]

    async def _read_many(self, refs: list[Ref], parents: dict[Ref, Ref]) -> list[_Item]:
        known = [self._nodes.get(ref) for ref in refs]
        calls: list[Call] = []
        for ref, node in zip(refs, known, strict=True):
            calls.append(Call(ref, ACCESSIBLE, "GetState"))
            if self._unknown(node):
                calls.append(property_call(ref, ACCESSIBLE, "Name"))
                calls.append(property_call(ref, ACCESSIBLE, "Description"))
                calls.append(Call(ref, ACCESSIBLE, "GetRole"))
                calls.append(Call(ref, ACCESSIBLE, "GetInterfaces"))
        answers = iter(await self.bus.batch(calls))
        found: list[_Item] = []
        for ref, node in zip(refs, known, strict=True):
            states = next(answers)
            if node is None or self._unknown(node):
                name = property_value(next(answers), "")
                description = property_value(next(answers), "")
                role, interfaces = next(answers), next(answers)
                shape: tuple[Any, ...] = (
                    frozenset() if isinstance(interfaces, AtspiError) else frozenset(interfaces),
                    "unknown" if isinstance(role, AtspiError) else role_name(role),
                    description,
                )
            else:
                name, shape = node.name, (node.interfaces, node.role, node.description)
            if isinstance(states, AtspiError):
                continue  # gone between its parent's answer and our question
            found.append(_Item(ref, parents.get(ref), -1, -1, shape[0], name, shape[1], shape[2], states_of(states)))
        return found

    def _unknown(self, node: Node | None) -> bool:
        # Applications with a cache tell of new names and descriptions by events.
        return node is None or node is self.root or self._cached is False

    def _build(self, items: dict[Ref, _Item]) -> None:
        nodes: dict[Ref, Node] = {}
        for item in items.values():
            node = self._nodes.get(item.ref) or Node(item.ref)
            node.role, node.name, node.description = item.role, item.name, item.description
            node.states, node.interfaces = item.states, item.interfaces
            node.parent, node.children = None, []
            nodes[item.ref] = node
        children: dict[Ref, list[_Item]] = {}
        for item in items.values():
            if item.parent is not None and item.parent in nodes:
                children.setdefault(item.parent, []).append(item)
        for parent, below in children.items():
            listed = self._listed.get(parent)
            if listed is not None:
                place = {ref: number for number, ref in enumerate(listed)}
                below = [item for item in below if item.ref in place]  # noqa: PLW2901 - narrowed on purpose
                below.sort(key=lambda item: place[item.ref])
            else:
                below.sort(key=lambda item: item.index)
            nodes[parent].children = [nodes[item.ref] for item in below]
            for node in nodes[parent].children:
                node.parent = nodes[parent]
        root = nodes[self.root.ref]
        # What hangs on nothing (closed popups that the cache still lists) is no part of the tree.
        self._nodes = {node.ref: node for node in root.walk()}
        self.root = root


def _childless(item: _Item) -> bool:
    # Toolkits that say nothing of their number of children say it of containers only.
    return item.child_count == 0
