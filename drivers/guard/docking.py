"""Supervision of a docking run that the board steers by itself. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from drivers.guard.polygon import convex_hull, depth_inside
from drivers.guard.rules import REST, Located, Verdict, lidar_refusal, stopping_distance
from drivers.guard.settings import GuardSettings
from drivers.guard.surroundings import Surroundings
from drivers.guard.sweep import signed_distance
from drivers.types import Array, BaseState, StopReason

# A run starts this near a dock zone at most, and ends when the base strays further than the second from it.
_START_WITHIN_M = 0.3
_STRAY_WITHIN_M = 0.6
# The zone is kept free, but its edges touch walls and the charger: things nearer to an edge than this are those.
_EDGE_M = 0.05
# A single stray range must not end a run; a leg is hit by many beams at this distance.
_BEAMS = 3
_ARRIVED_S = 0.5


@dataclass(slots=True)
class DockingRun:
    """One run: who asked for it, since when, and when that client was last heard."""

    connection: int
    started: float
    heard: float
    on_dock_since: float | None = None

    def arrived(self, board: BaseState, now: float) -> bool:
        """Whether the contacts have held for half a second."""
        if not board.on_dock:
            self.on_dock_since = None
            return False
        self.on_dock_since = now if self.on_dock_since is None else self.on_dock_since
        return now - self.on_dock_since >= _ARRIVED_S

    def refusal(
        self,
        surroundings: Surroundings | None,
        located: Located | None,
        settings: GuardSettings,
        now: float,
        *,
        starting: bool = False,
    ) -> Verdict | None:
        """Why the run may not start or go on; None when it may."""
        rules = settings.docking
        if now - self.started > rules.time_limit_s:
            return Verdict(REST, StopReason.DOCKING_TIMEOUT, f"docking took longer than {rules.time_limit_s:.0f} s")
        if now - self.heard > rules.link_silence_s:
            return Verdict(REST, StopReason.LINK_LOST, f"the client was silent for {rules.link_silence_s:.1f} s")
        if (stale := lidar_refusal(now, surroundings, settings)) is not None:
            return stale
        if located is None:
            return Verdict(REST, StopReason.POSE_UNKNOWN, "docking needs the base's pose, to know it is near a dock")
        zones = [np.array(zone) for zone in settings.dock_zones]
        at = np.array([[located.pose.x, located.pose.y]])
        depths = [float(depth_inside(at, zone)[0]) for zone in zones]
        within = _START_WITHIN_M if starting else _STRAY_WITHIN_M
        if not depths or max(depths) < -within:
            return Verdict(REST, StopReason.GEOFENCE, "the base is not near a surveyed dock zone")
        zone = zones[int(np.argmax(depths))]
        return None if surroundings is None else _intruder(surroundings, located, zone, settings, now)


def _intruder(
    surroundings: Surroundings, located: Located, zone: Array, settings: GuardSettings, now: float
) -> Verdict | None:
    """Something inside the dock zone, which is kept free, or between it and a base that is still outside of it, within
    the stopping distance at docking speed."""
    points = surroundings.points
    if not len(points):
        return None
    reach = stopping_distance(settings.docking.speed_m_s, settings.stopping, max(0.0, now - surroundings.time))
    rays = surroundings.rays
    near = points[signed_distance(points, rays.corners, rays.radius) < reach]
    pose = located.pose
    c, s = np.cos(pose.heading), np.sin(pose.heading)
    x = pose.x + c * near[:, 0] - s * near[:, 1]
    y = pose.y + s * near[:, 0] + c * near[:, 1]
    places, edge = np.column_stack((x, y)), _EDGE_M + 2 * located.sigma_m
    inside = depth_inside(places, zone) > edge
    if depth_inside(np.array([[pose.x, pose.y]]), zone)[0] < 0:
        inside |= depth_inside(places, convex_hull(np.vstack((zone, (pose.x, pose.y))))) > edge
    if int(inside.sum()) < _BEAMS:
        return None
    found = near[inside]
    distance = float(np.hypot(found[:, 0], found[:, 1]).min())
    detail = f"something stands in the dock zone or before it, {distance:.2f} m from the base's middle"
    return Verdict(REST, StopReason.OBSTACLE, detail)
