"""When a moving footprint touches a point: exact for straight lines, arcs and turns in place. Pure numpy.

Seen from the base, a point at rest moves: along a line when the base drives straight, otherwise along a circle about
the base's instantaneous centre of rotation. The footprint stays where it is, so first contact is where that line or
circle meets the footprint's outline (discs at its corners, its edges moved out by the radius).
"""

from __future__ import annotations

import numpy as np

from drivers.types import Array, Twist

_STRAIGHT_RAD_PER_M = 1e-4
_PROBE_S = 1e-3


def signed_distance(points: Array, corners: Array, radius: float) -> Array:
    """(N,) metres from each of (N, 2) points to the convex `corners` (K, 2) widened by `radius`; inside: < 0."""
    if len(corners) == 1:
        return np.asarray(np.hypot(points[:, 0] - corners[0, 0], points[:, 1] - corners[0, 1]) - radius)
    nearest = np.full(len(points), np.inf)
    inside = np.ones(len(points), dtype=bool)
    for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        edge, offset = b - a, points - a
        share = np.clip(offset @ edge / (edge @ edge), 0.0, 1.0)
        nearest = np.minimum(nearest, np.hypot(*(offset - share[:, None] * edge).T))
        inside &= edge[0] * offset[:, 1] - edge[1] * offset[:, 0] >= 0
    return np.where(inside, -nearest, nearest) - radius


def moved(points: Array, twist: Twist, seconds: float) -> Array:
    """(N, 2) points at rest, given in the base's frame now, as the base sees them after `seconds` at `twist`."""
    x, y, heading = arc(twist, np.array([seconds]))[0]
    c, s = np.cos(heading), np.sin(heading)
    offset = points - (x, y)
    return np.column_stack((c * offset[:, 0] + s * offset[:, 1], -s * offset[:, 0] + c * offset[:, 1]))


def arc(twist: Twist, seconds: Array) -> Array:
    """(N, 3) x, y, heading of the base after each of `seconds` at `twist`, in the frame where it started."""
    v, w = twist.linear, twist.angular
    heading = w * seconds
    half = heading / 2
    chord = v * seconds * np.sinc(half / np.pi)
    return np.column_stack((chord * np.cos(half), chord * np.sin(half), heading))


def times_to_contact(points: Array, twist: Twist, corners: Array, radius: float) -> Array:
    """(N,) seconds at `twist` until each of (N, 2) points touches the footprint; inf: never.

    `corners` (K, 2), convex and counter-clockwise, and `radius` in metres describe the footprint. A point that is
    inside already counts as 0 when the motion brings it deeper, as never when it does not.
    """
    if not len(points) or (twist.linear == 0 and twist.angular == 0):
        return np.full(len(points), np.inf)
    straight = abs(twist.angular) <= _STRAIGHT_RAD_PER_M * abs(twist.linear)
    found = _straight(points, twist, corners, radius) if straight else _circling(points, twist, corners, radius)
    depth = signed_distance(points, corners, radius)
    inside = depth < 0
    if inside.any():
        later = signed_distance(moved(points[inside], twist, _PROBE_S), corners, radius)
        found[inside] = np.where(later < depth[inside] - 1e-9, 0.0, np.inf)
    return found


def _straight(points: Array, twist: Twist, corners: Array, radius: float) -> Array:
    sign = np.sign(twist.linear)
    way = np.full(len(points), np.inf)
    for corner in corners:
        ahead, aside = (points[:, 0] - corner[0]) * sign, points[:, 1] - corner[1]
        with np.errstate(invalid="ignore"):
            hit = ahead - np.sqrt(radius**2 - aside**2)
        way = np.where(hit >= 0, np.minimum(way, hit), way)  # NaN: passes by
    if len(corners) > 1:
        for a, b in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            length = float(np.hypot(*(b - a)))
            along = (b - a) / length
            normal = np.array([along[1], -along[0]])
            if normal[0] * sign <= 1e-12:
                continue
            hit = ((points - a) @ normal - radius) / (normal[0] * sign)
            place = (points - a) @ along - hit * sign * along[0]
            way = np.where((hit >= 0) & (place >= 0) & (place <= length), np.minimum(way, hit), way)
    return np.asarray(way / abs(twist.linear))


def _circling(points: Array, twist: Twist, corners: Array, radius: float) -> Array:
    turn = 2 * np.pi
    sign = np.sign(twist.angular)
    centre = np.array([0.0, twist.linear / twist.angular])
    offset = points - centre
    reach = np.maximum(np.hypot(offset[:, 0], offset[:, 1]), 1e-12)
    bearing = np.arctan2(offset[:, 1], offset[:, 0])
    angle = np.full(len(points), np.inf)
    for corner in corners - centre:
        distance = float(np.hypot(*corner))
        if distance < 1e-9:
            continue  # a disc that turns about its own middle sweeps nothing
        cosine = (reach**2 + distance**2 - radius**2) / (2 * reach * distance)
        half = np.arccos(np.clip(cosine, -1.0, 1.0))
        to_go = ((bearing - np.arctan2(corner[1], corner[0])) * sign) % turn - half
        angle = np.where((cosine < 1) & (to_go >= 0), np.minimum(angle, to_go), angle)
    if len(corners) > 1:
        for a, b in zip(corners - centre, np.roll(corners, -1, axis=0) - centre, strict=True):
            length = float(np.hypot(*(b - a)))
            along = (b - a) / length
            normal = np.array([along[1], -along[0]])
            cosine = (float(a @ normal) + radius) / reach
            half = np.arccos(np.clip(cosine, -1.0, 1.0))
            to_go = ((bearing - np.arctan2(normal[1], normal[0])) * sign + half) % turn
            at = bearing - sign * to_go
            place = reach * (np.cos(at) * along[0] + np.sin(at) * along[1]) - float(a @ along)
            hits = (np.abs(cosine) <= 1) & (place >= 0) & (place <= length)
            angle = np.where(hits, np.minimum(angle, to_go), angle)
    return np.asarray(angle / abs(twist.angular))
