"""The job format: roles that devices fill, and a lane of steps for each role."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from drivers import documents
from labctl.matching import Requirement

RoleName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,31}$")]
Seconds = Annotated[float, Field(gt=0, le=7 * 24 * 3600)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Role(_Part):
    """Which device fills a role: one by name, or any of a kind that has all the labels."""

    device: str | None = None
    kind: str | None = None
    labels: dict[str, str] = {}

    @model_validator(mode="after")
    def _says_something(self) -> Role:
        if (self.device is None) == (self.kind is None):
            raise ValueError("give either device (a name) or kind (with labels, if they matter)")
        if self.device is not None and self.labels:
            raise ValueError("labels go with kind; a device is named exactly")
        return self


class Step(_Part):
    """One thing to do: `uses` names the action, `with` its parameters."""

    uses: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+$")]
    name: str = ""
    parameters: dict[str, Any] = Field(default_factory=dict, alias="with")
    timeout_s: Seconds = 1800

    @property
    def title(self) -> str:
        """What people see."""
        return self.name or self.uses


class Lane(_Part):
    """The steps of a role in order, up to the first that does not pass; then the `always` steps, whatever happened."""

    steps: Annotated[list[Step], Field(min_length=1)]
    always: list[Step] = []


class Job(_Part):
    """A job file."""

    name: Annotated[str, Field(min_length=1, max_length=200)]
    roles: Annotated[dict[RoleName, Role], Field(min_length=1)]
    lanes: Annotated[dict[str, Lane], Field(min_length=1)]
    timeout_s: Seconds = 3600
    priority: Annotated[int, Field(ge=-100, le=100)] = 0

    def requirements(self) -> list[Requirement]:
        """What the scheduler has to find: one device for each role."""
        return [Requirement(role.device, role.kind, role.labels, name) for name, role in self.roles.items()]


def parse_job(text: str, source: str, check: Callable[[Step], list[tuple[documents.Location, str]]]) -> Job:
    """The job in a YAML or JSON text.

    `check` says what is wrong with a step's action and parameters, as places below the step. Raises
    `drivers.documents.DocumentError` with every problem as file:line:column.
    """
    document = documents.parse(text, source)
    job = documents.validate(document, Job)
    problems = []
    for lane_name, lane in job.lanes.items():
        if lane_name not in job.roles:
            known = ", ".join(job.roles)
            problems.append(document.problem(("lanes", lane_name), f"no role has this name; roles are: {known}"))
        for part, steps in (("steps", lane.steps), ("always", lane.always)):
            for index, step in enumerate(steps):
                for where, message in check(step):
                    problems.append(document.problem(("lanes", lane_name, part, index, *where), message))
    if problems:
        raise documents.DocumentError(problems)
    return job
