"""A device of its own for each requirement, whenever there is such a choice."""

from __future__ import annotations

from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from labctl.scheduler import assign

DEVICES = 6
MASKS = st.integers(0, 2**DEVICES - 1)


@given(st.lists(MASKS, min_size=1, max_size=4), MASKS)
def test_a_choice_is_found_exactly_when_there_is_one(wanted: list[int], free: int) -> None:
    numbers = [number for number in range(DEVICES) if free >> number & 1]
    possible = any(
        all(mask >> number & 1 for mask, number in zip(wanted, choice, strict=True))
        for choice in permutations(numbers, len(wanted))
    )
    chosen = assign(wanted, free)
    assert (chosen is not None) == possible
    if chosen is not None:
        assert len(set(chosen)) == len(wanted)
        assert all((mask & free) >> number & 1 for mask, number in zip(wanted, chosen, strict=True))


def test_an_earlier_requirement_makes_room_for_a_later_one() -> None:
    assert assign([0b11, 0b01], 0b11) == [1, 0]
