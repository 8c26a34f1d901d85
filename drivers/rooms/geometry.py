"""Planar geometry of polylines, polygons and segments; metres, arrays of (N, 2) points and (S, 2, 2) segments."""

from __future__ import annotations

import numpy as np

from drivers.types import Array


def polyline_segments(points: Array) -> Array:
    """(N-1, 2, 2) segments joining (N, 2) points in turn."""
    return np.stack((points[:-1], points[1:]), axis=1)


def polygon_segments(points: Array) -> Array:
    """(N, 2, 2) sides of the polygon with (N, 2) corners, the last joined to the first."""
    return np.stack((points, np.roll(points, -1, axis=0)), axis=1)


def inside_polygon(x: float, y: float, polygon: Array) -> bool:
    """Whether a point lies inside a simple polygon (even-odd rule; a point on the edge may go either way)."""
    start, end = polygon, np.roll(polygon, -1, axis=0)
    straddles = (start[:, 1] > y) != (end[:, 1] > y)
    if not straddles.any():
        return False
    start, end = start[straddles], end[straddles]
    at = start[:, 0] + (y - start[:, 1]) * (end[:, 0] - start[:, 0]) / (end[:, 1] - start[:, 1])
    return bool(np.count_nonzero(at > x) % 2)


def nearest_points(x: float, y: float, segments: Array) -> Array:
    """(S, 2) the point of each segment that is nearest to (x, y)."""
    start = segments[:, 0]
    along = segments[:, 1] - start
    offset = np.array([x, y]) - start
    share = np.clip((offset * along).sum(axis=1) / (along * along).sum(axis=1), 0.0, 1.0)
    return np.asarray(start + share[:, None] * along)


def distances_to_segments(x: float, y: float, segments: Array) -> Array:
    """(S,) distances from a point to each segment."""
    return np.asarray(np.hypot(*(nearest_points(x, y, segments) - (x, y)).T))


def crossing(p: Array, q: Array, segments: Array) -> Array:
    """(S,) whether the segment from p to q meets each segment, a mere touch included."""
    a, b = segments[:, 0], segments[:, 1]
    sides_of_pq = (_turn(p, q, a), _turn(p, q, b))
    sides_of_ab = (_turn(a, b, p), _turn(a, b, q))
    proper = (sides_of_pq[0] * sides_of_pq[1] <= 0) & (sides_of_ab[0] * sides_of_ab[1] <= 0)
    boxes_meet = ((np.minimum(a, b) <= np.maximum(p, q)) & (np.maximum(a, b) >= np.minimum(p, q))).all(axis=1)
    return np.asarray(proper & boxes_meet)


def first_self_crossing(polygon: Array) -> tuple[int, int] | None:
    """The first pair of sides (by index, side i runs from corner i) that meet without being neighbours, if any."""
    sides = polygon_segments(polygon)
    count = len(sides)
    for i in range(count - 2):
        later = np.arange(i + 2, count - 1 if i == 0 else count)
        hits = crossing(sides[i, 0], sides[i, 1], sides[later]) if later.size else np.zeros(0, bool)
        if hits.any():
            return i, int(later[np.argmax(hits)])
    return None


def _turn(a: Array, b: Array, c: Array) -> Array:
    """Twice the signed area of the triangles a, b, c."""
    ab, ac = b - a, c - a
    return np.asarray(ab[..., 0] * ac[..., 1] - ab[..., 1] * ac[..., 0])
