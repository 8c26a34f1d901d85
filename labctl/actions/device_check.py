"""The action `device.check`: is the device of this lane well enough to be used?"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from labctl.health.checks import CheckRegistry, Subject
from labctl.health.looking import look
from labctl.steps import Measurement, Outcome, StepContext, Verdict


class CheckParameters(BaseModel):
    """`preflight`: everything, not only what takes a moment."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    preflight: bool = False


class CheckDevice:
    """Satisfies `labctl.steps.Action`."""

    parameters = CheckParameters

    def __init__(self) -> None:
        self._registry = CheckRegistry()

    def run(self, context: StepContext, parameters: CheckParameters) -> Outcome:
        """Errored when a check fails: that is the lab's fault, not that of what is tested."""
        config = context.lab.devices[context.device]
        base = context.bases.address(context.device, context.fencing) if config.kind == "robot" else None
        subject = Subject(context.lab, context.device, context.workers, context.hosts, base)
        checks = look(self._registry, subject, preflight=parameters.preflight)
        context.measure(
            [
                Measurement(each.name, each.value, each.unit, verdict=Verdict.PASSED if each.well else Verdict.ERRORED)
                for each in checks
                if each.value is not None
            ]
        )
        bad = [f"{each.name}: {each.detail}" for each in checks if not each.well]
        if bad:
            return Outcome(Verdict.ERRORED, f"{context.device} is not well: {'; '.join(bad)}")
        return Outcome(Verdict.PASSED)
