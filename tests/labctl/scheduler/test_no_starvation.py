"""However small requests come, a request is served once what was held when it came first in line has ended."""

from __future__ import annotations

import heapq

from hypothesis import given, settings
from hypothesis import strategies as st

from labctl.matching import Candidate, Requirement
from labctl.scheduler import Board, Request, Rules, assign, decide

DEVICES = ("a", "b", "c", "d")
Names = st.lists(st.sampled_from(DEVICES), min_size=1, max_size=4, unique=True)
Arrivals = st.lists(st.tuples(st.integers(0, 40), Names, st.integers(1, 15)), min_size=1, max_size=40)


def wanted(number: int, names: list[str], at: float, limit_s: float) -> Request:
    require = tuple(Requirement(device=name) for name in names)
    return Request(f"{number:03}", f"owner {number % 3}", require, limit_s, limit_s, limit_s, 0, at)


@settings(deadline=None, max_examples=150)
@given(Arrivals)
def test_everybody_is_served_within_what_is_ahead_of_them(arrivals: list[tuple[int, list[str], int]]) -> None:
    board = Board()
    for name in DEVICES:
        board.put_device(Candidate(name, "robot", {}))
    coming = sorted((float(at), number, names, float(limit)) for number, (at, names, limit) in enumerate(arrivals))
    ending: list[tuple[float, str]] = []
    first_in_line: dict[str, float] = {}  # when what was held has ended by then
    now = 0.0
    while coming or board.requests:
        assert ending or coming, f"{len(board.requests)} wait while nothing is held: a wake-up was lost"
        now = min([each[0] for each in coming[:1]] + [each[0] for each in ending[:1]])
        while ending and ending[0][0] <= now:
            board.release(heapq.heappop(ending)[1])
        while coming and coming[0][0] <= now:
            at, number, names, limit_s = coming.pop(0)
            board.add_request(wanted(number, names, at, limit_s))
        for placed in decide(board, now, Rules()):
            heapq.heappush(ending, (now + placed.request.limit_s, placed.request.id))
            assert now <= first_in_line.get(placed.request.id, now)
        held = [name for holding in board.holdings.values() for name in holding.devices]
        assert len(held) == len(set(held))
        if board.requests:
            head = min(board.requests.values(), key=lambda each: each.rank)
            assert assign([board.admitted(each) for each in head.require], board.free(rooms=True)) is None
            first_in_line.setdefault(head.id, max(each.bound for each in board.holdings.values()))
