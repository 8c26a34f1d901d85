"""Performs hooks outside of jobs, one after the other, and tells of each."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from labctl.config.health import HookStep
from labctl.health.steps_alone import AloneParts, perform
from labctl.steps import SET_OUT, Cancellation, Outcome, Verdict
from labctl.store import Store


@dataclass(frozen=True, slots=True)
class Hooked:
    """How hooks ended. `left`: the robot set out and is not where it wanted to."""

    outcome: Outcome
    left: bool = False


@dataclass(frozen=True)
class Hooking:
    """What hooks need. `closing`: asked when the daemon is shutting down."""

    parts: AloneParts
    store: Store
    closing: Cancellation

    def perform(
        self, device: str, hooks: Sequence[HookStep], fencing: int, cancellation: Cancellation | None = None
    ) -> Hooked:
        """All of them, until one does not pass; whoever calls holds `device` with the number `fencing`."""
        for hook in hooks:
            self._tell("hook.started", device, uses=hook.uses)
            outputs: dict[str, Any] = {}
            outcome = self._one(device, hook, fencing, cancellation, outputs)
            self._tell("hook.finished", device, uses=hook.uses, verdict=outcome.verdict.value, reason=outcome.reason)
            if outcome.verdict is not Verdict.PASSED:
                told = Outcome(outcome.verdict, f"{hook.uses}: {outcome.reason}")
                return Hooked(told, bool(outputs.get(SET_OUT)))
        return Hooked(Outcome(Verdict.PASSED))

    def _one(
        self, device: str, hook: HookStep, fencing: int, cancellation: Cancellation | None, outputs: dict[str, Any]
    ) -> Outcome:
        own = Cancellation()
        for each in filter(None, (self.closing, cancellation)):
            each.on_asked(partial(own.ask, verdict=Verdict.ERRORED))
        late = (f"{hook.uses} took longer than {hook.timeout_s:g} s", Verdict.ERRORED)
        limit = threading.Timer(hook.timeout_s, own.ask, late)
        limit.daemon = True
        limit.start()
        try:
            return perform(
                self.parts,
                device,
                fencing,
                hook.uses,
                hook.parameters,
                cancellation=own,
                tell=partial(self._tell, "hook.progress", device, hook.uses),
                output=outputs.__setitem__,
            )
        finally:
            limit.cancel()

    def _tell(self, kind: str, device: str, uses: str, detail: str = "", **about: str) -> None:
        if detail:
            about["detail"] = detail
        self.store.write(lambda transaction: transaction.emit(kind, device=device, uses=uses, **about))
