"""Goes through the steps of one lane: conditions, tries; then the teardown, always."""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import sqlalchemy as sa
import structlog

from drivers.errors import DeviceError
from labctl.errors import LabError, LabFailureError
from labctl.jobs import Lane, Step, expressions
from labctl.jobs.durations import worded
from labctl.jobs.expressions import Status
from labctl.jobs.model import Part
from labctl.jobs.syntax import ExpressionError
from labctl.registry import ActionRegistry
from labctl.sequencer.judging import Findings, judged, limited, shown
from labctl.sequencer.meeting import Meetings, ParkedError
from labctl.steps import Cancellation, Measurement, Outcome, StepContext, Verdict
from labctl.store import Store, Transaction, findings, running
from labctl.store.running import Before

log = structlog.get_logger(__name__)
SHUTTING_DOWN = "the daemon is shutting down"
_LARGEST_OUTPUT = 1 << 18  # characters of JSON


@dataclass(frozen=True, slots=True)
class Place:
    """Which lane of which run it is. `counts`: how many lanes each barrier of the job waits for."""

    run: str
    job: str
    attempt: int
    lane: str
    role: str
    roles: Mapping[str, str]
    counts: Mapping[str, int]

    @property
    def device(self) -> str:
        return self.roles[self.role]


class MakeContext(Protocol):
    """Gives a step what it may touch: what the run has, with what is this step's own."""

    def __call__(
        self,
        place: Place,
        folder: Path,
        cancellation: Cancellation,
        *,
        emit: Callable[[str, dict[str, Any]], None],
        measure: Callable[[list[Measurement]], None],
        keep: Callable[[Path, str, str], None],
        output: Callable[[str, Any], None],
    ) -> StepContext: ...


@dataclass(frozen=True, slots=True)
class _Try:
    """A step being performed, for the first time or again."""

    number: int
    step: Step
    attempt: int


@dataclass(frozen=True, slots=True)
class LanePerformer:
    """One lane. `cancellation`: of the run; teardown has none but its own time limits."""

    place: Place
    lane: Lane
    names: dict[str, Any]  # what expressions know: vars, matrix, run ...
    store: Store
    actions: ActionRegistry
    meetings: Meetings
    make_context: MakeContext
    cancellation: Cancellation
    scratch: Path
    before: Before  # the daemon was restarted

    def perform(self) -> Outcome:
        """Go through the lane; its verdict is that of its worst step."""
        outcomes: list[Outcome] = []
        ids: dict[str, Any] = {}
        part: Part = "steps"
        for number, (part_now, _, written) in enumerate(self.lane.parts()):
            step = _named(written, self.names)
            if part_now != part:
                part = part_now
                self._end_steps(outcomes)
            if number < len(self.before.steps):
                self._recall(self.before.steps[number], outcomes, ids)
                continue
            outcome, told = self._maybe(number, part, step, outcomes, ids)
            if outcome is not None:
                outcomes.append(outcome)
            if step.id is not None:
                ids[step.id] = told
        return _worst(outcomes)

    def _recall(self, row: sa.Row[Any], outcomes: list[Outcome], ids: dict[str, Any]) -> None:
        """Take a step as it was before the daemon was restarted; of its measurements nothing is remembered."""
        skipped = row.verdict == "skipped"
        if not skipped:
            outcomes.append(Outcome(Verdict(row.verdict), row.reason))
        if row.step_id is not None:
            known = {"verdict": row.verdict, "reason": row.reason, "measurements": None}
            ids[row.step_id] = {**known, "outputs": None if skipped else row.outputs}

    def _end_steps(self, outcomes: Sequence[Outcome]) -> None:
        worst, place = _worst(outcomes), self.place
        self._note(
            lambda transaction: running.end_lane_steps(
                transaction, place.run, place.lane, worst.verdict.value, worst.reason
            )
        )

    def _maybe(
        self, number: int, part: Part, step: Step, outcomes: Sequence[Outcome], ids: dict[str, Any]
    ) -> tuple[Outcome | None, dict[str, Any]]:
        """Perform a step unless its condition says otherwise; its outcome, and what expressions see of it."""
        if self.meetings.parking.is_set():
            if self.before.waited_s and number == len(self.before.steps):
                raise ParkedError
            self.cancellation.ask(SHUTTING_DOWN, Verdict.ERRORED)  # it does not wait, so it is not left waiting
        asked = self.cancellation.asked
        status = Status(
            failed=any(each.verdict in (Verdict.FAILED, Verdict.ERRORED) for each in outcomes)
            or (asked and self.cancellation.verdict is Verdict.ERRORED),
            cancelled=asked and self.cancellation.verdict is Verdict.CANCELLED,
        )
        scope = {**self.names, "steps": ids}
        outcome: Outcome | None
        try:
            wanted = _wanted(step, part, scope, status)
        except ExpressionError as exc:
            outcome = Outcome(Verdict.ERRORED, f"if: {exc}")
            self._begin(number, step, 1)
            self._finish(number, step, outcome, Findings())
            return outcome, shown(outcome, Findings())
        if not wanted:
            reason = "an earlier step did not pass" if step.condition is None else f"if: {step.condition}"
            broken_off = asked and part == "steps" and _worst(outcomes).verdict is Verdict.PASSED
            self._skip(number, step, self.cancellation.reason if broken_off else reason)
            # Nothing failed, but not all was done either.
            outcome = Outcome(self.cancellation.verdict, self.cancellation.reason) if broken_off else None
            return outcome, {"outputs": None, "measurements": None, "verdict": "skipped", "reason": ""}
        # What runs in spite of a cancellation, or in the teardown, is not cancelled with the run.
        cancellation = Cancellation() if part == "always" or asked else self.cancellation
        return self._tries(number, step, scope, status, cancellation)

    def _tries(
        self, number: int, step: Step, scope: dict[str, Any], status: Status, cancellation: Cancellation
    ) -> tuple[Outcome, dict[str, Any]]:
        attempt = 1
        while True:
            self._begin(number, step, attempt)
            found = Findings()
            outcome = self._try(_Try(number, step, attempt), scope, status, cancellation, found)
            if outcome.verdict is Verdict.PASSED:
                outcome = judged(step, outcome, found)
            self._finish(number, step, outcome, found)
            last = outcome.verdict in (Verdict.PASSED, Verdict.CANCELLED) or attempt > step.retry.times
            if last or cancellation.asked:
                return outcome, shown(outcome, found)
            if step.retry.delay is not None and cancellation.wait(step.retry.delay):
                return outcome, shown(outcome, found)
            attempt += 1

    def _try(
        self, this: _Try, scope: dict[str, Any], status: Status, cancellation: Cancellation, found: Findings
    ) -> Outcome:
        step = this.step
        own = Cancellation()
        cancellation.on_asked(lambda reason: own.ask(reason, cancellation.verdict))
        late = (f"{step.title} took longer than its {worded(step.timeout)}", Verdict.ERRORED)
        limit = threading.Timer(step.timeout, own.ask, late)
        limit.daemon = True
        if step.uses is not None:  # meetings have their deadlines themselves
            limit.start()
        try:
            filled = expressions.fill(step.parameters if step.uses is not None else step.payload, scope, status)
            if step.uses is None:
                return self._meet(this, filled, own, found)
            return self._act(this, filled, own, found)
        except ExpressionError as exc:
            outcome = Outcome(Verdict.ERRORED, str(exc))
        except (LabFailureError, LabError, DeviceError, LookupError) as exc:
            outcome = Outcome(Verdict.ERRORED, str(exc))
        except Exception as exc:
            log.exception("step failed", run=self.place.run, step=step.title)
            outcome = Outcome(Verdict.ERRORED, f"{step.what} failed in itself: {type(exc).__name__}: {exc}")
        finally:
            limit.cancel()
        return Outcome(own.verdict, own.reason) if own.asked else outcome

    def _meet(self, this: _Try, payload: Any, cancellation: Cancellation, found: Findings) -> Outcome:
        place, meetings, step = self.place, self.meetings, this.step
        waited_s = self.before.waited_s if this.number == len(self.before.steps) else 0.0
        if step.notify is not None:
            meetings.notify(step.notify, place.lane, payload)
            return Outcome(Verdict.PASSED)
        if step.wait is not None:
            signal = meetings.wait(step.wait, step.timeout, cancellation, waited_s=waited_s)
            if isinstance(signal, Outcome):
                return signal
            found.outputs.update(payload=signal.payload, sender=signal.sender)
            return Outcome(Verdict.PASSED)
        barrier = str(step.barrier)
        wanted = place.counts[barrier]
        came = meetings.meet(
            barrier,
            place.lane,
            payload,
            wanted=wanted,
            timeout_s=step.timeout,
            cancellation=cancellation,
            waited_s=waited_s,
        )
        if isinstance(came, Outcome):
            return came
        found.outputs.update(payloads=came)
        return Outcome(Verdict.PASSED)

    def _act(self, this: _Try, parameters: dict[str, Any], cancellation: Cancellation, found: Findings) -> Outcome:
        if cancellation.asked:
            return Outcome(cancellation.verdict, cancellation.reason)
        place, step = self.place, this.step
        where = {"lane": place.lane, "number": this.number, "attempt": this.attempt}

        def measure(values: list[Measurement]) -> None:
            against = [limited(each, step.measurements.get(each.name)) for each in values]
            found.measurements.update((each.name, each) for each in against)
            rows = [asdict(each) for each in against]
            self.store.write(
                lambda transaction: findings.add_measurements(transaction, place.run, where, step.title, rows)
            )

        def emit(kind: str, data: dict[str, Any]) -> None:
            about: dict[str, Any] = {"step": step.title, "role": place.role, "lane": place.lane, **data}
            # Without waiting for the disk: who drives must not stall.
            self._note(lambda transaction: transaction.emit(f"step.{kind}", job=place.job, run=place.run, **about))

        def output(name: str, value: Any) -> None:
            if len(json.dumps({**found.outputs, name: value}, allow_nan=False)) > _LARGEST_OUTPUT:
                raise LabFailureError(f"the outputs of {step.title} are larger than {_LARGEST_OUTPUT} characters")
            found.outputs[name] = value

        with tempfile.TemporaryDirectory(dir=self.scratch, prefix=f"{place.run}-") as folder:
            context = self.make_context(
                place,
                Path(folder),
                cancellation,
                emit=emit,
                measure=measure,
                keep=lambda _file, name, _type: found.artifacts.append(name),
                output=output,
            )
            action = self.actions.get(str(step.uses))
            outcome: Outcome = action.run(context, action.parameters.model_validate(parameters))
        if cancellation.asked and outcome.verdict is not Verdict.PASSED:
            return Outcome(cancellation.verdict, cancellation.reason)
        return outcome

    # What is written down

    def _begin(self, number: int, step: Step, attempt: int) -> None:
        place = self.place
        row = {"step_id": step.id, "title": step.title, "what": step.what, "attempt": attempt}
        about: dict[str, Any] = {
            "step": step.title,
            "role": place.role,
            "lane": place.lane,
            "number": number,
            "attempt": attempt,
        }

        def note(transaction: Transaction) -> None:
            running.begin_step(transaction, place.run, place.lane, number, row)
            transaction.emit("step.started", job=place.job, run=place.run, **about)

        self._note(note)

    def _finish(self, number: int, step: Step, outcome: Outcome, found: Findings) -> None:
        place = self.place
        ended = {"verdict": outcome.verdict.value, "reason": outcome.reason}
        about: dict[str, Any] = {
            "step": step.title,
            "role": place.role,
            "lane": place.lane,
            "number": number,
            **ended,
        }

        def note(transaction: Transaction) -> None:
            running.end_step(transaction, place.run, place.lane, number, {**ended, "outputs": found.outputs})
            transaction.emit("step.finished", job=place.job, run=place.run, **about)

        self._note(note)

    def _skip(self, number: int, step: Step, reason: str) -> None:
        place = self.place
        row = {"step_id": step.id, "title": step.title, "what": step.what, "reason": reason}
        about: dict[str, Any] = {
            "step": step.title,
            "role": place.role,
            "lane": place.lane,
            "number": number,
            "reason": reason,
        }

        def note(transaction: Transaction) -> None:
            running.skip_step(transaction, place.run, place.lane, number, row)
            transaction.emit("step.skipped", job=place.job, run=place.run, **about)

        self._note(note)

    def _note(self, work: Callable[[Transaction], None]) -> None:
        """Write without waiting for the disk. The order is kept."""
        self.store.submit(work).add_done_callback(_log_failure)


def _named(step: Step, names: Mapping[str, Any]) -> Step:
    """The step by the name that people see: what is known before the run is filled in."""
    try:
        name = expressions.fill(step.name, names)
    except ExpressionError:
        return step  # it asks for what only the run tells
    return step if name is expressions.UNKNOWN else step.model_copy(update={"name": str(name)})


def _wanted(step: Step, part: Part, scope: Mapping[str, Any], status: Status) -> bool:
    """Whether a step is to be performed. Unless its `if` asks for the verdict so far, all before it has to be well."""
    well = part == "always" or not (status.failed or status.cancelled)
    if step.condition is None:
        return well
    node = expressions.condition(step.condition)
    if not (well or expressions.uses_status(node)):
        return False
    return expressions.truthy(expressions.evaluate(node, scope, status))


def _worst(outcomes: Sequence[Outcome]) -> Outcome:
    verdict = Verdict.worst([each.verdict for each in outcomes])
    reasons = [each.reason for each in outcomes if each.verdict is verdict and each.reason]
    return Outcome(verdict, "; ".join(dict.fromkeys(reasons)))


def _log_failure(future: Future[None]) -> None:
    if (error := future.exception()) is not None:
        log.error("progress of a run could not be written down", error=str(error))
