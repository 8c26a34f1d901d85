"""Reading an application's accessible tree: in bulk from its cache, and object by object what that leaves out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from devices.desktop.atspi import (
    ACCESSIBLE,
    CACHE,
    CACHE_PATH,
    NULL_PATH,
    AtspiBus,
    AtspiError,
    Call,
    Ref,
    property_call,
    property_value,
    states_of,
)
from devices.desktop.names import WINDOW_ROLES, has_state, role_name
from devices.desktop.tree import Item, Node, Reading, Tree

_OPEN_ROLES = WINDOW_ROLES | {"application"}


class Reader:
    """Reads one application. `cached`: whether it serves Cache.GetItems; None before the first whole read."""

    def __init__(self, bus: AtspiBus, tree: Tree) -> None:
        self.cached: bool | None = None
        self._bus = bus
        self._tree = tree
        # What the cache did not tell the last time is asked for together with it: a round trip instead of one a level.
        self._left_out: list[Ref] = []
        self._miscounted: list[Ref] = []

    async def whole(self) -> Reading | None:
        """All objects of the application; None when its root is gone. Raises as `AtspiBus.batch` does."""
        reading = Reading()
        root = self._tree.root.ref
        if self.cached is False:
            await self._descend(reading, objects=[root], known=lambda _: False)
        else:
            await self._whole_from_cache(reading, root)
        return reading if root in reading.items else None

    async def _whole_from_cache(self, reading: Reading, root: Ref) -> None:
        lists = [root, *(ref for ref in self._miscounted if ref in self._tree)]
        objects = [ref for ref in self._left_out if ref in self._tree]
        calls = [Call(Ref(root.bus, CACHE_PATH), CACHE, "GetItems"), *self._calls(lists, objects)]
        rows, *answers = await self._bus.batch(calls)
        # The ATK bridge serves its cache only from the first question on that it answers.
        self.cached = not isinstance(rows, AtspiError) and bool(rows)
        if not self.cached:
            await self._descend(reading, objects=[root], known=lambda _: False)
            return
        self._take(reading, iter(answers), lists, objects)
        claimed: dict[Ref, list[tuple[int, Ref]]] = {}
        counts: dict[Ref, int] = {}
        for row in rows:
            item = Item(Ref(*row[0]), role_name(row[7]), row[6], row[8], states_of(row[9]), frozenset(row[5]))
            reading.items[item.ref] = item
            counts[item.ref] = row[4]
            claimed.setdefault(Ref(*row[2]), []).append((row[3], item.ref))
        # The ATK bridge's cache knows no widget made after the first read: its parent has more children than the rows.
        unsure = [ref for ref, count in counts.items() if count not in (0, len(claimed.get(ref, ())))]
        for ref in counts.keys() - unsure - reading.lists.keys():
            reading.lists[ref] = [child for _, child in sorted(claimed.get(ref, ()), key=lambda child: child[0])]
        named = dict.fromkeys(child for children in reading.lists.values() for child in children)
        await self._descend(
            reading,
            lists=[ref for ref in unsure if ref not in reading.lists],
            objects=[ref for ref in (root, *named) if ref not in reading.items],
            known=lambda ref: ref in reading.items,
        )
        self._miscounted = unsure
        self._left_out = [ref for ref in reading.items if ref not in counts]

    async def below(self, parents: list[Ref]) -> Reading:
        """The lists of children of these objects, with all objects that are new in them."""
        reading = Reading()
        await self._descend(
            reading, lists=parents, known=lambda ref: ref in reading.items or self._tree.recall(ref) is not None
        )
        return reading

    async def _descend(
        self,
        reading: Reading,
        *,
        lists: Sequence[Ref] = (),
        objects: Sequence[Ref] = (),
        known: Callable[[Ref], bool],
    ) -> None:
        """Read what is asked for and then, level by level, every object that is in a list and not known."""
        while lists or objects:
            answers = await self._bus.batch(self._calls(lists, objects))
            self._take(reading, iter(answers), lists, objects)
            asked = [*lists, *(ref for ref in objects if ref in reading.items)]
            fresh = [child for ref in asked for child in reading.lists.get(ref, []) if not known(child)]
            lists, objects = (), list(dict.fromkeys(fresh))

    def _calls(self, lists: Sequence[Ref], objects: Sequence[Ref]) -> list[Call]:
        calls = [Call(ref, ACCESSIBLE, "GetChildren") for ref in lists]
        for ref in objects:
            calls += [Call(ref, ACCESSIBLE, "GetState"), Call(ref, ACCESSIBLE, "GetChildren")]
            if self._unfamiliar(self._tree.recall(ref)):
                calls += [
                    property_call(ref, ACCESSIBLE, "Name"),
                    property_call(ref, ACCESSIBLE, "Description"),
                    Call(ref, ACCESSIBLE, "GetRole"),
                    Call(ref, ACCESSIBLE, "GetInterfaces"),
                ]
        return calls

    def _take(self, reading: Reading, answers: Iterator[Any], lists: Sequence[Ref], objects: Sequence[Ref]) -> None:
        """Put the answers to `_calls` with the same arguments into the reading."""
        for ref in lists:
            reading.lists[ref] = _children(next(answers))
        for ref in objects:
            state, children = next(answers), _children(next(answers))
            node = self._tree.recall(ref)
            if node is None or self._unfamiliar(node):
                name, description = property_value(next(answers), ""), property_value(next(answers), "")
                role, interfaces = next(answers), next(answers)
                shape = ("unknown" if isinstance(role, AtspiError) else role_name(role), name, description)
                offered = frozenset() if isinstance(interfaces, AtspiError) else frozenset(interfaces)
            else:
                shape, offered = (node.role, node.name, node.description), node.interfaces
            if isinstance(state, AtspiError):
                continue  # gone between its parent's answer and our question
            item = Item(ref, *shape, states_of(state), offered)
            reading.items[ref] = item
            if self._worth_descending(item):
                reading.lists[ref] = children

    def _unfamiliar(self, node: Node | None) -> bool:
        # Applications with a cache tell of new names and descriptions by events.
        return node is None or node is self._tree.root or self.cached is False

    def _worth_descending(self, item: Item) -> bool:
        # A toolkit without a cache is walked object by object: its closed menus, often most of the tree, are left
        # closed.
        return self.cached is not False or has_state(item.states, "showing") or item.role in _OPEN_ROLES


def _children(answer: Any) -> list[Ref]:
    if isinstance(answer, AtspiError):
        return []
    return [Ref(*child) for child in answer if child[1] != NULL_PATH]
