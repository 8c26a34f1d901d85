"""The delay between LiDAR and motor board, from headings that both saw while the robot turned.

At standstill, where courses measure, it does no harm; a pose tracked while driving it shifts by speed times delay.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import optimize

from drivers.types import Array

_FEWEST = 10


@dataclass(frozen=True, slots=True)
class Delay:
    """By how much LiDAR time stamps lie behind the board's (negative: ahead), with its standard uncertainty."""

    seconds: float
    sigma_s: float


def estimate_delay(
    board_times: Array, board_headings: Array, lidar_times: Array, lidar_headings: Array, longest_s: float = 0.5
) -> Delay:
    """Least-squares shift of the LiDAR's headings onto the board's; a constant offset between them is free.

    `board_times` (N,) seconds, increasing, `board_headings` (N,) radians; `lidar_times` and `lidar_headings` (M,)
    likewise. Headings need not be wrapped alike. The shift is looked for within plus or minus `longest_s`.
    Raises ValueError where the robot hardly changed its rate of turn, or the two hardly overlap.
    """
    board, lidar = np.unwrap(board_headings), np.unwrap(lidar_headings)
    if len(board_times) != len(board) or len(lidar_times) != len(lidar) or (np.diff(board_times) <= 0).any():
        raise ValueError("headings and increasing times must come in pairs")
    inside = (lidar_times - longest_s >= board_times[0]) & (lidar_times + longest_s <= board_times[-1])
    times, seen = lidar_times[inside], lidar[inside]
    if len(times) < _FEWEST:
        raise ValueError(f"only {len(times)} scans lie within the board's readings, at least {_FEWEST} are needed")

    def misfit(delay: float) -> float:
        return float(np.var(seen - np.interp(times - delay, board_times, board)))

    grid = np.linspace(-longest_s, longest_s, 201)
    best = int(np.argmin([misfit(delay) for delay in grid]))
    if best in (0, len(grid) - 1):
        raise ValueError(f"no delay within {longest_s} s fits the headings")
    found = optimize.minimize_scalar(
        misfit, bounds=(grid[best - 1], grid[best + 1]), method="bounded", options={"xatol": 1e-7}
    )
    delay = float(found.x)
    step = 0.01
    ahead, behind = (
        np.interp(times - delay + step, board_times, board),
        np.interp(times - delay - step, board_times, board),
    )
    information = float(np.var((ahead - behind) / (2 * step))) * len(times)
    if information < 1e-3:
        raise ValueError("the robot turned too evenly to show a delay: turn left and right with pauses")
    return Delay(delay, math.sqrt(misfit(delay) * len(times) / (len(times) - 2) / information))
