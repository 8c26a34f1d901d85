"""What a check of a device says, and where checks of each kind of device are found."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Protocol

from labctl.config import Lab
from labctl.steps import BaseAddress, LabHosts, storable

GROUP = "labctl.checks"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at. `detail`: a sentence; `value` with its `unit` (SI, or "1") where there is a number.

    `fact`: the name under which the value is a condition of requests, such as `battery_ratio`.
    """

    name: str
    well: bool
    detail: str
    value: float | None = None
    unit: str = "1"
    fact: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "detail", storable(self.detail))


@dataclass(frozen=True)
class Subject:
    """The device to check. `base`: where its guard answers, for a robot. `workers`: for long sums. `hosts`: of the lab,
    for what hangs on one."""

    lab: Lab
    device: str
    workers: Executor
    hosts: LabHosts
    base: BaseAddress | None = None


class Checks(Protocol):
    """The checks of one kind of device. None of them moves, resets or takes anything from whoever holds the device."""

    def quick(self, subject: Subject) -> list[Check]:
        """What can be looked at again and again, in a second or so. Never raises for what is wrong with the device."""

    def preflight(self, subject: Subject) -> list[Check]:
        """Everything that has to be well before a device is used again after trouble; takes seconds."""


@dataclass
class CheckRegistry:
    """Finds the checks of a kind among the entry points of the group `labctl.checks`; loads them when first needed."""

    _offered: Mapping[str, EntryPoint] = field(
        default_factory=lambda: {point.name: point for point in entry_points(group=GROUP)}
    )
    _loaded: dict[str, Checks] = field(default_factory=dict)

    def get(self, kind: str) -> Checks | None:
        """The checks of a kind of device; None when nobody offers any."""
        if kind not in self._loaded:
            if kind not in self._offered:
                return None
            self._loaded[kind] = self._offered[kind].load()()
        return self._loaded[kind]
