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

    Each segment or circle is met only by the beams between the bearings of its ends; in between, the range of a line
    is its distance over the cosine to its normal. So a cast costs about one pass over the beams in view of each
    thing, whatever the room's size. `beam_times` (N,) seconds from the scan's time stamp at which each beam is fired.
    """

    def __init__(self, segments: Array, angles: Array, beam_times: Array | None = None) -> None:
        self._segments = np.asarray(segments, dtype=np.float64)
        self._angles = np.asarray(angles, dtype=np.float64)
        self._times = np.zeros(len(angles)) if beam_times is None else np.asarray(beam_times, dtype=np.float64)
        self._step = float(angles[1] - angles[0])
        self._directions = np.stack((np.cos(self._angles), np.sin(self._angles)))
        self._scratch = np.empty(len(angles))
        self._closer = np.empty(len(angles), dtype=bool)

    def cast(
        self, x: float, y: float, heading: float, motion: SensorMotion = _AT_REST, circles: tuple[Circle, ...] = ()
    ) -> Cast:
        """Ranges from a sensor that is at (x, y, heading) at the scan's time stamp.

        `motion` is taken as constant during the scan, its direction as that at the time stamp (within 22 ms an
        arc's bend stays below 0.2 mm at 0.4 m/s and 2 rad/s).
        """
        count = len(self._angles)
        ranges = np.full(count, np.inf)
        hits = np.full(count, NOTHING, dtype=np.int16)
        incidence = np.zeros(count)
        cos, sin = math.cos(heading), math.sin(heading)
        into_sensor = np.array([[cos, -sin], [sin, cos]])
        segments = (self._segments - (x, y)) @ into_sensor
        directions = self._directions
        if motion.turning:
            turned = self._angles + motion.turning * self._times
            directions = np.stack((np.cos(turned), np.sin(turned)))
        self._cast_segments(segments, directions, motion, ranges, hits)
        met = hits >= 0
        distances = np.abs((_normals(segments) * segments[:, 0]).sum(axis=1))
        incidence[met] = np.minimum(distances[hits[met]] / np.maximum(ranges[met], 1e-9), 1.0)
        cast = Cast(ranges, hits, incidence)
        for circle in circles:
            ahead, left = np.array([circle.x - x, circle.y - y]) @ into_sensor
            self._cast_circle(Circle(float(ahead), float(left), circle.radius), directions, motion, cast)
        return cast

    def _cast_segments(
        self, segments: Array, directions: Array, motion: SensorMotion, ranges: Array, hits: NDArray[np.int16]
    ) -> None:
        normals = _normals(segments)
        distances = (normals * segments[:, 0]).sum(axis=1)
        # Turn normals towards the sensor's far side, so that distances are positive.
        normals[distances < 0] *= -1.0
        distances = np.abs(distances)
        firsts, lasts = self._windows(segments, motion)
        toward = normals @ directions
        drift = normals @ (motion.ahead, motion.left)
        moving = bool(motion.ahead or motion.left)
        for index in np.flatnonzero(distances > 1e-9):
            for first, last in self._pieces(firsts[index], lasts[index]):
                beams = slice(first, last)
                reached = self._scratch[: last - first]
                if moving:
                    np.multiply(self._times[beams], -drift[index], out=reached)
                    reached += distances[index]
                    np.divide(reached, toward[index, beams], out=reached)
                else:
                    np.divide(distances[index], toward[index, beams], out=reached)
                closer = np.less(reached, ranges[beams], out=self._closer[: last - first])
                # Beams of the window's rim that fire past the end of an edge-on line look backwards.
                closer &= reached > 0
                np.copyto(ranges[beams], reached, where=closer)
                np.copyto(hits[beams], np.int16(index), where=closer)

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

    def _pieces(self, first: float, last: float) -> list[tuple[int, int]]:
        """The beams between two bearings (in beams from the first one), as index ranges within the sensor's view."""
        turn = 2 * math.pi / self._step
        count = len(self._angles)
        shift = -math.floor(first / turn) * turn
        pieces = []
        for begin, end in ((first + shift, last + shift), (first + shift - turn, last + shift - turn)):
            low, high = max(0, math.ceil(begin - 1e-9)), min(count - 1, math.floor(end + 1e-9)) + 1
            if low < high:
                pieces.append((low, high))
        return pieces

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
