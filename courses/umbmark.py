"""UMBmark: wheel diameters and wheel base from squares driven both ways.

Borenstein and Feng 1996, "Measurement and correction of systematic odometry errors in mobile robots", IEEE Transactions
on Robotics and Automation 12(6). It needs start and end poses only; `courses.calibrate` uses every standstill.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from drivers.types import BaseGeometry, Pose

Return = tuple[Pose, Pose]


def umbmark(
    clockwise: Sequence[Return], counter_clockwise: Sequence[Return], side_m: float, geometry: BaseGeometry
) -> BaseGeometry:
    """Corrected geometry from square runs of `side_m` that start along x with the square to the left or right.

    Each run is (true end, odometry's end), both poses in the frame of the run's start. The mean of the two wheels is
    left as it was: squares do not show it.
    Raises ValueError unless both directions were driven and the result is a geometry.
    """
    if not clockwise or not counter_clockwise or not side_m > 0:
        raise ValueError("UMBmark needs squares of positive side in both directions")
    (x_cw, y_cw), (x_ccw, y_ccw) = _mean_error(clockwise), _mean_error(counter_clockwise)
    # Type A (wheel base) turns every corner by alpha too much in its own direction, type B (unequal wheels) bends every
    # side by beta to the left whatever the direction. Both show in x and in y, so all four numbers are averaged.
    alpha = (x_cw + x_ccw + y_cw - y_ccw) / (8 * side_m)
    beta = (x_ccw - x_cw - y_ccw - y_cw) / (8 * side_m)
    return _geometry(alpha, beta, side_m, geometry)


def _mean_error(runs: Sequence[Return]) -> tuple[float, float]:
    errors = np.array([(true.x - odometry.x, true.y - odometry.y) for true, odometry in runs])
    x, y = errors.mean(axis=0)
    return float(x), float(y)


def _geometry(alpha: float, beta: float, side_m: float, geometry: BaseGeometry) -> BaseGeometry:
    base = geometry.wheel_base_m * (math.pi / 2) / (math.pi / 2 + alpha)
    # Over a side the heading really bends by beta: the right wheel goes further than the left by base * beta.
    ratio = (1 + base * beta / (2 * side_m)) / (1 - base * beta / (2 * side_m))
    return BaseGeometry(
        geometry.left_metres_per_tick * 2 / (ratio + 1),
        geometry.right_metres_per_tick * 2 / (1 / ratio + 1),
        base,
    )
