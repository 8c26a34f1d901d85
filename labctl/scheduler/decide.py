"""One scheduling pass: who is granted what now. Pure but for the board, which it brings up to date.

Requests are looked at in the order of the queue. The first one that cannot be served, of all those that compete for the
same devices, is promised the devices that it can have soonest; others may pass it where they give these back before
then (EASY backfill: Lifka, "The ANL/IBM SP scheduling system", 1995). So a request for many devices is neither starved
by small ones nor does it hold what it cannot use yet; and since all devices of a request are granted at once, nobody
holds some and waits for others.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass

from labctl.scheduler.board import Board
from labctl.scheduler.model import Holding, Placement, Request, Rules
from labctl.scheduler.sets import EVERYTHING, assign, bits, set_of

# A lease that has outlived its bound is taken to go on for so long.
_OVERDUE_S = 1.0


@dataclass(frozen=True, slots=True)
class _Promise:
    """Devices that are somebody else's from `start` on. `shut`: with those that would take one of its rooms."""

    start: float
    devices: int
    shut: int


def decide(board: Board, now: float, rules: Rules) -> list[Placement]:
    """Grant what can be granted after what has changed on `board`; the grants are held there afterwards."""
    board.cap(rules.devices_per_owner is not None)
    touched, board.changed = board.changed, 0
    placed: list[Placement] = []
    queue = [(line.requests[0].rank, id(line), line) for line in board.lines(touched)]
    heapq.heapify(queue)
    promises = [_promised(board, slot.start, board.mask_of(slot.devices)) for slot in board.slots.values()]
    claimed = 0
    while queue:
        _, _, line = queue[0]
        request = line.requests[0]
        if _over_cap(board, request, rules):
            heapq.heappop(queue)
            continue
        masks = [board.meeting(each) for each in request.require] if line.conditional else line.masks
        free = _free_for(board, request, promises, now)
        chosen = _choose(masks, free, claimed)
        if chosen is None:
            heapq.heappop(queue)
            passed_over = bool(line.reach & claimed)
            kept = 0 if passed_over else _keep(board, request, masks, promises, now)
            if passed_over or kept:
                claimed |= line.reach
            continue
        placed.append(_place(board, request, chosen, promises, now))
        if line.requests:
            heapq.heapreplace(queue, (line.requests[0].rank, id(line), line))
        else:
            heapq.heappop(queue)
    # What was granted has changed the board in ways that this pass has seen already.
    board.changed = 0
    return placed


def can_ever(board: Board, request: Request, rules: Rules) -> bool:
    """Whether the devices of the lab could fill a request if all were free, in order and charged."""
    if not fits_cap(request, rules):
        return False
    return assign([board.admitted(each) for each in request.require], EVERYTHING) is not None


def fits_cap(request: Request, rules: Rules) -> bool:
    """Whether the owner may hold so many devices."""
    return rules.devices_per_owner is None or len(request.require) <= rules.devices_per_owner


def _over_cap(board: Board, request: Request, rules: Rules) -> bool:
    cap = rules.devices_per_owner
    return cap is not None and board.counted.get(request.owner, 0) + len(request.require) > cap


def _free_for(board: Board, request: Request, promises: list[_Promise], now: float) -> int:
    """Devices that the request can have now and give back before they are somebody else's."""
    free = board.free(request.rooms)
    over = now + request.limit_s
    for promise in promises:
        if promise.start < over:
            free &= ~(promise.shut if request.rooms else promise.devices)
    return free


def _choose(masks: Sequence[int], free: int, claimed: int) -> list[int] | None:
    """A device for each requirement; rather such that nobody waits for."""
    if not all(mask & free for mask in masks):
        return None
    if claimed & free and (chosen := assign(masks, free & ~claimed)) is not None:
        return chosen
    return assign(masks, free)


def _place(board: Board, request: Request, chosen: list[int], promises: list[_Promise], now: float) -> Placement:
    devices = tuple(board.devices[number].name for number in chosen)
    mask = set_of(chosen)
    taken = board.with_rooms(mask) if request.rooms else mask
    rooms = tuple(board.names(taken & ~mask))
    until = min((promise.start for promise in promises if promise.devices & taken), default=math.inf)
    board.remove_request(request.id)
    expires_at = now + min(request.duration_s, request.heartbeat_s or math.inf)
    bound, likely = now + request.limit_s, now + request.expected_s
    names, count = (*devices, *rooms), len(devices)
    board.hold(Holding(request.id, request.owner, names, expires_at, bound, likely, request.job, count))
    return Placement(request, devices, rooms, until)


def _keep(board: Board, request: Request, masks: Sequence[int], promises: list[_Promise], now: float) -> int:
    """Promise the request the devices that it can have soonest, from when it can have them at the latest.

    Nothing is kept for a request that waits for what nobody can say the end of, such as a device that is offline.
    """
    free_at = {number: _free_at(board, number, request, now) for mask in masks for number in bits(mask)}
    for moment in sorted({each for each in free_at.values() if each < math.inf}):
        chosen = assign(masks, set_of(number for number, each in free_at.items() if each <= moment))
        if chosen is not None:
            kept = board.with_rooms(set_of(chosen)) if request.rooms else set_of(chosen)
            promises.append(_promised(board, moment, kept))
            return kept
    return 0


def _free_at(board: Board, number: int, request: Request, now: float) -> float:
    """When a device, and its room if that is wanted too, is free for as long as the request may need it."""
    moment = _released_at(board, number, now)
    room = board.room_of[number]
    if request.rooms and room is not None:
        moment = max(moment, _released_at(board, room, now))
    both = board.with_rooms(1 << number) if request.rooms else 1 << number
    for slot in sorted(board.slots.values(), key=lambda each: each.start):
        if board.mask_of(slot.devices) & both and slot.start < moment + request.limit_s:
            moment = max(moment, slot.end)
    return moment


def _released_at(board: Board, number: int, now: float) -> float:
    if not board.usable >> number & 1:
        return math.inf
    lease = board.holder.get(number)
    return now if lease is None else max(board.holdings[lease].bound, now + _OVERDUE_S)


def _promised(board: Board, start: float, devices: int) -> _Promise:
    shut = devices
    for number in bits(devices):
        shut |= board.members.get(number, 0)
    return _Promise(start, devices, shut)
