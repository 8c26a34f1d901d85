"""What became of a step that passed: measurements against the limits of its job, files that it had to leave. Pure."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass, field, replace
from typing import Any

from labctl.jobs import Step
from labctl.jobs.model import Limits
from labctl.steps import Measurement, Outcome, Verdict


@dataclass(slots=True)
class Findings:
    """What a try of a step found out."""

    outputs: dict[str, Any] = field(default_factory=dict)
    measurements: dict[str, Measurement] = field(default_factory=dict)
    artifacts: list[str] = field(default_factory=list)


def limited(taken: Measurement, limits: Limits | None) -> Measurement:
    """A measurement with the job's limits, which count before those of the action."""
    if limits is None:
        return taken
    value = taken.value
    low_ok = limits.min is None or (value is not None and value >= limits.min)
    high_ok = limits.max is None or (value is not None and value <= limits.max)
    verdict = Verdict.PASSED if value is not None and low_ok and high_ok else Verdict.FAILED
    return replace(taken, low=limits.min, high=limits.max, verdict=verdict)


def judged(step: Step, outcome: Outcome, found: Findings) -> Outcome:
    """What becomes of a step that passed, by what its job demands of measurements and artifacts."""
    errors, failures = [], []
    for name, limits in step.measurements.items():
        taken = found.measurements.get(name)
        if taken is None:
            known = ", ".join(found.measurements) or "nothing"
            errors.append(f"{step.what} did not measure {name!r}; it measured {known}")
        elif limits.unit not in (None, taken.unit):
            errors.append(f"{name} is measured in {taken.unit}, and its limits are in {limits.unit}")
        elif taken.verdict is Verdict.FAILED:
            failures.append(f"{name} is {_number(taken)}, outside {_range(limits)}")
    for pattern in step.artifacts:
        if not fnmatch.filter(found.artifacts, pattern):
            errors.append(f"{step.what} left no file {pattern!r}; it left {', '.join(found.artifacts) or 'none'}")
    if errors:
        return Outcome(Verdict.ERRORED, "; ".join(errors))
    return Outcome(Verdict.FAILED, "; ".join(failures)) if failures else outcome


def shown(outcome: Outcome, found: Findings) -> dict[str, Any]:
    """What later steps see of it, as `steps.ID`."""
    return {
        "outputs": found.outputs,
        "measurements": {name: each.value for name, each in found.measurements.items()},
        "verdict": outcome.verdict.value,
        "reason": outcome.reason,
    }


def _number(taken: Measurement) -> str:
    return "unknown" if taken.value is None else f"{taken.value:.4g} {taken.unit}".removesuffix(" 1")


def _range(limits: Limits) -> str:
    if limits.min is None:
        return f"its limit: at most {limits.max:g}"
    if limits.max is None:
        return f"its limit: at least {limits.min:g}"
    return f"its limits {limits.min:g} .. {limits.max:g}"
