"""What the scheduler decides about: requests that wait, leases that hold, slots that are reserved, and placements."""

from __future__ import annotations

from dataclasses import dataclass

from labctl.matching import Requirement

# A request gains one step of priority for each minute that it waits. Since all gain alike, their order never changes.
AGEING_S = 60.0


@dataclass(frozen=True, slots=True)
class Rules:
    """What the lab file says of scheduling. `devices_per_owner`: held at a time, rooms not counted."""

    devices_per_owner: int | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """Devices wanted, all or none. Times are of the database's clock, in seconds.

    `duration_s`: of the lease, which may be renewed; `limit_s`: held for so long at most; `expected_s`: likely.
    `rooms`: whether the rooms of its devices are taken too.
    """

    id: str
    owner: str
    require: tuple[Requirement, ...]
    duration_s: float
    limit_s: float
    expected_s: float
    priority: int
    requested_at: float
    rooms: bool = True
    job: str | None = None
    heartbeat_s: float | None = None

    @property
    def rank(self) -> tuple[float, str]:
        """The order of the queue: who comes first, goes first, a step of priority being worth `AGEING_S`."""
        return (self.requested_at - self.priority * AGEING_S, self.id)


@dataclass(frozen=True, slots=True)
class Holding:
    """A lease that holds devices, rooms among them. `bound`: over by then unless renewed; `likely`: expected end.

    `expires_at`: when the lease runs out by itself.
    """

    lease: str
    owner: str
    devices: tuple[str, ...]
    expires_at: float
    bound: float
    likely: float
    job: str | None = None
    counted: int = 0  # devices that the owner's cap counts


@dataclass(frozen=True, slots=True)
class Slot:
    """Devices, rooms among them, that are reserved from `start` to `end`."""

    lease: str
    owner: str
    devices: tuple[str, ...]
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Placement:
    """A request that is granted: a device for each requirement, the rooms taken with them.

    `until`: when somebody else was promised one of them, infinite if nobody was.
    """

    request: Request
    devices: tuple[str, ...]
    rooms: tuple[str, ...]
    until: float
