"""Expands a job's matrix: every combination of its axes, or so few that each pair of values occurs."""

from __future__ import annotations

import itertools
from typing import Any

from allpairspy import AllPairs

_RESERVED = ("include", "exclude", "expand")
LARGEST = 1000  # jobs of one matrix
Combination = dict[str, Any]


class MatrixError(ValueError):
    """A matrix that cannot be expanded. `where`: the place below `matrix`."""

    def __init__(self, message: str, *where: str | int) -> None:
        super().__init__(message)
        self.where = where


def expand(matrix: dict[str, Any]) -> list[Combination]:
    """The combinations, in the order of the axes' values.

    As in GitHub Actions: `exclude` takes out what agrees with all of an entry; an entry of `include` adds its values to
    the combinations that it agrees with on the axes, or is a combination of its own where there is none. With `expand:
    pairwise` every pair of values of two axes that is not excluded occurs in at least one combination.
    """
    axes = {name: values for name, values in matrix.items() if name not in _RESERVED}
    for name, values in axes.items():
        if not isinstance(values, list) or not values:
            raise MatrixError("an axis is a list of values, with at least one in it", name)
    exclude, include = _entries(matrix, "exclude"), _entries(matrix, "include")
    for index, entry in enumerate(exclude):
        for key in entry:
            if key not in axes:
                raise MatrixError(f"there is no axis {key!r}; axes are {', '.join(axes) or 'none'}", "exclude", index)
    combinations = _combine(axes, exclude, str(matrix.get("expand", "full")))
    found = [dict(each) for each in combinations]
    for entry in include:
        on_axes = {key: value for key, value in entry.items() if key in axes}
        agreeing = [at for at, each in enumerate(combinations) if _agrees(each, on_axes)]
        for at in agreeing:
            found[at].update(entry)
        if not agreeing:
            found.append(dict(entry))
    if not found:
        raise MatrixError("no combination is left")
    if len(found) > LARGEST:
        raise MatrixError(f"is {len(found)} jobs; at most {LARGEST} are taken")
    return found


def title(name: str, combination: Combination) -> str:
    """What the job of one combination is called: "call (android, keyboard)"."""
    return f"{name} ({', '.join(str(value) for value in combination.values())})"[:200]


def _combine(axes: dict[str, list[Any]], exclude: list[Combination], how: str) -> list[Combination]:
    if how not in ("full", "pairwise"):
        raise MatrixError(f"expand is full or pairwise, not {how!r}", "expand")
    if not axes:
        return []
    # Values may be lists and objects: the search is over their numbers.
    numbers = [list(range(len(values))) for values in axes.values()]

    def named(chosen: list[int] | tuple[int, ...]) -> Combination:
        return {name: axes[name][at] for name, at in zip(axes, chosen, strict=False)}

    def allowed(chosen: list[int]) -> bool:
        combination = named(chosen)
        return not any(entry.keys() <= combination.keys() and _agrees(combination, entry) for entry in exclude)

    size = 1
    for each in numbers:
        size *= len(each)
    if how == "pairwise" and len(axes) > 1:
        if sum(map(len, numbers)) > LARGEST:
            raise MatrixError(f"has more than {LARGEST} values")
        # Each costs a search over all pairs that are left: of a matrix that is too large no more than tells so.
        chosen = [tuple(each) for each in itertools.islice(AllPairs(numbers, filter_func=allowed), LARGEST + 1)]
        if len(chosen) > LARGEST:
            raise MatrixError(f"is more than {LARGEST} jobs; at most {LARGEST} are taken")
        return [named(each) for each in chosen + _missed(numbers, chosen, allowed)]
    if size > 100 * LARGEST:
        raise MatrixError(f"is {size} combinations; expand: pairwise needs far fewer")
    return [named(each) for each in itertools.product(*numbers) if allowed(list(each))]


def _missed(numbers: list[list[int]], chosen: list[tuple[int, ...]], allowed: Any) -> list[tuple[int, ...]]:
    """Combinations for the pairs that the search gave up on because of what is excluded."""
    added: list[tuple[int, ...]] = []
    covered = {pair for each in chosen for pair in itertools.combinations(enumerate(each), 2)}
    for (first, ones), (second, others) in itertools.combinations(enumerate(numbers), 2):
        for one, other in itertools.product(ones, others):
            if ((first, one), (second, other)) in covered:
                continue
            free = [[one] if at == first else [other] if at == second else each for at, each in enumerate(numbers)]
            tries = itertools.islice(itertools.product(*free), 10_000)
            completed = next((each for each in tries if allowed(list(each))), None)
            if completed is not None:
                added.append(completed)
                covered.update(itertools.combinations(enumerate(completed), 2))
    return added


def _entries(matrix: dict[str, Any], key: str) -> list[Combination]:
    entries = matrix.get(key) or []
    if not isinstance(entries, list) or not all(isinstance(each, dict) and each for each in entries):
        raise MatrixError("is a list of objects, each with at least one value", key)
    return entries


def _agrees(combination: Combination, entry: Combination) -> bool:
    return all(combination.get(key) == value for key, value in entry.items())
