"""What a lab file says: the lab's name and its devices by name, each of a kind."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, StringConstraints, Tag, model_validator

from devices.pilot.client import SOCKET, PilotClient
from drivers.guard.settings import DockingRules, Footprint, LidarRules, Limits, PoseRules, Stopping
from drivers.stop_channel import StopSettings
from drivers.types import BaseGeometry
from labctl.config.health import ChecksSection, HooksSection

NAME = re.compile(r"^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$")
Name = Annotated[str, StringConstraints(pattern=NAME.pattern)]
Label = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class Section(BaseModel):
    """Any part of the lab file: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DeviceConfig(Section):
    """What every device has. `room`: the room that a lease of the device takes as well. `site`: the place it is at."""

    files: ClassVar[tuple[str, ...]] = ()  # fields that hold paths, which count from the lab file's folder
    offers: ClassVar[tuple[str, ...]] = ()  # capabilities: names of protocols in drivers.protocols

    kind: str
    labels: dict[Label, Label] = {}
    room: Name | None = None
    model: Label | None = None
    site: Label | None = None
    checks: ChecksSection = ChecksSection()
    hooks: HooksSection = HooksSection()

    @property
    def offered(self) -> dict[str, Any] | None:
        """What clients of WebDriver may ask for; None of a device that they cannot ask for."""
        return None

    @property
    def capabilities(self) -> tuple[str, ...]:
        """What it can do, where that depends on more than its kind."""
        return self.offers


class RoomConfig(DeviceConfig):
    """A room as a device. `map`: a room file, or the name of a room that ships with the program."""

    kind: Literal["room"] = "room"
    map: str = "standard"


class LidarConfig(DeviceConfig):
    """A LiDAR that stands by itself: `tcp://host:10940` or `serial:///dev/ttyACM0`."""

    offers: ClassVar[tuple[str, ...]] = ("PoseScanner",)

    kind: Literal["lidar"] = "lidar"
    driver: Literal["scip"] = "scip"
    url: str


class BaseSection(Section):
    """The motor board of a robot, at any pyserial URL or device path."""

    driver: Literal["create2"] = "create2"
    url: str
    geometry: BaseGeometry | None = Field(default=None, description="nominal values of the Create 2 unless given")


class ForeignBaseSection(Section):
    """A robot that another maker's client drives: nothing of ours is on its wires, so something else has to stop it.

    `stop`: what does; without it no course is driven. `geometry`: of its wheels, as its client counts them.
    """

    driver: Literal["foreign"]
    stop: StopSettings = StopSettings()
    geometry: BaseGeometry | None = Field(default=None, description="nominal values of the Create 2 unless given")


def _base_driver(value: Any) -> str:
    driver = value.get("driver", "create2") if isinstance(value, dict) else getattr(value, "driver", "create2")
    return str(driver)


Base = Annotated[
    Annotated[BaseSection, Tag("create2")] | Annotated[ForeignBaseSection, Tag("foreign")],
    Discriminator(_base_driver),
]


class LidarSection(Section):
    """The LiDAR on a robot, where it is mounted, and what a scan must be to allow motion."""

    driver: Literal["scip"] = "scip"
    url: str
    rules: LidarRules = LidarRules()


class GuardSection(Section):
    """What the motion guard of a robot enforces."""

    command_ttl_s: Annotated[float, Field(ge=0.02, le=1.0)] = 0.25
    limits: Limits = Limits()
    stopping: Stopping = Stopping()
    footprint: Footprint = Footprint()
    pose: PoseRules = PoseRules()
    docking: DockingRules = DockingRules()


class RobotConfig(DeviceConfig):
    """A telepresence robot: a motor board with a LiDAR on it, in a room.

    `host`: the host of the lab that board and LiDAR hang on; their addresses are as that host sees them, and the motion
    guard runs there, under its `python`. `client`: another maker's page, through which inputs other than direct drive
    it instead of through ours. `calibration`: a calibration file of its odometry. `time_scale`: how much faster than
    real time its bench runs; only where `simulated` is set.
    """

    files: ClassVar[tuple[str, ...]] = ("calibration",)
    offers: ClassVar[tuple[str, ...]] = ("MotionBase", "PoseScanner", "Docking", "EmergencyStop")

    kind: Literal["robot"] = "robot"
    room: Name
    base: Base
    client: PilotClient | None = None
    lidar: LidarSection
    guard: GuardSection = GuardSection()
    host: Name | None = None
    python: Label = "python3"
    calibration: Path | None = None
    checks: ChecksSection = ChecksSection(every_s=30.0, before_use=True)
    simulated: bool = False
    time_scale: Annotated[float, Field(ge=0.1, le=100)] = 1.0

    @model_validator(mode="after")
    def _a_client_for_a_foreign_base(self) -> RobotConfig:
        foreign = isinstance(self.base, ForeignBaseSection)
        if foreign and self.client is None:
            raise ValueError("a base of driver foreign is driven by its client: describe it under client")
        if self.client is not None and foreign == (SOCKET in self.client.url):
            raise ValueError(
                f"a client's url has {SOCKET} in it where it drives through the lab's own socket (a base of ours), and "
                "only there"
            )
        return self

    @model_validator(mode="after")
    def _real_robots_obey_real_time(self) -> RobotConfig:
        if self.time_scale != 1 and not self.simulated:
            raise ValueError("time_scale other than 1 is for a simulated robot: set simulated: true, or leave it out")
        return self


class SchedulingSection(Section):
    """How the queue is served. `devices_per_owner`: nobody holds more at a time, rooms not counted."""

    devices_per_owner: Annotated[int, Field(ge=1)] | None = None


class Lab(Section):
    """A whole lab file."""

    lab: Name
    policies: tuple[Path, ...] = Field(default=(), description="files or folders that say who may do what")
    polqa: Path | None = Field(
        default=None, description="settings of the POLQA that the lab has a licence for, to stand beside our own score"
    )
    artifacts: str | None = Field(
        default=None,
        pattern=r"^[a-z0-9+]+://",
        description="fsspec URL that all daemons of a lab reach: s3://..., file:///net/lab; else the data folder",
    )
    scheduling: SchedulingSection = SchedulingSection()
    devices: Annotated[dict[Name, Any], Field(min_length=1)]

    def robots(self) -> dict[str, RobotConfig]:
        """The robots by name."""
        return {name: device for name, device in self.devices.items() if isinstance(device, RobotConfig)}
