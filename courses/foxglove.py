"""Messages of recordings: Foxglove's schemas where there is one, JSON schemas of our own for the rest."""

from __future__ import annotations

import math
from dataclasses import MISSING, fields
from typing import Any

import numpy as np

from drivers.types import Array, BaseMode, BaseState, ChargingState, Pose, Scan, Twist

_TIME = {"type": "object", "properties": {"sec": {"type": "integer"}, "nsec": {"type": "integer"}}}
_XYZ = {"type": "object", "properties": {axis: {"type": "number"} for axis in "xyz"}}
_QUATERNION = {"type": "object", "properties": {axis: {"type": "number"} for axis in "xyzw"}}
_POSE = {"type": "object", "properties": {"position": _XYZ, "orientation": _QUATERNION}}
_NUMBERS = {"type": "array", "items": {"type": "number"}}

# Name of the schema and the schema itself. Those of Foxglove: https://docs.foxglove.dev/docs/visualization/message-schemas
SCHEMAS: dict[str, dict[str, Any]] = {
    "foxglove.LaserScan": {
        "type": "object",
        "properties": {
            "timestamp": _TIME,
            "frame_id": {"type": "string"},
            "pose": _POSE,
            "start_angle": {"type": "number"},
            "end_angle": {"type": "number"},
            "ranges": _NUMBERS,
            "intensities": _NUMBERS,
        },
    },
    "foxglove.PoseInFrame": {
        "type": "object",
        "properties": {"timestamp": _TIME, "frame_id": {"type": "string"}, "pose": _POSE},
    },
    "courses.Wheels": {
        "type": "object",
        "properties": {
            "time": {"type": "number"},
            "left_ticks": {"type": "integer"},
            "right_ticks": {"type": "integer"},
            "applied": _NUMBERS,
        },
    },
    "courses.Event": {
        "type": "object",
        "properties": {"time": {"type": "number"}, "kind": {"type": "string"}, "detail": {"type": "string"}},
    },
    "courses.Visit": {
        "type": "object",
        "properties": {"label": {"type": "string"}, "docked": {"type": "boolean"}, "scans": _NUMBERS},
    },
    "courses.Setup": {"type": "object"},
    "courses.Angles": {"type": "object", "properties": {"angles": _NUMBERS}},
    "courses.Docking": {"type": "object"},
    "courses.Ending": {"type": "object"},
    "courses.Verdict": {"type": "object"},
}


def timestamp(utc_ns: int) -> dict[str, int]:
    """A moment as Foxglove's schemas have it."""
    return {"sec": utc_ns // 1_000_000_000, "nsec": utc_ns % 1_000_000_000}


def scan_message(scan: Scan, utc_ns: int) -> dict[str, Any]:
    """foxglove.LaserScan; more fields than it asks for, so that the scan is read back bit by bit."""
    finite = np.isfinite(scan.ranges)
    wrong = np.flatnonzero(scan.error_codes)
    return {
        "timestamp": timestamp(utc_ns),
        "frame_id": "lidar",
        "pose": _pose(0.0, 0.0, 0.0),
        "start_angle": float(scan.angles[0]),
        "end_angle": float(scan.angles[-1]),
        "ranges": np.where(finite, scan.ranges, 0.0).tolist(),
        "intensities": [],
        "error_codes": [[int(index), int(scan.error_codes[index])] for index in wrong],
        "time": scan.time,
        "sensor_time": scan.sensor_time,
        "time_error": scan.time_error,
        "sequence": scan.sequence,
    }


def scan_of(message: dict[str, Any], angles: Array) -> Scan:
    """The scan that `scan_message` wrote. Raises KeyError, TypeError, ValueError or IndexError when it is none."""
    ranges = np.array(message["ranges"], dtype=np.float64)
    ranges[ranges == 0] = np.nan
    codes = np.zeros(len(ranges), np.uint8)
    for index, code in message["error_codes"]:
        codes[index] = code
    if ranges.shape != angles.shape:
        raise ValueError(f"a scan of {len(ranges)} ranges, but {len(angles)} angles")
    return Scan(
        ranges,
        angles,
        codes,
        float(message["time"]),
        float(message["sensor_time"]),
        float(message["time_error"]),
        int(message["sequence"]),
    )


def pose_message(pose: Pose, utc_ns: int) -> dict[str, Any]:
    """foxglove.PoseInFrame, with the covariance and the exact numbers beside it."""
    return {
        "timestamp": timestamp(utc_ns),
        "frame_id": pose.frame,
        "pose": _pose(pose.x, pose.y, pose.heading),
        "exact": pose_numbers(pose),
    }


def pose_numbers(pose: Pose) -> dict[str, Any]:
    """A pose without loss."""
    return {"xyh": list(pose.xyh), "covariance": pose.covariance.tolist(), "frame": pose.frame, "time": pose.time}


def pose_of(numbers: dict[str, Any]) -> Pose:
    """The pose that `pose_numbers` wrote. Raises KeyError, TypeError or ValueError when it is none."""
    x, y, heading = (float(v) for v in numbers["xyh"])
    covariance = np.array(numbers["covariance"], dtype=np.float64)
    if covariance.shape != (3, 3):
        raise ValueError(f"a covariance of shape {covariance.shape}")
    return Pose(x, y, heading, covariance, str(numbers["frame"]), float(numbers["time"]))


def wheels_message(state: BaseState, applied: Twist) -> dict[str, Any]:
    """courses.Wheels: all of a board's state, and what the guard let through."""
    return {**state_numbers(state), "applied": [applied.linear, applied.angular]}


def state_numbers(state: BaseState) -> dict[str, Any]:
    """A board's state without loss."""
    return {field.name: getattr(state, field.name) for field in fields(state)}


def state_of(numbers: dict[str, Any]) -> BaseState:
    """The state that `state_numbers` wrote. Raises KeyError, TypeError or ValueError when it is none.

    What an older program did not write yet has its default.
    """
    known = [field for field in fields(BaseState) if field.name in numbers or field.default is MISSING]
    wanted = {field.name: numbers[field.name] for field in known}
    return BaseState(**{**wanted, "mode": BaseMode(wanted["mode"]), "charging": ChargingState(wanted["charging"])})


def _pose(x: float, y: float, heading: float) -> dict[str, Any]:
    orientation = {"x": 0.0, "y": 0.0, "z": math.sin(heading / 2), "w": math.cos(heading / 2)}
    return {"position": {"x": x, "y": y, "z": 0.0}, "orientation": orientation}
