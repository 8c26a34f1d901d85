"""From recordings of driven courses to the calibration of the robot that drove them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from courses.calibrate import CalibrationRun, Nominal, Tolerances, calibrate
from courses.calibration import Calibration
from courses.evaluate import fit_visit, leg_ticks, odometry_breaks
from courses.log import CourseLog
from drivers.types import Pose

_SAME = 1e-12


def calibrate_recordings(
    logs: Sequence[CourseLog], *, range_bias_sigma_m: float = 0.0, tolerances: Tolerances | None = None
) -> Calibration:
    """Calibrate a robot from courses it drove, whatever calibration it had then.

    `range_bias_sigma_m`: standard uncertainty of the LiDAR's common range error, from its datasheet. The survey's
    uncertainty is the room's. Broken-off courses serve up to where they broke off.
    Raises ValueError, naming the recording, when one is of another robot, room or geometry, has no pose at a point, or
    when all hold too little.
    """
    if not logs:
        raise ValueError("calibration needs the recording of at least one course")
    first = logs[0].setup
    for number, log in enumerate(logs, start=1):
        setup = log.setup
        if setup.robot != first.robot:
            raise ValueError(f"recording {number} is of robot {setup.robot!r}, the first of {first.robot!r}")
        if setup.course.room.name != first.course.room.name:
            raise ValueError(f"recording {number} is from another room than the first")
        if setup.geometry != first.geometry or _differ(setup.mount, first.mount):
            raise ValueError(f"recording {number} was made with other nominal wheels or another mount than the first")
    nominal = Nominal(
        geometry=first.geometry,
        mount=Pose(*first.mount.xyh),
        tolerances=tolerances or Tolerances(),
        range_bias_sigma_m=range_bias_sigma_m,
        survey_sigma_m=first.course.room.survey_sigma_m,
    )
    runs = [_run(log, number) for number, log in enumerate(logs, start=1)]
    latest = max(log.setup.started_at for log in logs)
    return calibrate(runs, nominal, robot=first.robot, date=latest.date())


def _run(log: CourseLog, number: int) -> CalibrationRun:
    """One recording with the robot taken as drawn."""
    drawn = dataclasses.replace(log.setup, calibration=None)
    poses, sensitivities = [], []
    for visit in log.visits:
        fit = fit_visit(visit, drawn)
        if fit.measurement is None:
            raise ValueError(f"recording {number}: {fit.fault}")
        poses.append(fit.measurement.lidar)
        sensitivities.append(fit.measurement.sensitivity)
    if len(poses) < 2:
        damage = "".join(f" ({text})" for text in log.damage)
        raise ValueError(f"recording {number} holds {len(poses)} measured points; a leg needs two{damage}")
    for fault in odometry_breaks(log.visits):
        raise ValueError(f"recording {number}: {fault}")
    ticks = [leg_ticks(log, before, after) for before, after in zip(log.visits, log.visits[1:], strict=False)]
    return CalibrationRun(poses, ticks, sensitivities)


def _differ(one: Pose, other: Pose) -> bool:
    return any(abs(a - b) > _SAME for a, b in zip(one.xyh, other.xyh, strict=True))
