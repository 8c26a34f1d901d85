"""Runs a course: drives it, measures at its points, docks, records all of it and judges."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from courses.calibration import Calibration
from courses.cancelling import CancelToken
from courses.course import Course
from courses.driving import Driver, DrivingLimits, DrivingListener
from courses.errors import CourseCancelledError, LabError, RobotFaultError
from courses.evaluate import evaluate
from courses.inputs import DirectInput, DrivingInput
from courses.localization import Match
from courses.log import LATE, CourseEvent, CourseLog, Ending, Sample, Setup, program_versions
from courses.measuring import Visit, capture
from courses.progress import (
    CourseEnded,
    CourseStarted,
    DockingEnded,
    DockingStarted,
    Hindered,
    LegStarted,
    Moving,
    PointMeasured,
    Watcher,
)
from courses.recording import Recorder
from courses.result import CourseResult
from drivers.clock import Clock
from drivers.errors import DeviceError
from drivers.protocols import GuardedBase
from drivers.types import BaseState, Pose, Scan, Twist

_MOVING_EVERY_S = 0.2


def run_course(
    course: Course,
    base: GuardedBase,
    clock: Clock,
    *,
    robot: str = "robot",
    calibration: Calibration | None = None,
    recording: str | Path | None = None,
    watcher: Watcher = lambda progress: None,  # noqa: ARG005 - nobody watches
    cancel: CancelToken | None = None,
    driving_input: DrivingInput | None = None,
    limits: DrivingLimits | None = None,
    utc_now: Callable[[], datetime.datetime] = lambda: datetime.datetime.now(datetime.UTC),
) -> CourseResult:
    """Drive `course` with `base`, from the course's first point, and judge it.

    What goes wrong becomes part of the result: a refusing guard, a silent device or an ambiguous pose makes the
    verdict errored; a robot that does not get there, or does not dock, failed; a cancelled course cancelled. The base
    is at rest afterwards in every case. `recording`: file to write as the course goes. `watcher` hears of progress, in
    this thread. Raises OSError when the recording cannot be written.
    """
    chosen = driving_input if driving_input is not None else DirectInput(base)
    setup = Setup(
        robot=robot,
        course=course,
        geometry=base.geometry,
        mount=base.mount,
        calibration=calibration,
        driving_input=chosen.name,
        started_at=utc_now(),
        clock_start=clock.now(),
        versions=program_versions(),
    )
    recorder: AbstractContextManager[Recorder | None]
    recorder = Recorder(recording, setup) if recording is not None else nullcontext()
    with recorder as opened:
        keeper = _Keeper(CourseLog(setup), opened, clock, watcher)
        run = _Run(keeper, base, clock, driving_input=chosen, cancel=cancel or CancelToken(), limits=limits)
        keeper.end(run.drive())
        result = evaluate(keeper.log)
        if opened is not None:
            opened.verdict(result.to_json(), clock.now())
    watcher(CourseEnded(result.verdict, result.judged.reasons))
    return result


class _Keeper(DrivingListener):
    """Keeps what happens: in the log, in the recording, and told to whoever watches."""

    def __init__(self, log: CourseLog, recorder: Recorder | None, clock: Clock, watcher: Watcher) -> None:
        self.log = log
        self._recorder = recorder
        self._clock = clock
        self._watcher = watcher
        self._told = -math.inf
        self._distance = 0.0
        self.where: Callable[[], Pose] | None = None

    def tell(self, kind: str, detail: str) -> None:
        """A line of the time line."""
        event = CourseEvent(self._clock.now(), kind, detail)
        self.log.events.append(event)
        if self._recorder:
            self._recorder.event(event)

    def event(self, kind: str, detail: str) -> None:
        self.tell(kind, detail)
        self._watcher(Hindered(kind, detail))

    def late(self, detail: str) -> None:
        self.tell(LATE, detail)

    def state(self, state: BaseState, applied: Twist) -> None:
        if self.log.samples:
            last = self.log.samples[-1].state
            if state.time <= last.time:
                return
            geometry = self.log.setup.used_geometry
            left = (state.left_ticks - last.left_ticks) * geometry.left_metres_per_tick
            right = (state.right_ticks - last.right_ticks) * geometry.right_metres_per_tick
            self._distance += abs(left + right) / 2
        sample = Sample(state, applied)
        self.log.samples.append(sample)
        if self._recorder:
            self._recorder.sample(sample)
        if self.where is not None and state.time - self._told > _MOVING_EVERY_S:
            self._told = state.time
            self._watcher(Moving(self.where(), applied.linear, self._distance))

    def scan(self, scan: Scan) -> None:
        if self._recorder:
            self._recorder.scan(scan)

    def fix(self, pose: Pose, match: Match) -> None:
        if not match.trustworthy:
            return
        self.log.fixes.append(pose)
        if self._recorder:
            self._recorder.fix(pose)

    def visit(self, visit: Visit, docked: bool = False) -> None:
        """A point was measured."""
        if docked:
            self.log.docked_visit = visit
        else:
            self.log.visits.append(visit)
        if self._recorder:
            self._recorder.visit(visit, docked)
        self.tell("measured", f"point {visit.label}" + (" in the dock" if docked else ""))
        self._watcher(PointMeasured(visit.label, len(visit.scans)))

    def begin(self) -> None:
        """The course begins."""
        course = self.log.setup.course
        labels = (course.file.start.point, *(leg.end for leg in course.file.legs))
        self._watcher(CourseStarted(course.name, labels, len(course.file.legs), course.planned_distance_m))
        self.tell("started", course.name)

    def leg(self, name: str, number: int) -> None:
        """The base sets out on a leg."""
        self.tell("leg", name)
        self._watcher(LegStarted(name, number, len(self.log.setup.course.file.legs)))

    def docking_begins(self, dock: str) -> None:
        """The base looks for its dock."""
        self.tell("docking", f"dock {dock}")
        self._watcher(DockingStarted(dock))

    def docking_ends(self) -> None:
        """The log's `docking` is set."""
        outcome = self.log.docking
        if outcome is None:
            return
        if self._recorder:
            self._recorder.docking(outcome, self._clock.now())
        self.tell("docked" if outcome.docked else "not docked", f"attempt {outcome.attempts}")
        self._watcher(DockingEnded(outcome))

    def end(self, ending: Ending) -> None:
        """The course is over."""
        self.log.ending = ending
        why = [*ending.lab_errors, *ending.device_failures, *([ending.cancelled] if ending.cancelled else [])]
        self.tell("ended", "; ".join(why))
        if self._recorder:
            self._recorder.ending(ending, self._clock.now())


class _Run:
    """One drive round a course."""

    def __init__(
        self,
        keeper: _Keeper,
        base: GuardedBase,
        clock: Clock,
        *,
        driving_input: DrivingInput,
        cancel: CancelToken,
        limits: DrivingLimits | None,
    ) -> None:
        self._keeper = keeper
        self._base = base
        self._clock = clock
        self._input = driving_input
        self._cancel = cancel
        self._limits = limits
        self._course = keeper.log.setup.course
        self._doing = "setting out"

    def drive(self) -> Ending:
        """Drive it all; what ends it early is told in the ending."""
        self._keeper.begin()
        ending = Ending()
        try:
            self._drive()
        except CourseCancelledError as exc:
            ending = Ending(cancelled=f"cancelled while {self._doing}: {exc}")
        except LabError as exc:
            ending = Ending(lab_errors=(f"{self._doing}: {exc}",))
        except DeviceError as exc:
            ending = Ending(lab_errors=(f"{self._doing}: {exc}",))
        except RobotFaultError as exc:
            ending = Ending(device_failures=(f"{self._doing}: {exc}",))
        outcome = self._keeper.log.docking
        if outcome is not None and outcome.docked:
            return ending  # a stop would take the board out of the mode in which it charges
        try:
            self._base.stop()
        except DeviceError as exc:
            ending = Ending((*ending.lab_errors, f"stopping: {exc}"), ending.device_failures, ending.cancelled)
        if outcome is not None and not ending.lab_errors and not ending.cancelled:
            failure = f"did not dock in {outcome.attempts} attempts: {'; '.join(outcome.faults)}"
            ending = Ending((), (*ending.device_failures, failure))
        return ending

    def _drive(self) -> None:
        file = self._course.file
        start = file.point(file.start.point).pose
        driver = Driver(
            self._base,
            self._clock,
            self._course.room,
            start,
            wait_for_clear_s=file.wait_for_clear_s,
            limits=self._limits,
            driving_input=self._input,
            listener=self._keeper,
            cancel=self._cancel,
        )
        self._keeper.where = lambda: driver.pose
        self._measure(driver, file.start.point)
        for number, leg in enumerate(file.legs, start=1):
            self._doing = f"driving leg {leg.name}"
            self._keeper.leg(leg.name, number)
            end = file.point(leg.end).pose
            driver.goto(end.x, end.y, end.heading, how=leg.how, direction=leg.direction, speed=leg.speed_m_s)
            self._measure(driver, leg.end)
        if file.docking is not None:
            self._doing = f"docking at {file.docking.dock}"
            self._keeper.docking_begins(file.docking.dock)
            dock = self._course.room.dock(file.docking.dock)
            self._keeper.log.docking = driver.dock(dock, file.docking)
            self._keeper.docking_ends()
            if self._keeper.log.docking.docked:
                self._measure_in_dock(driver, dock.pose)

    def _measure(self, driver: Driver, label: str) -> None:
        self._doing = f"measuring point {label}"
        if driver.fix() is None:
            raise LabError(
                "the scan fits the room nowhere near where the robot should be; "
                f"is it really near ({driver.pose.x:.2f}, {driver.pose.y:.2f})?"
            )
        self._keeper.visit(capture(driver, label, self._course.file.scans_per_point, self._course.file.settle_s))

    def _measure_in_dock(self, driver: Driver, dock: Pose) -> None:
        """The contact error; the point of the course that lies in the dock gives it its label, if there is one."""
        self._doing = "measuring the contact error"
        file = self._course.file
        near = min(file.points, key=lambda point: math.hypot(point.x_m - dock.x, point.y_m - dock.y))
        driver.fix()
        self._keeper.visit(capture(driver, near.label, file.scans_per_point, file.settle_s), docked=True)
