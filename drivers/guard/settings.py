"""Settings of the motion guard: limits, footprint, stopping distance, LiDAR, docking. Standard library only."""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, TypeVar

from drivers.stop_channel import StopSettings
from drivers.types import BaseGeometry, Pose

Point = tuple[float, float]
Polygon = tuple[Point, ...]
T = TypeVar("T")

# The lab file's pydantic models embed these classes: a misspelt key there is an error.
_FORBID: dict[str, str] = {"extra": "forbid"}
_CREATE2_METRES_PER_TICK = math.pi * 0.072 / 508.8


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ValueError(f"{name} is {value}, must lie in {low} .. {high}")


@dataclass(frozen=True, slots=True)
class Limits:
    """How fast the base may move and how fast it may speed up. Braking is not limited by these."""

    __pydantic_config__: ClassVar[dict[str, str]] = _FORBID
    linear_m_s: float = 0.4
    angular_rad_s: float = 1.5
    linear_acceleration_m_s2: float = 0.5
    angular_acceleration_rad_s2: float = 3.0
    unseen_reverse_m_s: float = 0.1

    def __post_init__(self) -> None:
        _within("linear_m_s", self.linear_m_s, 0.02, 3.0)
        _within("angular_rad_s", self.angular_rad_s, 0.02, 10.0)
        _within("linear_acceleration_m_s2", self.linear_acceleration_m_s2, 0.05, 10.0)
        _within("angular_acceleration_rad_s2", self.angular_acceleration_rad_s2, 0.05, 50.0)
        _within("unseen_reverse_m_s", self.unseen_reverse_m_s, 0.0, 0.1)


@dataclass(frozen=True, slots=True)
class Stopping:
    """What the base needs to come to rest: speed x latency + speed^2 / (2 x braking) + margin.

    `latency_s`: measured from the moment a stop is decided to the moment the wheels begin to brake; the age of the
    scan is added to it. `clearance_m` is kept to the sides, `margin_m` ahead: the LiDAR sees a person's shins, and
    feet and body reach some 0.15 m beyond them. `fence_margin_m` is kept before the geofence, for a board that takes
    a stop late.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _FORBID
    latency_s: float = 0.15
    braking_m_s2: float = 0.8
    angular_braking_rad_s2: float = 6.0
    margin_m: float = 0.18
    clearance_m: float = 0.02
    fence_margin_m: float = 0.02

    def __post_init__(self) -> None:
        _within("latency_s", self.latency_s, 0.0, 2.0)
        _within("braking_m_s2", self.braking_m_s2, 0.05, 10.0)
        _within("angular_braking_rad_s2", self.angular_braking_rad_s2, 0.05, 100.0)
        _within("margin_m", self.margin_m, 0.0, 1.0)
        _within("clearance_m", self.clearance_m, 0.0, 0.5)
        _within("fence_margin_m", self.fence_margin_m, 0.0, 0.5)


@dataclass(frozen=True, slots=True)
class Footprint:
    """The base's outline seen from above: a convex polygon widened by a radius, metres, in the base's frame.

    `corners` counter-clockwise; a single corner makes a disc. The standard value is a
    Create 2 (340 mm across) with 10 mm for what it carries.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _FORBID
    corners: Polygon = ((0.0, 0.0),)
    radius_m: float = 0.18

    def __post_init__(self) -> None:
        _within("radius_m", self.radius_m, 0.0, 1.0)
        if not self.corners or len(self.corners) == 2:
            raise ValueError("corners needs one point (a disc) or at least three (a polygon)")
        if len(self.corners) == 1 and self.radius_m == 0:
            raise ValueError("a footprint of one corner and no radius has no size")
        if len(self.corners) > 2 and not _convex(self.corners):
            raise ValueError("corners must be convex and go counter-clockwise")


@dataclass(frozen=True, slots=True)
class LidarRules:
    """Where the LiDAR sits on the base, and what a scan must be to allow motion.

    `min_valid_ratio` of the beams that cross the swept footprint must carry a range (and half as many of all beams).
    A run of beams without a range counts as occupied where something wider than `unseen_gap_m` could hide in it.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _FORBID
    mount_x_m: float = 0.0
    mount_y_m: float = 0.0
    mount_heading_deg: float = 0.0
    max_age_s: float = 0.1
    min_valid_ratio: float = 0.8
    unseen_gap_m: float = 0.03

    def __post_init__(self) -> None:
        _within("mount_x_m", self.mount_x_m, -1.0, 1.0)
        _within("mount_y_m", self.mount_y_m, -1.0, 1.0)
        _within("mount_heading_deg", self.mount_heading_deg, -180.0, 180.0)
        _within("max_age_s", self.max_age_s, 0.01, 0.5)
        _within("min_valid_ratio", self.min_valid_ratio, 0.1, 1.0)
        _within("unseen_gap_m", self.unseen_gap_m, 0.0, 0.1)

    @property
    def mount(self) -> Pose:
        """The sensor's pose in the base's frame."""
        return Pose(self.mount_x_m, self.mount_y_m, math.radians(self.mount_heading_deg), frame="base")


@dataclass(frozen=True, slots=True)
class PoseRules:
    """How far the guard trusts the pose it was told: at most so old, at most so uncertain (one standard deviation).

    Between two tellings the uncertainty grows with the way by `drift_m_per_m` and with turning by `drift_rad_per_rad`.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _FORBID
    max_age_s: float = 120.0
    max_sigma_m: float = 0.15
    drift_m_per_m: float = 0.01
    drift_rad_per_rad: float = 0.01

    def __post_init__(self) -> None:
        _within("max_age_s", self.max_age_s, 0.1, 3600.0)
        _within("max_sigma_m", self.max_sigma_m, 0.001, 1.0)
        _within("drift_m_per_m", self.drift_m_per_m, 0.0, 1.0)
        _within("drift_rad_per_rad", self.drift_rad_per_rad, 0.0, 1.0)


@dataclass(frozen=True, slots=True)
class DockingRules:
    """Limits of the board's own docking run, which no drive command steers.

    `link_silence_s`: the run ends when its holder has sent nothing, not even a heartbeat, for so long.
    `speed_m_s`: how fast the board moves while docking, for the stopping distance.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _FORBID
    time_limit_s: float = 60.0
    link_silence_s: float = 1.0
    speed_m_s: float = 0.15

    def __post_init__(self) -> None:
        _within("time_limit_s", self.time_limit_s, 1.0, 600.0)
        _within("link_silence_s", self.link_silence_s, 0.1, 10.0)
        _within("speed_m_s", self.speed_m_s, 0.01, 1.0)


def _create2_geometry() -> BaseGeometry:
    return BaseGeometry(_CREATE2_METRES_PER_TICK, _CREATE2_METRES_PER_TICK, 0.235)


@dataclass(frozen=True, slots=True)
class GuardSettings:
    """Everything the guard of one base needs to know.

    `base_url`: the Create 2's serial line (path, `serial://`, `socket://`, `rfc2217://`); empty for a base that its own
    client drives, which `stop` stops. `lidar_url`: the Hokuyo on
    the base (`tcp://host:port`, `serial://path`). `listen`: where clients connect, `unix:///path` or
    `tcp://127.0.0.1:port` (port 0 takes a free one); TCP needs `token`. `state_dir` keeps the latch and the highest
    fencing number. `geofence`: polygon of the room that the base's origin must stay in, empty for none. `dock_zones`:
    surveyed polygons in which it may reverse unseen. `time_scale` other than 1 needs `simulated`.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _FORBID
    base_url: str
    lidar_url: str
    listen: tuple[str, ...] = ("tcp://127.0.0.1:0",)
    token: str | None = None
    state_dir: str = "."
    name: str = "base"
    simulated: bool = False
    time_scale: float = 1.0
    command_ttl_s: float = 0.25
    geometry: BaseGeometry = field(default_factory=_create2_geometry)
    limits: Limits = field(default_factory=Limits)
    stopping: Stopping = field(default_factory=Stopping)
    footprint: Footprint = field(default_factory=Footprint)
    lidar: LidarRules = field(default_factory=LidarRules)
    pose: PoseRules = field(default_factory=PoseRules)
    docking: DockingRules = field(default_factory=DockingRules)
    geofence: Polygon = ()
    dock_zones: tuple[Polygon, ...] = ()
    stop: StopSettings | None = None

    def __post_init__(self) -> None:
        _within("command_ttl_s", self.command_ttl_s, 0.02, 1.0)
        _within("time_scale", self.time_scale, 0.1, 100.0)
        if self.time_scale != 1 and not self.simulated:
            raise ValueError(f"time_scale {self.time_scale} is for a simulated base only; a real one needs 1")
        if bool(self.base_url) == (self.stop is not None):
            raise ValueError("give base_url, or stop for a base that its own client drives, and not both")
        if not self.listen:
            raise ValueError("listen needs at least one address")
        for url in self.listen:
            if not url.startswith(("unix://", "tcp://")):
                raise ValueError(f"listen address {url!r} must start with unix:// or tcp://")
            if url.startswith("tcp://") and not self.token:
                raise ValueError(f"listening on {url} needs a token: anyone on this machine could drive otherwise")
        for name, polygon in (("geofence", self.geofence), *(("dock_zones", zone) for zone in self.dock_zones)):
            if name == "geofence" and not polygon:
                continue
            if len(polygon) < 3:
                raise ValueError(f"{name} needs at least three points, got {len(polygon)}")
            if not all(math.isfinite(x) and math.isfinite(y) for x, y in polygon):
                raise ValueError(f"{name} has a point that is not finite")

    @classmethod
    def from_json(cls, text: str | bytes) -> GuardSettings:
        """Parse a configuration file. Raises ValueError saying which key is wrong."""
        try:
            document = json.loads(text)
        except ValueError as exc:
            raise ValueError(f"the guard's configuration is not JSON: {exc}") from None
        return _build(cls, document, "")

    def to_json(self) -> str:
        """The configuration file's text, with everything spelled out."""
        return json.dumps(dataclasses.asdict(self), indent=2)


def _convex(corners: Polygon) -> bool:
    count = len(corners)
    for i in range(count):
        (ax, ay), (bx, by), (cx, cy) = corners[i], corners[(i + 1) % count], corners[(i + 2) % count]
        if (bx - ax) * (cy - by) - (by - ay) * (cx - bx) <= 0:
            return False
    return True


def _build(kind: type[T], value: Any, where: str) -> T:
    """`value` of a JSON document as an instance of the dataclass `kind`."""
    at = where or "the guard's configuration"
    if not isinstance(value, dict):
        raise ValueError(f"{at} must be an object")
    hints = typing.get_type_hints(kind)
    known = {f.name: hints[f.name] for f in dataclasses.fields(kind)}  # type: ignore[arg-type]  # only dataclasses here
    if unknown := sorted(set(value) - set(known)):
        raise ValueError(f"{at}: unknown key {unknown[0]!r}; known are {', '.join(sorted(known))}")
    arguments = {key: _convert(known[key], item, f"{where}.{key}".lstrip(".")) for key, item in value.items()}
    try:
        return kind(**arguments)
    except (ValueError, TypeError) as exc:
        raise ValueError(f"{at}: {exc}") from None


def _convert(kind: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return _build(kind, value, where)  # type: ignore[arg-type]  # a dataclass taken from a type hint is a class
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise ValueError(f"{where} must be a list")
        inner = typing.get_args(kind)
        if inner[-1] is Ellipsis:
            return tuple(_convert(inner[0], item, f"{where}[{index}]") for index, item in enumerate(value))
        if len(value) != len(inner):
            raise ValueError(f"{where} must have {len(inner)} values, got {len(value)}")
        return tuple(
            _convert(each, item, f"{where}[{i}]") for i, (each, item) in enumerate(zip(inner, value, strict=True))
        )
    return _convert_one(typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,), value, where)


def _convert_one(options: tuple[Any, ...], value: Any, where: str) -> Any:
    """`value` as whichever of `options` it can be."""
    if value is None and type(None) in options:
        return None
    if isinstance(value, dict) and (parts := [each for each in options if dataclasses.is_dataclass(each)]):
        return _build(parts[0], value, where)  # type: ignore[arg-type]  # a dataclass taken from a type hint is a class
    if float in options and isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise ValueError(f"{where} is {value}, must be finite")
        return float(value)
    for option in options:
        if (option in (str, bool) and isinstance(value, option)) or (option is int and type(value) is int):
            return value
        if isinstance(option, type) and issubclass(option, StrEnum) and value in list(option):
            return option(value)
    wanted = " or ".join(getattr(option, "__name__", str(option)) for option in options)
    raise ValueError(f"{where} must be {wanted}, got {value!r}")
