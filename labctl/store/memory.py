"""What the writing thread keeps between transactions: the scheduler's board, brought up to date from the database.

Rows of devices and leases bear the number of the lab's revision in which they changed, so a pass reads those alone that
changed since the last one, be it by this daemon or by another. After a rollback everything is read anew.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from labctl.matching import Candidate, Requirement
from labctl.scheduler import Board, Holding, Request, Rules, Slot
from labctl.store.tables import devices, lease_devices, leases

_OPEN = ("waiting", "reserved", "active")
_CHUNK = 500


@dataclass(frozen=True, slots=True)
class Active:
    """A lease that holds devices now. `asked`: how it was asked for; `holder` and `duration_s` may be others now.

    `ends_at`: of its duration; `until`: it may not be renewed beyond.
    """

    asked: Request
    fencing: int
    holder: str
    devices: tuple[str, ...]
    roles: dict[str, str]
    duration_s: float
    granted_at: float
    expires_at: float
    ends_at: float
    until: float

    @property
    def job(self) -> str | None:
        return self.asked.job

    @property
    def heartbeat_s(self) -> float | None:
        return self.asked.heartbeat_s


@dataclass(slots=True)
class Memory:
    """The board, the active leases by id, and the revision that they are of; None when nothing is known."""

    rules: Rules = field(default_factory=Rules)
    board: Board = field(default_factory=Board)
    active: dict[str, Active] = field(default_factory=dict)
    made_ready: set[str] = field(default_factory=set)  # devices that hooks follow each lease of
    prepared: set[str] = field(default_factory=set)  # devices that hooks precede each lease of
    touched: set[str] = field(default_factory=set)  # devices changed by this daemon since they were looked at
    revision: int | None = None

    def forget(self) -> None:
        """What is known may be wrong."""
        self.revision = None

    def refresh(self, connection: sa.Connection, present: int) -> None:
        """Take in what was committed up to the revision `present`, and the devices that this daemon touched.

        Writes that share a commit share its revision, too: what one of them touches after another noted the revision
        is found by no other sign.
        """
        if self.revision is None:
            self.board, self.active = Board(), {}
            self._take_devices(connection, sa.true())
            self._take_leases(connection, leases.c.state.in_(_OPEN))
        elif present != self.revision:
            self._take_devices(connection, devices.c.revision > self.revision)
            self._take_leases(connection, leases.c.revision > self.revision)
        if self.touched:
            self._take_devices(connection, devices.c.name.in_(self.touched))
            self.touched.clear()
        self.revision = present

    def _take_devices(self, connection: sa.Connection, which: sa.ColumnElement[bool]) -> None:
        for row in connection.execute(sa.select(devices).where(which).order_by(devices.c.name)):
            self.board.put_device(candidate(row))
            (self.made_ready.add if row.made_ready else self.made_ready.discard)(row.name)
            (self.prepared.add if row.prepared else self.prepared.discard)(row.name)

    def _take_leases(self, connection: sa.Connection, which: sa.ColumnElement[bool]) -> None:
        rows = connection.execute(sa.select(leases).where(which).order_by(leases.c.id)).all()
        for row in rows:  # all ends before all beginnings: devices change hands
            self.drop(row.id)
        begun = [row for row in rows if row.state in _OPEN]
        taken = _devices_of(connection, [row.id for row in begun if row.state != "waiting"])
        for row in begun:
            if row.state == "waiting":
                self.board.add_request(request_of(row))
                continue
            names, roles = taken[row.id]
            if row.state == "reserved":
                self.board.put_slot(Slot(row.id, row.holder, names, row.starts_at, row.starts_at + row.duration_s))
            else:
                self.hold(row.id, active_of(row, names, roles), len(row.require))

    def hold(self, lease: str, active: Active, counted: int, likely: float | None = None) -> None:
        """Note a lease that holds devices, or what is new about it."""
        self.active[lease] = active
        bound = active.ends_at if active.job is None else active.granted_at + active.asked.limit_s
        self.board.hold(
            Holding(
                lease,
                active.holder,
                active.devices,
                active.expires_at,
                bound,
                likely or bound,
                active.job,
                counted,
            )
        )

    def drop(self, lease: str) -> None:
        """A lease neither waits nor holds any more."""
        self.active.pop(lease, None)
        self.board.remove_request(lease)
        self.board.remove_slot(lease)
        self.board.release(lease)


def candidate(row: sa.Row[Any]) -> Candidate:
    """A device's row as matching sees it."""
    return Candidate(
        row.name,
        row.kind,
        row.labels,
        row.room,
        tuple(row.capabilities),
        row.model,
        row.site,
        row.facts,
        row.state,
        row.state_reason,
    )


def request_of(row: sa.Row[Any]) -> Request:
    """A waiting lease's row as the scheduler sees it."""
    limit_s = row.limit_s or row.duration_s
    return Request(
        row.id,
        row.holder,
        tuple(Requirement(**each) for each in row.require),
        row.duration_s,
        limit_s,
        row.expected_s or min(limit_s, row.duration_s),
        row.priority,
        row.requested_at,
        row.rooms,
        row.job_id,
        row.heartbeat_s,
    )


def active_of(row: sa.Row[Any], names: tuple[str, ...], roles: dict[str, str]) -> Active:
    """An active lease's row, with its devices."""
    return Active(
        request_of(row),
        row.fencing,
        row.holder,
        names,
        roles,
        row.duration_s,
        row.granted_at,
        row.expires_at,
        row.ends_at or row.expires_at,
        math.inf if row.until is None else row.until,
    )


def _devices_of(connection: sa.Connection, ids: list[str]) -> dict[str, tuple[tuple[str, ...], dict[str, str]]]:
    """For each lease its devices in order, and which fills which role."""
    names: dict[str, list[str]] = {lease: [] for lease in ids}
    roles: dict[str, dict[str, str]] = {lease: {} for lease in ids}
    for start in range(0, len(ids), _CHUNK):
        some = lease_devices.c.lease_id.in_(ids[start : start + _CHUNK])
        for row in connection.execute(sa.select(lease_devices).where(some).order_by(lease_devices.c.device)):
            names[row.lease_id].append(row.device)
            if row.role is not None:
                roles[row.lease_id][row.role] = row.device
    return {lease: (tuple(names[lease]), roles[lease]) for lease in ids}
