"""What the daemon and a driving process say to each other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from courses.calibration import Calibration
from courses.course import Course
from courses.progress import Progress
from devices.pilot.client import PilotClient
from drivers.rooms import Room
from drivers.stop_channel import StopSettings
from labctl.steps import BaseAddress


@dataclass(frozen=True)
class Pilot:
    """The browser session that drives through the pilot's page: its server's URL before /session, its id there, and
    the input to drive by. `client`: another maker's page; `foreign`: how to stop a robot that only its client drives;
    `latency_s`: how soon the guard counts on its stopping.
    """

    url: str
    session: str
    input: str
    client: PilotClient | None = None
    foreign: StopSettings | None = None
    latency_s: float = 0.0


@dataclass(frozen=True)
class Drive:
    """What is to be driven, on which lease, and where it is recorded."""

    course: Course
    calibration: Calibration | None
    address: BaseAddress
    recording: Path
    pilot: Pilot | None = None


@dataclass(frozen=True)
class ReturnToDock:
    """The slow way back to a dock of the room."""

    room: Room
    dock: str
    address: BaseAddress


@dataclass(frozen=True)
class Told:
    """What a drive says on its way, for people."""

    what: str


@dataclass(frozen=True)
class Driven:
    """It was driven. `result`: of a course as `courses.result.CourseResult.to_json`, judged; of a way back what became
    of it."""

    result: dict[str, Any]


@dataclass(frozen=True)
class NotDriven:
    """The lab kept the course from being driven or recorded; why, for people."""

    reason: str


@dataclass(frozen=True)
class Cancel:
    """What the daemon says when a course has to end early."""

    reason: str


Task = Drive | ReturnToDock
Message = Progress | Told | Driven | NotDriven
