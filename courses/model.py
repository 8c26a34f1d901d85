"""What a course file says: labelled points, the legs between them, margins of error, and docking."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from courses.units import Coordinate, Duration, Heading, HeadingMargin, ShortDistance, Speed
from drivers.types import Pose, wrap_angle

Label = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,31}$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Direction(StrEnum):
    """Which way round the base is driven."""

    FORWARD = "forward"
    REVERSE = "reverse"


class Manner(StrEnum):
    """How a leg is driven: straight on; turning on the spot to face its end first; or on one arc of a circle."""

    STRAIGHT = "straight"
    TURN_THEN_DRIVE = "turn-then-drive"
    ARC = "arc"


class Margin(_Part):
    """A margin of error: how far off in place and in heading is still good."""

    distance_m: ShortDistance
    heading_deg: HeadingMargin


class Margins(_Part):
    """Margins for all points and legs that name none of their own.

    `point`: measured pose against the labelled one. `leg`: motion by odometry against motion by LiDAR.
    """

    point: Margin = Margin(distance_m=0.05, heading_deg=2.0)
    leg: Margin = Margin(distance_m=0.05, heading_deg=2.0)


class CoursePoint(_Part):
    """A labelled pose of the base's origin in the room's frame."""

    label: Label
    x_m: Coordinate
    y_m: Coordinate
    heading_deg: Heading
    margin: Margin | None = None

    @property
    def pose(self) -> Pose:
        return Pose(self.x_m, self.y_m, wrap_angle(math.radians(self.heading_deg)))


class Leg(_Part):
    """The way from one point to the next; the base ends it with the heading of the point it goes to."""

    start: Label = Field(alias="from")
    end: Label = Field(alias="to")
    direction: Direction = Direction.FORWARD
    how: Manner = Manner.TURN_THEN_DRIVE
    speed_m_s: Speed = 0.3
    margin: Margin | None = None

    @property
    def name(self) -> str:
        """The leg as engineers write it: "A-B"."""
        return f"{self.start}-{self.end}"


class Start(_Part):
    """Where the base stands before the first leg."""

    point: Label
    docked: bool = False


class DockingPlan(_Part):
    """The end of a course in a dock of the room.

    One attempt may take `time_limit_s`; before the next one the base drives out to `standoff_m` from the dock.
    """

    dock: str
    attempts: Annotated[int, Field(ge=1, le=10)] = 3
    time_limit_s: Duration = 30.0
    standoff_m: ShortDistance = 0.6


class Footprint(_Part):
    """The circle about the base's origin that holds the whole robot, and the free space wanted around it."""

    radius_m: ShortDistance = 0.18
    clearance_m: ShortDistance = 0.05

    @property
    def free_m(self) -> float:
        """How far the base's origin keeps from everything in the room."""
        return self.radius_m + self.clearance_m


class CourseFile(_Part):
    """A course as written. `room` is the name of a room of the program or a room file beside the course file.

    `consistency_level`: the share of good robots that the test of LiDAR against odometry may reject.
    """

    name: Annotated[str, Field(min_length=1, max_length=80)]
    description: str = ""
    room: str
    start: Start
    points: Annotated[tuple[CoursePoint, ...], Field(min_length=2)]
    legs: Annotated[tuple[Leg, ...], Field(min_length=1)]
    margins: Margins = Margins()
    settle_s: Duration = 0.5
    scans_per_point: Annotated[int, Field(ge=20, le=2000)] = 20
    wait_for_clear_s: Duration = 5.0
    consistency_level: Annotated[float, Field(ge=1e-6, le=0.5)] = 0.05
    docking: DockingPlan | None = None
    footprint: Footprint = Footprint()

    def point(self, label: str) -> CoursePoint:
        """The point of that label. Raises KeyError when there is none."""
        for point in self.points:
            if point.label == label:
                return point
        raise KeyError(label)

    def point_margin(self, label: str) -> Margin:
        """The margin that the point of that label is judged by."""
        return self.point(label).margin or self.margins.point

    def leg_margin(self, leg: Leg) -> Margin:
        """The margin that a leg is judged by."""
        return leg.margin or self.margins.leg


def json_schema() -> dict[str, Any]:
    """The JSON schema of course files, for editors that check while one types."""
    return CourseFile.model_json_schema(by_alias=True) | {"$schema": "https://json-schema.org/draft/2020-12/schema"}
