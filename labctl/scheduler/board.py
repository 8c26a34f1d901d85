"""What the scheduler knows, kept up to date change by change: devices, who holds them, who waits, what is reserved.

Sets of devices are integers (`labctl.scheduler.sets`). Requests that want the same form a line of their own (`Line`):
when its first cannot be served now, none of it can.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from labctl.matching import Candidate, Requirement
from labctl.scheduler.model import Holding, Request, Slot
from labctl.scheduler.sets import EVERYTHING, assign, bits, set_of

_NARROW = 8  # a line that may use no more devices than this is found by them
_REMEMBERED = 2000  # requirements of which it is known what fills them; expiries beside those of leases that hold


@dataclass(eq=False, slots=True)
class Line:
    """Waiting requests that want the same, in order. `masks`: the devices for each requirement, `conditional` where
    these have to meet conditions too; `reach`: all that these requests may touch, rooms included.
    """

    masks: tuple[int, ...]
    reach: int
    conditional: bool
    requests: list[Request] = field(default_factory=list)


class Board:
    """The state that a scheduling pass looks at. Not thread-safe: it belongs to the thread that writes."""

    def __init__(self) -> None:
        self.devices: list[Candidate] = []
        self.index: dict[str, int] = {}
        self.members: dict[int, int] = defaultdict(int)  # by the number of a room: the devices in it
        self.room_of: list[int | None] = []
        self.usable = 0
        self.held = 0
        self.crowded = 0  # devices whose room is not free
        self.holder: dict[int, str] = {}
        self.holdings: dict[str, Holding] = {}
        self.slots: dict[str, Slot] = {}
        self.requests: dict[str, Request] = {}
        self.counted: dict[str, int] = defaultdict(int)
        self.changed = EVERYTHING  # devices of which something has changed since the last pass
        self._capped = False
        self._lines: dict[object, Line] = {}
        self._line_of: dict[str, object] = {}
        self._narrow: dict[int, set[object]] = defaultdict(set)
        self._broad: set[object] = set()
        self._masks: dict[object, int] = {}
        self._met: dict[object, int] = {}
        self._expiries: list[tuple[float, str]] = []

    # Devices

    def put_device(self, device: Candidate) -> None:
        """Take in a device, or what has changed about it."""
        number = self.index.get(device.name)
        if number is None:
            number = self.index[device.name] = len(self.devices)
            self.devices.append(device)
            self.room_of.append(None)
            reshaped = True
        else:
            reshaped = _shape(self.devices[number]) != _shape(device)
            if self.devices[number].facts != device.facts:
                self._met.clear()
        self.devices[number] = device
        bit = 1 << number
        self.usable = self.usable | bit if device.usable else self.usable & ~bit
        self._put_in_room(number, device.room)
        self.changed |= bit | self._room_bit(number)
        if number in self.members:  # a room: who is in it may be usable now, or not
            self._crowd(number)
            self.changed |= self.members[number]
        if reshaped:
            self._shape_changed()

    def _put_in_room(self, number: int, name: str | None) -> None:
        room = None
        if name is not None:
            if name not in self.index:  # its row comes later
                self.put_device(Candidate(name, "room", {}, state="removed"))
            room = self.index[name]
        if (old := self.room_of[number]) != room:
            if old is not None:
                self.members[old] &= ~(1 << number)
            self.room_of[number] = room
            self.crowded &= ~(1 << number)
        if room is not None:
            self.members[room] |= 1 << number
            self._crowd(room)

    def _crowd(self, room: int) -> None:
        free = self.usable & ~self.held & (1 << room)
        self.crowded = self.crowded & ~self.members[room] if free else self.crowded | self.members[room]

    def _room_bit(self, number: int) -> int:
        room = self.room_of[number]
        return 0 if room is None else 1 << room

    def _shape_changed(self) -> None:
        """What fills which requirement is to be found out anew."""
        self._masks.clear()
        self._met.clear()
        if self._lines:
            waiting = list(self.requests.values())
            for request in waiting:
                self.remove_request(request.id)
            for request in waiting:
                self.add_request(request)
        self.changed = EVERYTHING

    def free(self, rooms: bool) -> int:
        """Devices that can be granted now; with `rooms`, only those whose room is free too."""
        free = self.usable & ~self.held
        return free & ~self.crowded if rooms else free

    def vacant(self, taken: int, rooms: bool) -> int:
        """Devices of the lab, in whatever state, that are not among those taken; with `rooms`, nor is their room."""
        vacant = 0
        for number, device in enumerate(self.devices):
            both = 1 << number | (self._room_bit(number) if rooms else 0)
            if device.state != "removed" and not both & taken:
                vacant |= 1 << number
        return vacant

    def wanted(self, require: Iterable[Requirement], rooms: bool) -> int:
        """All devices that could be part of a lease, and with `rooms` their rooms."""
        mask = 0
        for each in require:
            mask |= self.admitted(each)
        return self.with_rooms(mask) if rooms else mask

    def assign(self, require: Sequence[Requirement], free: int) -> list[str] | None:
        """A device of its own out of those `free` for each requirement, whatever the conditions."""
        chosen = assign([self.admitted(each) for each in require], free)
        return None if chosen is None else [self.devices[number].name for number in chosen]

    def names(self, mask: int) -> list[str]:
        """The devices of a set, by name."""
        return [self.devices[number].name for number in bits(mask)]

    def mask_of(self, names: Iterable[str]) -> int:
        """The set of devices with these names."""
        mask = 0
        for name in names:
            mask |= 1 << self.index[name]
        return mask

    def with_rooms(self, mask: int) -> int:
        """Devices and the rooms they are in."""
        for number in bits(mask):
            mask |= self._room_bit(number)
        return mask

    # What fills a requirement

    def admitted(self, requirement: Requirement) -> int:
        """Devices that are such as the requirement wants, whatever state they are in; conditions apart."""
        if requirement.device is not None:
            number = self.index.get(requirement.device)
            return 0 if number is None or self.devices[number].state == "removed" else 1 << number
        key = _key(requirement)
        mask = self._masks.get(key)
        if mask is None:
            mask = 0
            for number, device in enumerate(self.devices):
                if device.state != "removed" and requirement.admits(device):
                    mask |= 1 << number
            _remember(self._masks, key, mask)
        return mask

    def meeting(self, requirement: Requirement) -> int:
        """Those admitted that also meet the requirement's conditions now."""
        admitted = self.admitted(requirement)
        if not requirement.at_least and not requirement.at_most:
            return admitted
        key = _key(requirement)
        mask = self._met.get(key)
        if mask is None:
            mask = set_of(number for number in bits(admitted) if not requirement.unmet(self.devices[number]))
            _remember(self._met, key, mask)
        return mask

    # The queue

    def cap(self, capped: bool) -> None:
        """Whether owners have a cap, so that their requests stand in lines of their own."""
        if capped != self._capped:
            self._capped = capped
            self._shape_changed()

    def add_request(self, request: Request) -> None:
        """Let a request wait."""
        owner = request.owner if self._capped else None
        key = (tuple(map(_key, request.require)), request.rooms, request.limit_s, owner)
        line = self._lines.get(key)
        if line is None:
            masks = tuple(self.admitted(each) for each in request.require)
            conditional = any(each.at_least or each.at_most for each in request.require)
            reach = 0
            for mask in masks:
                reach |= mask
            reach = self.with_rooms(reach) if request.rooms else reach
            line = self._lines[key] = Line(masks, reach, conditional)
            if reach.bit_count() <= _NARROW:
                for number in bits(reach):
                    self._narrow[number].add(key)
            else:
                self._broad.add(key)
        insort(line.requests, request, key=_rank)
        self.requests[request.id] = request
        self._line_of[request.id] = key
        self.changed |= line.reach

    def remove_request(self, lease: str) -> None:
        """Let a request wait no more."""
        request = self.requests.pop(lease, None)
        if request is None:
            return
        key = self._line_of.pop(lease)
        line = self._lines[key]
        del line.requests[bisect_left(line.requests, request.rank, key=_rank)]
        self.changed |= line.reach  # what was kept for it may be free for others
        if not line.requests:
            del self._lines[key]
            self._broad.discard(key)
            if line.reach.bit_count() <= _NARROW:
                for number in bits(line.reach):
                    self._narrow[number].discard(key)

    def lines(self, touched: int) -> list[Line]:
        """Lines that what happened to `touched` devices may concern, directly or through other lines."""
        if touched == EVERYTHING:
            return list(self._lines.values())
        found: set[object] = set()
        looked, to_look = 0, touched
        broad = set(self._broad)
        while True:
            reached = [key for key in broad if self._lines[key].reach & to_look]
            broad.difference_update(reached)
            for number in bits(to_look & ~looked):
                reached.extend(key for key in self._narrow.get(number, ()) if key not in found)
            looked |= to_look
            if not reached:
                return [self._lines[key] for key in found]
            found.update(reached)
            for key in reached:
                to_look |= self._lines[key].reach

    def ahead_of(self, request: Request) -> int:
        """How many requests stand before this one."""
        return sum(each.rank < request.rank for each in self.requests.values())

    # Leases

    def hold(self, holding: Holding) -> None:
        """Note that a lease holds devices; again when it was renewed or handed over."""
        if holding.lease in self.holdings:
            self.release(holding.lease)
        self.holdings[holding.lease] = holding
        self.counted[holding.owner] += holding.counted
        mask = self.mask_of(holding.devices)
        self.held |= mask
        for number in bits(mask):
            self.holder[number] = holding.lease
            if number in self.members:
                self._crowd(number)
        heapq.heappush(self._expiries, (holding.expires_at, holding.lease))
        if len(self._expiries) > 2 * len(self.holdings) + _REMEMBERED:  # most are of leases that were renewed or ended
            self._expiries = [(each.expires_at, each.lease) for each in self.holdings.values()]
            heapq.heapify(self._expiries)

    def release(self, lease: str) -> None:
        """Note that a lease holds nothing any more."""
        holding = self.holdings.pop(lease, None)
        if holding is None:
            return
        self.counted[holding.owner] -= holding.counted
        if not self.counted[holding.owner]:
            del self.counted[holding.owner]
        mask = self.mask_of(holding.devices)
        self.held &= ~mask
        self.changed |= mask
        for number in bits(mask):
            self.holder.pop(number, None)
            if number in self.members:
                self._crowd(number)
                self.changed |= self.members[number]
        if self._capped:
            self.changed = EVERYTHING

    def expired(self, now: float) -> list[str]:
        """Leases whose time is over."""
        over = []
        while self._expiries and self._expiries[0][0] <= now:
            moment, lease = heapq.heappop(self._expiries)
            holding = self.holdings.get(lease)
            if holding is not None and holding.expires_at == moment and lease not in over:
                over.append(lease)
        return over

    def next_expiry(self) -> float | None:
        """When the next lease runs out, if it is not renewed."""
        while self._expiries:
            moment, lease = self._expiries[0]
            holding = self.holdings.get(lease)
            if holding is not None and holding.expires_at == moment:
                return moment
            heapq.heappop(self._expiries)
        return None

    # Slots

    def put_slot(self, slot: Slot) -> None:
        """Reserve devices for a time to come."""
        self.slots[slot.lease] = slot

    def remove_slot(self, lease: str) -> None:
        """Reserve them no more."""
        slot = self.slots.pop(lease, None)
        if slot is not None:
            self.changed |= self.mask_of(slot.devices)

    def reserved_from(self, devices: Iterable[str], lease: str) -> Slot | None:
        """The next slot of somebody else on any of the devices."""
        wanted = set(devices)
        others = (slot for slot in self.slots.values() if slot.lease != lease and not wanted.isdisjoint(slot.devices))
        return min(others, key=lambda slot: slot.start, default=None)


def _remember(known: dict[object, int], key: object, mask: int) -> None:
    """Requests may want something new each time."""
    if len(known) >= _REMEMBERED:
        known.clear()
    known[key] = mask


def _rank(request: Request) -> tuple[float, str]:
    return request.rank


def _key(requirement: Requirement) -> object:
    """Requirements with the same key want the same; what a job calls it is of no matter."""
    if requirement.device is not None and not requirement.at_least and not requirement.at_most:
        return requirement.device
    return (
        requirement.device,
        requirement.kind,
        tuple(sorted(requirement.labels.items())),
        requirement.capability,
        requirement.model,
        requirement.site,
        tuple(requirement.one_of),
        tuple(sorted(requirement.at_least.items())),
        tuple(sorted(requirement.at_most.items())),
    )


def _shape(device: Candidate) -> tuple[object, ...]:
    """What decides which requirements it fills."""
    gone = device.state == "removed"
    return (gone, device.kind, device.labels, device.room, tuple(device.capabilities), device.model, device.site)
