"""Who gets what: order, gangs, rooms, caps, conditions, promises and what may pass them."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable
from itertools import count

import pytest

from labctl.matching import Candidate, Requirement
from labctl.scheduler import Board, Holding, Request, Rules, Slot, can_ever, decide, expected_start, lacks, look_ahead

FREELY = Rules()
_numbers = count()


def board(*devices: Candidate) -> Board:
    made = Board()
    for device in devices:
        made.put_device(device)
    return made


def robots(*names: str, room: str | None = None) -> list[Candidate]:
    rooms = [Candidate(room, "room", {})] if room else []
    return [*rooms, *(Candidate(name, "robot", {}, room) for name in names)]


def wants(*names: str, owner: str = "me", priority: int = 0, at: float = 0.0, limit_s: float = 60, rooms: bool = True):  # type: ignore[no-untyped-def]  # a shorthand
    require = tuple(Requirement(device=each) if each[0] != "*" else Requirement(kind=each[1:]) for each in names)
    return Request(f"r{next(_numbers):04}", owner, require, 60, limit_s, limit_s, priority, at, rooms)


def grants(made: Board, now: float, *requests: Request, rules: Rules = FREELY) -> dict[str, tuple[str, ...]]:
    for each in requests:
        made.add_request(each)
    return {each.request.id: each.devices for each in decide(made, now, rules)}


def test_who_came_first_is_served_first() -> None:
    made, first, second = board(*robots("a")), wants("a", at=1), wants("a", at=0)
    assert grants(made, 2, first, second) == {second.id: ("a",)}
    made.release(second.id)
    assert grants(made, 3) == {first.id: ("a",)}


def test_a_step_of_priority_is_worth_a_minute_of_waiting() -> None:
    made = board(*robots("a"))
    old, pressing, more_pressing = wants("a", at=0), wants("a", at=59, priority=1), wants("a", at=61, priority=1)
    assert grants(made, 100, more_pressing, old, pressing) == {pressing.id: ("a",)}
    made.release(pressing.id)
    assert grants(made, 101) == {old.id: ("a",)}


def test_all_devices_or_none() -> None:
    made, one = board(*robots("a", "b")), wants("a")
    assert grants(made, 0, one) == {one.id: ("a",)}
    both = wants("a", "b", at=1)
    assert grants(made, 1, both) == {}
    made.release(one.id)
    assert grants(made, 2) == {both.id: ("a", "b")}


def test_a_requirement_moves_on_to_another_device_for_the_sake_of_a_named_one() -> None:
    asked = wants("*robot", "a")
    assert grants(board(*robots("a", "b")), 0, asked) == {asked.id: ("b", "a")}


def test_devices_of_one_room_exclude_each_other_unless_the_lease_leaves_the_room_out() -> None:
    made = board(*robots("a", "b", "c", room="hall"))
    first, second, without = wants("a"), wants("b"), wants("c", rooms=False)
    assert grants(made, 0, first, second, without) == {first.id: ("a",), without.id: ("c",)}
    made.release(first.id)
    assert grants(made, 1) == {second.id: ("b",)}


def test_one_request_may_take_several_devices_of_a_room() -> None:
    asked = wants("a", "b")
    made = board(*robots("a", "b", room="hall"))
    assert grants(made, 0, asked) == {asked.id: ("a", "b")}
    assert set(made.holdings[asked.id].devices) == {"a", "b", "hall"}


def test_small_requests_do_not_starve_a_big_one() -> None:
    made = board(*robots("a", "b"))
    running, both = wants("a", limit_s=100), wants("a", "b", at=1)
    grants(made, 0, running, both)
    late = [wants("b", at=2 + each, limit_s=200) for each in range(5)]
    assert grants(made, 10, *late) == {}
    made.release(running.id)
    assert grants(made, 20) == {both.id: ("a", "b")}


def test_what_is_over_before_a_promise_may_pass() -> None:
    made = board(*robots("a", "b"))
    running, both = wants("a", limit_s=100), wants("a", "b", at=1)
    grants(made, 0, running, both)
    short, long = wants("b", at=2, limit_s=89), wants("b", at=3, limit_s=91)
    for each in (short, long):
        made.add_request(each)
    placed = decide(made, 10, FREELY)
    assert [(each.request.id, each.until) for each in placed] == [(short.id, 100.0)]


def test_promises_are_made_in_each_group_of_devices_that_compete() -> None:
    made = board(*robots("a", "b", "c", "d"))
    grants(made, 0, wants("a", limit_s=1000), wants("c", limit_s=1000))
    first, second = wants("a", "b", at=1), wants("c", "d", at=2)
    greedy = [wants("b", at=3, limit_s=5000), wants("d", at=3, limit_s=5000)]
    assert grants(made, 5, first, second, *greedy) == {}


def test_nothing_is_kept_for_what_waits_for_a_device_that_is_offline() -> None:
    broken = Candidate("a", "robot", {}, state="offline", reason="no answer")
    made = board(broken, *robots("b"))
    both, other = wants("a", "b"), wants("b", at=1)
    assert grants(made, 2, both, other) == {other.id: ("b",)}


@pytest.mark.parametrize(
    ("state", "granted"), [("good", True), ("suspect", True), ("quarantined", False), ("maintenance", False)]
)
def test_only_devices_in_order_are_granted(state: str, granted: bool) -> None:
    asked = wants("a")
    assert bool(grants(board(Candidate("a", "robot", {}, state=state)), 0, asked)) is granted


def test_conditions_are_of_the_present() -> None:
    asked = Request("r", "me", (Requirement(kind="robot", at_least={"battery_ratio": 0.5}),), 60, 60, 60, 0, 0)
    made = board(Candidate("a", "robot", {}, facts={"battery_ratio": 0.4}), Candidate("b", "robot", {}))
    assert grants(made, 0, asked) == {}
    made.put_device(Candidate("a", "robot", {}, facts={"battery_ratio": 0.5}))
    assert grants(made, 1) == {"r": ("a",)}


def test_nobody_holds_more_than_the_cap_and_others_go_on() -> None:
    made, cap = board(*robots("a", "b", "c")), Rules(devices_per_owner=1)
    mine, more, yours = wants("a"), wants("b", at=1), wants("*robot", owner="you", at=2)
    assert grants(made, 0, mine, more, yours, rules=cap) == {mine.id: ("a",), yours.id: ("b",)}
    made.release(mine.id)
    made.release(yours.id)
    assert grants(made, 1, rules=cap) == {more.id: ("b",)}


def test_what_can_never_be_is_known() -> None:
    made = board(*robots("a", "b"))
    assert can_ever(made, wants("*robot", "*robot"), FREELY)
    assert not can_ever(made, wants("*robot", "*robot", "*robot"), FREELY)
    assert not can_ever(made, wants("*robot", "*robot"), Rules(devices_per_owner=1))
    made.put_device(Candidate("b", "robot", {}, state="removed"))
    assert not can_ever(made, wants("*robot", "*robot"), FREELY)


def test_a_slot_keeps_out_what_would_not_be_over_by_then() -> None:
    made = board(*robots("a"))
    made.put_slot(Slot("s", "you", ("a",), 100, 200))
    long, short = wants("a", limit_s=101), wants("a", at=1, limit_s=99)
    assert grants(made, 0, long, short) == {short.id: ("a",)}


def test_a_device_nobody_waits_for_is_rather_taken() -> None:
    made = board(*robots("a", "b", "c"))
    grants(made, 0, wants("c", limit_s=100), wants("a", "c", at=1))
    asked = wants("*robot", at=2, limit_s=10)
    assert grants(made, 3, asked) == {asked.id: ("b",)}


def test_only_what_may_have_changed_is_looked_at_again() -> None:
    made = board(*robots("a", "b", "c"))
    holders = [wants(each) for each in "abc"]
    grants(made, 0, *holders)
    grants(made, 1, *(wants(each, at=1) for each in "abc"))
    made.release(holders[1].id)
    assert [line.masks for line in made.lines(made.changed)] == [(2,)]


def test_the_likely_start_follows_from_what_holds_and_what_is_ahead() -> None:
    made = board(*robots("a", "b"))
    made.hold(Holding("l", "you", ("a",), 500, 500, 300, "job", 1))
    made.hold(Holding("m", "you", ("b",), 900, 900, 800, "job", 1))
    queue = [wants("*robot", at=1, limit_s=100), wants("*robot", at=2, limit_s=100), wants("b", at=3)]
    for each in queue:
        made.add_request(each)
    assert [expected_start(look_ahead(made, each, 10)) for each in queue] == [300, 400, 800]


def test_nobody_can_say_when_what_is_offline_starts() -> None:
    made, asked = board(Candidate("a", "robot", {}, state="offline")), wants("a")
    made.add_request(asked)
    assert expected_start(look_ahead(made, asked, 10)) is None


def test_who_waits_is_told_what_lacks_and_who_has_it_until_when() -> None:
    made = board(*robots("a", "b", room="hall"), Candidate("c", "robot", {}, state="offline", reason="no answer"))
    made.hold(Holding("l", "you", ("a", "hall"), 50, 50, 50, None, 1))
    require = [Requirement(kind="robot", role="alice"), Requirement(device="hall", role="place")]
    alice, place = lacks(made, require, True, 10)
    told = {each.device: (each.holder, each.until, each.state) for each in alice.obstacles}
    assert (alice.role, alice.free) == ("alice", ())
    assert told == {"a": ("you", 50, None), "hall": ("you", 50, None), "c": (None, None, "offline")}
    assert [each.device for each in place.obstacles] == ["hall"]


def test_devices_may_change_while_requests_wait() -> None:
    made = board(*robots("a"))
    asked = Request("r", "me", (Requirement(kind="robot", labels={"leg": "left"}),), 60, 60, 60, 0, 0)
    assert grants(made, 0, asked) == {}
    made.put_device(Candidate("b", "robot", {"leg": "left"}))
    assert grants(made, 1) == {"r": ("b",)}


def free_names(made: Board) -> Iterable[str]:
    return made.names(made.free(rooms=True))


def test_a_room_that_is_not_in_order_closes_what_is_in_it() -> None:
    made = board(*robots("a", room="hall"))
    assert set(free_names(made)) == {"a", "hall"}
    made.put_device(Candidate("hall", "room", {}, state="maintenance"))
    assert set(free_names(made)) == set()
    made.put_device(Candidate("hall", "room", {}))
    assert set(free_names(made)) == {"a", "hall"}


def test_what_is_remembered_does_not_grow_with_what_was_asked_for() -> None:
    made = board(*robots("a", "b"))
    tracemalloc.start()
    for number in range(10_000):
        made.meeting(Requirement(kind="robot", labels={"build": str(number)}, at_least={"battery_ratio": 0.5}))
        made.hold(Holding("brief", "me", ("a",), 7000.0 + number, 7000.0, 7000.0))
        made.release("brief")
        made.hold(Holding("beating", "me", ("b",), 6000.0 + number / 1e5, 7000.0, 7000.0))
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 4e6
    assert made.next_expiry() == 6000.09999
    assert made.expired(6001.0) == ["beating"]
