"""Calling clients as devices; for now those of the simulated bench."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from drivers.sim.endpoint import EndpointFaults
from labctl.config.model import DeviceConfig


class EndpointConfig(DeviceConfig):
    """A simulated calling client. `faults`: what goes wrong with it on purpose."""

    kind: Literal["endpoint"] = "endpoint"
    simulated: Literal[True]
    faults: EndpointFaults = EndpointFaults()
    seed: Annotated[int, Field(ge=0, le=2**31, description="of what it loses")] = 0
