"""Locator healing: what became of an element whose locator no longer finds it."""

from devices.healing.heal import THRESHOLD, Heal, Healer, HealingMode
from devices.healing.heuristics import STANDARD, Ground, Heuristic, Known
from devices.healing.locating import Locator, locate, locator_for
from devices.healing.matching import Matching, Pair, match_trees
from devices.healing.memory import Memory
from devices.healing.tree import Node, SourceError, Tree, parse_source

__all__ = [
    "STANDARD", "THRESHOLD", "Ground", "Heal", "Healer", "HealingMode", "Heuristic", "Known", "Locator", "Matching",
    "Memory", "Node", "Pair", "SourceError", "Tree", "locate", "locator_for", "match_trees", "parse_source",
]  # fmt: skip
