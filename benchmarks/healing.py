"""Locator healing on graded pairs of dialog versions: what moved or was renamed and is found, what is matched wrongly.

The peer is the plain habit: look for the same id, then the same label, then the same path. `--page FILE` writes what
became of every element, with the evidence, as HTML to look through.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from _dialogs import DIALOGS, UNSEEN, Dialog
from _healing_page import Row, page

from devices.healing import THRESHOLD, Node, Tree, match_trees, parse_source


@dataclass
class Grade:
    """Counts over all pairs. `wrong`: matched to another element than the truth; `invented`: matched though deleted;
    `lost`: said to be deleted though it is there. `confidences`: of wrong and invented matches."""

    changed: int = 0
    changed_found: int = 0
    changed_healed: int = 0
    kept: int = 0
    kept_found: int = 0
    deleted: int = 0
    wrong: int = 0
    invented: int = 0
    lost: int = 0
    confidences: list[tuple[float, str]] = field(default_factory=list)


Matcher = Callable[[Tree, Tree], Callable[[Node], tuple[Node, float] | None]]


def ours(old: Tree, new: Tree) -> Callable[[Node], tuple[Node, float] | None]:
    matching = match_trees(old, new)

    def of(node: Node) -> tuple[Node, float] | None:
        pair = matching.pair(node)
        return None if pair is None else (pair.new, pair.confidence)

    return of


def habit(_old: Tree, new: Tree) -> Callable[[Node], tuple[Node, float] | None]:
    def of(node: Node) -> tuple[Node, float] | None:
        for same in (
            lambda each: node.id and each.id == node.id,
            lambda each: node.label and each.label == node.label and each.kind == node.kind,
            lambda each: each.path == node.path,
        ):
            found = [each for each in new if same(each)]
            if found:
                return found[0], 1.0
        return None

    return of


def grade(matcher: Matcher, pairs: dict[str, tuple[Dialog, Dialog]]) -> Grade:
    result = Grade()
    for name, (before, after) in pairs.items():
        old, new = parse_source(before.source), parse_source(after.source)
        of = matcher(old, new)
        truth = {key: node for key, node in zip(after.keys, new, strict=True) if key}
        for key, node in list(zip(before.keys, old, strict=True))[1:]:  # the roots are taken for the same
            found, there = of(node), truth.get(key)
            if there is None:
                result.deleted += 1
                if found is not None:
                    result.invented += 1
                    result.confidences.append((found[1], f"{name}: {node} -> {found[0]}, but it is gone"))
                continue
            changed = (node.id, node.label, node.path) != (there.id, there.label, there.path)
            right = found is not None and found[0] is there
            if changed:
                result.changed += 1
                result.changed_found += right
                result.changed_healed += right and found is not None and found[1] >= THRESHOLD
            else:
                result.kept += 1
                result.kept_found += right
            if found is None:
                result.lost += 1
            elif not right:
                result.wrong += 1
                result.confidences.append((found[1], f"{name}: {node} -> {found[0]}, not {there}"))
    return result


def rows(pairs: dict[str, tuple[Dialog, Dialog]]) -> Iterator[Row]:
    """What our matcher makes of every element."""
    for name, (before, after) in pairs.items():
        old, new = parse_source(before.source), parse_source(after.source)
        matching = match_trees(old, new)
        truth = {key: f"{node} {node.path}" for key, node in zip(after.keys, new, strict=True) if key}
        for key, node in list(zip(before.keys, old, strict=True))[1:]:
            pair = matching.pair(node)
            found = "gone" if pair is None else f"{pair.new} {pair.new.path}"
            sure, evidence = (0.0, ()) if pair is None else (pair.confidence, pair.evidence)
            yield Row(name, f"{node} {node.path}", truth.get(key, "gone"), found, sure, evidence)


def table(pairs: dict[str, tuple[Dialog, Dialog]]) -> list[tuple[float, str]]:
    """Print the grades; returns what ours matched wrongly, with its confidence."""
    print("| matcher | moved or renamed: found | of these above the threshold | unchanged: found | lost | wrong "
          "| matched though deleted | wrong ones above the threshold | ms a pair |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|")
    mistakes: list[tuple[float, str]] = []
    for title, matcher in (("devices.healing", ours), ("same id, else label, else path", habit)):
        began = time.perf_counter()
        result = grade(matcher, pairs)
        took = (time.perf_counter() - began) * 1000 / len(pairs)
        sure = sum(confidence >= THRESHOLD for confidence, _ in result.confidences)
        print(
            f"| {title} | {result.changed_found} of {result.changed} ({result.changed_found / result.changed:.1%}) "
            f"| {result.changed_healed} ({result.changed_healed / result.changed:.1%}) "
            f"| {result.kept_found} of {result.kept} | {result.lost} | {result.wrong} "
            f"| {result.invented} of {result.deleted} | {sure} | {took:.1f} |"
        )
        if matcher is ours:
            mistakes = sorted(result.confidences, reverse=True)
    return mistakes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the same; it is quick")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write what became of every element as HTML")
    options = parser.parse_args()
    if options.page is not None:
        options.page.write_text(page([*rows(DIALOGS), *rows(UNSEEN)], THRESHOLD), encoding="utf-8")
    for title, pairs in (("pairs of dialogs", DIALOGS), ("pairs written after the heuristics were settled", UNSEEN)):
        print(f"\nLocator healing, {len(pairs)} {title}, threshold {THRESHOLD}\n")
        for confidence, what in table(pairs):
            print(f"- {confidence:.2f} {what}")
    print("\nTo reach: at least 90 % of moved or renamed elements found, no wrong match above the threshold.")


if __name__ == "__main__":
    main()
