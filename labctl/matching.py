"""Which device may fill which requirement: pure, without the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class Requirement:
    """One device wanted: by name, or any that is all that is said here. `role`: what a job calls it.

    `capability`: the name of a protocol of `drivers.protocols`; `one_of`: names of devices, any of which will do.
    `at_least` and `at_most`: conditions on what is known of the device now, such as `{"battery_ratio": 0.5}`; a device
    of which that is not known does not meet them.
    """

    device: str | None = None
    kind: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    role: str | None = None
    capability: str | None = None
    model: str | None = None
    site: str | None = None
    at_least: Mapping[str, float] = field(default_factory=dict)
    at_most: Mapping[str, float] = field(default_factory=dict)
    one_of: Sequence[str] = ()

    def admits(self, device: Candidate) -> bool:
        """Whether the device is such a one; conditions apart, which change."""
        if self.device is not None:
            return self.device == device.name
        return (
            self.kind in (None, device.kind)
            and self.model in (None, device.model)
            and self.site in (None, device.site)
            and (self.capability is None or self.capability in device.capabilities)
            and (not self.one_of or device.name in self.one_of)
            and all(device.labels.get(key) == value for key, value in self.labels.items())
        )

    def unmet(self, device: Candidate) -> list[str]:
        """The conditions that the device does not meet now, worded."""
        told = []
        for bounds, word, sign in ((self.at_least, "at least", 1), (self.at_most, "at most", -1)):
            for fact, bound in bounds.items():
                value = device.facts.get(fact)
                if value is None:
                    told.append(f"its {fact} is not known, and must be {word} {bound:g}")
                elif sign * value < sign * bound:
                    told.append(f"its {fact} is {value:g}, and must be {word} {bound:g}")
        return told

    def as_json(self) -> dict[str, Any]:
        """What is said; `Requirement(**...)` of it is the same again."""
        said = ((name, getattr(self, name)) for name in _SAID)
        return {name: dict(value) if isinstance(value, Mapping) else value for name, value in said if value}

    def __str__(self) -> str:
        if self.device is not None:
            told = [self.device]
        else:
            kind = self.kind or "device"
            told = [" or ".join(self.one_of) or f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"]
            said = [f"{key}={value}" for key, value in self.labels.items()]
            said += [f"{name} {getattr(self, name)}" for name in ("model", "site", "capability") if getattr(self, name)]
            if said:
                told.append(f"with {', '.join(said)}")
        told += [f"and {fact} of at least {bound:g}" for fact, bound in self.at_least.items()]
        told += [f"and {fact} of at most {bound:g}" for fact, bound in self.at_most.items()]
        return " ".join(told)


_SAID = tuple(each.name for each in fields(Requirement))


@dataclass(frozen=True, slots=True)
class Candidate:
    """A device as far as matching cares. `room`: the room that it takes with it. `facts`: numbers that change."""

    name: str
    kind: str
    labels: Mapping[str, str]
    room: str | None = None
    capabilities: Sequence[str] = ()
    model: str | None = None
    site: str | None = None
    facts: Mapping[str, float] = field(default_factory=dict)
    state: str = "good"
    reason: str = ""

    @property
    def usable(self) -> bool:
        """Whether it may be granted at all now."""
        return self.state in ("good", "suspect")
