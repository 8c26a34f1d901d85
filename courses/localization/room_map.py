"""A room's line segments, prepared once for fast lookup: ray casting, and the nearest wall of any place."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from drivers.types import Array

CELL_M = 0.05
MAX_CELLS = 1_500_000
MARGIN_M = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class DistanceGrid:
    """Distance to the nearest obstacle over a raster; cells are addressed by flat index, row = y.

    `distance`: (rows * columns,) float32 metres. `nearest`: (rows * columns,) index of the nearest obstacle.
    """

    origin: Array
    cell_m: float
    rows: int
    columns: int
    distance: NDArray[np.float32]
    nearest: NDArray[np.intp]

    def likelihood(self, scale_m: float) -> NDArray[np.float32]:
        """(rows, columns) of exp(-d^2 / 2 scale^2)."""
        ratio = self.distance.reshape(self.rows, self.columns) / np.float32(scale_m)
        likelihood: NDArray[np.float32] = np.exp(np.float32(-0.5) * np.square(ratio))
        return likelihood

    def cells(self, points: Array) -> NDArray[np.intp]:
        """Flat cell indices of points (..., 2), clipped to the raster."""
        scaled = (points - self.origin) * (1.0 / self.cell_m)
        column = np.clip(scaled[..., 0], 0, self.columns - 1).astype(np.intp)
        row = np.clip(scaled[..., 1], 0, self.rows - 1).astype(np.intp)
        return row * self.columns + column


@dataclass(frozen=True, slots=True, eq=False)
class RoomMap:
    """Segments as lines n.p = c with unit direction along them, and the raster of their distances.

    `start`, `direction`, `normal`: (S, 2); `length`, `offset`: (S,).
    """

    start: Array
    direction: Array
    normal: Array
    length: Array
    offset: Array
    grid: DistanceGrid

    def cast(self, x: float, y: float, directions: Array) -> tuple[Array, NDArray[np.intp]]:
        """Distance (N,) along each unit direction (N, 2) to the first segment hit, inf for none, and that segment."""
        along = directions @ self.direction.T
        across = directions @ self.normal.T
        place = np.array([x, y])
        clearance = self.offset - self.normal @ place
        with np.errstate(divide="ignore", invalid="ignore"):
            distance = clearance / across
            position = along * distance
            position += (self.direction * (place - self.start)).sum(axis=1)
            missed = ~((distance > 1e-6) & (position >= -1e-9) & (position <= self.length + 1e-9))
        distance[missed] = np.inf
        hit = distance.argmin(axis=1)
        return distance[np.arange(len(hit)), hit], hit


def build_room_map(segments: Array) -> RoomMap:
    """Prepares (S, 2, 2) segments. Raises ValueError where they are none, not finite, of no length or too far apart."""
    segments = np.asarray(segments, dtype=np.float64)
    if segments.ndim != 3 or segments.shape[1:] != (2, 2):
        raise ValueError(f"the room must be segments of shape (S, 2, 2) in metres, got shape {segments.shape}")
    if len(segments) == 0:
        raise ValueError("the room has no segments: nothing to locate against")
    if not np.isfinite(segments).all():
        raise ValueError("the room has segments with coordinates that are not finite")
    start, along = segments[:, 0], segments[:, 1] - segments[:, 0]
    length = np.hypot(along[:, 0], along[:, 1])
    if (length < 1e-6).any():
        raise ValueError(f"segment {int(length.argmin())} of the room has no length")
    direction = along / length[:, None]
    normal = np.column_stack((-direction[:, 1], direction[:, 0]))
    offset = (normal * start).sum(axis=1)
    return RoomMap(start, direction, normal, length, offset, _distance_grid(start, direction, length))


def _distance_grid(start: Array, direction: Array, length: Array) -> DistanceGrid:
    ends = np.concatenate((start, start + direction * length[:, None]))
    origin = ends.min(axis=0) - MARGIN_M
    extent = ends.max(axis=0) + MARGIN_M - origin
    cell = max(CELL_M, math.sqrt(float(extent[0] * extent[1]) / MAX_CELLS))
    if cell > 0.5:
        raise ValueError(f"the room spans {extent[0]:.0f} x {extent[1]:.0f} m; check its units (metres are expected)")
    columns, rows = (int(n) + 1 for n in np.ceil(extent / cell))
    owner = np.full((rows, columns), -1, dtype=np.intp)
    for index in range(len(start)):
        steps = np.linspace(0.0, length[index], max(2, math.ceil(length[index] / (cell / 2)) + 1))
        points = (start[index] + steps[:, None] * direction[index] - origin) / cell
        owner[points[:, 1].astype(np.intp), points[:, 0].astype(np.intp)] = index
    distance, (row, column) = ndimage.distance_transform_edt(owner < 0, return_indices=True)
    nearest = owner[row, column]
    return DistanceGrid(origin, cell, rows, columns, (distance * cell).astype(np.float32).ravel(), nearest.ravel())


_CACHE_SIZE = 16
_cache: OrderedDict[bytes, RoomMap] = OrderedDict()
_cache_lock = Lock()


def prepared(segments: Array) -> RoomMap:
    """The map of these segments, from a small cache keyed by their bytes: a course locates often in one room."""
    segments = np.ascontiguousarray(segments, dtype=np.float64)
    key = segments.tobytes()
    with _cache_lock:
        known = _cache.get(key)
        if known is not None:
            _cache.move_to_end(key)
            return known
    built = build_room_map(segments)
    with _cache_lock:
        _cache[key] = built
        while len(_cache) > _CACHE_SIZE:
            _cache.popitem(last=False)
    return built
