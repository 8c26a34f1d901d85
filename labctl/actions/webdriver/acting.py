"""Steps that do something: open, go, click, type, run a script, close."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from devices.webdriver import WebDriverError
from labctl.actions.webdriver import pages
from labctl.actions.webdriver.session import (
    LaneSession,
    Locator,
    OnElement,
    Parameters,
    judged,
    parse_invariants,
    reference,
)
from labctl.errors import LabFailureError
from labctl.steps import Outcome, StepContext, Verdict

_PASSED = Outcome(Verdict.PASSED)
_BUTTONS = {"left": 0, "middle": 1, "right": 2}


class OpenParameters(Parameters):
    """`capabilities`: what the session asks for beside the lane's device. `url`: where to go first, or `page`: one that
    ships with the program, for browsers on the daemon's machine. `invariants` over `elements` are looked at after every
    later step of the lane; what a step set going has `settle_s` to come to rest in."""

    capabilities: dict[str, Any] = Field(default_factory=dict)
    url: str | None = None
    page: str | None = None
    elements: dict[str, Locator] = Field(default_factory=dict)
    invariants: list[str] = Field(default_factory=list)
    settle_s: Annotated[float, Field(ge=0, le=60)] = 1.0

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        parse_invariants(self.invariants, self.elements)
        if self.page is not None and self.url is not None:
            raise ValueError("give url or page, not both")
        if self.page is not None and self.page not in pages.names():
            raise ValueError(
                f"no page named {self.page!r} ships with the program; there are: {', '.join(pages.names())}"
            )
        return self

    @property
    def address(self) -> str | None:
        """Where to go first."""
        return pages.page_file(self.page).as_uri() if self.page is not None else self.url


class Open:
    """`webdriver.open`: begin the session of this lane's device."""

    parameters = OpenParameters

    def run(self, context: StepContext, parameters: OpenParameters) -> Outcome:
        try:
            opened = context.sessions.open(context.run, context.device, context.holder, parameters.capabilities)
        except WebDriverError as exc:
            raise LabFailureError(f"no session on {context.device}: {exc.message}") from exc
        notes = context.sessions.notes(context.run, context.device)
        notes["capabilities"] = opened
        notes["elements"] = {name: each.model_dump(exclude_none=True) for name, each in parameters.elements.items()}
        context.output("capabilities", json.loads(json.dumps(opened)))
        if parameters.address is not None:
            outcome = Go().run(context, GoParameters(url=parameters.address))
            if outcome.verdict is not Verdict.PASSED:
                return outcome
        notes["settle_s"] = parameters.settle_s
        notes["invariants"] = parse_invariants(parameters.invariants, parameters.elements)
        return _PASSED


class GoParameters(Parameters):
    """`url`: where the browser goes."""

    url: Annotated[str, Field(min_length=1, max_length=10_000)]


class Go:
    """`webdriver.go`: load a page."""

    parameters = GoParameters

    def run(self, context: StepContext, parameters: GoParameters) -> Outcome:
        def work(session: LaneSession) -> Outcome:
            session.web.go(parameters.url)
            return _PASSED

        return judged(context, work)


class ClickParameters(OnElement):
    """`button` and `times`: another than one click of the left one."""

    button: Literal["left", "middle", "right"] = "left"
    times: Annotated[int, Field(ge=1, le=3)] = 1


class Click:
    """`webdriver.click`: click an element."""

    parameters = ClickParameters

    def run(self, context: StepContext, parameters: ClickParameters) -> Outcome:
        def work(session: LaneSession) -> Outcome:
            def click(element: str) -> None:
                if parameters.button == "left" and parameters.times == 1:
                    session.web.click(element)
                    return
                button = _BUTTONS[parameters.button]
                press = [{"type": kind, "button": button} for kind in ("pointerDown", "pointerUp")]
                move = {"type": "pointerMove", "duration": 0, "x": 0, "y": 0, "origin": reference(element)}
                session.web.actions({"type": "pointer", "id": "mouse", "actions": [move, *press * parameters.times]})

            session.when_ready(parameters, parameters.wait_s, click)
            return _PASSED

        return judged(context, work)


class TypeParameters(OnElement):
    """`text` to type; `clear` what is there before; `enter` afterwards."""

    text: Annotated[str, Field(max_length=100_000)]
    clear: bool = False
    enter: bool = False


class Type:
    """`webdriver.type`: type into an element."""

    parameters = TypeParameters

    def run(self, context: StepContext, parameters: TypeParameters) -> Outcome:
        def work(session: LaneSession) -> Outcome:
            if parameters.clear:
                session.when_ready(
                    parameters,
                    parameters.wait_s,
                    lambda element: session.web.command("POST", f"/element/{element}/clear", {}),
                )
            text = parameters.text + ("\ue007" if parameters.enter else "")
            session.when_ready(parameters, parameters.wait_s, lambda element: session.web.type(element, text))
            return _PASSED

        return judged(context, work)


class ScriptParameters(Parameters):
    """`script`: JavaScript of a page, or a command of the driver such as "mobile: scroll". `elements`: found first and
    given as the first arguments; a promise is waited for. `expect`: the value that it has to return; `otherwise`: what
    another value means, that the thing under test is wrong (failed) or that the lab is (errored)."""

    script: Annotated[str, Field(min_length=1, max_length=100_000)]
    args: list[Any] = Field(default_factory=list)
    elements: list[Locator] = Field(default_factory=list)
    wait_s: Annotated[float, Field(ge=0, le=3600)] = 10.0
    expect: Any = None
    otherwise: Literal["failed", "errored"] = "failed"


class Script:
    """`webdriver.script`: run a script; its value is the output `value`."""

    parameters = ScriptParameters

    def run(self, context: StepContext, parameters: ScriptParameters) -> Outcome:
        def work(session: LaneSession) -> Outcome:
            found = [reference(session.wait_for(each, parameters.wait_s)) for each in parameters.elements]
            value = session.web.execute(parameters.script, *found, *parameters.args)
            context.output("value", value)
            if "expect" in parameters.model_fields_set and value != parameters.expect:
                told = f"the script gave {value!r}, not {parameters.expect!r}"
                return Outcome(Verdict(parameters.otherwise), told)
            return _PASSED

        return judged(context, work)


class Close:
    """`webdriver.close`: end the session; the device stays with the run."""

    parameters = Parameters

    def run(self, context: StepContext, parameters: Parameters) -> Outcome:  # noqa: ARG002 - it has none
        context.sessions.close(context.run, context.device)
        return _PASSED
