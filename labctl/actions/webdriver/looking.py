"""Steps that look: find, expect, screenshot, layout, compare."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from devices import looks
from devices.webdriver import WebDriverError
from labctl.actions.webdriver.session import LaneSession, Locator, OnElement, Parameters, Wait, judged, until
from labctl.errors import LabError, LabFailureError
from labctl.steps import Cancellation, Measurement, Outcome, StepContext, Verdict

_PASSED = Outcome(Verdict.PASSED)
# Some browsers round, and answer before the page has its new size.
_RESIZES = 3
_RESIZED_WITHIN_S = 2.0
_Pixels = Annotated[int, Field(ge=100, le=10_000)]
_Name = Annotated[str, Field(pattern=r"^[\w .-]{1,100}$")]


class Find:
    """`webdriver.find`: wait for an element; outputs its `text`, `tag` and `rect`."""

    parameters = OnElement

    def run(self, context: StepContext, parameters: OnElement) -> Outcome:
        def work(session: LaneSession) -> Outcome:
            def tell(element: str) -> None:
                context.output("text", session.property_of(element, "text"))
                context.output("tag", session.property_of(element, "name"))
                context.output("rect", session.web.rect(element))

            session.when_ready(parameters, parameters.wait_s, tell)
            return _PASSED

        return judged(context, work)


class ExpectParameters(OnElement):
    """What has to be true of an element within `wait_s`. Several conditions all hold."""

    text: str | None = None
    contains: str | None = None
    matches: str | None = None
    attributes: dict[str, Any] = Field(default_factory=dict)
    enabled: bool | None = None
    displayed: bool | None = None
    selected: bool | None = None
    count: Annotated[int, Field(ge=0)] | None = None
    absent: bool = False

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.absent and self.conditions():
            raise ValueError("an element that is absent has no other conditions")
        if self.matches is not None:
            try:
                re.compile(self.matches)
            except re.error as exc:
                raise ValueError(f"matches is no regular expression: {exc}") from None
        return self

    def conditions(self) -> set[str]:
        """The conditions that were given."""
        return self.model_fields_set & {
            "text", "contains", "matches", "attributes", "enabled", "displayed", "selected", "count",
        }  # fmt: skip


class Expect:
    """`webdriver.expect`: wait until what is expected is there, or fail with what is there instead."""

    parameters = ExpectParameters

    def run(self, context: StepContext, parameters: ExpectParameters) -> Outcome:
        def work(session: LaneSession) -> Outcome:
            last = [""]

            def holds() -> bool | None:
                try:
                    last[0] = _differs(session, parameters)
                except WebDriverError as exc:
                    if exc.code != "stale element reference":
                        raise
                    last[0] = "it was being drawn anew"
                return None if last[0] else True

            if until(holds, parameters.wait_s, context.cancellation):
                return _PASSED
            return Outcome(Verdict.FAILED, f"{parameters}: {last[0]}, after {parameters.wait_s:g} s")

        return judged(context, work)


def _differs(session: LaneSession, wanted: ExpectParameters) -> str:
    """What is not as wanted, or nothing."""
    return next(_differences(session, wanted), "")


def _differences(session: LaneSession, wanted: ExpectParameters) -> Iterator[str]:
    if wanted.count is not None and (found := session.count(wanted)) != wanted.count:
        yield f"there are {found}, not {wanted.count}"
    if wanted.conditions() == {"count"}:
        return
    element = session.find(wanted)
    if element is None:
        if not wanted.absent:
            yield "it is not there"
        return
    if wanted.absent:
        yield "it is there"
        return
    text = str(session.property_of(element, "text"))
    if wanted.text is not None and text != wanted.text:
        yield f"it says {text!r}, not {wanted.text!r}"
    if wanted.contains is not None and wanted.contains not in text:
        yield f"it says {text!r}, without {wanted.contains!r}"
    if wanted.matches is not None and re.search(wanted.matches, text) is None:
        yield f"it says {text!r}, which does not match {wanted.matches!r}"
    for name, value in wanted.attributes.items():
        if (present := session.property_of(element, f"@{name}")) != value:
            yield f"its {name} is {present!r}, not {value!r}"
    for name in ("enabled", "displayed", "selected"):
        if (value := getattr(wanted, name)) is not None and session.property_of(element, name) is not value:
            yield f"it is {'not ' if value else ''}{name}"


class ScreenshotParameters(Parameters):
    """`name` of the artifact; `element`: that one alone."""

    name: _Name = "screenshot"
    element: Locator | None = None
    wait_s: Wait = 10.0


class Screenshot:
    """`webdriver.screenshot`: keep a picture as an artifact."""

    parameters = ScreenshotParameters

    def run(self, context: StepContext, parameters: ScreenshotParameters) -> Outcome:
        def work(session: LaneSession) -> Outcome:
            picture = _picture(session, parameters.element, parameters.wait_s)
            _keep(context, picture, f"{parameters.name}.png")
            return _PASSED

        return judged(context, work)


class LayoutParameters(Parameters):
    """`elements` by the names that the rules of `sections` use; see `devices.looks.layout`. `sizes`: width and height
    of the page, in CSS pixels, at each of which it is judged; a browser's window is put to them, and back after."""

    elements: dict[str, Locator]
    sections: Annotated[list[dict[str, Any]], Field(min_length=1)]
    sizes: Annotated[list[tuple[_Pixels, _Pixels]], Field(max_length=20)] = Field(default_factory=list)
    wait_s: Wait = 10.0

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        layout = looks.parse_layout(self.sections)
        if unknown := sorted(layout.elements - self.elements.keys()):
            raise ValueError(f"the rules name {', '.join(unknown)}, which elements does not say how to find")
        return self


class Layout:
    """`webdriver.layout`: judge where things are; what is off is framed in a screenshot."""

    parameters = LayoutParameters

    def run(self, context: StepContext, parameters: LayoutParameters) -> Outcome:
        layout = looks.parse_layout(parameters.sections)

        def judge(session: LaneSession, picture_name: str) -> list[str]:
            """What is off, in words."""
            off: list[looks.Finding] = []
            places: dict[str, looks.Rect | None] = {}

            def holds() -> bool | None:
                places.update({name: _place(session, each) for name, each in parameters.elements.items()})
                findings = layout.check(places, _screen(session))
                off[:] = [each for each in findings if not each.passed]
                return None if off else True

            if not until(holds, parameters.wait_s, context.cancellation):
                picture = _picture(session, None, 0)
                _keep(context, looks.annotate(picture, off, places, _scale(session)), picture_name)
            return [str(each) for each in off]

        def work(session: LaneSession) -> Outcome:
            if not parameters.sizes:
                off = judge(session, "layout.png")
            elif not session.is_browser:
                raise LabFailureError(f"{context.device} is no browser: its screen has the size that it has")
            else:
                off = []
                with _window(session):
                    for width, height in parameters.sizes:
                        _resize(session, width, height, context.cancellation)
                        found = judge(session, f"layout-{width}x{height}.png")
                        off += [f"at {width} x {height}: {each}" for each in found]
            verdict = Verdict.FAILED if off else Verdict.PASSED
            context.measure([Measurement("layout rules broken", float(len(off)), "1", None, 0.0, verdict)])
            return Outcome(verdict, "; ".join(off))

        return judged(context, work)


@contextmanager
def _window(session: LaneSession) -> Iterator[None]:
    """Whatever is done to the window inside, it is as before afterwards."""
    before = session.web.command("GET", "/window/rect")
    try:
        yield
    finally:
        session.web.command("POST", "/window/rect", {"width": before["width"], "height": before["height"]})


def _resize(session: LaneSession, width: int, height: int, cancellation: Cancellation) -> None:
    """Make the page that large. Raises LabFailureError where the browser does not."""

    def fits() -> bool | None:
        return True if _screen(session) == (width, height) else None

    for _ in range(_RESIZES):
        inner, outer = _screen(session), session.web.command("GET", "/window/rect")
        wanted = {"width": outer["width"] + width - inner[0], "height": outer["height"] + height - inner[1]}
        session.web.command("POST", "/window/rect", wanted)
        if until(fits, _RESIZED_WITHIN_S, cancellation):
            return
    inner = _screen(session)
    raise LabFailureError(
        f"the page cannot be made {width} x {height}: the browser makes it {inner[0]:g} x {inner[1]:g}; some have a "
        "least width, or a screen that is too small"
    )


class CompareParameters(Parameters):
    """`expected`: an artifact of this run or an uploaded file. `masks`: elements, or [x, y, width, height] in pixels of
    the page, that do not count. `max_ratio`: how much of the picture may differ, 0 .. 1."""

    expected: str
    element: Locator | None = None
    masks: list[Locator | tuple[float, float, float, float]] = Field(default_factory=list)
    max_ratio: Annotated[float, Field(ge=0, le=1)] = 0.001
    tolerance: Annotated[int, Field(ge=0, le=255)] = 24
    wait_s: Wait = 10.0


class Compare:
    """`webdriver.compare`: compare the screen with a picture; both and their difference are kept."""

    parameters = CompareParameters

    def run(self, context: StepContext, parameters: CompareParameters) -> Outcome:
        try:
            expected = context.find(parameters.expected).read_bytes()
        except (LabError, OSError) as exc:
            raise LabFailureError(f"the expected picture {parameters.expected!r} is not to be had: {exc}") from exc

        def work(session: LaneSession) -> Outcome:
            masks = _masks(session, parameters)
            found: list[tuple[looks.Difference, bytes]] = []

            def alike() -> bool | None:
                picture = _picture(session, parameters.element, parameters.wait_s)
                difference = looks.compare_pictures(expected, picture, masks=masks, tolerance=parameters.tolerance)
                found[:] = [(difference, picture)]
                return True if difference.ratio <= parameters.max_ratio else None

            try:
                holding = until(alike, parameters.wait_s, context.cancellation)
            except looks.PictureError as exc:
                return Outcome(Verdict.FAILED, str(exc))
            difference, picture = found[0]
            verdict = Verdict.PASSED if holding else Verdict.FAILED
            measured = Measurement("picture difference", difference.ratio, "1", None, parameters.max_ratio, verdict)
            context.measure([measured])
            _keep(context, picture, "actual.png")
            if holding:
                return _PASSED
            _keep(context, difference.picture, "difference.png")
            places = ", ".join(f"{w} x {h} at ({x}, {y})" for x, y, w, h in difference.regions[:5])
            return Outcome(Verdict.FAILED, f"{difference.ratio:.2%} of the picture differs: {places}")

        return judged(context, work)


def _masks(session: LaneSession, parameters: CompareParameters) -> list[tuple[float, float, float, float]]:
    """In pixels of the picture, which shows the whole window or one element."""
    scale = _scale(session)
    origin = _place(session, parameters.element) if parameters.element is not None else None
    left, top = (origin.x, origin.y) if origin is not None else (0.0, 0.0)
    masks = []
    for each in parameters.masks:
        if isinstance(each, Locator):
            place = _place(session, each)
            if place is None:
                continue
            x, y, width, height = place.x, place.y, place.width, place.height
        else:
            x, y, width, height = each
        masks.append((scale * (x - left), scale * (y - top), scale * width, scale * height))
    return masks


def _place(session: LaneSession, locator: Locator) -> looks.Rect | None:
    element = session.find(locator)
    if element is None:
        return None
    rect = session.web.rect(element)
    text = str(session.property_of(element, "text"))
    return looks.Rect(rect["x"], rect["y"], rect["width"], rect["height"], text)


def _screen(session: LaneSession) -> tuple[float, float]:
    if session.is_browser:
        width, height = session.web.execute("return [window.innerWidth, window.innerHeight]")
        return float(width), float(height)
    rect = session.web.command("GET", "/window/rect")
    return float(rect["width"]), float(rect["height"])


def _scale(session: LaneSession) -> float:
    return float(session.web.execute("return window.devicePixelRatio")) if session.is_browser else 1.0


def _picture(session: LaneSession, element: Locator | None, wait_s: float) -> bytes:
    if element is None:
        return session.web.screenshot()
    found = session.wait_for(element, wait_s)
    return base64.b64decode(session.web.command("GET", f"/element/{found}/screenshot"))


def _keep(context: StepContext, picture: bytes, name: str) -> None:
    file = context.folder / name
    file.write_bytes(picture)
    context.keep(file, name, "image/png")
