"""The guard's judgement of one motion: limits, LiDAR, obstacle zone, geofence, reversing. Pure functions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from drivers.create2 import reach_factor
from drivers.guard.polygon import depth_inside
from drivers.guard.settings import GuardSettings, Limits, Stopping
from drivers.guard.surroundings import Surroundings
from drivers.guard.sweep import arc
from drivers.types import Array, BaseGeometry, Pose, StopReason, Twist

REST = Twist(0.0, 0.0)
# Slower than this is not worth a wheel's turn: the base stands instead of creeping up to an obstacle for ever.
CREEP_M_S = 0.015
_NO_SPEED = 1e-3
# A scan mapped further into the future than this was mapped wrongly.
FUTURE_S = 0.02
_WAY_SAMPLES = 24
_SAFETY_SIGMAS = 2.0
# How much of its way a base that is outside the geofence must come nearer to it.
_BACK_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class Verdict:
    """What may go to the wheels. `reason` and `detail` say why it is less than asked for, or why nothing."""

    applied: Twist
    reason: StopReason | None
    detail: str


REFUSED_UNSEEN = Verdict(REST, StopReason.LIDAR_STALE, "no scan has arrived")


@dataclass(frozen=True, slots=True)
class Located:
    """Where the base is on the room's map by the board's latest reading, which is `age_s` old; `sigma_m`: one standard
    deviation of the position."""

    pose: Pose
    sigma_m: float
    age_s: float = 0.0


def scaled(twist: Twist, factor: float) -> Twist:
    """The same arc, driven at `factor` of the speed."""
    return Twist(twist.linear * factor, twist.angular * factor)


def clamp(twist: Twist, limits: Limits, geometry: BaseGeometry) -> Twist:
    """The same arc inside the speed limits and the board's own; what is too slow for any motor becomes rest."""
    linear = twist.linear if abs(twist.linear) >= _NO_SPEED else 0.0
    angular = twist.angular if abs(twist.angular) >= _NO_SPEED else 0.0
    factor = min(1.0, _ratio(limits.linear_m_s, linear), _ratio(limits.angular_rad_s, angular))
    limited = scaled(Twist(linear, angular), factor)
    return scaled(limited, reach_factor(limited.linear, limited.angular, geometry))


def ramp(target: Twist, present: Twist, seconds: float, limits: Limits) -> Twist:
    """What may be applied `seconds` after `present` on the way to `target`: speeding up is limited, slowing is not."""
    return Twist(
        _ramp(target.linear, present.linear, limits.linear_acceleration_m_s2 * seconds),
        _ramp(target.angular, present.angular, limits.angular_acceleration_rad_s2 * seconds),
    )


def held_back(wanted: Twist, applied: Twist, seconds: float, limits: Limits) -> Twist:
    """The arc of `wanted`, no faster than speeding up from `applied` for `seconds` allows.

    What was slowed down, for an obstacle say, takes up speed on the arc that is asked for and on no other.
    """
    linear = _start(applied.linear, wanted.linear) + limits.linear_acceleration_m_s2 * seconds
    angular = _start(applied.angular, wanted.angular) + limits.angular_acceleration_rad_s2 * seconds
    return scaled(wanted, min(1.0, _ratio(linear, wanted.linear), _ratio(angular, wanted.angular)))


def stopping_distance(speed: float, stopping: Stopping, scan_age_s: float = 0.0) -> float:
    """Metres from the decision to stop until rest, plus the margin, for a speed in m/s straight ahead."""
    speed = abs(speed)
    return speed * (stopping.latency_s + scan_age_s) + speed**2 / (2 * stopping.braking_m_s2) + stopping.margin_m


def judge(
    wanted: Twist,
    present: Twist,
    now: float,
    *,
    surroundings: Surroundings | None,
    located: Located | None,
    settings: GuardSettings,
) -> Verdict:
    """How much of `wanted` (already within limits and ramp, not at rest) may be applied.

    `present`: what the wheels do now, as far as known. Slows down so far that the base can stop before whatever the
    scan, the geofence or the dock zone forbids.
    """
    stale = lidar_refusal(now, surroundings, settings)
    if stale is not None or surroundings is None:
        return stale or REFUSED_UNSEEN
    if settings.geofence and located is None:
        return Verdict(
            REST,
            StopReason.POSE_UNKNOWN,
            "a geofence is set, but where the base is is unknown, too old or too uncertain: set its pose",
        )
    reversing_in_zone = wanted.linear < 0 and _dock_zone(located, settings) is not None
    if reversing_in_zone:
        # What turns along reaches out at the corners; a disc round the base's own middle sweeps nothing by turning.
        corner = max(math.hypot(*each) for each in settings.footprint.corners)
        wanted = scaled(wanted, min(1.0, _ratio(settings.limits.unseen_reverse_m_s, _rim_speed(wanted, corner))))
    if wanted == REST:
        return Verdict(REST, StopReason.LIDAR_BLIND, "reversing unseen is switched off")
    age = max(0.0, now - surroundings.time)
    oldest = max(age, located.age_s if located is not None else 0.0)
    pace = _Pace(wanted, present, oldest, settings, surroundings.rays.extent)
    ratio = surroundings.seen_ratio(wanted, pace.horizon_s)
    if ratio < settings.lidar.min_valid_ratio:
        detail = f"only {ratio:.0%} of the beams across the way carry a range"
        return Verdict(REST, StopReason.LIDAR_BLIND, detail)

    verdict = Verdict(wanted, None, "")
    way = surroundings.way(wanted, pace.horizon_s, forgive_blind_sector=reversing_in_zone)
    reason = StopReason.LIDAR_BLIND if way.unseen else StopReason.OBSTACLE
    verdict = _slower(
        verdict, wanted, pace.factor(way.seconds, pace.margin_s, age), reason, _where(way.point, way.unseen)
    )
    if located is not None and settings.geofence:
        fence, margin = np.array(settings.geofence), settings.stopping.fence_margin_m
        seconds = _seconds_inside(wanted, located, fence, pace.horizon_s, margin)
        factor = pace.factor(seconds, 0.0, located.age_s)
        verdict = _slower(verdict, wanted, factor, StopReason.GEOFENCE, "the geofence is near")
    zone = _dock_zone(located, settings) if reversing_in_zone else None
    if located is not None and zone is not None:
        seconds = _seconds_inside(wanted, located, zone, pace.horizon_s)
        factor = pace.factor(seconds, 0.0, located.age_s)
        verdict = _slower(verdict, wanted, factor, StopReason.LIDAR_BLIND, "the dock zone ends behind the base")
    return _told_why(verdict, surroundings.rays.extent)


def lidar_refusal(now: float, surroundings: Surroundings | None, settings: GuardSettings) -> Verdict | None:
    """Why the latest scan allows no motion at all; None when it may be used."""
    if surroundings is None:
        return REFUSED_UNSEEN
    age, limit = now - surroundings.time, settings.lidar.max_age_s
    if not -FUTURE_S <= age <= limit:
        detail = f"the latest scan is {age * 1000:.0f} ms old; motion needs one younger than {limit * 1000:.0f} ms"
        return Verdict(REST, StopReason.LIDAR_STALE, detail)
    if surroundings.valid_ratio < settings.lidar.min_valid_ratio / 2:
        detail = f"only {surroundings.valid_ratio:.0%} of all beams carry a range"
        return Verdict(REST, StopReason.LIDAR_BLIND, detail)
    return None


class _Pace:
    """How fast an arc may be driven, as a factor of the wanted twist, when it must end after some seconds of it.

    With s the factor, the base covers s x delay + s^2 / (2 k) "seconds of the wanted twist" until it rests, where k is
    how fast full braking takes s down. Solved for s.
    """

    def __init__(self, wanted: Twist, present: Twist, oldest: float, settings: GuardSettings, extent: float) -> None:
        """`oldest`: age in seconds of the oldest of what will be asked about: the horizon looks ahead for it too."""
        stopping = settings.stopping
        self.latency = stopping.latency_s
        self.k = min(
            _ratio(stopping.braking_m_s2, wanted.linear), _ratio(stopping.angular_braking_rad_s2, wanted.angular)
        )
        rim = _rim_speed(wanted, extent)
        # Turning in place keeps the clearance, driving the margin, and an arc a blend of both.
        ahead = abs(wanted.linear) / rim
        self.margin_s = (stopping.margin_m * ahead + stopping.clearance_m * (1 - ahead)) / rim
        # During the delay the base still does what it was told before, which may be faster.
        self.present = max(_along(present.linear, wanted.linear), _along(present.angular, wanted.angular), 0.0)
        fastest = max(1.0, self.present)
        self.horizon_s = fastest * (self.latency + oldest) + fastest**2 / (2 * self.k) + self.margin_s + 0.05 / rim

    def factor(self, seconds: float, margin_s: float, age_s: float) -> float:
        """The factor, 0 .. 1, at which the base can still stop `margin_s` before `seconds` of the wanted twist.

        `age_s`: how long ago the base was where those seconds begin.
        """
        free = seconds - margin_s
        if not free > 0:
            return 0.0
        if math.isinf(free):
            return 1.0
        k, delay = self.k, self.latency + age_s
        steady = k * (math.sqrt(delay**2 + 2 * free / k) - delay)
        if self.present > steady:
            steady = min(steady, math.sqrt(max(0.0, 2 * k * (free - delay * self.present))))
        return min(1.0, steady)


def _told_why(verdict: Verdict, extent: float) -> Verdict:
    """A verdict that slows down, as rest when it is hardly motion, otherwise as allowed with an explanation."""
    if verdict.reason is None:
        return verdict
    if _rim_speed(verdict.applied, extent) < CREEP_M_S:
        return Verdict(REST, verdict.reason, verdict.detail)
    return Verdict(verdict.applied, None, f"slowed down ({verdict.reason}): {verdict.detail}")


def _ratio(limit: float, value: float) -> float:
    return limit / abs(value) if value else math.inf


def _along(present: float, wanted: float) -> float:
    return present / wanted if wanted else 0.0


def _ramp(target: float, present: float, step: float) -> float:
    start = _start(present, target)
    return math.copysign(min(abs(target), start + step), target) if abs(target) > start else target


def _start(present: float, wanted: float) -> float:
    return abs(present) if wanted * present > 0 else 0.0


def _rim_speed(twist: Twist, extent: float) -> float:
    return abs(twist.linear) + abs(twist.angular) * extent


def _slower(verdict: Verdict, wanted: Twist, factor: float, reason: StopReason, detail: str) -> Verdict:
    candidate = scaled(wanted, factor)
    slower = abs(candidate.linear) + abs(candidate.angular) < abs(verdict.applied.linear) + abs(verdict.applied.angular)
    return Verdict(candidate, reason, detail) if slower else verdict


def _where(point: tuple[float, float] | None, unseen: bool) -> str:
    if point is None:
        return "something is in the way"
    distance, bearing = math.hypot(*point), math.degrees(math.atan2(point[1], point[0]))
    side = "left" if bearing > 0 else "right"
    what = "space that the LiDAR does not see" if unseen else "an obstacle"
    return f"{what} {distance:.2f} m from the base's middle, {abs(bearing):.0f} deg to the {side} of ahead"


def _seconds_inside(twist: Twist, located: Located, outline: Array, horizon_s: float, margin_m: float = 0.0) -> float:
    """Seconds of `twist` until the base's origin comes too near a polygon's outline (K, 2); inf: not by the horizon.

    Two standard deviations of the position and `margin_m` are kept as distance. A base that is too near already may
    move away; one that is outside altogether may only turn, and come back by the way.
    """
    keep = _SAFETY_SIGMAS * located.sigma_m + margin_m
    times = np.linspace(0.0, horizon_s, _WAY_SAMPLES + 1)
    steps = arc(twist, times)
    c, s = math.cos(located.pose.heading), math.sin(located.pose.heading)
    x = located.pose.x + c * steps[:, 0] - s * steps[:, 1]
    y = located.pose.y + s * steps[:, 0] + c * steps[:, 1]
    depth = depth_inside(np.column_stack((x, y)), outline)
    least = depth[0] - 1e-6
    if depth[0] < 0:
        least = least + _BACK_SHARE * abs(twist.linear) * times
    bad = (depth < keep) & (depth < least)
    if not bad.any():
        return math.inf
    first = int(bad.argmax())
    return float(times[first - 1])


def _dock_zone(located: Located | None, settings: GuardSettings) -> Array | None:
    """The surveyed dock zone that the base is in; None when it is in none, or where it is is unknown."""
    if located is None:
        return None
    at = np.array([[located.pose.x, located.pose.y]])
    for corners in settings.dock_zones:
        zone = np.array(corners)
        if depth_inside(at, zone)[0] >= _SAFETY_SIGMAS * located.sigma_m:
            return zone
    return None
