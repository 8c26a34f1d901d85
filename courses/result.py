"""What a course came to: the verdict with all that a report and a machine need."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from courses.docking import ContactError, DockingOutcome
from courses.log import CourseEvent
from courses.verdict import CourseVerdict, LegVerdict, MarginCheck, PointVerdict, Verdict
from drivers.types import Array, Pose


@dataclass(frozen=True, slots=True)
class DockingResult:
    """Docking with the measured contact error, None where the docked base was not measured."""

    outcome: DockingOutcome
    contact: ContactError | None


@dataclass(frozen=True, eq=False)
class CourseResult:
    """A course, judged.

    `odometry`: (N, 4) time, x, y, heading by the wheels alone, placed at the first measured point; `lidar`: the poses
    found by LiDAR, on the way and at the points, in order of time. `speeds`: (N, 3) time, m/s, rad/s that the guard let
    through. Times count from `clock_start`. `segments`: (S, 2, 2) of the room, empty where there is none.
    `provenance`: what the result rests on, for people. `notes`: remarks that do not bear on the verdict. For recorded
    logs, `reference`: (M, 4) time, x, y, heading of poses that came with the log; `cloud`: (K, 2) what the LiDAR saw.
    """

    course: str
    robot: str
    judged: CourseVerdict
    distance_m: float
    duration_s: float
    clock_start: float
    docking: DockingResult | None
    events: tuple[CourseEvent, ...]
    lab_errors: tuple[str, ...]
    odometry: Array
    lidar: tuple[Pose, ...]
    speeds: Array
    segments: Array
    provenance: dict[str, str]
    notes: tuple[str, ...] = ()
    reference: Array | None = None
    cloud: Array | None = None

    @property
    def verdict(self) -> Verdict:
        return self.judged.verdict

    def to_json(self, report: str | None = None) -> dict[str, Any]:
        """The result for machines: metres, degrees, seconds. `report`: where the report was written."""
        consistency = self.judged.consistency
        return {
            "verdict": self.verdict.value,
            "reasons": list(self.judged.reasons),
            "course": self.course,
            "robot": self.robot,
            "points": [_point(point) for point in self.judged.points],
            "legs": [_leg(leg) for leg in self.judged.legs],
            "distance_m": round(self.distance_m, 4),
            "duration_s": round(self.duration_s, 2),
            "docking": _docking(self.docking),
            "consistency": {
                "outcome": consistency.outcome.value,
                "reason": consistency.reason,
                "p_value": consistency.p_value,
            },
            "lab_errors": list(self.lab_errors),
            "events": [
                {"time_s": round(event.time - self.clock_start, 3), "kind": event.kind, "detail": event.detail}
                for event in self.events
            ],
            "notes": list(self.notes),
            "provenance": self.provenance,
            "report": report,
        }


def _check(check: MarginCheck | None) -> dict[str, Any] | None:
    if check is None:
        return None
    margin = check.margin
    heading_margin = margin.heading_rad if margin else None
    return {
        "distance_m": check.distance_m,
        "distance_uncertainty_m": check.distance_uncertainty_m,
        "heading_deg": math.degrees(check.heading_rad),
        "heading_uncertainty_deg": math.degrees(check.heading_uncertainty_rad),
        "margin_distance_m": margin.distance_m if margin else None,
        "margin_heading_deg": None if heading_margin is None else math.degrees(heading_margin),
        "inside": check.inside,
        "resolved": check.resolved,
        "near_limit": check.near_limit,
    }


def _pose(pose: Pose) -> dict[str, float]:
    return {"x_m": pose.x, "y_m": pose.y, "heading_deg": math.degrees(pose.heading)}


def _point(point: PointVerdict) -> dict[str, Any]:
    measured = point.measurement
    return {
        "label": measured.label,
        "lidar": _pose(measured.lidar),
        "odometry": _pose(measured.odometry),
        "planned": _pose(measured.planned) if measured.planned else None,
        "sigma_x_m": point.sigma_x_m,
        "sigma_y_m": point.sigma_y_m,
        "sigma_heading_deg": math.degrees(point.sigma_heading_rad),
        "scans": measured.scans,
        "inlier_ratio": measured.inlier_ratio,
        "check": _check(point.check),
    }


def _leg(leg: LegVerdict) -> dict[str, Any]:
    return {
        "from": leg.start,
        "to": leg.end,
        "path_m": leg.path_m,
        "lidar_distance_m": leg.lidar_distance_m,
        "lidar_turn_deg": math.degrees(leg.lidar_turn_rad),
        "along_m": leg.along_m,
        "across_m": leg.across_m,
        "heading_deg": math.degrees(leg.heading_rad),
        "p_holm": leg.p_holm,
        "check": _check(leg.check),
    }


def _docking(docking: DockingResult | None) -> dict[str, Any] | None:
    if docking is None:
        return None
    outcome, contact = docking.outcome, docking.contact
    return {
        "docked": outcome.docked,
        "attempts": outcome.attempts,
        "retries": outcome.retries,
        "seconds": round(outcome.seconds, 2),
        "faults": list(outcome.faults),
        "contact_error_mm": None if contact is None else contact.distance_mm,
        "contact_error_deg": None if contact is None else contact.heading_deg,
    }
