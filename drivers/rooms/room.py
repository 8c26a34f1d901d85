"""A surveyed room: what a LiDAR sees of it, where a base may be, and where it docks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path

import numpy as np

from drivers.rooms.document import RoomDocument, read_room
from drivers.rooms.geometry import (
    crossing,
    distances_to_segments,
    inside_polygon,
    polygon_segments,
    polyline_segments,
)
from drivers.types import Array, Pose


@dataclass(frozen=True, eq=False)
class Outline:
    """A named wall or piece of furniture: (N, 2) points in metres; a closed one does not repeat its first point."""

    name: str
    points: Array
    closed: bool

    @property
    def segments(self) -> Array:
        """(S, 2, 2) sides, metres."""
        return polygon_segments(self.points) if self.closed else polyline_segments(self.points)


@dataclass(frozen=True, eq=False)
class Dock:
    """A charger. `pose` is that of a docked base, which stands with its back to the charger and heads away from it.

    `zone`: (K, 2) polygon, metres, in which the surroundings are surveyed and kept free, so that a base may reverse
    although its LiDAR does not see behind it.
    """

    name: str
    pose: Pose
    zone: Array

    def in_zone(self, x: float, y: float) -> bool:
        """Whether a base with its origin at (x, y) may reverse without seeing behind it."""
        return inside_polygon(x, y, self.zone)


@dataclass(frozen=True, eq=False)
class Room:
    """A room's map, in metres, in the frame "map".

    `geofence`: (K, 2) polygon that the origin of a base must stay in. `survey_sigma_m`: standard error of the
    surveyed coordinates of walls and furniture.
    """

    name: str
    walls: tuple[Outline, ...]
    furniture: tuple[Outline, ...]
    geofence: Array
    docks: tuple[Dock, ...]
    survey_sigma_m: float

    @classmethod
    def load(cls, path: str | Path) -> Room:
        """Read a room file. Raises `drivers.documents.DocumentError` with every problem as file:line:column."""
        return cls._of(read_room(path))

    @classmethod
    def library(cls, name: str) -> Room:
        """A room that ships with the program. Raises ValueError, with the names that exist, when there is none."""
        folder = resources.files("drivers.rooms") / "library"
        known = sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))
        if name not in known:
            raise ValueError(f"no room named {name!r} ships with the program; there are: {', '.join(known)}")
        with resources.as_file(folder / f"{name}.yaml") as path:
            return cls.load(path)

    @classmethod
    def _of(cls, document: RoomDocument) -> Room:
        docks = tuple(
            Dock(dock.name, Pose(dock.x_m, dock.y_m, float(np.radians(dock.heading_deg))), np.array(dock.zone))
            for dock in document.docks
        )
        return cls(
            name=document.name,
            walls=tuple(
                Outline(wall.name, np.array(wall.points[:-1] if wall.closed else wall.points), wall.closed)
                for wall in document.walls
            ),
            furniture=tuple(Outline(item.name, np.array(item.outline), closed=True) for item in document.furniture),
            geofence=np.array(document.geofence),
            docks=docks,
            survey_sigma_m=document.survey_sigma_m,
        )

    @cached_property
    def segments(self) -> Array:
        """(S, 2, 2) segments of all walls, then all furniture, metres. Do not write to it."""
        segments = np.concatenate([outline.segments for outline in (*self.walls, *self.furniture)])
        segments.setflags(write=False)
        return segments

    @cached_property
    def segment_names(self) -> tuple[str, ...]:
        """For each segment, the wall or piece of furniture it belongs to."""
        return tuple(outline.name for outline in (*self.walls, *self.furniture) for _ in outline.segments)

    def dock(self, name: str) -> Dock:
        """The dock of that name. Raises KeyError naming the docks that exist."""
        for dock in self.docks:
            if dock.name == name:
                return dock
        raise KeyError(f"room {self.name!r} has no dock {name!r}; it has: {', '.join(d.name for d in self.docks)}")

    def contains(self, x: float, y: float) -> bool:
        """Whether the origin of a base may be at (x, y): inside the geofence and outside all furniture."""
        return inside_polygon(x, y, self.geofence) and not any(
            inside_polygon(x, y, item.points) for item in self.furniture
        )

    def clearance(self, x: float, y: float) -> float:
        """Distance from (x, y) to the nearest wall or furniture, metres."""
        return float(distances_to_segments(x, y, self.segments).min())

    def clearance_along(self, p: tuple[float, float], q: tuple[float, float]) -> float:
        """Least distance between the straight way from p to q and any wall or furniture, metres; 0 when it crosses."""
        if self.crosses(p, q):
            return 0.0
        ends = min(self.clearance(*p), self.clearance(*q))
        if p == q:
            return ends
        way = np.array([[p, q]])
        corners = self.segments.reshape(-1, 2)
        return min(ends, *(float(distances_to_segments(x, y, way)[0]) for x, y in corners))

    def crosses(self, p: tuple[float, float], q: tuple[float, float]) -> bool:
        """Whether the straight way from p to q meets a wall or furniture."""
        return bool(crossing(np.array(p), np.array(q), self.segments).any())
