"""What one scan says about the space around the base: obstacles, and unseen space, which counts as occupied."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drivers.guard.settings import GuardSettings
from drivers.guard.sweep import signed_distance, times_to_contact
from drivers.types import Array, Scan, Twist

_LADDER_STEP_M = 0.01
_COARSE_STEP_M = 0.05
_COARSE_BEAMS = 3
_BLIND_STEP_RAD = math.radians(1.0)
_OUTSIDE_M = 0.002


class Rays:
    """The beams of one LiDAR as it sits on one base: fixed geometry, worked out once.

    `reach_m`: as far as anything can matter to a base at its top speed.
    """

    def __init__(self, angles: Array, settings: GuardSettings) -> None:
        stopping, limits = settings.stopping, settings.limits
        self.angles = angles
        # The beam is ahead at the scan's time: how far before that, in turns, the first one was fired.
        self.first_turn = float(angles.min()) / (2 * math.pi)
        self.corners = np.array(settings.footprint.corners)
        self.radius = settings.footprint.radius_m + stopping.clearance_m
        self.extent = float(np.hypot(*self.corners.T).max()) + self.radius
        delay = stopping.latency_s + settings.lidar.max_age_s
        way = limits.linear_m_s * delay + limits.linear_m_s**2 / (2 * stopping.braking_m_s2) + stopping.margin_m
        self.mount = settings.lidar.mount
        self.reach_m = self.extent + math.hypot(self.mount.x, self.mount.y) + way + 0.05
        self.gap_rad = settings.lidar.unseen_gap_m / self.reach_m
        fine = np.arange(_LADDER_STEP_M, self.reach_m, _LADDER_STEP_M)
        coarse = np.arange(_COARSE_STEP_M, self.reach_m, _COARSE_STEP_M)
        self._fine = fine
        self.pitch = float(np.median(np.diff(angles))) if len(angles) > 1 else 2 * math.pi
        first, last = float(angles[0]), float(angles[-1])
        hidden = 2 * math.pi - (last - first)
        blind = np.empty(0)
        if hidden > max(self.gap_rad, 2 * self.pitch):
            blind = np.arange(last + self.pitch, first + 2 * math.pi, _BLIND_STEP_RAD)
        self.blind = self._ladder(blind, fine).reshape(-1, 2)
        self.blind = self.blind[self._free_of_base(self.blind)]
        self.coarse_beams = np.arange(_COARSE_BEAMS // 2, len(angles), _COARSE_BEAMS)
        ladder = self._ladder(angles[self.coarse_beams], coarse)  # (B, L, 2)
        keep = self._free_of_base(ladder.reshape(-1, 2))
        self.coarse = ladder.reshape(-1, 2)[keep]
        self.coarse_owner = np.repeat(self.coarse_beams, len(coarse))[keep]

    def along(self, beams: NDArray[np.intp]) -> Array:
        """(M, 2) points along whole beams, outside the base, in the base's frame: where something unseen may be."""
        points = self._ladder(self.angles[beams], self._fine).reshape(-1, 2)
        return points[self._free_of_base(points)]

    def _ladder(self, angles: Array, distances: Array) -> Array:
        bearing = angles + self.mount.heading
        direction = np.column_stack((np.cos(bearing), np.sin(bearing)))
        points: Array = direction[:, None, :] * distances[None, :, None] + (self.mount.x, self.mount.y)
        return points

    def _free_of_base(self, points: Array) -> NDArray[np.bool_]:
        return np.asarray(signed_distance(points, self.corners, self.radius) > _OUTSIDE_M)


@dataclass(frozen=True, slots=True, eq=False)
class Way:
    """How long a motion may go on: `seconds` at the twist asked about until contact, and with what."""

    seconds: float
    unseen: bool
    point: tuple[float, float] | None


class Surroundings:
    """One scan in the base's frame at the time of the scan. `valid_ratio`: share of all beams that carry a range.

    `time`: when its oldest beam was fired, at the earliest, so that its age is never told too low.
    """

    def __init__(self, scan: Scan, rays: Rays) -> None:
        self.rays = rays
        self.time = scan.time + rays.first_turn * scan.turn_s - scan.time_error
        valid = (scan.error_codes == 0) & np.isfinite(scan.ranges) & (scan.ranges > 0)
        # Every so many beams stand for their neighbours as well, so that no regular pattern of losses is missed.
        self._valid = np.convolve(np.pad(valid, 1, mode="edge"), np.full(_COARSE_BEAMS, 1 / _COARSE_BEAMS), "valid")
        self.valid_ratio = float(valid.mean()) if len(valid) else 0.0
        near = valid & (scan.ranges <= rays.reach_m)
        bearing = scan.angles[near] + rays.mount.heading
        ranges = scan.ranges[near]
        self.points: Array = np.column_stack(
            (rays.mount.x + ranges * np.cos(bearing), rays.mount.y + ranges * np.sin(bearing))
        )
        self.unseen = rays.along(_wide_gaps(~valid, rays.pitch, rays.gap_rad))

    def way(self, twist: Twist, seconds: float, *, forgive_blind_sector: bool = False) -> Way:
        """How far `twist` may go on, looking `seconds` ahead; `forgive_blind_sector` leaves out what the LiDAR,
        as built, cannot see (but not beams that should have seen)."""
        best = Way(math.inf, False, None)
        groups = [(self.points, False), (self.unseen, True)]
        if not forgive_blind_sector:
            groups.append((self.rays.blind, True))
        horizon = self.rays.extent + (abs(twist.linear) + abs(twist.angular) * self.rays.extent) * seconds
        for points, unseen in groups:
            close = points[points[:, 0] ** 2 + points[:, 1] ** 2 <= horizon**2]
            if not len(close):
                continue
            times = times_to_contact(close, twist, self.rays.corners, self.rays.radius)
            first = int(times.argmin())
            if times[first] < best.seconds:
                best = Way(float(times[first]), unseen, (float(close[first, 0]), float(close[first, 1])))
        return best

    def seen_ratio(self, twist: Twist, seconds: float) -> float:
        """Share of valid beams among those that cross the footprint swept in `seconds`; 1 when none does."""
        times = times_to_contact(self.rays.coarse, twist, self.rays.corners, self.rays.radius)
        crossing = np.unique(self.rays.coarse_owner[times <= seconds])
        return float(self._valid[crossing].mean()) if len(crossing) else 1.0


def _wide_gaps(missing: NDArray[np.bool_], pitch: float, gap_rad: float) -> NDArray[np.intp]:
    """Beams in runs of missing ones that leave more than `gap_rad` unseen, each run's ends and about one a degree."""
    padded = np.concatenate(([False], missing, [False])).astype(np.int8)
    edges = np.flatnonzero(np.diff(padded))
    starts, ends = edges[0::2], edges[1::2]
    wide = (ends - starts + 1) * pitch > gap_rad
    step = max(1, round(_BLIND_STEP_RAD / pitch))
    chosen = [np.append(np.arange(a, b, step), b - 1) for a, b in zip(starts[wide], ends[wide], strict=True)]
    return np.unique(np.concatenate(chosen)) if chosen else np.empty(0, dtype=np.intp)
