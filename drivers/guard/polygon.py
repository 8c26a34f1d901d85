"""How far inside a polygon points lie, and convex hulls: for the geofence and the dock zones. Pure numpy."""

from __future__ import annotations

import numpy as np

from drivers.types import Array


def depth_inside(points: Array, polygon: Array) -> Array:
    """(N,) metres from each of (N, 2) points to the outline of `polygon` (K, 2): > 0 inside, < 0 outside.

    The polygon may be concave; it does not repeat its first point.
    """
    a, b = polygon, np.roll(polygon, -1, axis=0)
    edge = b - a  # (K, 2)
    offset = points[:, None, :] - a[None]  # (N, K, 2)
    length2 = np.maximum((edge**2).sum(axis=1), 1e-18)
    share = np.clip((offset * edge).sum(axis=2) / length2, 0.0, 1.0)
    away = offset - share[..., None] * edge
    distance = np.sqrt((away**2).sum(axis=2)).min(axis=1)
    # Even-odd rule: count the edges that a ray along +x crosses.
    px, py = points[:, 0, None], points[:, 1, None]
    spans = (a[:, 1] > py) != (b[:, 1] > py)
    with np.errstate(divide="ignore", invalid="ignore"):
        crossing = a[:, 0] + (py - a[:, 1]) / edge[:, 1] * edge[:, 0]
    odd = (spans & (px < crossing)).sum(axis=1) % 2 == 1
    depth: Array = np.where(odd, distance, -distance)
    return depth


def convex_hull(points: Array) -> Array:
    """(H, 2) corners, counter-clockwise, of the smallest convex polygon round (N, 2) points, N >= 3.

    Andrew's monotone chain (Information Processing Letters 9, 1979).
    """
    ordered = points[np.lexsort((points[:, 1], points[:, 0]))]
    return np.array([*_half_hull(ordered), *_half_hull(ordered[::-1])])


def _half_hull(ordered: Array) -> list[Array]:
    chain: list[Array] = []
    for point in ordered:
        while len(chain) >= 2 and _turns_right(chain[-2], chain[-1], point):
            chain.pop()
        chain.append(point)
    return chain[:-1]  # its end begins the other half


def _turns_right(a: Array, b: Array, c: Array) -> bool:
    return bool((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]) <= 0)
