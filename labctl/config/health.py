"""How a device is kept well: checks, quarantine, and what is done before and after it is used."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Seconds = Annotated[float, Field(gt=0, le=86_400)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ChecksSection(_Part):
    """When a device is checked, and what follows.

    `every_s`: while nobody holds it; never unless given (robots: every 30 s). `before_use`: also as the first
    step of each job. `command`: a program that ends with 0 when the device is well, beside the checks of its kind.
    """

    every_s: Seconds | None = None
    before_use: bool = False
    quarantine_after: Annotated[int, Field(ge=1, le=1000, description="lab errors or failed checks in a row")] = 3
    min_battery_ratio: Annotated[float, Field(ge=0, le=1)] = 0.2
    command: Annotated[list[str], Field(min_length=1)] | None = None
    command_timeout_s: Seconds = 30.0


class HookStep(_Part):
    """One thing to do: an action with its parameters, as in a job's step."""

    uses: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    parameters: dict[str, Any] = Field(default={}, alias="with")
    timeout_s: Seconds = 600.0


class HooksSection(_Part):
    """What is done with a device before and after each lease of it (reset, clean, dock, charge).

    A job does both as steps of its lane, `after` also when it fails or is cancelled, but for what moves a robot. A
    lease that is no job's is its holder's when `before` is done, and the device is withheld after it until `after` is.
    """

    before: list[HookStep] = []
    after: list[HookStep] = []
