"""Reasons to think that an element of an old tree and one of a new tree are the same, and what each is worth.

After S. McMaster and A. Memon, "An Extensible Heuristic-Based Framework for GUI Test Case Maintenance" (2009): an
ordered set of heuristics, which anybody may extend. Each says for a pair whether it holds; its weight is how much that
says, in log-odds, so that independent reasons add up and contradictions subtract.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from devices.healing.tree import Node

# Below this two labels are different words, not a rename.
_SIMILAR = 0.6
_NEAR_PX = 8.0
_MOSTLY = 0.5


@dataclass(frozen=True)
class Known:
    """What is known while pairs are made: the pairs so far, old to new."""

    pairs: Mapping[Node, Node]

    def same(self, old: Node | None, new: Node | None) -> bool:
        """Whether both are known as one element, or are nothing."""
        return new is None if old is None else self.pairs.get(old) is new

    def paired(self, old: Node | None, new: Node | None) -> bool:
        """Whether both exist and are known as one element."""
        return old is not None and new is not None and self.pairs.get(old) is new


class Ground(StrEnum):
    """What a heuristic looks at. Reasons on one ground say much the same, so the strongest counts whole and the others
    a little."""

    IDENTITY = "identity"
    WORDS = "words"
    CONTENT = "content"
    STRUCTURE = "structure"
    PLACE = "place"


@dataclass(frozen=True)
class Heuristic:
    """`holds(old, new, known)`. `weight`: log-odds in favour when it does, negative for a contradiction. `pairs`: it
    may make a pair by itself; the others only add evidence. `same_kind`: it holds for elements of one kind only, so no
    others are tried.
    """

    name: str
    ground: Ground
    weight: float
    holds: Callable[[Node, Node, Known], bool]
    pairs: bool = True
    same_kind: bool = True


def same_id(old: Node, new: Node, _known: Known) -> bool:
    return bool(old.id_words) and old.id == new.id


def same_id_words(old: Node, new: Node, _known: Known) -> bool:
    """The same id but for case, punctuation, a package or a prefix such as "btn"."""
    return bool(old.id_words) and old.id_words == new.id_words and old.kind == new.kind


def same_label(old: Node, new: Node, _known: Known) -> bool:
    return bool(old.label) and old.label == new.label and old.kind == new.kind


def same_name(old: Node, new: Node, _known: Known) -> bool:
    return bool(old.name) and old.name == new.name and old.kind == new.kind


def same_words(old: Node, new: Node, _known: Known) -> bool:
    """The same label but for case, punctuation and marks."""
    return bool(old.words) and old.words == new.words and old.kind == new.kind


def similar_id(old: Node, new: Node, _known: Known) -> bool:
    return old.kind == new.kind and _alike(old.id_words, new.id_words)


def similar_label(old: Node, new: Node, _known: Known) -> bool:
    return old.kind == new.kind and _alike(old.words, new.words)


def same_label_beside(old: Node, new: Node, known: Known) -> bool:
    """The element before it, which captions it, is the same."""
    return old.kind == new.kind and known.paired(old.sibling(-1), new.sibling(-1))


def same_after(old: Node, new: Node, known: Known) -> bool:
    return old.kind == new.kind and known.paired(old.sibling(1), new.sibling(1))


def same_neighbours(old: Node, new: Node, known: Known) -> bool:
    """Between the same two elements, or the same one and an end."""
    before, after = old.sibling(-1), old.sibling(1)
    if before is None and after is None:
        return False
    return (
        same_parent(old, new, known) and known.same(before, new.sibling(-1)) and known.same(after, new.sibling(1))
    )  # fmt: skip


def same_parent(old: Node, new: Node, known: Known) -> bool:
    if old.parent is None or new.parent is None:
        return old.parent is new.parent is None
    return known.paired(old.parent, new.parent)


def same_content(old: Node, new: Node, _known: Known) -> bool:
    """Containers most of whose labels, anywhere below, are the same."""
    return bool(old.children) and old.kind == new.kind and _overlap(old, new) >= _MOSTLY


def other_content(old: Node, new: Node, _known: Known) -> bool:
    """Containers that have labels below, none of them the same."""
    return bool(old.content and new.content) and _overlap(old, new) == 0.0


def other_parent(old: Node, new: Node, known: Known) -> bool:
    """Its parent is known to be another element, or to be gone."""
    if old.parent is None or new.parent is None:
        return False
    partner = known.pairs.get(old.parent)
    return partner is not None and partner is not new.parent


def same_children(old: Node, new: Node, known: Known) -> bool:
    """More than half of its children have gone to the other."""
    if not old.children or not new.children:
        return False
    moved = sum(known.pairs.get(child) in new.children for child in old.children)
    return 2 * moved > max(len(old.children), len(new.children))


def only_child_of_its_kind(old: Node, new: Node, known: Known) -> bool:
    """In the same parent, the one left of its kind on both sides."""
    if old.kind != new.kind or not same_parent(old, new, known) or old.parent is None or new.parent is None:
        return False
    taken = set(known.pairs.values())
    left = [each for each in old.parent.children if each.kind == old.kind and each not in known.pairs]
    right = [each for each in new.parent.children if each.kind == new.kind and each not in taken]
    return left == [old] and right == [new]


def same_position(old: Node, new: Node, _known: Known) -> bool:
    """The same place on the screen."""
    if old.rect is None or new.rect is None or old.kind != new.kind:
        return False
    return abs(old.rect[0] - new.rect[0]) <= _NEAR_PX and abs(old.rect[1] - new.rect[1]) <= _NEAR_PX


def same_place_in_tree(old: Node, new: Node, _known: Known) -> bool:
    return old.path == new.path and old.kind == new.kind


def same_size(old: Node, new: Node, _known: Known) -> bool:
    return old.rect is not None and new.rect is not None and old.rect[2:] == new.rect[2:]


# Contradictions.


def other_kind(old: Node, new: Node, _known: Known) -> bool:
    return old.kind != new.kind


def other_id(old: Node, new: Node, _known: Known) -> bool:
    return bool(old.id_words and new.id_words) and not _alike(old.id_words, new.id_words)


def other_label(old: Node, new: Node, _known: Known) -> bool:
    return bool(old.label and new.label) and not _alike(old.words, new.words)


# In the order of trust. A pair that one makes is not undone by a later one; what looks at places comes last.
STANDARD = (
    Heuristic("same id", Ground.IDENTITY, 4.5, same_id, same_kind=False),
    Heuristic("same id but for case and prefix", Ground.IDENTITY, 3.5, same_id_words),
    Heuristic("same label", Ground.WORDS, 3.0, same_label),
    Heuristic("same content", Ground.CONTENT, 3.0, same_content),
    Heuristic("same name", Ground.WORDS, 2.5, same_name),
    Heuristic("same label but for case and punctuation", Ground.WORDS, 2.8, same_words),
    Heuristic("similar id", Ground.IDENTITY, 2.4, similar_id),
    Heuristic("similar label", Ground.WORDS, 2.2, similar_label),
    Heuristic("most children the same", Ground.CONTENT, 2.5, same_children, same_kind=False),
    Heuristic("after the same element", Ground.STRUCTURE, 2.6, same_label_beside),
    Heuristic("between the same neighbours", Ground.STRUCTURE, 2.6, same_neighbours, same_kind=False),
    Heuristic("the one of its kind left in the same parent", Ground.STRUCTURE, 2.2, only_child_of_its_kind),
    Heuristic("before the same element", Ground.STRUCTURE, 2.0, same_after),
    Heuristic("same position", Ground.PLACE, 1.0, same_position),
    Heuristic("same parent", Ground.STRUCTURE, 1.0, same_parent, pairs=False),
    Heuristic("same place in the tree", Ground.PLACE, 0.6, same_place_in_tree, pairs=False),
    Heuristic("same size", Ground.PLACE, 0.3, same_size, pairs=False),
    Heuristic("another kind of element", Ground.IDENTITY, -3.0, other_kind, pairs=False),
    Heuristic("another id", Ground.IDENTITY, -1.5, other_id, pairs=False),
    Heuristic("another label", Ground.WORDS, -1.5, other_label, pairs=False),
    Heuristic("another content", Ground.CONTENT, -4.5, other_content, pairs=False),
    Heuristic("another parent", Ground.STRUCTURE, -1.0, other_parent, pairs=False),
)


@lru_cache(65536)
def _alike(old: str, new: str) -> bool:
    if not old or not new:
        return False
    if old == new:
        return True
    left, right = set(old.split()), set(new.split())
    if left <= right or right <= left:
        return True
    return difflib.SequenceMatcher(None, old, new, autojunk=False).ratio() >= _SIMILAR


def _overlap(old: Node, new: Node) -> float:
    """Shared labels below two containers, of all of them (Jaccard)."""
    together = old.content | new.content
    return len(old.content & new.content) / len(together) if together else 0.0
