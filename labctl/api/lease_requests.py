"""What is said about leases over HTTP: requests, renewals, handing over."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import Field, model_validator

from labctl.api.common import Body, Moment
from labctl.matching import Requirement
from labctl.store.asking import Wish

DurationS = Annotated[float, Field(ge=1, le=7 * 24 * 3600)]
Text = Annotated[str, Field(min_length=1, max_length=200)]
_LATEST = datetime(9999, 12, 31, tzinfo=UTC).timestamp()  # nobody can write a time much after it
Facts = Annotated[dict[Text, float], Field(max_length=50)]


class WantedDevice(Body):
    """Any device that is all that is said here, such as any robot with 60 % in its battery."""

    device: Text | None = None
    kind: Text | None = None
    labels: dict[str, str] = Field(default={}, max_length=50)
    capability: Annotated[Text | None, Field(description="such as MotionBase, Microphone, Shell")] = None
    model: Text | None = None
    site: Text | None = None
    at_least: Facts = Field(default={}, description='conditions, such as {"battery_ratio": 0.6}')
    at_most: Facts = Field(default={})

    @model_validator(mode="after")
    def _says_something(self) -> WantedDevice:
        if not any((self.device, self.kind, self.labels, self.capability, self.model, self.site)):
            raise ValueError('give at least one of "device", "kind", "labels", "capability", "model", "site"')
        if self.device is not None and any((self.kind, self.labels, self.capability, self.model, self.site)):
            raise ValueError('"device" names one exactly; leave out what else it must be')
        return self


class LeaseRequest(Body):
    """What is wanted: devices by name, or by what they must be; for how long; and whether to wait for them."""

    devices: list[Text] = Field(default=[], max_length=200)
    require: list[WantedDevice] = Field(default=[], max_length=200)
    duration_s: DurationS = 60
    wait_s: Annotated[float, Field(ge=0, le=24 * 3600, description="hold the answer until granted")] = 0
    priority: Annotated[int, Field(ge=-100, le=100, description="a step is worth a minute of waiting")] = 0
    rooms: Annotated[bool, Field(description="take the devices' rooms too")] = True
    heartbeat_s: Annotated[
        float | None, Field(ge=1, le=3600, description="over when not heard of for so long; renewing counts")
    ] = None
    limit_s: Annotated[
        DurationS | None,
        Field(description="needed for so long at most; lets it pass longer ones in the queue, and then ends by that"),
    ] = None
    starts_at: Annotated[Moment | None, Field(description="reserve from then on")] = None

    @model_validator(mode="after")
    def _wants_something(self) -> LeaseRequest:
        if bool(self.devices) == bool(self.require):
            raise ValueError('give either "devices" (names) or "require" (kinds and labels)')
        if len(set(self.devices)) != len(self.devices):
            raise ValueError('"devices" names a device twice')
        if self.starts_at is not None and self.wait_s:
            raise ValueError('"starts_at" reserves; "wait_s" goes without it')
        if self.starts_at is not None and self.starts_at.timestamp() + self.duration_s > _LATEST:
            raise ValueError('the reservation from "starts_at" on has to end before the year 9999 does')
        return self

    def requirements(self) -> list[Requirement]:
        """What the scheduler has to find."""
        named = [Requirement(device=name) for name in self.devices]
        return named or [Requirement(**each.model_dump()) for each in self.require]

    def wish(self) -> Wish:
        return Wish(self.priority, self.rooms, self.heartbeat_s, self.limit_s)


class Renewal(Body):
    """How long the lease lasts from now on; its first duration unless given."""

    duration_s: DurationS | None = None


class HandOver(Body):
    """Who holds the lease from now on."""

    to: Text
