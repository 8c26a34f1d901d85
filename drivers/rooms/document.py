"""The room file: its keys, and every check that tells a usable room from a mistyped one."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from drivers import documents
from drivers.documents import Document, DocumentError, Location, Problem
from drivers.rooms.geometry import first_self_crossing, inside_polygon

_FARTHEST_M = 500.0
_SHORTEST_SIDE_M = 1e-3


def _metres(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("must be a number of metres")
    if abs(value) > _FARTHEST_M:
        raise ValueError(f"lies beyond {_FARTHEST_M:g} m; coordinates are in metres: did you mean {value / 1000:g}?")
    return value


Metres = Annotated[float, AfterValidator(_metres)]
Point = tuple[Metres, Metres]
Name = Annotated[str, Field(min_length=1, max_length=100)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Wall(_Part):
    """A polyline; it is closed when its last point repeats its first."""

    name: Name
    points: list[Point] = Field(min_length=2)

    @property
    def closed(self) -> bool:
        return len(self.points) > 3 and self.points[0] == self.points[-1]


class Furniture(_Part):
    """A polygon that stands in the room at the height of the LiDAR."""

    name: Name
    outline: list[Point] = Field(min_length=3)


class DockPlace(_Part):
    """A charger: the pose of a docked base, and where it may reverse unseeing."""

    name: Name
    x_m: Metres
    y_m: Metres
    heading_deg: float = Field(ge=-360, le=360)
    zone: list[Point] = Field(min_length=3)


class RoomDocument(_Part):
    """A room file as it is written."""

    name: Name
    survey_sigma_m: float = Field(default=0.0, ge=0, le=0.5)
    walls: list[Wall] = Field(min_length=1)
    furniture: list[Furniture] = []
    geofence: list[Point] = Field(min_length=3)
    docks: list[DockPlace] = []


def read_room(path: str | Path) -> RoomDocument:
    """Read and check a room file. Raises DocumentError with every problem."""
    document = documents.read(path)
    room = documents.validate(document, RoomDocument)
    problems = [*_names(document, room), *_sides(document, room)]
    if not problems:
        problems = [*_enclosure(document, room), *_docks(document, room)]
    if problems:
        raise DocumentError(problems)
    return room


def _names(document: Document, room: RoomDocument) -> list[Problem]:
    """Names that stand for two things."""
    named: list[tuple[str, int, str]] = [("walls", index, wall.name) for index, wall in enumerate(room.walls)]
    named += [("furniture", index, item.name) for index, item in enumerate(room.furniture)]
    named += [("docks", index, dock.name) for index, dock in enumerate(room.docks)]
    problems = []
    seen: dict[str, str] = {}
    for kind, index, name in named:
        if name in seen:
            problems.append(
                document.problem((kind, index, "name"), f"{name!r} already names something in {seen[name]}")
            )
        seen.setdefault(name, kind)
    return problems


def _sides(document: Document, room: RoomDocument) -> list[Problem]:
    """Sides without length, and polygons that cross themselves."""
    problems = []
    polygons: list[tuple[Location, list[Point]]] = [(("geofence",), room.geofence)]
    polygons += [(("furniture", index, "outline"), item.outline) for index, item in enumerate(room.furniture)]
    polygons += [(("docks", index, "zone"), dock.zone) for index, dock in enumerate(room.docks)]
    for index, wall in enumerate(room.walls):
        where: Location = ("walls", index, "points")
        if wall.closed:
            polygons.append((where, wall.points[:-1]))
        else:
            problems += _repeated(document, where, wall.points, wall.points[1:])
    for where, points in polygons:
        repeated = _repeated(document, where, points, [*points[1:], points[0]])
        problems += repeated
        crossed = None if repeated else first_self_crossing(np.array(points))
        if crossed:
            first, second = crossed
            problems.append(
                document.problem(
                    (*where, second),
                    f"the side that starts here meets the side that starts at {_show(points[first])}: "
                    "a polygon must not cross itself; check the order of its corners",
                )
            )
    return problems


def _repeated(document: Document, where: Location, points: list[Point], following: list[Point]) -> list[Problem]:
    return [
        document.problem((*where, index), f"{_show(point)} and the next corner are the same place; leave one out")
        for index, (point, after) in enumerate(zip(points, following, strict=False))
        if math.dist(point, after) < _SHORTEST_SIDE_M
    ]


def _enclosure(document: Document, room: RoomDocument) -> list[Problem]:
    """A wall must close round the geofence: otherwise a gap was left by mistake and the robot could drive out."""
    for wall in room.walls:
        if wall.closed:
            polygon = np.array(wall.points[:-1])
            outside = [i for i, corner in enumerate(room.geofence) if not inside_polygon(*corner, polygon)]
            if not outside:
                return []
            return [
                document.problem(("geofence", i), f"{_show(room.geofence[i])} lies outside the wall {wall.name!r}")
                for i in outside
            ]
    gaps = "; ".join(f"{w.name!r} ends {math.dist(w.points[0], w.points[-1]):.3g} m from its start" for w in room.walls)
    return [document.problem(("walls",), f"no wall is closed ({gaps}): repeat the outer wall's first point at its end")]


def _docks(document: Document, room: RoomDocument) -> list[Problem]:
    problems = []
    fence = np.array(room.geofence)
    for index, dock in enumerate(room.docks):
        place = (dock.x_m, dock.y_m)
        if not inside_polygon(*place, fence):
            problems.append(
                document.problem(("docks", index), f"a base docked at {_show(place)} is outside the geofence")
            )
        if not inside_polygon(*place, np.array(dock.zone)):
            problems.append(
                document.problem(("docks", index, "zone"), f"does not contain the docked base's place {_show(place)}")
            )
    return problems


def _show(point: Point) -> str:
    return f"({point[0]:g}, {point[1]:g})"
