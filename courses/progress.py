"""What a running course tells those who watch it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from courses.docking import DockingOutcome
from courses.verdict import Verdict
from drivers.types import Pose


@dataclass(frozen=True, slots=True)
class CourseStarted:
    """The course begins."""

    course: str
    points: tuple[str, ...]
    legs: int
    planned_distance_m: float


@dataclass(frozen=True, slots=True)
class LegStarted:
    """The base sets out on leg `number` of `of`, counted from 1."""

    leg: str
    number: int
    of: int


@dataclass(frozen=True, slots=True)
class Moving:
    """Where the base is, and how far it has driven; about five times a second."""

    pose: Pose
    speed_m_s: float
    distance_m: float


@dataclass(frozen=True, slots=True)
class Hindered:
    """The guard stopped the base ("stopped"), or lets it go on ("resumed")."""

    kind: str
    detail: str


@dataclass(frozen=True, slots=True)
class PointMeasured:
    """A point was measured from `scans` scans."""

    label: str
    scans: int


@dataclass(frozen=True, slots=True)
class DockingStarted:
    """The base looks for its dock."""

    dock: str


@dataclass(frozen=True, slots=True)
class DockingEnded:
    """The base is docked, or gave up."""

    outcome: DockingOutcome


@dataclass(frozen=True, slots=True)
class CourseEnded:
    """The course is over and judged."""

    verdict: Verdict
    reasons: tuple[str, ...]


Progress = CourseStarted | LegStarted | Moving | Hindered | PointMeasured | DockingStarted | DockingEnded | CourseEnded
Watcher = Callable[[Progress], None]
