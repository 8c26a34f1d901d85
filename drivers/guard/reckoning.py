"""Where the base is: a pose told by a client, carried on by the wheels' encoders, with an uncertainty that grows."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from dataclasses import dataclass

import numpy as np

from drivers.guard.rules import Located
from drivers.guard.settings import PoseRules
from drivers.guard.sweep import arc
from drivers.types import BaseGeometry, BaseState, Pose, Twist

# Farther from its origin no room's map goes, and no number on it is told apart from the next.
_FARTHEST_M = 10_000.0
_ROUNDING = 1e-9  # of a covariance's smallest eigenvalue, m^2 and rad^2
_HISTORY = 1000  # records of 15 ms: a pose may be told up to 15 s after it was measured


@dataclass(frozen=True, slots=True)
class _Entry:
    """Odometry at one reading. `way` (m) and `turning` (rad) add up whatever the direction; `swing` (rad m) is the
    turning so far, added up along the way: what an error of the turning rate does to the position."""

    time: float
    pose: Pose
    way: float
    turning: float
    swing: float


class Reckoning:
    """Dead reckoning from the board's ticks on top of the last pose that was set."""

    def __init__(self, geometry: BaseGeometry, rules: PoseRules) -> None:
        self._geometry = geometry
        self._rules = rules
        self._history: deque[_Entry] = deque(maxlen=_HISTORY)
        self._ticks: tuple[int, int] | None = None
        self._fix: tuple[Pose, _Entry] | None = None

    def update(self, state: BaseState) -> None:
        """Carry on with a reading of the board."""
        last = (
            self._history[-1] if self._history else _Entry(state.time, Pose(0, 0, 0, frame="odometry"), 0.0, 0.0, 0.0)
        )
        entry = _Entry(state.time, last.pose, last.way, last.turning, last.swing)
        if self._ticks is not None:
            left = (state.left_ticks - self._ticks[0]) * self._geometry.left_metres_per_tick
            right = (state.right_ticks - self._ticks[1]) * self._geometry.right_metres_per_tick
            if left or right:
                step = Twist((left + right) / 2, (right - left) / self._geometry.wheel_base_m)
                x, y, heading = (float(value) for value in arc(step, np.ones(1))[0])
                entry = _Entry(
                    state.time,
                    last.pose.compose(Pose(x, y, heading)),
                    last.way + abs(step.linear),
                    last.turning + abs(step.angular),
                    last.swing + abs(step.linear) * (last.turning + abs(step.angular)),
                )
        self._ticks = (state.left_ticks, state.right_ticks)
        self._history.append(entry)

    def set_pose(self, pose: Pose) -> str | None:
        """Take `pose` (in the map, at `pose.time` of the guard's clock) as true. Returns why not, if it cannot."""
        if not self._history:
            return "the board has not been heard yet"
        if pose.frame != "map" or not math.hypot(pose.x, pose.y) <= _FARTHEST_M:
            return f"({pose.x:g}, {pose.y:g}) in the frame {pose.frame!r} is no place on a room's map"
        if float(np.linalg.eigvalsh(pose.covariance)[0]) < -_ROUNDING:
            return "its covariance has a negative variance"
        index = bisect_right(self._history, pose.time, key=lambda entry: entry.time)
        if index == 0 and pose.time < self._history[0].time - 0.1:
            ago = self._history[-1].time - pose.time
            return f"the pose was measured {ago:.1f} s ago, and the wheels' way since then is not known"
        self._fix = (pose, self._history[max(0, index - 1)])
        return None

    def forget(self) -> None:
        """The wheels' counts were lost, or no longer tell the way: where the base is is unknown until set anew."""
        self._fix = None
        self._history.clear()
        self._ticks = None

    def located(self, now: float) -> Located | None:
        """Where the base is now; None when unknown, too old or too uncertain."""
        if self._fix is None or not self._history:
            return None
        fix, then = self._fix
        present, rules = self._history[-1], self._rules
        if now - fix.time > rules.max_age_s:
            return None
        way = present.way - then.way
        turned_way = present.swing - then.swing - then.turning * way
        heading_sigma = math.sqrt(max(0.0, float(fix.covariance[2, 2])))
        start_sigma = math.sqrt(max(0.0, float(np.linalg.eigvalsh(fix.covariance[:2, :2])[-1])))
        sigma = start_sigma + way * (rules.drift_m_per_m + heading_sigma) + turned_way * rules.drift_rad_per_rad
        if not sigma <= rules.max_sigma_m:
            return None
        at = fix.compose(then.pose.between(present.pose))
        return Located(Pose(at.x, at.y, at.heading, frame=fix.frame, time=now), sigma, max(0.0, now - present.time))
