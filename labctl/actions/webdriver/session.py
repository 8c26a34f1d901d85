"""A step's hold on the WebDriver session of its lane: locators, waiting, invariants after each step."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from devices.client import WebDriverSession
from devices.looks import Invariant, InvariantError, parse_invariant
from devices.webdriver import ELEMENT_KEY, WebDriverError, page_locator
from labctl.errors import LabFailureError
from labctl.steps import Cancellation, Measurement, Outcome, StepContext, Verdict

Result = TypeVar("Result")
Wait = Annotated[float, Field(ge=0, le=3600)]
# How often a condition is looked at again. A look costs the device a few milliseconds.
_LOOK_EVERY_S = 0.1
# What a client sees when the device, and not the thing under test, has failed.
_LAB_FAILURES = frozenset({"unknown error", "invalid session id", "session not created", "timeout"})
_STALE = "stale element reference"
_NOT_THERE = frozenset({"no such element", _STALE})
# An element that was drawn anew, is still moving or lies under something may take the next try.
_NOT_YET = frozenset({_STALE, "element click intercepted", "element not interactable"})
# A parameter's name, and the WebDriver strategy that it stands for.
_STRATEGIES = {
    "css": "css selector", "xpath": "xpath", "id": "id", "name": "name", "class_name": "class name", "tag": "tag name",
    "accessibility_id": "accessibility id", "link": "link text", "link_part": "partial link text",
}  # fmt: skip


class Parameters(BaseModel):
    """Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Locator(Parameters):
    """One way to find an element: `css`, `xpath`, `id`, `name`, `class_name`, `tag`, `accessibility_id`, `link`,
    `link_part`, or any strategy of the driver as `using` and `value`."""

    css: str | None = None
    xpath: str | None = None
    id: str | None = None
    name: str | None = None
    class_name: str | None = None
    tag: str | None = None
    accessibility_id: str | None = None
    link: str | None = None
    link_part: str | None = None
    using: str | None = None
    value: str | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        given = [key for key in _STRATEGIES if getattr(self, key) is not None]
        if (self.using is None) != (self.value is None):
            raise ValueError("using and value go together")
        if len(given) + (self.using is not None) != 1:
            raise ValueError(f"give one of {', '.join(_STRATEGIES)}, or using and value")
        return self

    @property
    def wire(self) -> tuple[str, str]:
        """Strategy and value for WebDriver. An id or name of a page goes as CSS, which all browsers take."""
        if self.using is not None and self.value is not None:
            return self.using, self.value
        key = next(key for key in _STRATEGIES if getattr(self, key) is not None)
        return _STRATEGIES[key], str(getattr(self, key))

    def __str__(self) -> str:
        using, value = self.wire
        return f"{using} {value!r}"


class OnElement(Locator):
    """A step about one element. `wait_s`: how long it may take to appear."""

    wait_s: Wait = 10.0


class LaneSession:
    """The session of this step's device. Satisfies `devices.looks.Elements`."""

    def __init__(self, context: StepContext) -> None:
        self._context = context
        self._notes = context.sessions.notes(context.run, context.device)
        self.web = WebDriverSession(_Wire(context), "", {})
        self.is_browser = _is_browser(self._notes.get("capabilities", {}))

    def find(self, locator: Locator) -> str | None:
        """The element's id; None when it is not there now."""
        try:
            return self.web.find(*self._spoken(locator))
        except WebDriverError as exc:
            if exc.code in _NOT_THERE:
                return None
            raise

    def count(self, locator: Locator) -> int:
        return len(self.web.find_all(*self._spoken(locator)))

    def _spoken(self, locator: Locator) -> tuple[str, str]:
        return page_locator(*locator.wire) if self.is_browser else locator.wire

    def wait_for(self, locator: Locator, wait_s: float) -> str:
        """The element, once it is there. Raises NotSeenError."""
        found = until(lambda: self.find(locator), wait_s, self._context.cancellation)
        if found is None:
            raise NotSeenError(f"no element by {locator} within {wait_s:g} s")
        return found

    def when_ready(self, locator: Locator, wait_s: float, do: Callable[[str], object]) -> None:
        """Find the element and do something with it, again while it is drawn anew, moves or is covered, for `wait_s`.

        Raises NotSeenError, or WebDriverError as the last try gave it.
        """
        end = time.monotonic() + wait_s
        while True:
            left = max(0.0, end - time.monotonic())
            element = until(lambda: self.find(locator), left, self._context.cancellation)
            if element is None:
                raise NotSeenError(f"no element by {locator} within {wait_s:g} s")
            try:
                do(element)
            except WebDriverError as exc:
                if exc.code not in _NOT_YET or time.monotonic() >= end or self._context.cancellation.asked:
                    raise
                self._context.cancellation.wait(_LOOK_EVERY_S)
            else:
                return

    def property_of(self, element: str, name: str) -> Any:
        """`text`, `enabled`, `displayed`, `selected`, or an attribute or property as "@name"."""
        if name.startswith("@"):
            if self.is_browser:  # what a page shows now is a property; what its source said may be another value
                value = self.web.command("GET", f"/element/{element}/property/{name[1:]}")
                if value is not None:
                    return value
            return self.web.command("GET", f"/element/{element}/attribute/{name[1:]}")
        if name == "displayed" and self.is_browser:
            # The standard leaves visibility to clients; browsers' drivers answer it all the same.
            return bool(self.web.command("GET", f"/element/{element}/displayed"))
        return self.web.command("GET", f"/element/{element}/{name}")

    def read(self, element: str, prop: str) -> Any:
        """For invariants: a property of an element declared with them; None and False where it is not there."""
        locator = Locator.model_validate(self._notes["elements"][element])
        while (found := self.find(locator)) is not None and prop != "present":
            try:
                return self.property_of(found, prop)
            except WebDriverError as exc:
                if exc.code != _STALE or self._context.cancellation.asked:
                    raise
        if prop == "present":
            return found is not None
        return "" if prop == "text" else False if prop in ("enabled", "displayed", "selected") else None

    def broken_invariants(self) -> list[str]:
        """The declared invariants that do not hold, nor come to hold while the screen settles."""
        invariants: list[Invariant] = self._notes.get("invariants", [])
        broken: list[str] = []

        def hold() -> bool | None:
            broken[:] = [str(found) for each in invariants if (found := each.check(self)) is not None]
            return None if broken else True

        until(hold, self._notes.get("settle_s", 0.0), self._context.cancellation)
        return broken


class NotSeenError(Exception):
    """What the thing under test should show is not there: the step fails."""


@contextmanager
def lane_session(context: StepContext) -> Iterator[LaneSession]:
    """The session, with what goes wrong on the lab's side as LabFailureError and the rest as NotSeenError."""
    try:
        yield LaneSession(context)
    except WebDriverError as exc:
        told = f"{context.device}: {exc.code}: {exc.message}"
        if exc.code in _LAB_FAILURES:
            raise LabFailureError(told) from exc
        raise NotSeenError(told) from exc


def judged(context: StepContext, work: Callable[[LaneSession], Outcome]) -> Outcome:
    """Do a step's work, then look whether the invariants of the session hold."""
    try:
        with lane_session(context) as session:
            outcome = work(session)
            broken = session.broken_invariants() if outcome.verdict is Verdict.PASSED else []
    except NotSeenError as exc:
        return Outcome(Verdict.FAILED, str(exc))
    if not broken:
        return outcome
    context.measure([Measurement("invariants broken", float(len(broken)), "1", None, 0.0, Verdict.FAILED)])
    return Outcome(Verdict.FAILED, "; ".join(broken))


def until(look: Callable[[], Result | None], wait_s: float, cancellation: Cancellation) -> Result | None:
    """What `look` gives once it is not None, or None after `wait_s`, or when the step is cancelled."""
    end = time.monotonic() + wait_s
    while True:
        found = look()
        if found is not None or time.monotonic() >= end or cancellation.asked:
            return found
        cancellation.wait(min(_LOOK_EVERY_S, max(0.0, end - time.monotonic())))


def parse_invariants(texts: list[str], elements: Mapping[str, Any]) -> list[Invariant]:
    """Raises ValueError with all that is wrong, a line each."""
    problems, parsed = [], []
    for text in texts:
        try:
            parsed.append(parse_invariant(text, frozenset(elements)))
        except InvariantError as exc:
            problems.append(str(exc))
    if problems:
        raise ValueError("\n".join(problems))
    return parsed


class _Wire:
    """`devices.client.Wire` through the lab's own endpoint, which records and masks."""

    def __init__(self, context: StepContext) -> None:
        self._context = context

    def call(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        context = self._context
        return context.sessions.call(context.run, context.device, method, path.removeprefix("/session/"), body)

    def close(self) -> None:
        pass  # the session is the lane's


def reference(element: str) -> dict[str, str]:
    """An element as an argument of a script."""
    return {ELEMENT_KEY: element}


def _is_browser(capabilities: Mapping[str, Any]) -> bool:
    return bool(capabilities.get("browserName"))
