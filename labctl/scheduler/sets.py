"""Sets of devices as integers with a bit for each number, so a thousand are compared at once; choosing out of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

EVERYTHING = -1


def set_of(numbers: Iterable[int]) -> int:
    """The set with these numbers in it."""
    mask = 0
    for number in numbers:
        mask |= 1 << number
    return mask


def bits(mask: int) -> Iterator[int]:
    """The numbers in a set, in order."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def assign(masks: Sequence[int], free: int) -> list[int] | None:
    """A device of its own for each requirement out of those `free`, or None where there is no such choice.

    Kuhn's augmenting paths: a requirement that comes later may push an earlier one to another device.
    """
    if len(masks) == 1:
        usable = masks[0] & free
        return [(usable & -usable).bit_length() - 1] if usable else None
    taken: dict[int, int] = {}
    occupied = 0

    def place(requirement: int, barred: list[int]) -> bool:
        nonlocal occupied
        usable = masks[requirement] & free & ~barred[0]
        vacant = usable & ~occupied
        if vacant:
            number = (vacant & -vacant).bit_length() - 1
            occupied |= 1 << number
            taken[number] = requirement
            return True
        for number in bits(usable):
            if barred[0] >> number & 1:
                continue
            barred[0] |= 1 << number
            if place(taken[number], barred):
                taken[number] = requirement
                return True
        return False

    if not all(place(requirement, [0]) for requirement in range(len(masks))):
        return None
    chosen = {requirement: number for number, requirement in taken.items()}
    return [chosen[requirement] for requirement in range(len(masks))]
