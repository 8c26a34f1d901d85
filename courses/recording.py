"""Writes a course's capture to an MCAP file as it happens: what was written survives the program's death."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from mcap.writer import Writer

from courses.docking import DockingOutcome
from courses.foxglove import SCHEMAS, pose_message, pose_numbers, scan_message, state_numbers, wheels_message
from courses.log import CourseEvent, Ending, Sample, Setup
from courses.measuring import Visit
from drivers.rooms import Room
from drivers.types import Array, Pose, Scan

PROFILE = "courses.v1"
TOPICS = {
    "/setup": "courses.Setup",
    "/angles": "courses.Angles",
    "/scan": "foxglove.LaserScan",
    "/pose/lidar": "foxglove.PoseInFrame",
    "/wheels": "courses.Wheels",
    "/event": "courses.Event",
    "/visit": "courses.Visit",
    "/docking": "courses.Docking",
    "/ending": "courses.Ending",
    "/verdict": "courses.Verdict",
}


class Recorder:
    """Appends to a new file; every message is handed to the operating system at once.

    The file has no chunks, so a torn end costs the last message alone.
    """

    def __init__(self, path: str | Path, setup: Setup) -> None:
        self.path = Path(path)
        self._file = self.path.open("wb")
        self._writer = Writer(self._file, use_chunking=False)
        self._writer.start(profile=PROFILE, library="labctl courses")
        self._clock_start = setup.clock_start
        self._utc_start_ns = int(setup.started_at.timestamp() * 1e9)
        schemas = {
            name: self._writer.register_schema(name, "jsonschema", json.dumps({"title": name, **schema}).encode())
            for name, schema in SCHEMAS.items()
        }
        self._channels = {
            topic: self._writer.register_channel(topic, "json", schemas[schema]) for topic, schema in TOPICS.items()
        }
        self._angles: Array | None = None
        self._write("/setup", setup.clock_start, setup_message(setup))

    def scan(self, scan: Scan) -> None:
        """A scan that was taken."""
        if self._angles is None or not np.array_equal(self._angles, scan.angles):
            self._angles = scan.angles
            self._write("/angles", scan.time, {"angles": scan.angles.tolist()})
        self._write("/scan", scan.time, scan_message(scan, self._utc_ns(scan.time)))

    def fix(self, pose: Pose) -> None:
        """Where the LiDAR said the base was."""
        self._write("/pose/lidar", pose.time, pose_message(pose, self._utc_ns(pose.time)))

    def sample(self, sample: Sample) -> None:
        """A reading of the wheels."""
        self._write("/wheels", sample.state.time, wheels_message(sample.state, sample.applied))

    def event(self, event: CourseEvent) -> None:
        """A line of the time line."""
        self._write("/event", event.time, {"time": event.time, "kind": event.kind, "detail": event.detail})

    def visit(self, visit: Visit, docked: bool = False) -> None:
        """A point that was measured; its scans were recorded before, and are named by their times."""
        message = {
            "label": visit.label,
            "docked": docked,
            "guess": pose_numbers(visit.guess),
            "before": state_numbers(visit.before),
            "after": state_numbers(visit.after),
            "scans": [scan.time for scan in visit.scans],
        }
        self._write("/visit", visit.after.time, message)

    def docking(self, outcome: DockingOutcome, time: float) -> None:
        """How docking went."""
        message = {
            "docked": outcome.docked,
            "attempts": outcome.attempts,
            "seconds": outcome.seconds,
            "faults": list(outcome.faults),
        }
        self._write("/docking", time, message)

    def ending(self, ending: Ending, time: float) -> None:
        """How the course ended."""
        message = {
            "lab_errors": list(ending.lab_errors),
            "device_failures": list(ending.device_failures),
            "cancelled": ending.cancelled,
        }
        self._write("/ending", time, message)

    def verdict(self, result: dict[str, Any], time: float) -> None:
        """What it came to then, for people who look into the file; a replay computes it anew."""
        self._write("/verdict", time, result)

    def close(self) -> None:
        """Write the end of the file. May be repeated."""
        if not self._file.closed:
            try:
                self._writer.finish()  # type: ignore[no-untyped-call]  # mcap left this one out
            finally:
                self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, topic: str, time: float, message: dict[str, Any]) -> None:
        data = json.dumps(message, allow_nan=False, separators=(",", ":")).encode()
        utc_ns = self._utc_ns(time)
        self._writer.add_message(self._channels[topic], log_time=utc_ns, publish_time=utc_ns, data=data)
        self._file.flush()

    def _utc_ns(self, time: float) -> int:
        return self._utc_start_ns + round((time - self._clock_start) * 1e9)


def setup_message(setup: Setup) -> dict[str, Any]:
    """Everything that was fixed before the course, so that the recording needs no other file."""
    geometry = setup.geometry
    return {
        "robot": setup.robot,
        "course": {"source": setup.course.source, "text": setup.course.text},
        "room": room_numbers(setup.course.room),
        "geometry": [geometry.left_metres_per_tick, geometry.right_metres_per_tick, geometry.wheel_base_m],
        "mount": pose_numbers(setup.mount),
        "calibration": setup.calibration.to_yaml() if setup.calibration else None,
        "driving_input": setup.driving_input,
        "started_at": setup.started_at.isoformat(),
        "clock_start": setup.clock_start,
        "versions": setup.versions,
    }


def room_numbers(room: Room) -> dict[str, Any]:
    """A room without loss."""
    return {
        "name": room.name,
        "walls": [[wall.name, wall.points.tolist(), wall.closed] for wall in room.walls],
        "furniture": [[item.name, item.points.tolist(), item.closed] for item in room.furniture],
        "geofence": room.geofence.tolist(),
        "docks": [[dock.name, pose_numbers(dock.pose), dock.zone.tolist()] for dock in room.docks],
        "survey_sigma_m": room.survey_sigma_m,
    }
