"""Trajectories in the TUM format, one line a pose, as `evo` and other tools read them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

from drivers.types import Array, Pose


def write_tum(path: str | Path, poses: Iterable[tuple[float, float, float, float]] | Array) -> int:
    """Write (time s, x m, y m, heading rad) rows as "timestamp tx ty tz qx qy qz qw"; returns how many.

    Rows must come in order of time; of several with one time the first is written, since `evo` refuses repeated ones.
    Format: TUM RGB-D benchmark (Sturm et al. 2012).
    """
    lines: list[str] = []
    latest = -math.inf
    for time, x, y, heading in poses:
        if time <= latest:
            continue
        latest = float(time)
        half = float(heading) / 2
        lines.append(f"{time:.6f} {x:.6f} {y:.6f} 0 0 0 {math.sin(half):.9f} {math.cos(half):.9f}\n")
    Path(path).write_text("".join(lines), encoding="ascii")
    return len(lines)


def rows_of(poses: Iterable[Pose]) -> list[tuple[float, float, float, float]]:
    """Poses as rows for `write_tum`."""
    return [(pose.time, pose.x, pose.y, pose.heading) for pose in poses]
