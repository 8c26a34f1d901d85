"""A course that can be driven: the course file together with its room, checked against each other."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from courses.model import CourseFile, CoursePoint
from courses.paths import leg_faults, plan
from drivers.documents import Document, DocumentError, Problem, parse, read, validate
from drivers.rooms import Room
from drivers.types import wrap_angle

_DOCK_TOLERANCE_M = 0.05
_DOCK_TOLERANCE = math.radians(5)


@dataclass(frozen=True, eq=False)
class Course:
    """A checked course. `text` is the course file as read; `source` says where it came from."""

    file: CourseFile
    room: Room
    source: str
    text: str

    @classmethod
    def load(cls, path: str | Path, room: Room | None = None) -> Course:
        """Read a course file. `room` stands in for the room that the file names.

        Raises `drivers.documents.DocumentError` with every problem as file:line:column.
        """
        read(path)  # tells apart "cannot be read" and "is not text"
        text = Path(path).read_text(encoding="utf-8")
        return cls.of_text(text, str(path), room)

    @classmethod
    def library(cls, name: str) -> Course:
        """A course that ships with the program. Raises ValueError, with the names that exist, when there is none."""
        known = library_names()
        if name not in known:
            raise ValueError(f"no course named {name!r} ships with the program; there are: {', '.join(known)}")
        entry = resources.files("courses") / "library" / f"{name}.yaml"
        return cls.of_text(entry.read_text(encoding="utf-8"), f"{name}.yaml")

    @classmethod
    def of_text(cls, text: str, source: str, room: Room | None = None) -> Course:
        """A course from the text of its file. Raises DocumentError."""
        document = parse(text, source)
        file = validate(document, CourseFile)
        found = room if room is not None else _room(document, file.room, source)
        problems = _problems(document, file, found)
        if problems:
            raise DocumentError(problems)
        return cls(file, found, source, text)

    @property
    def name(self) -> str:
        return self.file.name

    @property
    def sha256(self) -> str:
        """Hash of the course file's text."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def planned_distance_m(self) -> float:
        """Length of all legs as planned, docking left out."""
        points = {point.label: point.pose for point in self.file.points}
        return sum(plan(leg, points[leg.start], points[leg.end]).length for leg in self.file.legs)


def library_names() -> list[str]:
    """The courses that ship with the program."""
    folder = resources.files("courses") / "library"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def _room(document: Document, name: str, source: str) -> Room:
    if name.endswith((".yaml", ".yml")):
        return Room.load(Path(source).parent / name)
    try:
        return Room.library(name)
    except ValueError as exc:
        raise document.error(("room",), str(exc)) from None


def _problems(document: Document, file: CourseFile, room: Room) -> list[Problem]:
    """Everything about a well-formed course that does not fit together or into the room."""
    problems: list[Problem] = []

    def complain(*location: str | int, message: str) -> None:
        problems.append(document.problem(location, message))

    known: dict[str, CoursePoint] = {}
    for index, point in enumerate(file.points):
        if point.label in known:
            complain("points", index, "label", message=f"label {point.label!r} is given twice")
        known.setdefault(point.label, point)
        fault = _point_fault(point, room, file.footprint.free_m)
        if fault:
            complain("points", index, message=f"point {point.label!r} {fault}")
    choice = f"the points are {', '.join(known)}"
    if file.start.point not in known:
        complain("start", "point", message=f"no point {file.start.point!r}; {choice}")
    at = file.start.point
    for index, leg in enumerate(file.legs):
        unknown = [key for key, label in (("from", leg.start), ("to", leg.end)) if label not in known]
        for key in unknown:
            label = leg.start if key == "from" else leg.end
            complain("legs", index, key, message=f"no point {label!r}; {choice}")
        if leg.start != at and "from" not in unknown:
            complain("legs", index, "from", message=f"the leg begins at {leg.start!r}, but the robot is at {at!r}")
        at = leg.end
        if not unknown:
            start, end = known[leg.start].pose, known[leg.end].pose
            for fault in leg_faults(leg, start, end, room, file.footprint.free_m):
                complain("legs", index, message=f"leg {leg.name} {fault}")
    _check_docks(file, room, known, complain)
    return problems


def _point_fault(point: CoursePoint, room: Room, free_m: float) -> str:
    if not room.contains(point.x_m, point.y_m):
        return f"at ({point.x_m:g}, {point.y_m:g}) cannot be reached: it is outside the geofence or inside furniture"
    clearance = room.clearance(point.x_m, point.y_m)
    if clearance < free_m:
        return f"cannot be reached: it is {clearance:.2f} m from a wall or furniture; the robot needs {free_m:.2f} m"
    return ""


def _check_docks(file: CourseFile, room: Room, known: dict[str, CoursePoint], complain: Callable[..., None]) -> None:
    names = ", ".join(dock.name for dock in room.docks) or "none"
    if file.docking and all(dock.name != file.docking.dock for dock in room.docks):
        complain("docking", "dock", message=f"room {room.name!r} has no dock {file.docking.dock!r}; it has: {names}")
    if file.start.docked and file.start.point in known:
        pose = known[file.start.point].pose
        near = [
            dock
            for dock in room.docks
            if math.hypot(dock.pose.x - pose.x, dock.pose.y - pose.y) <= _DOCK_TOLERANCE_M
            and abs(wrap_angle(dock.pose.heading - pose.heading)) <= _DOCK_TOLERANCE
        ]
        if not near:
            complain(
                "start", message=f"the robot starts docked, but no dock is at {file.start.point!r}; docks: {names}"
            )
