"""`labctl course calibrate`: from recordings of the calibration course to a calibration file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from labctl.cli.exits import USAGE, ExpectedError
from labctl.cli.output import note, print_json


def calibrate_robot(recordings: Sequence[Path], out: Path, range_bias_mm: float, *, as_json: bool) -> int:
    """Estimate wheels, LiDAR mount and slip, save them, and say how well they are known."""
    from courses.calibration_runs import calibrate_recordings
    from courses.playback import read_recording
    from drivers.documents import DocumentError

    try:
        logs = []
        for number, recording in enumerate(recordings, start=1):
            note(f"reading {recording} ({number} of {len(recordings)})")
            logs.append(read_recording(recording))
        calibration = calibrate_recordings(logs, range_bias_sigma_m=range_bias_mm / 1000)
    except (DocumentError, ValueError) as exc:
        raise ExpectedError(str(exc), USAGE) from None
    try:
        calibration.save(out)
    except OSError as exc:
        raise ExpectedError(f"cannot write {out}: {exc.strerror or exc}") from None
    slip, geometry, mount = calibration.slip, calibration.geometry, calibration.mount
    document: dict[str, Any] = {
        "robot": calibration.robot,
        "runs": slip.runs,
        "slip_variance_m2_per_m": slip.variance_per_metre,
        "slip_interval_m2_per_m": list(slip.interval),
        "left_metres_per_tick": geometry.left_metres_per_tick,
        "right_metres_per_tick": geometry.right_metres_per_tick,
        "wheel_base_m": geometry.wheel_base_m,
        "lidar": {"x_m": mount.x, "y_m": mount.y, "yaw_rad": mount.heading},
        "file": str(out),
    }
    if as_json:
        print_json(document)
        return 0
    sigma = [float(value) ** 0.5 for value in mount.covariance.diagonal()]
    print(f"robot {calibration.robot}, {slip.runs} runs")
    print(
        f"slip variance {slip.variance_per_metre:.2e} m²/m a wheel "
        f"(95 %: {slip.interval[0]:.1e} to {slip.interval[1]:.1e})"
    )
    print(
        f"wheels {geometry.left_metres_per_tick * 1e3:.5f} and {geometry.right_metres_per_tick * 1e3:.5f} mm a tick, "
        f"{geometry.wheel_base_m * 1e3:.2f} mm apart"
    )
    print(
        f"LiDAR at {mount.x * 1e3:.1f} ± {sigma[0] * 1e3:.1f}, {mount.y * 1e3:.1f} ± {sigma[1] * 1e3:.1f} mm, "
        f"turned {mount.heading:.4f} ± {sigma[2]:.4f} rad"
    )
    print(f"written to {out}; name it as the robot's calibration in the lab file")
    return 0
