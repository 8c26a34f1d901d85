"""The action `drive.course`: takes a robot round a course and judges it."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from courses.calibration import Calibration
from courses.course import Course, library_names
from courses.progress import (
    CourseEnded,
    CourseStarted,
    DockingEnded,
    DockingStarted,
    Hindered,
    LegStarted,
    Moving,
    PointMeasured,
    Progress,
)
from devices.webdriver import WebDriverError
from drivers.documents import DocumentError
from drivers.errors import DeviceError
from drivers.rooms import Room
from drivers.stop_channel import StopSettings
from labctl.actions.course_files import MEDIA_TYPES, RECORDING, warm_up, write_results_of
from labctl.actions.drives import Drive, Pilot, Told
from labctl.actions.driving import drive_apart
from labctl.config import RobotConfig, RoomConfig, load_room
from labctl.config.model import ForeignBaseSection
from labctl.errors import LabFailureError
from labctl.steps import SET_OUT, Measurement, Outcome, StepContext, Verdict

_MOVING_EVERY_S = 0.25
_DRAWN_WITHIN_S = 120


class CourseParameters(BaseModel):
    """Either `course`, the name of a course that ships with the program, or `text`, a whole course file.

    `input`: how the robot is driven. All but direct go through the pilot's page in a browser: `browser` is the role
    that it fills.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    course: str | None = None
    text: Annotated[str, Field(max_length=200_000)] | None = None
    source: str = "course"
    input: Literal["direct", "keyboard", "mouse", "gamepad"] = "direct"
    browser: str | None = None

    @model_validator(mode="after")
    def _a_browser_for_a_page(self) -> Self:
        if (self.input == "direct") != (self.browser is None):
            raise ValueError(
                "an input other than direct goes through the pilot's page: give browser, the role of a browser, with "
                "it and only with it"
            )
        return self

    @model_validator(mode="after")
    def _one_course(self) -> Self:
        if (self.course is None) == (self.text is None):
            raise ValueError("give either course (a name) or text (a course file's content)")
        if self.course is not None and self.course not in library_names():
            raise ValueError(f"no course named {self.course!r}; there are: {', '.join(library_names())}")
        return self


class DriveCourse:
    """Satisfies `labctl.steps.Action`."""

    parameters = CourseParameters

    def run(self, context: StepContext, parameters: CourseParameters) -> Outcome:
        """Drive in a process of its own, then let a worker draw the report. What was recorded is kept in every case."""
        robot = context.lab.devices[context.device]
        if not isinstance(robot, RobotConfig):
            raise LabFailureError(f"drive.course needs a robot; {context.device} is a {robot.kind}")
        try:
            course = _course(parameters, _room_of(context, robot))
            calibration = Calibration.load(robot.calibration) if robot.calibration else None
        except (DocumentError, ValueError) as exc:
            raise LabFailureError(str(exc)) from exc
        check_client(context.device, robot, course, parameters.input)
        recording = context.folder / RECORDING
        context.workers.submit(warm_up)
        bases = context.bases
        with _pilot(context, parameters, robot) as pilot:
            task = Drive(course, calibration, bases.address(context.device, context.fencing), recording, pilot)
            try:
                with stopped_if_lost(pilot.foreign if pilot is not None else None):
                    driven = drive_apart(
                        task,
                        lambda: bases.lease_ends_at(context.device, context.fencing),
                        context.cancellation,
                        _Teller(context),
                    )
            finally:
                if recording.exists():
                    context.keep(recording, RECORDING, MEDIA_TYPES[recording.suffix])
        context.measure(_measurements(driven.result))
        self._draw(context, recording)
        return Outcome(Verdict(driven.result["verdict"]), "; ".join(driven.result["reasons"]))

    def _draw(self, context: StepContext, recording: Path) -> None:
        context.emit("drawing", {})
        try:
            names = context.workers.submit(write_results_of, str(recording), str(context.folder)).result(
                _DRAWN_WITHIN_S
            )
        except Exception as exc:
            raise LabFailureError(f"the report could not be drawn: {type(exc).__name__}: {exc}") from exc
        for name in names:
            context.keep(context.folder / name, name, MEDIA_TYPES[Path(name).suffix])


def check_client(device: str, robot: RobotConfig, course: Course, how: str) -> None:
    """Refuse, before anything moves, what another maker's client cannot drive. Raises LabFailureError."""
    if isinstance(robot.base, ForeignBaseSection):
        if how == "direct":
            raise LabFailureError(f"{device} is driven by its own client: give input, and browser, the role of one")
        if robot.base.stop.vendor is None and robot.base.stop.power is None:
            raise LabFailureError(
                f"nothing but its own client can stop {device}, so no course is driven: give it a stop channel in the "
                "lab file (base.stop: vendor or power)"
            )
    if robot.client is None or how == "direct":
        return
    if how not in robot.client.inputs:
        raise LabFailureError(f"the client of {device} is driven by {', '.join(robot.client.inputs)}, not by {how}")
    if course.file.start.docked or course.file.docking is not None:
        raise LabFailureError(
            f"the course {course.name} begins or ends in a dock: a robot that another maker's client drives is tried "
            "by turning it on the spot, and is not docked; take one without, such as lap"
        )


@contextmanager
def stopped_if_lost(stop: StopSettings | None) -> Iterator[None]:
    """Where a course ends without a result, the robot's own stop channel, if it has one, is used from here too.

    The driving process and the guard do so before; both may have died, with the input of the robot's client held.
    """
    try:
        yield
    except BaseException:
        if stop is not None:
            with contextlib.suppress(DeviceError):
                stop.channel.stop()
        raise


@contextmanager
def _pilot(context: StepContext, parameters: CourseParameters, robot: RobotConfig) -> Iterator[Pilot | None]:
    """The browser that the pilot's page is opened in; its session is the lane's, opened here if no step did."""
    if parameters.browser is None:
        yield None
        return
    if (device := context.roles.get(parameters.browser)) is None:
        raise LabFailureError(f"no role is called {parameters.browser!r}; there are: {', '.join(context.roles)}")
    sessions = context.sessions
    try:
        if not sessions.is_open(context.run, device):
            sessions.open(context.run, device, context.holder, {})
        with sessions.direct(context.run, device) as (url, session):
            stop = robot.base.stop if isinstance(robot.base, ForeignBaseSection) else None
            yield Pilot(url, session, parameters.input, robot.client, stop, robot.guard.stopping.latency_s)
    except WebDriverError as exc:
        raise LabFailureError(f"no pilot's page on {device}: {exc.message}") from exc


class _Teller:
    """Turns a course's progress into events."""

    def __init__(self, context: StepContext) -> None:
        self._context = context
        self._moved = 0.0

    def __call__(self, progress: Progress | Told) -> None:
        if isinstance(progress, Told):
            self._context.emit("progress", {"what": "preparing", "detail": progress.what})
            return
        if isinstance(progress, LegStarted):
            self._context.output(SET_OUT, True)
        if isinstance(progress, Moving):
            if time.monotonic() - self._moved < _MOVING_EVERY_S:
                return
            self._moved = time.monotonic()
        self._context.emit("progress", _as_data(progress))


def _as_data(progress: Progress) -> dict[str, Any]:
    match progress:
        case CourseStarted() | LegStarted() | PointMeasured() | Hindered() | DockingStarted():
            data = dataclasses.asdict(progress)
        case Moving(pose, speed, distance):
            where = {"x_m": round(pose.x, 3), "y_m": round(pose.y, 3), "heading_rad": round(pose.heading, 4)}
            data = {**where, "speed_m_s": round(speed, 3), "distance_m": round(distance, 3)}
        case DockingEnded(outcome):
            data = {"docked": outcome.docked, "attempts": outcome.attempts, "seconds": round(outcome.seconds, 2)}
        case CourseEnded(verdict, reasons):
            data = {"verdict": verdict.value, "reasons": list(reasons)}
    return {"what": _WORDS[type(progress)], **data}


_WORDS: dict[type[Any], str] = {
    CourseStarted: "started",
    LegStarted: "leg",
    Moving: "moving",
    Hindered: "hindered",
    PointMeasured: "point",
    DockingStarted: "docking",
    DockingEnded: "docking_ended",
    CourseEnded: "ended",
}


def _room_of(context: StepContext, robot: RobotConfig) -> Room:
    room = context.lab.devices[robot.room]
    assert isinstance(room, RoomConfig)
    return load_room(room)


def _course(parameters: CourseParameters, room: Room) -> Course:
    if parameters.text is not None:
        return Course.of_text(parameters.text, parameters.source, room)
    course = Course.library(str(parameters.course))
    if course.room.name != room.name:
        raise ValueError(
            f"the course {course.name} is for the room {course.room.name}, the robot stands in {room.name}"
        )
    return course


def _measurements(document: dict[str, Any]) -> list[Measurement]:
    """The result's numbers, each with its margin."""
    found = [Measurement("distance", document["distance_m"], "m"), Measurement("duration", document["duration_s"], "s")]
    checked = [(f"point {each['label']}", each["check"]) for each in document["points"]]
    checked += [(f"leg {each['from']}-{each['to']}", each["check"]) for each in document["legs"]]
    for name, check in checked:
        if check is None:
            continue
        verdict = None if check["inside"] is None else Verdict.PASSED if check["inside"] else Verdict.FAILED
        found.append(
            Measurement(f"{name} distance", check["distance_m"], "m", None, check["margin_distance_m"], verdict)
        )
        limit = check["margin_heading_deg"]
        low = None if limit is None else -limit
        found.append(Measurement(f"{name} heading", check["heading_deg"], "deg", low, limit, verdict))
    found.append(Measurement("consistency p", document["consistency"]["p_value"], "1"))
    if docking := document["docking"]:
        found.append(Measurement("docking time", docking["seconds"], "s"))
        found.append(Measurement("docking attempts", docking["attempts"], "1"))
        found.append(Measurement("docking contact error", docking["contact_error_mm"], "mm"))
    return found
