"""When a waiting request is likely to start: the queue played forward with the lengths that such jobs had so far."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from labctl.scheduler.board import Board
from labctl.scheduler.model import Request

_OVERDUE_S = 1.0


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a forecast is made of, taken from the board so that it can be computed in another thread.

    `free_at`: per device when it is likely free, infinite when nobody knows, float64 (N,); `queue`: the requests up to
    the one of interest, each with its candidates per requirement, bool (N,); `room_of`: number of the room or -1.
    """

    free_at: npt.NDArray[np.float64]
    room_of: npt.NDArray[np.intp]
    queue: Sequence[tuple[Request, Sequence[npt.NDArray[np.bool_]]]]
    now: float


def look_ahead(board: Board, request: Request, now: float) -> Outlook:
    """What the forecast of `request` depends on."""
    count = len(board.devices)
    free_at = np.full(count, float(now))
    for holding in board.holdings.values():
        for name in holding.devices:
            free_at[board.index[name]] = max(holding.likely, now + _OVERDUE_S)
    usable = _array(board.usable, count)
    free_at[~usable] = math.inf
    room_of = np.array([-1 if room is None else room for room in board.room_of], dtype=np.intp)
    known: dict[int, npt.NDArray[np.bool_]] = {}

    def candidates(mask: int) -> npt.NDArray[np.bool_]:
        if mask not in known:
            known[mask] = _array(mask, count)
        return known[mask]

    ahead = sorted((each for each in board.requests.values() if each.rank <= request.rank), key=lambda each: each.rank)
    queue = [(each, [candidates(board.meeting(wanted)) for wanted in each.require]) for each in ahead]
    return Outlook(free_at, room_of, queue, now)


def expected_start(outlook: Outlook) -> float | None:
    """When the last request of the queue likely starts, of the database's clock; None when nobody can say.

    Every request takes the devices that are free first, in the order of the queue: no request passes another.
    """
    free_at = outlook.free_at.copy()
    start = outlook.now
    for request, wanted in outlook.queue:
        start, chosen = _earliest(free_at, outlook.room_of, request, wanted)
        if math.isfinite(start):
            free_at[chosen] = start + request.expected_s
    return start if math.isfinite(start) else None


def _earliest(
    free_at: npt.NDArray[np.float64],
    room_of: npt.NDArray[np.intp],
    request: Request,
    wanted: Sequence[npt.NDArray[np.bool_]],
) -> tuple[float, list[int]]:
    start = 0.0
    chosen: list[int] = []
    for candidates in wanted:
        moments = np.where(candidates, free_at, math.inf)
        if request.rooms:
            rooms = np.where(room_of >= 0, free_at[room_of], 0.0)
            moments = np.maximum(moments, rooms)
        moments[chosen] = math.inf
        number = int(moments.argmin()) if len(moments) else -1
        if number < 0 or not math.isfinite(moments[number]):
            return math.inf, []
        start = max(start, float(moments[number]))
        chosen.append(number)
    if request.rooms:
        chosen += [int(room) for room in room_of[chosen] if room >= 0]
    return start, chosen


def _array(mask: int, count: int) -> npt.NDArray[np.bool_]:
    packed = np.frombuffer(mask.to_bytes((count + 7) // 8, "little"), dtype=np.uint8)
    return np.unpackbits(packed, count=count, bitorder="little").astype(np.bool_)
