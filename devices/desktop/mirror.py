"""A mirror of one application's accessible tree: kept right by its events, checked after input, read again where those
are not enough.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from devices.desktop.atspi import ACCESSIBLE, COLLECTION, AtspiBus, AtspiError, Call, Event, Ref, states_of
from devices.desktop.names import STATE_BIT, WINDOW_ROLES
from devices.desktop.reading import Reader
from devices.desktop.tree import Node, Tree
from devices.webdriver import WebDriverError

# Without Cache.GetItems (Qt) an application's events are known to be incomplete: such a mirror is also read again
# after this.
UNCACHED_AGE_S = 0.1
# An application that changes all the time is not waited for: so many reads, and the answer is of the last one.
ROUNDS = 3

# What changes for all that is below an element too, without a word of it.
_STRUCTURE_STATES = frozenset({"showing", "visible"})
# Collection.GetMatches for all objects that show: a match rule (states, attributes, roles, interfaces, each with how
# they match; inverted), the canonical order, no limit, the whole depth.
_ALL, _CANONICAL = 1, 1
_SHOWING = STATE_BIT["showing"]
_SHOWING_RULE = [[_SHOWING & 0xFFFFFFFF, _SHOWING >> 32], _ALL, {}, _ALL, [], _ALL, [], _ALL, False]
_SHOWING_QUERY = (_SHOWING_RULE, _CANONICAL, 0, True)


class Mirror:
    """The tree of one application on the accessibility bus.

    An application whose objects offer Collection (the ATK bridge: GTK 2 and 3, and what else speaks ATK) is believed
    its events, and after input asked which objects show, in one question. Any other is read again.
    """

    def __init__(self, bus: AtspiBus, root: Ref, pid: int | None) -> None:
        self.bus = bus
        self.pid = pid
        self.alive = True
        self.reads = 0  # whole reads so far
        self._tree = Tree(root)
        self._reader = Reader(bus, self._tree)
        self._unread = True  # has to be read whole
        self._unlisted: set[Ref] = set()  # their children changed
        self._unchecked = False  # which objects show is to be asked
        self._doubted = False  # input was made since the last whole read
        self._read_at = 0.0
        self._backlog: list[Event] | None = None  # events that came while something was read

    def __repr__(self) -> str:
        return f"{self.root.name or 'application'} (process {self.pid})"

    @property
    def root(self) -> Node:
        """The application itself."""
        return self._tree.root

    @property
    def doubted(self) -> bool:
        """Whether the next `refresh` reads more than `follow` does."""
        return self._doubted or self._unread

    def on_event(self, event: Event) -> None:
        """Take one event of this application into account."""
        if self._backlog is not None:
            self._backlog.append(event)
        node = self._tree.recall(event.ref)
        detail = str(event.body[0]) if event.body else ""
        match event.kind:
            case "Object.StateChanged":
                self._on_state(node, detail, on=bool(event.body[1]))
            case "Object.PropertyChange":
                value = event.body[3].value
                if node is not None and detail == "accessible-name" and isinstance(value, str):
                    node.name = value
                elif node is not None and detail == "accessible-description" and isinstance(value, str):
                    node.description = value
                elif node is not None and detail == "accessible-parent":
                    self._on_parent(node, value)
                elif detail in ("accessible-name", "accessible-role", "accessible-parent", "accessible-description"):
                    self._unread = True
            case "Object.ChildrenChanged":
                self._unlisted.add(event.ref)
            case "Window.Activate" | "Window.Deactivate":
                self._on_state(node, "active", on=event.kind == "Window.Activate")
            case kind if kind.startswith("Window."):
                self._unlisted.add(self.root.ref)
                self._unchecked = True

    def _on_parent(self, node: Node, parent: Any) -> None:
        """An object hangs elsewhere now: the lists of both places have changed."""
        self._unlisted.add(Ref(*parent))
        if node.parent is not None:
            self._unlisted.add(node.parent.ref)

    def _on_state(self, node: Node | None, state: str, *, on: bool) -> None:
        if node is not None and state in STATE_BIT:
            node.states = node.states | STATE_BIT[state] if on else node.states & ~STATE_BIT[state]
        if state in _STRUCTURE_STATES:
            self._unchecked = True
        elif state == "defunct" and node is not None and node.parent is not None:
            self._unlisted.add(node.parent.ref)

    def doubt(self) -> None:
        """Note that input was made, of whose effects the application may not tell all."""
        self._unchecked = self._doubted = True

    def check(self) -> None:
        """Have the next `follow` ask which objects show."""
        self._unchecked = True

    def find(self, ref: Ref) -> Node | None:
        """The node of this reference, if the tree has it."""
        return self._tree.find(ref)

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
        """Make the mirror as the application is, in all that it holds; raises as `follow` does."""
        self._unread |= self._doubted
        await self.follow()

    async def follow(self) -> None:
        """Make the mirror as the application is in structure, names and what shows; in other states as it has told.

        One round trip when nothing changed. Raises WebDriverError "no such window" when the application has ended,
        "timeout" when it hangs.
        """
        if not self.alive:
            raise self.ended()
        for _ in range(ROUNDS):
            checking = self._unchecked and self._believable
            showing = await self._synchronise(checking=checking)
            sure = not self._to_be_read()
            if sure:
                await self._mend(checking=checking)
                sure = not checking or self._agrees(showing)
            if not sure:
                await self._read_whole()
            if not sure or not self._unchecked:
                return

    @property
    def _believable(self) -> bool:
        return self._reader.cached is True and any(node.offers(COLLECTION) for node in (self.root, *self.root.children))

    def _to_be_read(self) -> bool:
        if self._unread or (self._reader.cached is False and time.monotonic() - self._read_at > UNCACHED_AGE_S):
            return True
        return not self._believable and bool(self._unchecked or self._unlisted)

    async def _synchronise(self, *, checking: bool) -> Any:
        """Have all earlier events arrive, as replies and events of an application come in order; what shows, if asked
        for.
        """
        calls = [Call(self.root.ref, ACCESSIBLE, "GetState")]
        if checking:
            calls.append(Call(self.root.ref, COLLECTION, "GetMatches", "(aiia{ss}iaiiasib)uib", _SHOWING_QUERY))
            self._unchecked = False  # unless an event says so before the answer
        try:
            states, *showing = await self.bus.batch(calls)
        except BaseException:
            self._unchecked |= checking
            raise
        if isinstance(states, AtspiError):
            if states.gone:
                self.alive = False
                raise self.ended() from states
            raise states
        self.root.states = states_of(states)
        return showing[0] if showing else None

    async def _mend(self, *, checking: bool) -> None:
        """Read again what events have outdated. `checking`: what shows has been asked and is compared after this."""
        for _ in range(ROUNDS):
            lists = [ref for ref in self._unlisted if ref in self._tree]
            # What is apart is read when it comes back.
            self._unlisted = {ref for ref in self._unlisted - set(lists) if self._tree.recall(ref) is not None}
            if not lists:
                return
            with self._replaying():
                came_back = self._tree.amend(await self._reader.below(lists))
            if came_back and not checking:
                self._unchecked = True

    async def _read_whole(self) -> None:
        for _ in range(ROUNDS):
            self._unread = False
            self._unlisted.clear()
            self._unchecked = self._doubted = False
            with self._replaying():
                reading = await self._reader.whole()
                if reading is None:
                    self.alive = False
                    raise self.ended()
                self._tree.replace(reading)
            self._read_at = time.monotonic()
            self.reads += 1
            if not self._to_be_read():
                await self._mend(checking=False)
                return

    @contextmanager
    def _replaying(self) -> Iterator[None]:
        """Take the events that come meanwhile into account once more after the reading, which may be older."""
        backlog = self._backlog = []
        try:
            yield
        except BaseException:
            self._unread = True
            raise
        finally:
            self._backlog = None
        for event in backlog:
            self.on_event(event)

    def _agrees(self, showing: Any) -> bool:
        """Set which objects show as the application says; False when it shows objects that the tree lacks."""
        if isinstance(showing, AtspiError):
            return False
        refs = {Ref(*each) for each in showing}
        if any(ref not in self._tree for ref in refs):
            return False
        for node in self.root.walk():
            if node is not self.root:
                node.states = node.states | _SHOWING if node.ref in refs else node.states & ~_SHOWING
        return True

    def ended(self) -> WebDriverError:
        """The error for anything asked of an application that is no longer there."""
        return WebDriverError("no such window", f"the application {self!r} has ended")
