"""Which devices fill which requirements."""

from __future__ import annotations

from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from labctl.matching import Candidate, Requirement, match

LABELS = st.dictionaries(st.sampled_from("ab"), st.sampled_from("xy"), max_size=2)


@st.composite
def labs(draw: st.DrawFn) -> tuple[list[Requirement], list[Candidate]]:
    free = [
        Candidate(
            f"d{i}", draw(st.sampled_from(["robot", "lidar"])), draw(LABELS), draw(st.sampled_from([None, "room"]))
        )
        for i in range(draw(st.integers(0, 5)))
    ]
    if draw(st.booleans()):
        free.append(Candidate("room", "room", {}))
    wanted = st.one_of(
        st.builds(Requirement, device=st.sampled_from(["d0", "d1", "d2"])),
        st.builds(Requirement, kind=st.sampled_from(["robot", "lidar"]), labels=LABELS),
    )
    return draw(st.lists(wanted, min_size=1, max_size=4)), free


@given(labs())
def test_a_choice_is_found_exactly_when_there_is_one(case: tuple[list[Requirement], list[Candidate]]) -> None:
    require, free = case
    names = {each.name for each in free}
    usable = [each for each in free if each.room is None or each.room in names]
    possible = any(
        all(wanted.admits(device) for wanted, device in zip(require, choice, strict=True))
        for choice in permutations(usable, len(require))
    )
    chosen = match(require, free)
    assert (chosen is not None) == possible
    if chosen is not None:
        assert len({each.name for each in chosen}) == len(require)
        assert all(wanted.admits(device) for wanted, device in zip(require, chosen, strict=True))


def test_an_earlier_requirement_makes_room_for_a_later_one() -> None:
    free = [Candidate("one", "robot", {}), Candidate("two", "robot", {})]
    chosen = match([Requirement(kind="robot"), Requirement(device="one")], free)
    assert chosen is not None
    assert [each.name for each in chosen] == ["two", "one"]


def test_a_device_in_a_taken_room_is_not_free() -> None:
    assert match([Requirement(device="r")], [Candidate("r", "robot", {}, room="hall")]) is None
