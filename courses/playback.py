"""Reads a recording of ours back, up to where it is damaged."""

from __future__ import annotations

import datetime
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from mcap.exceptions import McapError
from mcap.records import Channel, Message
from mcap.stream_reader import StreamReader

from courses.calibration import Calibration
from courses.course import Course
from courses.docking import DockingOutcome
from courses.foxglove import pose_of, scan_of, state_of
from courses.log import CourseEvent, CourseLog, Ending, Sample, Setup
from courses.measuring import Visit
from drivers.documents import DocumentError, Problem
from drivers.rooms import Dock, Outline, Room
from drivers.types import Array, BaseGeometry, Scan, Twist

MAGIC = b"\x89MCAP0\r\n"
_RECORD_LIMIT = 64 * 1024 * 1024


def read_recording(path: str | Path) -> CourseLog:
    """The captured course. What is wrong with the file's end is told in the log's `damage`; the rest is kept.

    Raises DocumentError when not even the setup at the file's beginning can be read.
    """
    reading = _Reading()
    damage = ""
    try:
        with Path(path).open("rb") as file:
            try:
                for record in StreamReader(file, record_size_limit=_RECORD_LIMIT).records:
                    if isinstance(record, Channel):
                        reading.topics[record.id] = record.topic
                    elif isinstance(record, Message):
                        reading.take(reading.topics.get(record.channel_id, ""), json.loads(record.data))
            except (McapError, struct.error, EOFError, UnicodeDecodeError) as exc:
                damage = f"it breaks off after {file.tell()} bytes ({type(exc).__name__})"
            except (KeyError, TypeError, ValueError, IndexError, AssertionError) as exc:
                damage = (
                    f"what stands before byte {file.tell()} is no message of a course ({type(exc).__name__}: {exc})"
                )
    except OSError as exc:
        raise DocumentError([Problem(str(path), 1, 1, "", f"cannot be read: {exc.strerror}")]) from None
    log = reading.log
    if log is None:
        what = f"no recording of a course: {damage or 'it holds none of the messages that begin one'}"
        raise DocumentError([Problem(str(path), 1, 1, "", what)])
    if damage:
        log.damage = (f"the recording {path} is damaged: {damage}; what stands before is used",)
    return log


class _Reading:
    """What was read so far."""

    def __init__(self) -> None:
        self.topics: dict[int, str] = {}
        self.log: CourseLog | None = None
        self._angles: Array = np.zeros(0)
        self._scans: dict[float, Scan] = {}

    def take(self, topic: str, message: dict[str, Any]) -> None:
        """One message. Raises KeyError, TypeError, ValueError when it is not as `Recorder` writes it."""
        if topic == "/setup":
            self.log = CourseLog(_setup(message))
            return
        log = self.log
        if log is None:
            raise ValueError(f"a message on {topic!r} before the setup")
        if topic == "/angles":
            self._angles = np.array(message["angles"], dtype=np.float64)
        elif topic == "/scan":
            scan = scan_of(message, self._angles)
            self._scans[scan.time] = scan
        elif topic == "/wheels":
            linear, angular = message["applied"]
            log.samples.append(Sample(state_of(message), Twist(linear, angular)))
        elif topic == "/pose/lidar":
            log.fixes.append(pose_of(message["exact"]))
        elif topic == "/event":
            log.events.append(CourseEvent(message["time"], message["kind"], message["detail"]))
        elif topic == "/visit":
            self._visit(log, message)
        elif topic == "/docking":
            faults = tuple(message["faults"])
            log.docking = DockingOutcome(message["docked"], message["attempts"], message["seconds"], faults)
        elif topic == "/ending":
            errors, failures = tuple(message["lab_errors"]), tuple(message["device_failures"])
            log.ending = Ending(errors, failures, message["cancelled"])

    def _visit(self, log: CourseLog, message: dict[str, Any]) -> None:
        scans = tuple(self._scans[time] for time in message["scans"])
        before, after = state_of(message["before"]), state_of(message["after"])
        visit = Visit(message["label"], pose_of(message["guess"]), before, after, scans)
        self._scans.clear()
        if message["docked"]:
            log.docked_visit = visit
        else:
            log.visits.append(visit)


def _setup(message: dict[str, Any]) -> Setup:
    room = _room(message["room"])
    calibration = message["calibration"]
    return Setup(
        robot=message["robot"],
        course=Course.of_text(message["course"]["text"], message["course"]["source"], room),
        geometry=BaseGeometry(*message["geometry"]),
        mount=pose_of(message["mount"]),
        calibration=Calibration.parse(calibration, "calibration of the recording") if calibration else None,
        driving_input=message["driving_input"],
        started_at=datetime.datetime.fromisoformat(message["started_at"]),
        clock_start=message["clock_start"],
        versions=message["versions"],
    )


def _room(numbers: dict[str, Any]) -> Room:
    return Room(
        name=numbers["name"],
        walls=tuple(Outline(name, np.array(points), closed) for name, points, closed in numbers["walls"]),
        furniture=tuple(Outline(name, np.array(points), closed) for name, points, closed in numbers["furniture"]),
        geofence=np.array(numbers["geofence"]),
        docks=tuple(Dock(name, pose_of(pose), np.array(zone)) for name, pose, zone in numbers["docks"]),
        survey_sigma_m=numbers["survey_sigma_m"],
    )
