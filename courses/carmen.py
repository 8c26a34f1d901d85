"""Reads CARMEN logs: raw wheel odometry and laser scans of real robots, plain or gzipped."""

from __future__ import annotations

import gzip
import io
import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from drivers.documents import DocumentError, Problem
from drivers.types import Array

_TOLD_PROBLEMS = 5
_MAX_BEAMS = 4000
# What 2D laser scanners of the time report for "nothing seen" lies above this (SICK LMS: 81.91 m).
NOTHING_BEYOND_M = 40.0


@dataclass(frozen=True, slots=True, eq=False)
class CarmenScan:
    """One FLASER line. `points`: (N, 2) metres in the sensor's frame; `corrected`: x, y, heading as logged with it.

    `time`: the logger's, seconds. `line` counts from 1.
    """

    time: float
    points: Array
    corrected: tuple[float, float, float]
    line: int


@dataclass(frozen=True, slots=True, eq=False)
class CarmenLog:
    """A log as far as it could be read.

    `odometry`: (M, 4) time, x, y, heading (not wrapped) of the raw wheel odometry, in order of time.
    `front_laser_offset_m`: how far ahead of the base's origin the laser sits. `damage`: what could not be read.
    """

    source: str
    scans: tuple[CarmenScan, ...]
    odometry: Array
    front_laser_offset_m: float
    damage: tuple[str, ...]

    def odometry_at(self, time: float) -> tuple[float, float, float]:
        """Raw odometry at a moment, interpolated; x, y in metres, heading in radians (not wrapped)."""
        times = self.odometry[:, 0]
        x, y, heading = (float(np.interp(time, times, self.odometry[:, column])) for column in (1, 2, 3))
        return x, y, heading


def read_carmen(path: str | Path) -> CarmenLog:
    """Read a log: text lines "ODOM x y th tv rv accel time host logger_time" and "FLASER n ranges pose pose time ...".

    Beams are taken to spread over 180 degrees about straight ahead, as CARMEN's FLASER has them: 180 of 1 deg or 360
    of 0.5 deg beginning at -90 deg, 181 or 361 up to +90 deg. Other lines are skipped; damaged ones are told in
    `damage`, as is an end that is missing.
    Raises DocumentError, with a line number, when the file cannot be read or holds less than two scans and odometry.
    """
    reading = _Reading(str(path))
    number = 0
    try:
        with Path(path).open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            stream = gzip.GzipFile(fileobj=raw) if packed else raw
            for number, line in _lines(stream):
                reading.take(number, line)
    except (gzip.BadGzipFile, EOFError, zlib.error) as exc:
        reading.complain(number + 1, f"the compressed file is damaged from here on ({exc})")
    except OSError as exc:
        raise DocumentError([Problem(str(path), 1, 1, "", f"cannot be read: {exc.strerror or exc}")]) from None
    return reading.finish(number)


def _lines(stream: io.BufferedIOBase) -> Iterator[tuple[int, str]]:
    """Numbered lines. The last one counts as damaged without its line feed, which `take` finds out by itself."""
    for number, line in enumerate(stream, start=1):
        yield number, line.decode("ascii", errors="replace")


class _Reading:
    """What was read so far."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._scans: list[CarmenScan] = []
        self._odometry: list[tuple[float, float, float, float]] = []
        self._offset = 0.0
        self._problems: list[tuple[int, str]] = []
        self._first = ""

    def take(self, number: int, line: str) -> None:
        """One line of the log."""
        words = line.split()
        if not self._first and words:
            self._first = line.strip()[:40]
        if not words or words[0] not in ("ODOM", "FLASER", "PARAM"):
            return
        try:
            if words[0] == "ODOM":
                self._take_odometry(words)
            elif words[0] == "FLASER":
                self._scans.append(_scan(words, number))
            elif len(words) > 2 and words[1] == "robot_frontlaser_offset":
                self._offset = _finite(words[2])
        except (ValueError, IndexError) as exc:
            self.complain(number, f"{words[0]} line is damaged: {exc}")

    def complain(self, line: int, message: str) -> None:
        """Note damage."""
        self._problems.append((line, message))

    def finish(self, lines: int) -> CarmenLog:
        """The log. Raises DocumentError when there is too little in it."""
        if len(self._scans) < 2 or len(self._odometry) < 2:
            raise DocumentError([self._why_useless(lines)])
        self._scans.sort(key=lambda scan: scan.time)
        odometry = np.array(self._odometry)
        odometry = odometry[np.argsort(odometry[:, 0], kind="stable")]
        odometry[:, 3] = np.unwrap(odometry[:, 3])
        damage = [f"{self._source}:{line}: {message}" for line, message in self._problems[:_TOLD_PROBLEMS]]
        if len(self._problems) > _TOLD_PROBLEMS:
            damage.append(f"{self._source}: and {len(self._problems) - _TOLD_PROBLEMS} more damaged lines")
        return CarmenLog(self._source, tuple(self._scans), odometry, self._offset, tuple(damage))

    def _why_useless(self, lines: int) -> Problem:
        line, reason = self._problems[0] if self._problems else (max(1, lines), "")
        if reason:
            message = f"{reason}; before that, {len(self._scans)} scans and {len(self._odometry)} odometry lines"
        elif lines == 0 or not self._first:
            line, message = 1, "the log is empty"
        elif not self._scans and not self._odometry:
            line = 1
            message = f"no CARMEN log: no line begins with ODOM or FLASER; the first is {self._first!r}"
        else:
            message = f"only {len(self._scans)} scans and {len(self._odometry)} odometry lines; two of each are needed"
        return Problem(self._source, line, 1, "", message)

    def _take_odometry(self, words: list[str]) -> None:
        if len(words) < 10:
            raise ValueError(f"{len(words)} words instead of 10")
        x, y, heading = (_finite(word) for word in words[1:4])
        self._odometry.append((_finite(words[9]), x, y, heading))


def _scan(words: list[str], number: int) -> CarmenScan:
    count = int(words[1])
    if not 10 <= count <= _MAX_BEAMS:
        raise ValueError(f"{count} beams; 10 to {_MAX_BEAMS} are expected")
    if len(words) < count + 11:
        raise ValueError(f"{len(words)} words instead of {count + 11}")
    ranges = np.array(words[2 : 2 + count], dtype=np.float64)
    x, y, heading = (_finite(word) for word in words[2 + count : 5 + count])
    steps = count - 1 if count % 2 else count
    angles = -math.pi / 2 + np.arange(count) * (math.pi / steps)
    seen = np.isfinite(ranges) & (ranges > 0.01) & (ranges < NOTHING_BEYOND_M)
    points = ranges[seen, None] * np.column_stack((np.cos(angles[seen]), np.sin(angles[seen])))
    return CarmenScan(_finite(words[count + 10]), points, (x, y, heading), number)


def _finite(word: str) -> float:
    value = float(word)
    if not math.isfinite(value):
        raise ValueError(f"{word} is no number")
    return value
