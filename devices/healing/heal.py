"""Locators that no longer find their element: what became of it, how sure that is, and a locator that finds it now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from devices.healing.heuristics import STANDARD, Heuristic
from devices.healing.locating import Locator, locate, locator_for
from devices.healing.matching import match_trees
from devices.healing.memory import Memory
from devices.healing.tree import parse_source

# No wrong match of the graded dialogs reaches this confidence; see benchmarks/healing.py.
THRESHOLD = 0.9
# A page that has less than this share of the elements is another one, where a test may have come by mistake: any two
# forms have a field that looks alike. The graded pairs that are versions of one dialog share half or more.
_ANOTHER_PAGE = 0.5


class HealingMode(StrEnum):
    """`off`: a locator that finds nothing finds nothing. `suggest`: it is said what it might be now. `heal`: that is
    used where the confidence reaches the threshold, and recorded.
    """

    OFF = "off"
    SUGGEST = "suggest"
    HEAL = "heal"


@dataclass(frozen=True)
class Heal:
    """What a broken locator's element became. `confidence`: 0 .. 1; `evidence`: why, the strongest first."""

    broken: Locator
    replacement: Locator
    was: str
    now: str
    confidence: float
    evidence: tuple[str, ...]


class Healer:
    """Heals a locator by the last source in which it was found.

    `heuristics`: what is matched by, in the order of trust; `(*STANDARD, Heuristic(...))` adds one of your own.
    `memory`: what was found before, such as in the test's last session.
    """

    def __init__(self, heuristics: Sequence[Heuristic] = STANDARD, memory: Memory | None = None) -> None:
        self._heuristics = heuristics
        self.memory = Memory() if memory is None else memory
        self._good: str | None = None

    def remember(self, locator: Locator, source: str) -> None:
        """The locator finds its element in this source."""
        self._good = source
        self.memory.remember(locator, source)

    def heal(self, broken: Locator, source: str) -> Heal | None:
        """What the locator's element is in the present `source`; None when it is gone, or was never seen.

        Raises SourceError for a source that is no tree.
        """
        good = self.memory.source_of(broken) or self._good
        if good is None:
            return None
        old, new = parse_source(good), parse_source(source)
        found = locate(old, broken)
        if not found:
            return None
        matching = match_trees(old, new, self._heuristics)
        pair = matching.pair(found[0])
        if pair is None:
            return None
        confidence, evidence = pair.confidence, pair.evidence
        told = [node for node in old.nodes[1:] if node.id or node.label]
        share = sum(matching.pair(node) is not None for node in told) / max(1, len(told))
        if share < _ANOTHER_PAGE:
            confidence *= share
            evidence = (f"another page: {share:.0%} of what had an id or a label is here", *evidence)
        replacement = locator_for(new, pair.new)
        return Heal(broken, replacement, str(pair.old), str(pair.new), confidence, evidence)
