"""Why a request waits: for each role which devices would do, and what keeps each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from labctl.matching import Requirement
from labctl.scheduler.board import Board
from labctl.scheduler.model import Request, Rules
from labctl.scheduler.sets import bits


@dataclass(frozen=True, slots=True)
class Obstacle:
    """What keeps one device from a request: its holder until when, or its state, a condition, a reservation."""

    device: str
    lease: str | None = None
    holder: str | None = None
    job: str | None = None
    until: float | None = None
    state: str | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Lack:
    """A role of a request: what it wants and, where nothing is free for it, why. `free`: devices that it could have."""

    role: str | None
    wants: str
    free: tuple[str, ...]
    obstacles: tuple[Obstacle, ...]


def lacks(board: Board, require: Sequence[Requirement], rooms: bool, now: float, limit_s: float = 0.0) -> list[Lack]:
    """For each requirement what is free for it for the next `limit_s`, and what is not and why."""
    return [_lack(board, each, rooms, (now, now + limit_s)) for each in require]


def other_reason(board: Board, request: Request, rules: Rules, now: float) -> str:
    """Why a request waits for which every role has a free device, in a sentence."""
    cap = rules.devices_per_owner
    if cap is not None and (count := board.counted.get(request.owner, 0)) + len(request.require) > cap:
        return f"{request.owner} holds {count} devices, and may hold {cap} at a time"
    for slot in sorted(board.slots.values(), key=lambda each: each.start):
        if slot.start < now + request.limit_s:
            return f"{', '.join(slot.devices)} reserved for {slot.owner} soon, before this could be over"
    return "requests that came before it are promised the devices that are free"


def _lack(board: Board, requirement: Requirement, rooms: bool, span: tuple[float, float]) -> Lack:
    free, found = [], {}
    available = board.free(rooms)
    for number in bits(board.admitted(requirement)):
        device = board.devices[number]
        unmet = requirement.unmet(device)
        room = board.room_of[number] if rooms else None
        both = (number, *(() if room is None else (room,)))
        reserved = next((each for each in (_reserved(board, each, span) for each in both) if each is not None), None)
        if available >> number & 1 and not unmet and reserved is None:
            free.append(device.name)
            continue
        if unmet and device.usable:
            found[device.name] = Obstacle(device.name, state=device.state, reason="; ".join(unmet))
        for each in both:
            obstacle = _obstacle(board, each) or _reserved(board, each, span)
            if obstacle is not None:
                found.setdefault(obstacle.device, obstacle)
    return Lack(requirement.role, str(requirement), tuple(free), tuple(found.values()))


def _obstacle(board: Board, number: int) -> Obstacle | None:
    device = board.devices[number]
    lease = board.holder.get(number)
    if lease is not None:
        holding = board.holdings[lease]
        until = max(holding.expires_at, holding.likely if holding.job else 0.0)
        return Obstacle(device.name, lease, holding.owner, holding.job, until)
    if not device.usable:
        return Obstacle(device.name, state=device.state, reason=device.reason)
    return None


def _reserved(board: Board, number: int, span: tuple[float, float]) -> Obstacle | None:
    name = board.devices[number].name
    for slot in sorted(board.slots.values(), key=lambda each: each.start):
        if name in slot.devices and slot.start < span[1] and slot.end > span[0]:
            start = datetime.fromtimestamp(slot.start, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
            return Obstacle(name, slot.lease, until=slot.end, state="reserved", reason=f"for {slot.owner} from {start}")
    return None
