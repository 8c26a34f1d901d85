"""A simulated Hokuyo sensor without its sockets: its clock, its scans, and what it answers to each command.

Source: Hokuyo C-42-03320B (SCIP 2.0), sections 8 and 9; the states of %ST as hokuyolx knows them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from drivers.scip.codec import encode_number, encode_ranges, with_check
from drivers.scip.commands import Measurement, info_line
from drivers.types import Array

_NO_OBJECT = 1
_TOO_NEAR = 4  # table 4 of section 8.1
_LOWEST_RANGE = 6  # millimetres that cannot be taken for an error code
_MAX_VALUE = (1 << 18) - 1
_SATURATED_2 = (1 << 12) - 1
_MAX_STRING = 16


@dataclass(frozen=True, slots=True)
class LidarModel:
    """What a model tells of itself in VV and PP. The defaults are those of a UTM-30LX-EW."""

    model: str = "UTM-30LX-EW"
    vendor: str = "Hokuyo Automatic Co., Ltd."
    product: str = "SOKUIKI Sensor TOP-URG UTM-30LX-EW"
    firmware: str = "1.0.0 (simulated)"
    protocol: str = "SCIP 2.2"
    serial: str = "S0000001"
    min_range_mm: int = 23
    max_range_mm: int = 60_000
    steps_per_turn: int = 1440
    first_step: int = 0
    last_step: int = 1080
    front_step: int = 540
    speed_rpm: int = 2400

    @property
    def period_s(self) -> float:
        """Seconds from one scan to the next."""
        return 60 / self.speed_rpm

    @property
    def ready_s(self) -> float:
        """Seconds from a scan's time stamp, when the beam passes the rear, to its last step."""
        return self.period_s * (0.5 + (self.last_step - self.front_step) / self.steps_per_turn)


@dataclass
class SensorClock:
    """The sensor's own clock: 24 bits of a millisecond, with an offset and a rate of its own.

    `reading_s`: what it shows at host time `started`. `drift_ppm`: how much too fast it runs.
    """

    started: float
    reading_s: float = 0.0
    drift_ppm: float = 0.0

    def read(self, host: float) -> float:
        """Sensor seconds since it was reset, at a host time."""
        return self.reading_s + (host - self.started) * (1 + self.drift_ppm * 1e-6)

    def stamp(self, host: float) -> int:
        """The 24-bit time stamp at a host time."""
        return math.floor(self.read(host) * 1000) & 0xFFFFFF

    def set(self, host: float, reading_s: float) -> None:
        """Make it show `reading_s` at `host`: a reset, a restart, a jump."""
        self.started, self.reading_s = host, reading_s


@dataclass(frozen=True, eq=False)
class Shot:
    """One scan as the sensor keeps it: the host's time, the stamp, (N,) millimetres or error codes from step 0 on."""

    time: float
    stamp: int
    values: NDArray[np.uint32]
    _encoded: dict[Measurement, bytes] = field(default_factory=dict)

    def body(self, measurement: Measurement, nearest_mm: int) -> bytes:
        """Time stamp line and data lines, as asked for."""
        known = self._encoded.get(measurement)
        if known is None:
            values = cluster(self.values[measurement.first_step : measurement.last_step + 1], measurement, nearest_mm)
            if measurement.width == 2:
                values = np.minimum(values, _SATURATED_2)
            known = with_check(encode_number(self.stamp, 4)) + encode_ranges(values, measurement.width)
            self._encoded[measurement] = known
        return known


def to_values(ranges: Array, error_codes: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """(N,) metres with NaN for nothing, and (N,) codes, as the numbers on the wire: millimetres, or codes."""
    missing = ~np.isfinite(ranges)
    millimetres = np.clip(np.rint(np.where(missing, 0.0, ranges) * 1000), 0, _MAX_VALUE).astype(np.uint32)
    unnamed = np.where(missing, _NO_OBJECT, np.where(millimetres < _LOWEST_RANGE, _TOO_NEAR, millimetres))
    return np.where(error_codes > 0, error_codes, unnamed).astype(np.uint32)


def cluster(values: NDArray[np.uint32], measurement: Measurement, nearest_mm: int) -> NDArray[np.uint32]:
    """(N,) merged in groups: the smallest that is no error; the smallest code where all are (section 8.1)."""
    size = measurement.cluster
    if size <= 1:
        return values
    padded = np.full(measurement.values * size, _MAX_VALUE, np.uint32)
    padded[: values.size] = values
    groups = padded.reshape(-1, size)
    valid = np.where(groups < nearest_mm, _MAX_VALUE, groups).min(axis=1)
    merged: NDArray[np.uint32] = np.where(valid < _MAX_VALUE, valid, groups.min(axis=1))
    return merged


class State(Enum):
    """What the sensor does for a client, with its %ST code."""

    STANDBY = b"000"
    TIME_ADJUSTMENT = b"002"
    SINGLE_SCAN = b"003"
    CONTINUOUS_SCAN = b"004"


class Session:
    """One client's conversation with the sensor: pure, bytes in and bytes out."""

    def __init__(self, model: LidarModel, clock: SensorClock, reset: Callable[[float], None]) -> None:
        self._model = model
        self._clock = clock
        self._reset = reset  # the whole sensor: every client feels it
        self.state = State.STANDBY
        self._measurement: Measurement | None = None
        self._string = b""
        self._remaining = 0  # scans still owed; 0 with `_endless`
        self._endless = False
        self._skipped = 0
        self._latest: list[tuple[bytes, Measurement]] = []  # GD, GS that wait for a first scan

    @property
    def laser_on(self) -> bool:
        """Whether this client wants scans taken."""
        return self.state in (State.SINGLE_SCAN, State.CONTINUOUS_SCAN)

    def standby(self) -> None:
        """Laser off, nothing owed."""
        self.state = State.STANDBY
        self._measurement = None
        self._latest.clear()

    def answer(self, line: bytes, now: float, shot: Shot | None) -> bytes:  # noqa: PLR0911 - one answer each command
        """The reply to one command line (without its line feed), at host time `now`.

        `shot`: the sensor's latest scan, if recent. Empty when the reply has to wait for a scan.
        """
        command, _, string = line.partition(b";")
        name = command[:3] if command.startswith(b"%") else command[:2]
        if len(string) > _MAX_STRING:
            return _reply(line, b"0G")
        if self.state is State.TIME_ADJUSTMENT and name not in (b"TM", b"%ST", b"RS", b"RT"):
            return _reply(line, b"10")
        match name:
            case b"VV" | b"PP" | b"II" if len(command) == 2:
                return _reply(line, b"00", self._info(name, now))
            case b"%ST" if len(command) == 3:
                return _reply(line, b"00", with_check(self.state.value))
            case b"BM" if len(command) == 2:
                return self._light(line)
            case b"QT" if len(command) == 2:
                self.standby()
                return _reply(line, b"00")
            case b"RS" | b"RT" if len(command) == 2:
                self._reset(now)
                return _reply(line, b"00")
            case b"TM":
                return self._adjust_time(line, command[2:], now)
            case b"GD" | b"GS" | b"MD" | b"MS":
                return self._measure(line, command, shot)
            case b"SS" | b"CR" | b"HS":
                # Bit rate, motor speed and sensitivity of this model are fixed (sections 8.7 to 8.9: incompatible).
                return _reply(line, b"03")
            case _:
                return _reply(line, b"0E")

    def take(self, shot: Shot) -> list[bytes]:
        """What the client is sent for a new scan."""
        frames = [self._latest_reply(line, measurement, shot) for line, measurement in self._latest]
        self._latest.clear()
        if self.state is not State.CONTINUOUS_SCAN or self._measurement is None:
            return frames
        if self._skipped < self._measurement.skip:
            self._skipped += 1
            return frames
        self._skipped = 0
        if not self._endless:
            self._remaining -= 1
        echo = self._measurement.echo + b"%02d" % self._remaining + self._string
        frames.append(echo + b"\n" + with_check(b"99") + shot.body(self._measurement, self._model.min_range_mm) + b"\n")
        if not self._endless and self._remaining == 0:
            self.standby()
        return frames

    def _info(self, name: bytes, now: float) -> bytes:
        model = self._model
        fields: dict[str, str]
        if name == b"VV":
            fields = {
                "VEND": model.vendor,
                "PROD": model.product,
                "FIRM": model.firmware,
                "PROT": model.protocol,
                "SERI": model.serial,
            }
        elif name == b"PP":
            fields = {
                "MODL": model.model,
                "DMIN": str(model.min_range_mm),
                "DMAX": str(model.max_range_mm),
                "ARES": str(model.steps_per_turn),
                "AMIN": str(model.first_step),
                "AMAX": str(model.last_step),
                "AFRT": str(model.front_step),
                "SCAN": str(model.speed_rpm),
            }
        else:
            fields = {
                "MODL": model.model,
                "LASR": "ON" if self.laser_on else "OFF",
                "SCSP": f"{model.speed_rpm}[rpm]",
                "MESM": "Measuring" if self.laser_on else "Idle",
                "SBPS": "Ethernet 100 [Mbps]",
                "TIME": f"{self._clock.stamp(now):06X}",
                "STAT": "Stable 000 no error.",
            }
        return b"".join(info_line(key, value) for key, value in fields.items())

    def _light(self, line: bytes) -> bytes:
        if self.laser_on:
            return _reply(line, b"02")
        self.state = State.SINGLE_SCAN
        return _reply(line, b"00")

    def _adjust_time(self, line: bytes, code: bytes, now: float) -> bytes:  # noqa: PLR0911 - one answer each case
        adjusting = self.state is State.TIME_ADJUSTMENT
        match code:
            case b"0" if adjusting:
                return _reply(line, b"02")
            case b"0":
                self.standby()
                self.state = State.TIME_ADJUSTMENT
                return _reply(line, b"00")
            case b"1" if not adjusting:
                return _reply(line, b"04")
            case b"1":
                return _reply(line, b"00", with_check(encode_number(self._clock.stamp(now), 4)))
            case b"2" if not adjusting:
                return _reply(line, b"03")
            case b"2":
                self.standby()
                return _reply(line, b"00")
            case _:
                return _reply(line, b"01")

    def _measure(self, line: bytes, command: bytes, shot: Shot | None) -> bytes:  # noqa: PLR0911 - one each status
        continuous = command.startswith(b"M")
        widths = (4, 4, 2, 1, 2) if continuous else (4, 4, 2)
        if len(command) - 2 != sum(widths):
            return _reply(line, b"0C" if len(command) - 2 < sum(widths) else b"0D")
        numbers = []
        position = 2
        # The statuses of non-numeric fields are 01, 02, 03, then 06 and 07: 04 and 05 judge the steps.
        for width, status in zip(widths, (b"01", b"02", b"03", b"06", b"07"), strict=False):
            text = command[position : position + width]
            if not text.isdigit():
                return _reply(line, status)
            numbers.append(int(text))
            position += width
        first, last, merged = numbers[:3]
        if last > self._model.last_step:
            return _reply(line, b"04")
        if last < first:
            return _reply(line, b"05")
        measurement = Measurement(
            first, last, 3 if command[1:2] == b"D" else 2, merged, numbers[3] if continuous else 0
        )
        if not continuous:
            if not self.laser_on:
                return _reply(line, b"10")
            if shot is None:
                self._latest.append((line, measurement))
                return b""
            return self._latest_reply(line, measurement, shot)
        if self.state is State.CONTINUOUS_SCAN:
            return _reply(line, b"0B")
        self.state = State.CONTINUOUS_SCAN
        self._measurement = measurement
        self._string = line[len(command) :]
        self._remaining = numbers[4]
        self._endless = numbers[4] == 0
        self._skipped = measurement.skip
        return _reply(line, b"00")

    def _latest_reply(self, line: bytes, measurement: Measurement, shot: Shot) -> bytes:
        return _reply(line, b"00", shot.body(measurement, self._model.min_range_mm))


def _reply(line: bytes, status: bytes, body: bytes = b"") -> bytes:
    return line + b"\n" + with_check(status) + body + b"\n"
