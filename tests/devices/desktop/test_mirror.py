"""The mirror of an application that is followed by its events beside one that is read anew, on GTK's widget factory."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable

import pytest

from devices.desktop.atspi import Ref
from devices.desktop.capabilities import Settings
from devices.desktop.finding import find
from devices.desktop.interact import Interaction
from devices.desktop.mirror import Mirror
from devices.desktop.session import Session
from devices.desktop.tree import Item, Reading, Tree

Shape = dict[Ref, tuple[str, str, bool, tuple[Ref, ...]]]


def shape(mirror: Mirror) -> Shape:
    """Role, name, whether it shows, and the children of each object."""
    return {
        node.ref: (node.role, node.name, node.has("showing"), tuple(child.ref for child in node.children))
        for node in mirror.root.walk()
        if node is not mirror.root
    }


async def in_factory(work: Callable[[Session, Interaction, Mirror], Awaitable[None]]) -> None:
    settings = Settings(command=("gtk3-widget-factory",), implicit_s=20.0, scope="application")
    session = await Session.start("test-of-the-mirror", settings)
    try:
        await work(session, Interaction(session), session.mirrors[0])
    finally:
        await session.end()


async def press(session: Session, hand: Interaction, role: str, name: str, how: str) -> None:
    (number,) = await find(session, "xpath", f"//{role}[@name='{name}']", None, many=False)
    await hand.click(*await session.element(number), how)


def test_what_is_followed_is_what_is_read() -> None:
    async def work(session: Session, hand: Interaction, followed: Mirror) -> None:
        anew = Mirror(session.bus, followed.root.ref, followed.pid)
        for role, name, how in (
            ("toggle-button", "togglebutton", "pointer"),
            ("page-tab", "page 2", "pointer"),
            ("radio-button", "Page 2", "action"),  # a page that GTK makes known without a word
            ("radio-button", "Page 1", "action"),
            ("push-button", "Sans Regular", "pointer"),  # opens a dialog of a hundred objects
            ("push-button", "Cancel", "action"),  # closes it
            ("toggle-button", "Menu", "pointer"),
        ):
            await press(session, hand, role, name, how)

            async def same() -> bool | None:
                anew.doubt()
                await anew.refresh()
                await followed.follow()
                return True if shape(followed) == shape(anew) else None

            assert await session.until(same, 30), f"after {how} on {role} {name!r}"

    asyncio.run(in_factory(work))


def test_a_click_that_changes_no_structure_costs_no_whole_read() -> None:
    async def work(session: Session, hand: Interaction, followed: Mirror) -> None:
        assert sum(1 for _ in followed.root.walk()) >= 200
        (box,) = (await find(session, "xpath", "//check-box[@sensitive][not(@checked)]", None, many=True))[:1]
        reads = followed.reads
        for checked in (True, False):
            await hand.click(*await session.element(box), "pointer")
            assert await find(session, "name", "Inset", None, many=False)
            _, node = await session.element(box)
            assert node.has("checked") is checked
        assert followed.reads == reads

    asyncio.run(in_factory(work))


def test_pages_that_are_turned_cost_no_whole_read_once_they_are_known() -> None:
    async def work(session: Session, hand: Interaction, followed: Mirror) -> None:
        def label(page: int) -> str:
            return {1: "Inset", 2: "Bottom"}[page]

        async def turn(page: int) -> None:
            (button,) = await find(session, "name", f"Page {page}", None, many=False)
            await hand.click(*await session.element(button), "action")
            assert await find(session, "name", label(page), None, many=False)

        for page in (2, 1):
            await turn(page)
        reads = followed.reads
        for page in (2, 1, 2):
            await turn(page)
        assert followed.reads == reads
        anew = Mirror(session.bus, followed.root.ref, followed.pid)
        await anew.refresh()
        await followed.follow()
        assert shape(followed) == shape(anew)

    asyncio.run(in_factory(work))


def test_a_name_that_changes_without_a_word_is_seen() -> None:
    async def work(session: Session, hand: Interaction, _: Mirror) -> None:
        (button,) = await find(session, "name", "Sans Regular", None, many=False)
        await hand.click(*await session.element(button), "pointer")
        await press(session, hand, "table-cell", "Sans Bold", "pointer")
        await press(session, hand, "push-button", "Select", "pointer")
        assert await find(session, "name", "Sans Bold", None, many=False) == [button]
        session.implicit_s = 0.0
        assert await find(session, "name", "Sans Regular", None, many=True) == []

    asyncio.run(in_factory(work))


# The tree itself


def ref(name: str) -> Ref:
    return Ref(":1.1", f"/{name}")


def reading(**lists: str) -> Reading:
    """Objects of one letter each, and the lists of children of some."""
    names = {*lists, *itertools.chain(*lists.values())}
    items = {ref(name): Item(ref(name), "panel", name, "", 0, frozenset()) for name in names}
    return Reading(items, {ref(name): [ref(child) for child in children] for name, children in lists.items()})


def drawn(tree: Tree) -> str:
    return " ".join(node.name + "".join(child.name for child in node.children) for node in tree.root.walk())


@pytest.fixture
def tree() -> Tree:
    grown = Tree(ref("r"))
    grown.replace(reading(r="ab", a="cd", b=""))
    return grown


def test_a_list_of_children_replaces_the_one_before(tree: Tree) -> None:
    kept = tree.find(ref("c"))
    tree.amend(reading(a="ec"))
    assert drawn(tree) == "rab aec e c b"
    assert tree.find(ref("c")) is kept
    assert ref("d") not in tree


def test_an_object_that_moved_stands_in_one_place(tree: Tree) -> None:
    tree.amend(reading(a="c", b="d"))
    assert drawn(tree) == "rab ac c bd d"
    moved = tree.find(ref("d"))
    assert moved is not None
    assert moved.parent is tree.find(ref("b"))
    tree.amend(reading(b="dc"))  # the old place has not told yet
    assert drawn(tree) == "rab ac c bd d"


def test_lists_that_go_in_a_circle_end(tree: Tree) -> None:
    tree.amend(reading(c="a", d="r"))
    assert drawn(tree) == "rab acd c d b"


def test_what_is_taken_out_comes_back_as_it_was(tree: Tree) -> None:
    page = tree.find(ref("a"))
    assert not tree.amend(reading(r="b"))
    assert (drawn(tree), ref("c") in tree, tree.recall(ref("a"))) == ("rb b", False, page)
    back = Reading(lists={ref("r"): [ref("a"), ref("b")]})  # its parent names it; nothing else was read
    assert tree.amend(back)
    assert drawn(tree) == "rab acd c d b"
    assert tree.find(ref("a")) is page


def test_what_a_whole_reading_has_without_a_place_may_come_back_too(tree: Tree) -> None:
    tree.replace(reading(r="b", x="y"))
    tree.amend(Reading(lists={ref("b"): [ref("x")]}))
    assert drawn(tree) == "rb bx xy y"


def test_what_hangs_on_nothing_is_no_part_of_it(tree: Tree) -> None:
    tree.replace(reading(r="b", x="y"))
    assert drawn(tree) == "rb b"
    assert [name for name in "rabcdxy" if ref(name) in tree] == ["r", "b"]
