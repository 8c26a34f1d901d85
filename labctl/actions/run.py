"""The actions `run.sleep` and `run.measure`: give a device time to settle; judge a number of the run."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from labctl.jobs.durations import Duration
from labctl.steps import Measurement, Outcome, StepContext, Verdict


class _Parameters(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class SleepParameters(_Parameters):
    """`duration`: seconds, or "250ms", "5m"."""

    duration: Duration


class MeasureParameters(_Parameters):
    """A number with its unit, mostly from a signal's payload: `value: ${{ steps.ready.outputs.payload.rtt_ms }}`.

    Its limits stand in the step, under `measurements`.
    """

    name: Annotated[str, Field(min_length=1, max_length=200)]
    value: float
    unit: Annotated[str, Field(max_length=30)] = "1"


class Sleep:
    """Satisfies `labctl.steps.Action`."""

    parameters = SleepParameters

    def run(self, context: StepContext, parameters: SleepParameters) -> Outcome:
        """Let time go by, unless cancelled."""
        if context.cancellation.wait(parameters.duration):
            return Outcome(context.cancellation.verdict, context.cancellation.reason)
        return Outcome(Verdict.PASSED)


class Measure:
    """Satisfies `labctl.steps.Action`."""

    parameters = MeasureParameters

    def run(self, context: StepContext, parameters: MeasureParameters) -> Outcome:
        """Note a measurement of the run."""
        context.measure([Measurement(parameters.name, parameters.value, parameters.unit)])
        context.output("value", parameters.value)
        return Outcome(Verdict.PASSED)
