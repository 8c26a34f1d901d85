"""The job format: roles that devices fill, lanes of steps that run at the same time, and where the lanes meet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from labctl.jobs.durations import Duration
from labctl.matching import Requirement

NAME = r"^[A-Za-z][A-Za-z0-9_-]{0,63}$"
RoleName = Annotated[str, Field(pattern=NAME)]
NAME_OF_SIGNAL = r"^[A-Za-z][A-Za-z0-9_.-]{0,99}$"
SignalName = Annotated[str, Field(pattern=NAME_OF_SIGNAL)]
Text = Annotated[str, Field(max_length=2000)]
Title = Annotated[str, Field(min_length=1, max_length=200)]
LONGEST_LANE = 1000  # steps
Part = Literal["steps", "always"]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False)


class Role(_Section):
    """Which device fills a role: one by name, or any that is all that is said here.

    `capability`: what it must be able to do, such as MotionBase. `at_least` and `at_most`: conditions on what is known
    of it when the job begins, such as `{battery_ratio: 0.6}`.
    """

    device: str | None = None
    kind: str | None = None
    labels: dict[str, str] = {}
    capability: str | None = None
    model: str | None = None
    site: str | None = None
    at_least: dict[str, float] = {}
    at_most: dict[str, float] = {}

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        described = self.kind or self.labels or self.capability or self.model or self.site
        if (self.device is None) == (not described):
            raise ValueError("give either device (a name), or kind, labels, capability, model or site")
        return self

    def requirement(self, role: str) -> Requirement:
        """What the scheduler has to find for it."""
        return Requirement(role=role, **self.model_dump())


class Retry(_Section):
    """How often a step that did not pass is tried again, and how long after. `3` is short for `{times: 3}`."""

    times: Annotated[int, Field(ge=0, le=100)] = 0
    delay: Duration | None = None


class Limits(_Section):
    """What a measurement of a step must be. The unit must be the one that the action measures in."""

    min: float | None = None
    max: float | None = None
    unit: Annotated[str, Field(max_length=30)] | None = None

    @model_validator(mode="after")
    def _can_be_met(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError("give min, max or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}")
        return self


def _times(value: Any) -> Any:
    return {"times": value} if isinstance(value, int) and not isinstance(value, bool) else value


def _as_text(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value


class Step(_Section):
    """One thing to do: an action (`uses`, `with`), or a meeting with other lanes (`notify`, `wait` or `barrier`)."""

    name: Annotated[str, Field(max_length=200)] = ""
    id: RoleName | None = None
    condition: Annotated[Text | None, BeforeValidator(_as_text)] = Field(default=None, alias="if")
    uses: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+$")] | None = None
    parameters: dict[str, Any] = Field(default_factory=dict, alias="with")
    notify: SignalName | None = None
    wait: SignalName | None = None
    barrier: SignalName | None = None
    payload: Any = None
    count: Annotated[int, Field(ge=2, le=1000)] | None = None
    timeout: Duration = 1800
    retry: Annotated[Retry, BeforeValidator(_times)] = Retry()
    measurements: dict[Title, Limits] = {}
    artifacts: list[Title] = []

    @property
    def title(self) -> str:
        """What people see."""
        return self.name or self.what

    @property
    def what(self) -> str:
        """The action, or the meeting: "wait accepted"."""
        if self.uses is not None:
            return self.uses
        kind = next(each for each in ("notify", "wait", "barrier") if getattr(self, each) is not None)
        return f"{kind} {getattr(self, kind)}"

    @model_validator(mode="after")
    def _does_one_thing(self) -> Self:
        given = [each for each in ("uses", "notify", "wait", "barrier") if getattr(self, each) is not None]
        if len(given) != 1:
            said = " and ".join(given) or "none of them"
            raise ValueError(f"a step has one of uses, notify, wait and barrier; this one has {said}")
        belongs = {
            "uses": ("parameters", "timeout", "retry", "measurements", "artifacts"),
            "notify": ("payload",),
            "wait": ("timeout",),
            "barrier": ("timeout", "count", "payload"),
        }
        allowed = {"name", "id", "condition", given[0], *belongs[given[0]]}
        if stray := sorted(_key(each) for each in self.model_fields_set - allowed):
            raise ValueError(f"{', '.join(stray)} cannot be used with {given[0]}")
        return self


class Lane(_Section):
    """The steps of a lane in order, then the `always` steps, whatever happened.

    `role`: whose device, if not that of the lane's own name. After a step that does not pass only steps run whose `if`
    says so.
    """

    role: RoleName | None = None
    steps: Annotated[list[Step], Field(min_length=1, max_length=LONGEST_LANE)]
    always: Annotated[list[Step], Field(max_length=LONGEST_LANE)] = []

    def parts(self) -> Iterator[tuple[Part, int, Step]]:
        """All steps in order, each with its place."""
        yield from (("steps", index, step) for index, step in enumerate(self.steps))
        yield from (("always", index, step) for index, step in enumerate(self.always))


class Job(_Section):
    """A job file.

    `vars`: values for `${{ vars.NAME }}`. `signals`: those that programs outside of the lanes send. `outputs`: what is
    shown of a run when it is over. `on_lab_failure`: whether an errored run is the end, or the job queues again.
    """

    name: Title
    description: Text = ""
    labels: dict[Title, Annotated[str, Field(max_length=200)]] = {}
    priority: Annotated[int, Field(ge=-100, le=100)] = 0
    timeout: Duration = 3600
    on_lab_failure: Literal["errored", "requeue"] = "errored"
    matrix: dict[str, Any] | None = None
    vars: dict[RoleName, Any] = {}
    roles: Annotated[dict[RoleName, Role], Field(min_length=1, max_length=200)]
    signals: list[SignalName] = []
    lanes: Annotated[dict[RoleName, Lane], Field(min_length=1, max_length=200)]
    outputs: dict[RoleName, Any] = {}

    def role_of(self, lane: str) -> str:
        """The role whose device a lane works with."""
        return self.lanes[lane].role or lane

    def requirements(self) -> list[Requirement]:
        """What the scheduler has to find: one device for each role."""
        return [role.requirement(name) for name, role in self.roles.items()]


def _key(field: str) -> str:
    return Step.model_fields[field].alias or field
