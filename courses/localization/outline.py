"""A scan as an outline: neighbouring points, the lines through them, and a raster of what is near."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from courses.localization.room_map import DistanceGrid
from drivers.types import Array

NEIGHBOURS = (3, 12)
LINE_NOISES = 4.0
GAP_M = 0.15
GAP_BEAMS = 6.0
CELL_M = 0.1
MAX_CELLS = 400_000
STAMP_CELLS = 4
REACH_M = 0.4


@dataclass(frozen=True, slots=True, eq=False)
class Outline:
    """A scan as an ordered outline: points (N, 2), unit normals (N, 2), which normals rest on three or more points,
    and which neighbours in order belong to one surface (N - 1,); how many points on either side make a normal, and the
    angle from beam to beam."""

    points: Array
    bearings: Array
    normals: Array
    anchors: Array
    smooth: NDArray[np.bool_]
    linked: NDArray[np.bool_]
    neighbours: int
    beam: float
    tree: cKDTree

    def nearest(self, points: Array) -> tuple[NDArray[np.bool_], NDArray[np.intp]]:
        """Which points (M, 2) lie within REACH_M of a part with a normal, and the nearest place to each of those."""
        distance, nearest = self.tree.query(points, distance_upper_bound=REACH_M)
        found = np.isfinite(distance)
        found[found] = self.smooth[nearest[found]]
        return found, nearest[found]


def outline_of(points: Array) -> Outline:
    """Orders points (N, 2) by bearing from their sensor, and fits a line to each with its neighbours."""
    bearing = np.arctan2(points[:, 1], points[:, 0])
    order = np.argsort(bearing, kind="stable")
    ordered, bearing = points[order], bearing[order]
    count = len(ordered)
    step = np.diff(ordered, axis=0)
    distance = np.hypot(ordered[:, 0], ordered[:, 1])
    # The spacing to expect grows with range, and with the slant of the wall.
    beam = float(np.median(np.diff(bearing)))
    linked = np.hypot(step[:, 0], step[:, 1]) <= np.maximum(
        GAP_M, GAP_BEAMS * beam * np.minimum(distance[1:], distance[:-1])
    )
    run = np.concatenate(([0], np.cumsum(~linked)))
    # Dense beams with much noise need longer lines for a normal; a wall's ranges have next to no second difference.
    noise = 1.4826 * float(np.median(np.abs(np.diff(distance, 2)))) / math.sqrt(6)
    neighbours = int(np.clip(round(LINE_NOISES * noise / max(beam * float(np.median(distance)), 1e-3)), *NEIGHBOURS))
    window = np.arange(count)[:, None] + np.arange(-neighbours, neighbours + 1)
    inside = np.clip(window, 0, count - 1)
    member = (run[inside] == run[:, None]) & (window == inside)
    number = member.sum(axis=1)
    near = ordered[inside]
    centre = (near * member[..., None]).sum(axis=1) / number[:, None]
    spread = (near - centre[:, None]) * member[..., None]
    xx, yy = np.square(spread[..., 0]).sum(axis=1), np.square(spread[..., 1]).sum(axis=1)
    xy = (spread[..., 0] * spread[..., 1]).sum(axis=1)
    along = 0.5 * np.arctan2(2 * xy, xx - yy)
    normals = np.column_stack((-np.sin(along), np.cos(along)))
    tree = cKDTree(ordered, balanced_tree=False, compact_nodes=False)
    return Outline(ordered, bearing, normals, centre, number >= 3, linked, neighbours, beam, tree)


@dataclass(frozen=True, slots=True, eq=False)
class StampedLines:
    """The reference as the search wants it: `NearestLines` within a few cells of its points."""

    grid: DistanceGrid
    normal: Array
    offset: Array


def stamped(outline: Outline) -> StampedLines:
    """Writes distance and owner into the cells round every point."""
    # Half way points close the holes between beams on far or slanted walls.
    between = np.flatnonzero(outline.linked)
    points = np.concatenate((outline.points, 0.5 * (outline.points[between] + outline.points[between + 1])))
    owner = np.concatenate((np.arange(len(outline.points)), between))
    low, high = points.min(axis=0), points.max(axis=0)
    cell = max(CELL_M, math.sqrt(float(np.prod(high - low + 2)) / MAX_CELLS))
    origin = low - (STAMP_CELLS + 1) * cell
    columns, rows = (int(v) for v in np.ceil((high - origin) / cell) + STAMP_CELLS + 2)
    around = np.arange(-STAMP_CELLS, STAMP_CELLS + 1)
    dx, dy = np.tile(around, len(around)), np.repeat(around, len(around))
    length = np.hypot(dx, dy)
    # Far rings first: where stamps overlap, the nearest is written last and stays.
    ring = np.argsort(-length, kind="stable")
    ring = ring[length[ring] <= STAMP_CELLS]
    centre = ((points - origin) / cell).astype(np.intp)
    flat = centre[:, 1] * columns + centre[:, 0]
    index = ((dy * columns + dx)[ring][:, None] + flat).ravel()
    distance = np.full(rows * columns, np.inf, dtype=np.float32)
    distance[index] = np.repeat((length[ring] * cell).astype(np.float32), len(flat))
    nearest = np.full(rows * columns, len(outline.points), dtype=np.intp)
    nearest[index] = np.tile(owner, len(ring))
    normal = np.concatenate((np.where(outline.smooth[:, None], outline.normals, 0.0), np.zeros((1, 2))))
    offset = np.append((normal[:-1] * outline.anchors).sum(axis=1), 0.0)
    return StampedLines(DistanceGrid(origin, cell, rows, columns, distance, nearest), normal, offset)
