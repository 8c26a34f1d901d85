"""From a reply's data lines to a `Scan`: ranges and error codes, and the time it was taken, if it is a fresh one."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from drivers.errors import ProtocolError
from drivers.scip.codec import decode_number, decode_ranges, without_check
from drivers.scip.commands import LidarInfo, Measurement
from drivers.scip.link import LinkCounters
from drivers.scip.timing import WRAP, ClockMapping, unwrap
from drivers.types import Array, Scan

# The codes of C-42-03320B, section 8.1, table 4. Anything else outside the stated reach becomes OUT_OF_REACH.
HIGHEST_ERROR_CODE = 5
OUT_OF_REACH = 255
_SATURATED = {2: (1 << 12) - 1, 3: (1 << 18) - 1}
# How much earlier than its own end a scan may seem to arrive before the sensor's clock must have jumped.
_EARLY_S = 0.005


def separate_errors(values: NDArray[np.uint32], info: LidarInfo, width: int) -> tuple[Array, NDArray[np.uint8]]:
    """Split decoded values (N,), millimetres or codes, into ranges and error codes.

    Returns (N,) metres with NaN where nothing was measured, and (N,) uint8: 0 for a valid range, the sensor's own code
    (1 to 5), or 255 for anything outside the sensor's stated reach, a saturated two-character value included.
    """
    nearest = round(info.min_range_m * 1000)
    farthest = min(round(info.max_range_m * 1000), _SATURATED[width] - 1)
    ranges = values / 1000.0
    codes = np.zeros(values.shape, np.uint8)
    # Unsigned: values below the nearest wrap round to very large ones.
    invalid = values - np.uint32(nearest) > np.uint32(farthest - nearest)
    if invalid.any():
        ranges[invalid] = np.nan
        wrong = values[invalid]
        codes[invalid] = np.where((wrong >= 1) & (wrong <= min(HIGHEST_ERROR_CODE, nearest - 1)), wrong, OUT_OF_REACH)
    return ranges, codes


class ScanReader:
    """Turns data lines into scans and refuses those that are not newer than the last."""

    def __init__(self, info: LidarInfo, mapping: ClockMapping, counters: LinkCounters) -> None:
        self.info = info
        self.mapping = mapping
        self._counters = counters
        self._latest = -math.inf
        self._sequence = 0
        self._angles = lru_cache(maxsize=8)(self._angles_of)

    def remap(self, mapping: ClockMapping, *, jumped: bool) -> None:
        """Go on with a new mapping; `jumped`: the sensor's clock is another one, so nothing is known of its past."""
        self.mapping = mapping
        if jumped:
            self._latest = -math.inf

    def scan(self, body: bytes, measurement: Measurement, arrival: float, *, repeats: bool = False) -> Scan | None:
        """The scan in `body` (time stamp line and data lines), complete at `arrival`; None when it is an old one again.

        `repeats`: the sensor may rightly give the same scan twice (GD asks for the latest).
        Raises ChecksumError, ProtocolError.
        """
        line, _, block = body.partition(b"\n")
        content = without_check(line, "time stamp")
        if len(content) != 4:
            raise ProtocolError(f"a time stamp has 4 characters, not {content!r}")
        stamp = decode_number(content)
        values = decode_ranges(block, measurement.width)
        if values.size != measurement.values:
            raise ProtocolError(f"the scan holds {values.size} values, {measurement.values} were asked for")
        sensor_time = unwrap(stamp % WRAP, self.mapping.to_sensor(arrival))
        stamped = self.mapping.to_host(sensor_time)
        error = self.mapping.error(sensor_time)
        # The clock's own resolution: equal stamps differ by rounding alone.
        old = sensor_time < self._latest + (-0.0005 if repeats else 0.0005)
        from_the_future = stamped > arrival + error + _EARLY_S
        if old or from_the_future:
            self._counters.replayed += 1
            return None
        self._latest = max(self._latest, sensor_time)
        self.mapping.arrived(sensor_time, arrival)
        self._sequence += 1
        ranges, codes = separate_errors(values, self.info, measurement.width)
        return Scan(
            ranges=ranges,
            angles=self._angles(measurement),
            error_codes=codes,
            # The sensor stamps a scan when its beam passes the rear (as the ROS driver urg_node found: its angular time
            # offset); the beam ahead is fired half a turn later.
            time=min(stamped + self.info.scan_period_s / 2, arrival),
            sensor_time=sensor_time,
            time_error=error,
            sequence=self._sequence,
            turn_s=self.info.scan_period_s,
        )

    def _angles_of(self, measurement: Measurement) -> Array:
        angles = self.info.angles(measurement.steps)
        angles.setflags(write=False)  # shared by all scans of the measurement
        return angles
