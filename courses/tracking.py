"""Where the base is while it drives: odometry from the last LiDAR fix on."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Callable

from courses.localization import Match, locate
from courses.odometry import DiffDriveOdometry
from drivers.rooms import Room
from drivers.types import BaseGeometry, BaseState, Pose, Scan, wrap_angle

_SEARCH_M = 0.3
_SEARCH_RAD = math.radians(12)
_HISTORY = 400


class PoseTracker:
    """Follows the base by its wheels and corrects itself by scans matched to the room's map.

    `on_fix(pose, match)` hears of every scan that was matched, trusted or not.
    """

    def __init__(
        self,
        geometry: BaseGeometry,
        mount: Pose,
        room: Room,
        start: Pose,
        on_fix: Callable[[Pose, Match], None],
    ) -> None:
        self._odometry = DiffDriveOdometry(geometry)
        self._mount = mount
        self._room = room
        self._map_from_odometry = start
        self._history: deque[tuple[float, Pose]] = deque(maxlen=_HISTORY)
        self._on_fix = on_fix
        self.last_fix = -math.inf

    @property
    def pose(self) -> Pose:
        """Best present estimate, in the room's frame."""
        return self._map_from_odometry.compose(self._odometry.pose)

    def update(self, state: BaseState) -> Pose:
        """Take a reading of the wheels."""
        if self._history and state.time <= self._history[-1][0]:
            return self.pose
        self._history.append((state.time, self._odometry.update(state.left_ticks, state.right_ticks, state.time)))
        return self.pose

    def correct(self, scan: Scan, gain: float = 1.0) -> Match | None:
        """Move the estimate by `gain` of the way to where `scan` says the base was when it was taken.

        Returns the match, or None when the scan could not be matched at all. A match that is not trustworthy moves
        nothing.
        """
        then = self._odometry_at(scan.time)
        guess = self._map_from_odometry.compose(then).compose(self._mount)
        try:
            match = locate(
                scan.ranges,
                scan.angles,
                self._room.segments,
                guess,
                search_m=_SEARCH_M,
                search_rad=_SEARCH_RAD,
                survey_sigma_m=self._room.survey_sigma_m,
            )
        except ValueError:
            return None
        measured = match.pose.compose(self._mount.inverse())
        self._on_fix(Pose(*measured.xyh, measured.covariance, "map", scan.time), match)
        if match.trustworthy:
            target = measured.compose(then.inverse())
            now = self._map_from_odometry
            self._map_from_odometry = Pose(
                now.x + gain * (target.x - now.x),
                now.y + gain * (target.y - now.y),
                wrap_angle(now.heading + gain * wrap_angle(target.heading - now.heading)),
            )
            self.last_fix = scan.time
        return match

    def _odometry_at(self, time: float) -> Pose:
        """Odometry at a past moment, interpolated; the nearest end where there is no history."""
        if not self._history:
            return self._odometry.pose
        index = bisect_left(self._history, time, key=lambda entry: entry[0])
        if index == 0:
            return self._history[0][1]
        if index == len(self._history):
            return self._history[-1][1]
        (before, a), (after, b) = self._history[index - 1], self._history[index]
        share = (time - before) / (after - before)
        turn = wrap_angle(b.heading - a.heading)
        return Pose(a.x + share * (b.x - a.x), a.y + share * (b.y - a.y), wrap_angle(a.heading + share * turn))
