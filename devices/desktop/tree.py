"""An application's accessible tree as last seen, and how what was read becomes part of it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from devices.desktop.atspi import Ref
from devices.desktop.names import has_state


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


@dataclass(frozen=True, slots=True)
class Item:
    """What one read brought of an object."""

    ref: Ref
    role: str
    name: str
    description: str
    states: int
    interfaces: frozenset[str]


@dataclass(slots=True)
class Reading:
    """What a read brought: objects, and lists of children by their parent."""

    items: dict[Ref, Item] = field(default_factory=dict)
    lists: dict[Ref, list[Ref]] = field(default_factory=dict)


# Objects that hang on nothing and are kept in mind. An application that makes new ones all the time is forgotten there.
_MOST_APART = 5_000


class Tree:
    """The objects below one root. An object read again stays the same `Node`.

    What was taken out of the tree is kept in mind with what is below it: applications take pages out and put them back.
    """

    def __init__(self, root: Ref) -> None:
        self.root = Node(root, role="application")
        self._nodes: dict[Ref, Node] = {root: self.root}
        self._apart: dict[Ref, Node] = {}

    def __contains__(self, ref: object) -> bool:
        return ref in self._nodes

    def __len__(self) -> int:
        return len(self._nodes)

    def find(self, ref: Ref) -> Node | None:
        """The node of this reference, if the tree has it."""
        return self._nodes.get(ref)

    def recall(self, ref: Ref) -> Node | None:
        """The node of this reference, also if it was taken out of the tree."""
        return self._nodes.get(ref) or self._apart.get(ref)

    def replace(self, reading: Reading) -> None:
        """Take a reading of the whole application for all there is. It must hold the root."""
        nodes = {ref: self._node(item) for ref, item in reading.items.items()}
        for node in nodes.values():
            node.parent, node.children = None, []
        self._nodes = nodes
        self._hang(reading.lists)

    def amend(self, reading: Reading) -> bool:
        """Take a reading of parts into account; what no list of children names any more goes.

        True when something came back that had been taken out, as it was then and as its events have told since.
        """
        for ref, item in reading.items.items():
            self._nodes[ref] = self._node(item)
        return self._hang(reading.lists)

    def _node(self, item: Item) -> Node:
        node = self.recall(item.ref) or Node(item.ref)
        node.role, node.name, node.description = item.role, item.name, item.description
        node.states, node.interfaces = item.states, item.interfaces
        return node

    def _hang(self, lists: dict[Ref, list[Ref]]) -> bool:
        for parent, refs in lists.items():
            if (node := self._nodes.get(parent)) is not None:
                node.children = [child for ref in refs if (child := self.recall(ref)) is not None]
        # What hangs on nothing (closed popups that a cache still lists) is no part of the tree, and an object that two
        # lists name has the first place only: between two events an application may show it in its old place too.
        self.root = self._nodes[self.root.ref]
        found = {self.root.ref: self.root}
        stack = [self.root]
        while stack:
            node = stack.pop()
            kept = []
            for child in node.children:
                if child.ref not in found:
                    found[child.ref] = child
                    child.parent = node
                    kept.append(child)
            node.children = kept
            stack.extend(reversed(kept))
        known = len(self._apart)
        self._apart = {ref: node for ref, node in self._apart.items() if ref not in found}
        came_back = len(self._apart) < known
        self._apart |= {ref: node for ref, node in self._nodes.items() if ref not in found}
        if len(self._apart) > _MOST_APART:
            self._apart.clear()
        self._nodes = found
        return came_back
