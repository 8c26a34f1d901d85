"""Everything that was captured while a course was driven: what a result is computed from, live or from a recording."""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
from dataclasses import dataclass, field

from courses.calibration import Calibration
from courses.course import Course
from courses.docking import DockingOutcome
from courses.measuring import Visit
from drivers.types import BaseGeometry, BaseState, Pose, Twist

# The kind of event that tells of a step of the control loop that came late.
LATE = "late"


@dataclass(frozen=True, eq=False)
class Setup:
    """What was fixed before the robot moved.

    `geometry` and `mount` are what the base says of itself; a calibration's take their place. `started_at`: UTC, at
    `clock_start` of the course's clock. `versions`: of the programs that took part.
    """

    robot: str
    course: Course
    geometry: BaseGeometry
    mount: Pose
    calibration: Calibration | None
    driving_input: str
    started_at: datetime.datetime
    clock_start: float
    versions: dict[str, str]

    @property
    def used_geometry(self) -> BaseGeometry:
        return self.calibration.geometry if self.calibration else self.geometry

    @property
    def used_mount(self) -> Pose:
        return self.calibration.mount if self.calibration else self.mount


@dataclass(frozen=True, slots=True)
class CourseEvent:
    """Something worth a line in the time line; `time` in seconds of the course's clock."""

    time: float
    kind: str
    detail: str


@dataclass(frozen=True, slots=True)
class Sample:
    """One reading of the wheels, and what the guard let through to them."""

    state: BaseState
    applied: Twist


@dataclass(frozen=True, slots=True)
class Ending:
    """How a course ended. All empty: it was driven to its end."""

    lab_errors: tuple[str, ...] = ()
    device_failures: tuple[str, ...] = ()
    cancelled: str | None = None


@dataclass(eq=False)
class CourseLog:
    """Grows while the course is driven.

    `visits`: the points measured, in order. `docked_visit`: measured in the dock at the end. `ending`: None until then.
    `damage`: what is wrong with the recording that this was read from.
    """

    setup: Setup
    samples: list[Sample] = field(default_factory=list)
    fixes: list[Pose] = field(default_factory=list)
    visits: list[Visit] = field(default_factory=list)
    docked_visit: Visit | None = None
    docking: DockingOutcome | None = None
    events: list[CourseEvent] = field(default_factory=list)
    ending: Ending | None = None
    damage: tuple[str, ...] = ()


def program_versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    found = {"python": platform.python_version()}
    for name in ("labctl", "numpy", "scipy", "mcap"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed as a package"
    return found
