"""Performs an action on a device outside of any job: what hooks after a lease do, and the way back to the dock."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from drivers.errors import DeviceError
from labctl.config import Lab
from labctl.errors import LabError, LabFailureError, NotFoundError
from labctl.registry import ActionRegistry
from labctl.steps import Bases, Cancellation, LabHosts, Outcome, Sessions, StepContext, Verdict


@dataclass(frozen=True)
class AloneParts:
    """What actions need that are performed for the lab itself."""

    lab: Lab
    actions: ActionRegistry
    bases: Bases
    hosts: LabHosts
    sessions: Sessions
    workers: Executor
    scratch: Path


def perform(
    parts: AloneParts,
    device: str,
    fencing: int,
    uses: str,
    parameters: dict[str, Any],
    *,
    cancellation: Cancellation,
    tell: Callable[[str], None],
    output: Callable[[str, Any], None] = lambda _name, _value: None,
) -> Outcome:
    """One action on `device`. What goes wrong on the lab's side is an errored outcome. Measurements and files are
    not kept. `tell` hears what it says of its progress, `output` its outputs."""

    def emit(_kind: str, data: dict[str, Any]) -> None:
        if detail := data.get("detail"):
            tell(str(detail))

    def find(name: str) -> Path:
        raise NotFoundError(f"there is no file {name!r}: this step is no job's")

    with tempfile.TemporaryDirectory(dir=parts.scratch, prefix=f"lab-{device}-") as folder:
        context = StepContext(
            lab=parts.lab,
            device=device,
            roles={"device": device},
            fencing=fencing,
            folder=Path(folder),
            workers=parts.workers,
            bases=parts.bases,
            hosts=parts.hosts,
            sessions=parts.sessions,
            holder="lab",
            cancellation=cancellation,
            emit=emit,
            measure=lambda _values: None,
            keep=lambda _file, _name, _type: None,
            find=find,
            run="",
            lane="lab",
            output=output,
        )
        try:
            action = parts.actions.get(uses)
            outcome: Outcome = action.run(context, action.parameters.model_validate(parameters))
        except ValidationError as exc:
            return Outcome(Verdict.ERRORED, f"{uses}: {exc.errors()[0]['msg']} ({exc.errors()[0]['loc']})")
        except (LabFailureError, LabError, DeviceError, LookupError) as exc:
            return Outcome(Verdict.ERRORED, str(exc))
        except Exception as exc:
            return Outcome(Verdict.ERRORED, f"{uses} failed in itself: {type(exc).__name__}: {exc}")
    return Outcome(cancellation.verdict, cancellation.reason) if cancellation.asked else outcome
