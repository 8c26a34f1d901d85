"""Casts the beams of a planar LiDAR, which may move while it scans, against segments and circles."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drivers.types import Array

NOTHING = -1
CIRCLE = -2


@dataclass(frozen=True, slots=True, eq=False)
class Circle:
    """A round thing, metres, in the frame of the segments."""

    x: float
    y: float
    radius: float


@dataclass(frozen=True, slots=True)
class SensorMotion:
    """Velocity of the sensor in its own frame: m/s ahead and to the left, rad/s counter-clockwise."""

    ahead: float = 0.0
    left: float = 0.0
    turning: float = 0.0


_AT_REST = SensorMotion()


@dataclass(frozen=True, slots=True, eq=False)
class Cast:
    """What each of N beams met. `ranges`: (N,) metres, infinite where nothing. `hits`: (N,) index of the segment,
    -1 for nothing and -2 for a circle. `incidence`: (N,) cosine of the angle between beam and surface normal."""

    ranges: Array
    hits: NDArray[np.int16]
    incidence: Array


class RayCaster:
    """Beams at `angles` (N,), ascending and evenly spaced radians in the sensor's frame, less than a whole turn.

    Each segment is met only by the beams between the bearings of its ends; in between, one over the range is the cosine
    to the segment's normal over its distance, for all segments and beams one product of matrices.
    `beam_times` (N,): seconds from the scan's time stamp at which each beam is fired.
    """

    def __init__(self, segments: Array, angles: Array, beam_times: Array | None = None) -> None:
        self._segments = np.asarray(segments, dtype=np.float64)
        self._angles = np.asarray(angles, dtype=np.float64)
        self._times = np.zeros(len(angles)) if beam_times is None else np.asarray(beam_times, dtype=np.float64)
        self._step = float(angles[1] - angles[0])
        self._directions = np.stack((np.cos(self._angles), np.sin(self._angles)))

    def cast(
        self, x: float, y: float, heading: float, motion: SensorMotion = _AT_REST, circles: tuple[Circle, ...] = ()
    ) -> Cast:
        """Ranges from a sensor that is at (x, y, heading) at the scan's time stamp.

        `motion` is taken as constant during the scan, its direction as that at the time stamp (within 22 ms an
        arc's bend stays below 0.2 mm at 0.4 m/s and 2 rad/s).
        """
        cos, sin = math.cos(heading), math.sin(heading)
        into_sensor = np.array([[cos, -sin], [sin, cos]])
        segments = (self._segments - (x, y)) @ into_sensor
        directions = self._directions
        if motion.turning:
            turned = self._angles + motion.turning * self._times
            directions = np.stack((np.cos(turned), np.sin(turned)))
        normals = _normals(segments)
        distances = (normals * segments[:, 0]).sum(axis=1)
        # A sensor that stands on a segment's own line sees it edge-on: no beam meets it.
        distances[np.abs(distances) < 1e-9] = np.inf
        nearness, hits = self._nearest(segments, normals, distances, directions, motion)
        with np.errstate(divide="ignore"):
            ranges = 1.0 / nearness
        # Index -1, nothing, takes the last entry.
        incidence = np.minimum(np.append(np.abs(distances), 0.0)[hits] * nearness, 1.0)
        cast = Cast(ranges, hits, incidence)
        for circle in circles:
            ahead, left = np.array([circle.x - x, circle.y - y]) @ into_sensor
            self._cast_circle(Circle(float(ahead), float(left), circle.radius), directions, motion, cast)
        return cast

    def _nearest(
        self, segments: Array, normals: Array, distances: Array, directions: Array, motion: SensorMotion
    ) -> tuple[Array, NDArray[np.int16]]:
        """(N,) one over the range to the nearest segment that a beam meets, 0 for none, and (N,) which one it is."""
        count = len(self._angles)
        best = np.zeros(count)
        hits = np.full(count, NOTHING, dtype=np.int16)
        numbers = np.arange(len(segments), dtype=np.int16)
        # One over the range along each beam from the place at the time stamp; negative behind the sensor.
        nearness = (normals / distances[:, None]) @ directions
        # How much nearer, by the second, a segment's line comes: a share of its distance.
        closing = ((normals @ (motion.ahead, motion.left)) / distances).tolist()
        moving = bool(motion.ahead or motion.left)
        for index, first, last in self._pieces(*self._windows(segments, motion)):
            here, found = best[first:last], nearness[index, first:last]
            if moving:
                found = found / (1.0 - closing[index] * self._times[first:last])
            closer = found > here
            np.copyto(here, found, where=closer)
            np.copyto(hits[first:last], numbers[index : index + 1], where=closer)
        return best, hits

    def _windows(self, segments: Array, motion: SensorMotion) -> tuple[Array, Array]:
        """(S,) bearings, as fractional beam numbers, of the first and last beam that meet each segment."""
        bearings = np.arctan2(segments[..., 1], segments[..., 0])
        if motion != _AT_REST:
            # When a beam passes an end depends on where the sensor is by then; this converges in two rounds.
            for _ in range(2):
                when = np.interp(bearings, self._angles, self._times)
                bearings = np.arctan2(segments[..., 1] - motion.left * when, segments[..., 0] - motion.ahead * when)
                bearings -= motion.turning * when
        span = np.mod(bearings[:, 1] - bearings[:, 0], 2 * math.pi)
        swapped = span > math.pi
        first = np.where(swapped, bearings[:, 1], bearings[:, 0])
        span = np.where(swapped, 2 * math.pi - span, span)
        first = (first - self._angles[0]) / self._step
        return first, first + span / self._step

    def _pieces(self, first: Array, last: Array) -> list[tuple[int, int, int]]:
        """Segment and range of beams, for each stretch of the sensor's view that a segment may be met in."""
        turn = 2 * math.pi / self._step
        # A window may lie across the rear, and so in the view's end and in its beginning.
        shift = np.floor(first / turn) * turn + np.array([[0.0], [turn]])
        lows = np.maximum(np.ceil(first - shift - 1e-9), 0).astype(int)
        highs = np.minimum(np.floor(last - shift + 1e-9) + 1, len(self._angles)).astype(int)
        seen = lows < highs
        _, segments = np.nonzero(seen)
        return list(zip(segments.tolist(), lows[seen].tolist(), highs[seen].tolist(), strict=True))

    def _cast_circle(self, circle: Circle, directions: Array, motion: SensorMotion, cast: Cast) -> None:
        """Let a circle, given in the sensor's frame, stand in the way of a cast."""
        ahead, left = circle.x - motion.ahead * self._times, circle.y - motion.left * self._times
        along = ahead * directions[0] + left * directions[1]
        squared = circle.radius**2 - (ahead * ahead + left * left - along * along)
        met = (squared > 0) & (along > 0)
        half_chord = np.sqrt(squared[met])
        reached = np.maximum(along[met] - half_chord, 0.0)
        closer = reached < cast.ranges[met]
        beams = np.flatnonzero(met)[closer]
        cast.ranges[beams] = reached[closer]
        cast.hits[beams] = CIRCLE
        cast.incidence[beams] = half_chord[closer] / circle.radius


def _normals(segments: Array) -> Array:
    """(S, 2) unit vectors square to each segment."""
    along = segments[:, 1] - segments[:, 0]
    normals = np.stack((-along[:, 1], along[:, 0]), axis=1)
    return np.asarray(normals / np.hypot(*along.T)[:, None])
