"""Elements of two versions of a tree, classed as maintained, created and deleted: heuristics run to a fixed point.

After McMaster and Memon (2009). Pairs that one heuristic makes are what the next, and the same in the next round, stand
on ("same previous sibling"), so rounds go on until nothing changes.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from devices.healing.heuristics import STANDARD, Ground, Heuristic, Known
from devices.healing.tree import Node, Tree

# Log-odds that any old and any new element are the same, before anything is known of them.
_PRIOR = -1.5
# What a second reason on the same ground is worth of its weight.
_AGAIN = 0.2
# Two candidates nearer to each other than this are as good as each other.
_TIE = 0.25


@dataclass(frozen=True)
class Pair:
    """An element that was maintained. `confidence`: 0 .. 1; `evidence`: the heuristics that hold, the one that made the
    pair first.
    """

    old: Node
    new: Node
    confidence: float
    evidence: tuple[str, ...]


class Matching:
    """Every old element is maintained or deleted, every new one maintained or created."""

    def __init__(self, old: Tree, new: Tree, heuristics: Sequence[Heuristic]) -> None:
        self._new = new
        self._heuristics = heuristics
        self._pairs: dict[Node, Node] = {old.nodes[0]: new.nodes[0]}
        self._made_by: dict[Node, str] = {old.nodes[0]: "root"}
        self._known = Known(self._pairs)
        self._places_count = False
        self._run(old)
        taken = set(self._pairs.values())
        self.maintained = tuple((each, self._pairs[each]) for each in old if each in self._pairs)
        self.deleted = tuple(each for each in old if each not in self._pairs)
        self.created = tuple(each for each in new if each not in taken)

    def pair(self, old: Node) -> Pair | None:
        """What became of an old element, with how sure that is; None when it was deleted."""
        new = self._pairs.get(old)
        if new is None:
            return None
        own = self._log_odds(old, new)
        rival = max((self._log_odds(old, each) for each in self._new if each is not new), default=-math.inf)
        share = _probability(rival - own)  # of the next best candidate
        confidence = _probability(own) * (1.0 - share)
        if old.parent in self._pairs and not self._unmistakable(old, new):
            confidence = min(confidence, self._confidence(old.parent))
        held = [each.name for each in self._heuristics if each.holds(old, new, self._known)]
        made_by = self._made_by[old]
        evidence = (made_by, *(name for name in held if name != made_by))
        return Pair(old, new, confidence, evidence)

    def _confidence(self, old: Node) -> float:
        pair = self.pair(old)
        return 1.0 if pair is None or old.parent is None else pair.confidence

    def _unmistakable(self, old: Node, new: Node) -> bool:
        """Whether it is known by itself, and not by where it stands: its id or its label, which nothing else has."""
        if old.id and old.id == new.id:
            return True
        alike = (each for each in self._new if each is not new and each.kind == new.kind)
        return bool(old.words) and old.words == new.words and all(each.words != new.words for each in alike)

    def _run(self, old: Tree) -> None:
        """First without the places, which move when anything is put in; then what is left, with them."""
        for self._places_count in (False, True):
            makers = [each for each in self._heuristics if each.pairs and self._counts(each)]
            while any(self._pair_up(old, heuristic) for heuristic in makers):
                pass  # what is trusted more looks again at what is known now

    def _counts(self, heuristic: Heuristic) -> bool:
        return self._places_count or heuristic.ground is not Ground.PLACE

    def _pair_up(self, old: Tree, heuristic: Heuristic) -> bool:
        found = self._unique(old, heuristic)
        for left, right in found:
            self._pairs[left], self._made_by[left] = right, heuristic.name
        return bool(found)

    def _unique(self, old: Tree, heuristic: Heuristic) -> list[tuple[Node, Node]]:
        """Pairs for which the heuristic holds, where each is the other's best candidate by a margin."""
        taken = set(self._pairs.values())
        free: dict[str, list[Node]] = defaultdict(list)
        for each in self._new:
            if each not in taken:
                free[each.kind if heuristic.same_kind else ""].append(each)
        offers: dict[Node, list[tuple[float, Node]]] = defaultdict(list)
        rivals: dict[Node, list[tuple[float, Node]]] = defaultdict(list)
        for left in old:
            if left in self._pairs:
                continue
            for right in free[left.kind if heuristic.same_kind else ""]:
                if heuristic.holds(left, right, self._known):
                    odds = self._log_odds(left, right)
                    offers[left].append((odds, right))
                    rivals[right].append((odds, left))
        chosen = ((left, _best(candidates)) for left, candidates in offers.items())
        return [(left, right) for left, right in chosen if right is not None and _best(rivals[right]) is left]

    def _log_odds(self, old: Node, new: Node) -> float:
        grounds: dict[Ground, list[float]] = defaultdict(list)
        odds = _PRIOR
        for each in self._heuristics:
            if self._counts(each) and each.holds(old, new, self._known):
                if each.weight < 0:
                    odds += each.weight
                else:
                    grounds[each.ground].append(each.weight)
        return odds + sum(max(weights) + _AGAIN * (sum(weights) - max(weights)) for weights in grounds.values())


def match_trees(old: Tree, new: Tree, heuristics: Sequence[Heuristic] = STANDARD) -> Matching:
    """Class the elements of two trees. The roots are taken for the same."""
    return Matching(old, new, heuristics)


def _best(offers: Iterable[tuple[float, Node]]) -> Node | None:
    """The best candidate that more speaks for than against, unless another is as good."""
    ranked = sorted(offers, key=lambda offer: -offer[0])
    if ranked[0][0] <= 0 or (len(ranked) > 1 and ranked[0][0] - ranked[1][0] < _TIE):
        return None
    return ranked[0][1]


def _probability(log_odds: float) -> float:
    return 1.0 / (1.0 + math.exp(-max(-60.0, min(60.0, log_odds))))
