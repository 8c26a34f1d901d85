"""Which devices clients may ask for, of this daemon and of the lab's others, and which of them would do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from devices.hub import Candidate, admits, misfit
from labctl.config.webdriver import WebDriverConfig
from labctl.store.tables import daemons, devices, lease_devices
from labctl.webdriver.books import LANE


@dataclass(frozen=True, slots=True)
class Offer:
    """A device that clients may ask for. `matches`: what capabilities are compared with.

    `daemon`: whose it is, None for this daemon's own; `url`: where that one answers, None when it does not say.
    """

    labels: Mapping[str, str]
    matches: Mapping[str, Any]
    daemon: str | None = None
    url: str | None = None

    def misfits(self, name: str, candidate: Candidate) -> list[str]:
        """What the device of that name lacks for a candidate, for people; nothing when it would do."""
        options = candidate.options
        if options.device not in (None, name):
            return [f"it is not {options.device}"]
        wanted = options.labels.items()
        lacking = [f"{key} is not {value}" for key, value in wanted if self.labels.get(key) != value]
        return lacking or list(filter(None, [misfit(self.matches, candidate.capabilities)]))

    def fits(self, name: str, candidate: Candidate) -> bool:
        options = candidate.options
        labelled = all(self.labels.get(key) == value for key, value in options.labels.items())
        return options.device in (None, name) and labelled and admits(self.matches, candidate.capabilities)


Catalogue = Mapping[str, Offer]  # by the device's name


def own_offers(configs: Mapping[str, WebDriverConfig]) -> dict[str, Offer]:
    """What this daemon's devices offer."""
    return {name: Offer(config.labels, config.offered) for name, config in configs.items()}


def offers_elsewhere(connection: sa.Connection, this: str) -> dict[str, Offer]:
    """What the devices of other daemons offer."""
    columns = (devices.c.name, devices.c.labels, devices.c.matches, devices.c.daemon, daemons.c.url)
    query = sa.select(*columns).join(daemons, daemons.c.id == devices.c.daemon)
    query = query.where(devices.c.daemon != this, devices.c.state != "removed", devices.c.matches.is_not(None))
    return {row.name: Offer(row.labels, row.matches, row.daemon, row.url) for row in connection.execute(query)}


def any_free(connection: sa.Connection) -> bool:
    """Whether some device that clients may ask for answers and is held by nobody."""
    held = sa.exists().where(lease_devices.c.device == devices.c.name, lease_devices.c.held)
    usable = sa.and_(devices.c.matches.is_not(None), devices.c.state.in_(("good", "suspect")), ~held)
    return connection.execute(sa.select(devices.c.name).where(usable).limit(1)).first() is not None


def why_none(catalogue: Catalogue, candidates: Sequence[Candidate]) -> str:
    """What each device lacks, or that a device is not known."""
    if not catalogue:
        return "the lab has no phone, browser or desktop"
    wanted = candidates[0].options.device
    if wanted is not None and wanted not in catalogue:
        return f"there is no device {wanted!r} with WebDriver; there are: {', '.join(sorted(catalogue))}"
    told = []
    for name, offer in catalogue.items():
        if wanted in (None, name):
            reasons = [reason for each in candidates for reason in offer.misfits(name, each)]
            told.append(f"{name}: {', '.join(dict.fromkeys(reasons))}")
    return f"no device of the lab would do: {'; '.join(told[:20])}"


def worded(obstacles: Iterable[Mapping[str, Any]]) -> str:
    """What a request waits for."""
    told = [
        f"{each['device']} is held by {each['holder']}"
        if each.get("holder")
        else f"{each['device']} is {each.get('state')} ({each.get('reason')})"
        for each in obstacles
    ]
    return "; ".join(told) or "older requests wait for the same devices"


def document(candidates: Sequence[Candidate]) -> dict[str, Any]:
    """What the history keeps of a request."""
    wanted = [dict(each.capabilities) for each in candidates]
    return {"name": "WebDriver session", "webdriver": wanted, "lanes": {LANE: {"steps": []}}}
