"""What drivers hand around: poses, scans, wheel and motion states. SI units; angles in radians, counter-clockwise."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def wrap_angle(angle: float) -> float:
    """The same direction in (-pi, pi]."""
    return -((-angle + math.pi) % (2 * math.pi) - math.pi)


def _no_covariance() -> Array:
    return np.zeros((3, 3))


@dataclass(frozen=True, slots=True, eq=False)
class Pose:
    """A planar pose: metres and radians in a named frame, with covariance, at a time.

    `covariance` is 3x3 over (x, y, heading), expressed in `frame`; zeros mean "taken as exact".
    `time` is in seconds of the clock that the producer was given.
    """

    x: float
    y: float
    heading: float
    covariance: Array = field(default_factory=_no_covariance)
    frame: str = "map"
    time: float = 0.0

    @property
    def xyh(self) -> tuple[float, float, float]:
        """The three numbers alone."""
        return (self.x, self.y, self.heading)

    def compose(self, other: Pose) -> Pose:
        """`other`, given in this pose's own frame, expressed in this pose's parent frame.

        Covariances are propagated to first order; the two poses are taken as independent.
        """
        c, s = math.cos(self.heading), math.sin(self.heading)
        dx = c * other.x - s * other.y
        dy = s * other.x + c * other.y
        of_self = np.array([[1.0, 0.0, -dy], [0.0, 1.0, dx], [0.0, 0.0, 1.0]])
        of_other = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
        covariance = of_self @ self.covariance @ of_self.T + of_other @ other.covariance @ of_other.T
        heading = wrap_angle(self.heading + other.heading)
        return Pose(self.x + dx, self.y + dy, heading, covariance, self.frame, other.time)

    def inverse(self) -> Pose:
        """The parent frame's pose seen from this pose."""
        c, s = math.cos(self.heading), math.sin(self.heading)
        x = -c * self.x - s * self.y
        y = s * self.x - c * self.y
        jacobian = np.array([[-c, -s, y], [s, -c, -x], [0.0, 0.0, -1.0]])
        covariance = jacobian @ self.covariance @ jacobian.T
        return Pose(x, y, wrap_angle(-self.heading), covariance, self.frame, self.time)

    def between(self, other: Pose) -> Pose:
        """`other`, given in the same frame, expressed in this pose's own frame (poses taken as independent)."""
        return self.inverse().compose(other)


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """One turn of a planar LiDAR.

    `ranges`: (N,) metres, NaN where nothing was measured. `angles`: (N,) radians in the sensor's frame, 0 ahead.
    `error_codes`: (N,) uint8, 0 where the range is valid, otherwise the sensor's own code (Hokuyo: 1 to 5; 255: beyond
    the sensor's stated reach). `time`: when the beam straight ahead was fired, mapped onto the host's clock;
    `time_error`: half width of that mapping's uncertainty, seconds. `sensor_time`: the sensor's own stamp in seconds,
    unwrapped, at whatever point of its turn it stamps. `turn_s`: how long the beam takes to go round once; 0 where
    that is unknown and all beams are taken as fired at `time`.
    """

    ranges: Array
    angles: Array
    error_codes: NDArray[np.uint8]
    time: float
    sensor_time: float
    time_error: float = 0.0
    sequence: int = 0
    turn_s: float = 0.0

    def beam_times(self) -> Array:
        """(N,) when each beam was fired, on the clock of `time`: the beam turns counter-clockwise, ahead at `time`."""
        times: Array = self.time + self.angles * (self.turn_s / (2 * math.pi))
        return times

    def points(self) -> Array:
        """(M, 2) end points of the valid beams in the sensor's frame, metres."""
        valid = (self.error_codes == 0) & np.isfinite(self.ranges)
        ranges, angles = self.ranges[valid], self.angles[valid]
        return np.column_stack((ranges * np.cos(angles), ranges * np.sin(angles)))


@dataclass(frozen=True, slots=True)
class Twist:
    """A planar velocity: m/s forward, rad/s counter-clockwise."""

    linear: float
    angular: float


@dataclass(frozen=True, slots=True)
class BaseGeometry:
    """What turns wheel ticks into motion: nominal (or calibrated) metres per encoder tick and wheel distance."""

    left_metres_per_tick: float
    right_metres_per_tick: float
    wheel_base_m: float

    def __post_init__(self) -> None:
        if not (0 < self.left_metres_per_tick < 0.1 and 0 < self.right_metres_per_tick < 0.1):
            raise ValueError("metres per tick must lie between 0 and 0.1 m")
        if not 0.02 < self.wheel_base_m < 3:
            raise ValueError(f"wheel base {self.wheel_base_m} m is outside 0.02 .. 3 m")


class ChargingState(StrEnum):
    """What the battery does (Create 2 Open Interface, packet 21)."""

    NOT_CHARGING = "not_charging"
    RECONDITIONING = "reconditioning"
    FULL = "full"
    TRICKLE = "trickle"
    WAITING = "waiting"
    FAULT = "fault"


class BaseMode(StrEnum):
    """Who is in control of the wheels."""

    OFF = "off"
    PASSIVE = "passive"
    SAFE = "safe"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class BaseState:
    """One reading of a motor board; `time` is that of the host's clock on arrival.

    Tick counts are cumulative and unwrapped since the driver opened the board. `odometry_breaks` goes up whenever they
    cannot be trusted across a gap (long silence, a reset, a line opened anew): odometry from before it is void.
    """

    time: float
    left_ticks: int
    right_ticks: int
    mode: BaseMode
    on_dock: bool
    charging: ChargingState
    battery_ratio: float
    battery_current_a: float
    battery_voltage_v: float
    bump_left: bool = False
    bump_right: bool = False
    wheel_drop: bool = False
    cliff: bool = False
    odometry_breaks: int = 0

    @property
    def bump(self) -> bool:
        return self.bump_left or self.bump_right


class StopReason(StrEnum):
    """Why the guard holds or stops a base."""

    COMMAND_EXPIRED = "command_expired"
    COMMANDED = "commanded"
    EMERGENCY_STOP = "emergency_stop"
    LEASE_ENDED = "lease_ended"
    FENCED = "fenced"
    LINK_LOST = "link_lost"
    LIDAR_STALE = "lidar_stale"
    LIDAR_BLIND = "lidar_blind"
    OBSTACLE = "obstacle"
    GEOFENCE = "geofence"
    POSE_UNKNOWN = "pose_unknown"
    BUMPER = "bumper"
    WHEEL_DROP = "wheel_drop"
    CLIFF = "cliff"
    BOARD_SILENT = "board_silent"
    BOARD_FAULT = "board_fault"
    DOCKING_TIMEOUT = "docking_timeout"
    STOP_CHANNEL = "stop_channel"
    CLIENT_TROUBLE = "client_trouble"
    SHUTDOWN = "shutdown"


@dataclass(frozen=True, slots=True)
class MotionStatus:
    """What the guard is doing with a base, and why.

    `allowed` tells whether the last drive command was passed on (possibly slowed); `reason` says why not; `detail` is
    a sentence for a person; `commanded` is what the holder asked for, `applied` what went to the wheels.
    """

    time: float
    allowed: bool
    latched: bool
    docking: bool
    reason: StopReason | None
    detail: str
    commanded: Twist
    applied: Twist
    stops: int
