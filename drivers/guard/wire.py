"""Frames between the guard and its clients: length, kind, payload. Pure and incremental."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import asdict
from enum import IntEnum
from typing import Any

import numpy as np

from drivers.errors import ProtocolError
from drivers.types import BaseMode, BaseState, ChargingState, MotionStatus, Pose, Scan, StopReason, Twist

MAX_PAYLOAD = 1 << 20
_HEAD = struct.Struct(">IB")
_SCAN = struct.Struct(">ddddII")


class Kind(IntEnum):
    """What a frame's payload is. An emergency stop has its own kind: it is seen before anything is parsed."""

    JSON = 1
    SCAN = 2
    EMERGENCY_STOP = 3


def frame(kind: Kind, payload: bytes) -> bytes:
    """One frame as it goes onto the wire."""
    return _HEAD.pack(len(payload), kind) + payload


def message(document: dict[str, Any]) -> bytes:
    """A JSON frame."""
    return frame(Kind.JSON, json.dumps(document, separators=(",", ":")).encode())


class FrameReader:
    """Collects bytes and gives whole frames. Raises ProtocolError on an unknown kind or an overlong frame."""

    def __init__(self, max_payload: int = MAX_PAYLOAD) -> None:
        self._buffer = bytearray()
        self._max_payload = max_payload

    def feed(self, data: bytes) -> list[tuple[Kind, bytes]]:
        """The frames completed by `data`, oldest first."""
        self._buffer += data
        return list(self._frames())

    def _frames(self) -> Iterator[tuple[Kind, bytes]]:
        while len(self._buffer) >= _HEAD.size:
            length, number = _HEAD.unpack_from(self._buffer)
            try:
                kind = Kind(number)
            except ValueError:
                raise ProtocolError(f"a frame of unknown kind {number}: this is not the guard's protocol") from None
            if length > self._max_payload:
                raise ProtocolError(f"a frame of {length} bytes; at most {self._max_payload} are taken")
            end = _HEAD.size + length
            if len(self._buffer) < end:
                return
            payload = bytes(self._buffer[_HEAD.size : end])
            del self._buffer[:end]
            yield kind, payload


def parse_message(payload: bytes) -> dict[str, Any]:
    """The JSON object in a frame. Raises ProtocolError when it is none."""
    try:
        document = json.loads(payload)
    except (ValueError, RecursionError) as exc:  # nested thousands deep it is no message of ours either
        raise ProtocolError(f"a message that is not JSON: {exc}") from None
    if not isinstance(document, dict):
        raise ProtocolError("a message that is not a JSON object")
    return document


def pack_scan(scan: Scan) -> bytes:
    """A scan as a frame: times, sequence, count, then ranges, angles (float64) and error codes (uint8)."""
    times = (scan.time, scan.sensor_time, scan.time_error, scan.turn_s)
    head = _SCAN.pack(*times, scan.sequence & 0xFFFFFFFF, len(scan.ranges))
    numbers = np.concatenate((scan.ranges, scan.angles)).astype(">f8").tobytes()
    return frame(Kind.SCAN, head + numbers + scan.error_codes.astype(np.uint8).tobytes())


def unpack_scan(payload: bytes) -> Scan:
    """The scan in a frame's payload. Raises ProtocolError when its length is wrong."""
    if len(payload) < _SCAN.size:
        raise ProtocolError(f"a scan frame of {len(payload)} bytes")
    time, sensor_time, time_error, turn_s, sequence, count = _SCAN.unpack_from(payload)
    if len(payload) != _SCAN.size + count * 17:
        raise ProtocolError(f"a scan frame of {len(payload)} bytes for {count} beams")
    numbers = np.frombuffer(payload, ">f8", 2 * count, _SCAN.size).astype(np.float64)
    codes = np.frombuffer(payload, np.uint8, count, _SCAN.size + 16 * count).copy()
    return Scan(numbers[:count], numbers[count:], codes, time, sensor_time, time_error, sequence, turn_s)


def pack_state(state: BaseState) -> dict[str, Any]:
    """A board reading for a JSON message."""
    return asdict(state)


def unpack_state(document: dict[str, Any]) -> BaseState:
    """The board reading of a JSON message."""
    return BaseState(
        **{**document, "mode": BaseMode(document["mode"]), "charging": ChargingState(document["charging"])}
    )


def pack_status(status: MotionStatus) -> dict[str, Any]:
    """A motion status for a JSON message."""
    return asdict(status)


def unpack_status(document: dict[str, Any]) -> MotionStatus:
    """The motion status of a JSON message."""
    reason = document["reason"]
    return MotionStatus(
        **{
            **document,
            "reason": None if reason is None else StopReason(reason),
            "commanded": Twist(**document["commanded"]),
            "applied": Twist(**document["applied"]),
        }
    )


def pack_pose(pose: Pose) -> dict[str, Any]:
    """A pose for a JSON message."""
    return {
        "x": pose.x, "y": pose.y, "heading": pose.heading, "covariance": pose.covariance.tolist(), "frame": pose.frame,
        "time": pose.time,
    }  # fmt: skip


def unpack_pose(document: dict[str, Any]) -> Pose:
    """The pose of a JSON message. Raises ProtocolError when it is not one."""
    try:
        covariance = np.array(document["covariance"], dtype=np.float64)
        numbers = [float(document[key]) for key in ("x", "y", "heading", "time")]
    except (KeyError, TypeError, ValueError) as exc:
        raise ProtocolError(f"not a pose: {exc}") from None
    if covariance.shape != (3, 3) or not np.isfinite(covariance).all() or not np.isfinite(numbers).all():
        raise ProtocolError("a pose needs finite numbers and a 3x3 covariance")
    return Pose(numbers[0], numbers[1], numbers[2], covariance, str(document.get("frame", "map")), numbers[3])
