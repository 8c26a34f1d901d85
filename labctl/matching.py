"""Which free device fills which requirement: pure, without the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Requirement:
    """One device wanted: by name, or any of a kind that has all the labels. `role`: what a job calls it."""

    device: str | None = None
    kind: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    role: str | None = None

    def admits(self, device: Candidate) -> bool:
        if self.device is not None:
            return self.device == device.name
        return self.kind in (None, device.kind) and all(device.labels.get(k) == v for k, v in self.labels.items())

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        if self.device is not None:
            return self.device
        labels = ", ".join(f"{key}={value}" for key, value in self.labels.items())
        return f"a {self.kind or 'device'}" + (f" with {labels}" if labels else "")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A device as far as matching cares. `room`: the room that it takes with it."""

    name: str
    kind: str
    labels: Mapping[str, str]
    room: str | None = None


def match(requirements: Sequence[Requirement], free: Sequence[Candidate]) -> list[Candidate] | None:
    """A distinct free device for each requirement, or None where there is no such choice.

    A device whose room is not free is not free either, so rooms have to be among `free`. Kuhn's augmenting paths:
    a requirement that comes later may push an earlier one to another device.
    """
    names = {device.name for device in free}
    usable = [device for device in free if device.room is None or device.room in names]
    taken: dict[str, int] = {}

    def place(index: int, tried: set[str]) -> bool:
        for device in usable:
            if device.name in tried or not requirements[index].admits(device):
                continue
            tried.add(device.name)
            if device.name not in taken or place(taken[device.name], tried):
                taken[device.name] = index
                return True
        return False

    if not all(place(index, set()) for index in range(len(requirements))):
        return None
    by_name = {device.name: device for device in usable}
    chosen = {index: by_name[name] for name, index in taken.items()}
    return [chosen[index] for index in range(len(requirements))]
