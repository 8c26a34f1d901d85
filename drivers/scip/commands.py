"""SCIP 2's commands: how a measurement is asked for, what each status means, what VV, PP, II and %ST answer.

Sources: Hokuyo C-42-03320B (SCIP 2.0), sections 8 and 9. For what it lacks (%ST, the letter statuses where the Ethernet
models differ) the tables of the independent client hokuyolx 0.9.0, which names Hokuyo's UTM-30LX-EW and UST documents.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from drivers.errors import ProtocolError
from drivers.scip.codec import check_character, without_check

MAX_STEP = 9999
MAX_CLUSTER = 99
MAX_SKIP = 9
MAX_COUNT = 99

_MEASURE = {
    "01": "the starting step is no number",
    "02": "the end step is no number",
    "03": "the cluster count is no number",
    "04": "the end step is out of range",
    "05": "the end step is smaller than the starting step",
    "06": "the scan interval is no number",
    "07": "the number of scans is no number",
    "10": "refused in the sensor's present state (the laser is off)",
    "98": "measuring again after an interruption",
}
_BY_COMMAND: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "MD": _MEASURE,
        "MS": _MEASURE,
        "GD": _MEASURE,
        "GS": _MEASURE,
        "BM": {"01": "the laser does not light: laser malfunction", "02": "the laser is already on"},
        "TM": {
            "01": "invalid control code",
            "02": "already in time adjustment",
            "03": "time adjustment is already off",
            "04": "time asked for outside time adjustment",
        },
    }
)
_COMMON: Mapping[str, str] = MappingProxyType(
    {
        "00": "accepted",
        "99": "data follow",
        "0A": "the sensor could not make its reply",
        "0B": "the command is already being processed",
        "0C": "too few parameters",
        "0D": "undefined command",
        "0E": "undefined command, or one this model does not support",
        "0F": "too few parameters, or a command this model does not support",
        "0G": "the string after the command is longer than 16 characters",
        "0H": "the string after the command holds invalid characters",
        "0I": "the sensor is in firmware update mode: reset it",
        "0L": "the sensor is in an abnormal state: read II and restart it",
        "0M": "the sensor is not stable (the motor is not at speed)",
    }
)
# What a running measurement may report and then go on from (C-42-03320B, section 8.1).
TRANSIENT_STATUSES = frozenset({b"0M", b"98", *(b"%02d" % code for code in range(21, 50))})


def status_meaning(command: str, status: bytes) -> str:
    """What a status means as the answer to `command` (two letters), in words."""
    code = status.decode("ascii", "replace")
    known = _BY_COMMAND.get(command, {}).get(code) or _COMMON.get(code)
    if known:
        return known
    if code.isdigit() and command in ("MD", "MS", "GD", "GS"):
        if 21 <= int(code) <= 49:
            return "measuring is interrupted while the sensor checks an error"
        if 50 <= int(code) <= 97:
            return "hardware trouble (laser, motor): the sensor needs service"
    return "a status that the protocol does not name"


@dataclass(frozen=True, slots=True)
class Measurement:
    """What to measure. `cluster`: adjacent steps merged into one value, the smallest that is no error (0 and 1: none
    merged). `skip`: scans left out between two that are sent. `width`: characters a range, 3 up to 262 m, 2 to 4095 mm.

    Raises ValueError for what the command has no room for.
    """

    first_step: int
    last_step: int
    width: int = 3
    cluster: int = 1
    skip: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.first_step <= self.last_step <= MAX_STEP:
            raise ValueError(f"steps {self.first_step} .. {self.last_step} are not in order within 0 .. {MAX_STEP}")
        if self.width not in (2, 3):
            raise ValueError(f"ranges come in 2 or 3 characters, not {self.width}")
        if not 0 <= self.cluster <= MAX_CLUSTER:
            raise ValueError(f"cluster count {self.cluster} is outside 0 .. {MAX_CLUSTER}")
        if not 0 <= self.skip <= MAX_SKIP:
            raise ValueError(f"scan interval {self.skip} is outside 0 .. {MAX_SKIP}")

    @property
    def values(self) -> int:
        """How many values a scan has; a last, incomplete cluster gives one too."""
        return -(-(self.last_step - self.first_step + 1) // max(1, self.cluster))

    @property
    def steps(self) -> NDArray[np.float64]:
        """(N,) the step each value stands for: the middle of its cluster."""
        cluster = max(1, self.cluster)
        first = np.arange(self.first_step, self.last_step + 1, cluster)
        last = np.minimum(first + cluster - 1, self.last_step)
        return (first + last) / 2

    @property
    def once(self) -> bytes:
        """The command for the sensor's latest scan: GD, GS."""
        letter = "D" if self.width == 3 else "S"
        return f"G{letter}{self.first_step:04d}{self.last_step:04d}{self.cluster:02d}".encode("ascii")

    @property
    def echo(self) -> bytes:
        """What each scan of `continuous` begins with: the command less its last two digits, which count down."""
        letter = "D" if self.width == 3 else "S"
        return f"M{letter}{self.first_step:04d}{self.last_step:04d}{self.cluster:02d}{self.skip:01d}".encode("ascii")

    def continuous(self, count: int = 0) -> bytes:
        """The command for `count` scans (0: until told to stop), all taken after it: MD, MS."""
        if not 0 <= count <= MAX_COUNT:
            raise ValueError(f"{count} scans are outside 0 .. {MAX_COUNT}")
        return self.echo + b"%02d" % count


@dataclass(frozen=True, slots=True)
class LidarInfo:
    """Who the sensor is (VV) and what it measures (PP). Metres, radians, seconds."""

    vendor: str
    product: str
    firmware: str
    protocol: str
    serial: str
    model: str
    min_range_m: float
    max_range_m: float
    steps_per_turn: int
    first_step: int
    last_step: int
    front_step: int
    scan_period_s: float

    @property
    def angle_increment(self) -> float:
        """Radians between two steps."""
        return 2 * math.pi / self.steps_per_turn

    @property
    def sweep_s(self) -> float:
        """How long the beam takes from the first to the last step."""
        return self.scan_period_s * (self.last_step - self.first_step) / self.steps_per_turn

    def angles(self, steps: NDArray[np.float64]) -> NDArray[np.float64]:
        """The directions of `steps`, radians, counter-clockwise from the front axis."""
        return (steps - self.front_step) * self.angle_increment


@dataclass(frozen=True, slots=True)
class SensorStatus:
    """What the sensor says of itself (II), in its own words."""

    laser_on: bool
    scan_speed: str
    measuring: str
    bit_rate: str
    time: str
    status: str


# What %ST answers (as hokuyolx has it): the last digit is the state, a leading 1 a fall from it into instability.
SENSOR_STATES: Mapping[str, str] = MappingProxyType(
    {
        "000": "standby",
        "100": "standby, turning unstable",
        "001": "booting",
        "002": "time adjustment",
        "102": "time adjustment, turning unstable",
        "003": "single scans",
        "103": "single scans, turning unstable",
        "004": "continuous scans",
        "104": "continuous scans, turning unstable",
        "005": "asleep",
        "006": "waking up",
        "900": "error detected",
    }
)


def info_line(key: str, value: str) -> bytes:
    """One line of a VV, PP or II reply. The semicolon is not part of the sum."""
    content = f"{key}:{value}".encode("ascii")
    return content + b";" + check_character(content) + b"\n"


def parse_info(lines: list[bytes], command: str) -> dict[str, str]:
    """The keys and values of a VV, PP or II reply. Raises ChecksumError, ProtocolError."""
    fields = {}
    for line in lines:
        if len(line) < 3 or line[-2:-1] != b";":
            raise ProtocolError(f"{command} answered {line!r}, which is no KEY:VALUE;check line")
        content = without_check(line[:-2] + line[-1:], f"reply to {command}")
        key, colon, value = content.decode("ascii", "replace").partition(":")
        if not colon:
            raise ProtocolError(f"{command} answered {line!r}, which has no colon after its key")
        fields[key.strip()] = value.strip()
    return fields


def lidar_info(version: Mapping[str, str], parameters: Mapping[str, str]) -> LidarInfo:
    """VV and PP as typed data. Raises ProtocolError when a needed field is missing, no number, or makes no sense."""

    def number(key: str) -> int:
        text = parameters.get(key)
        if text is None or not text.isdigit():
            raise ProtocolError(f"PP gives {key} as {text!r}, where a number belongs (fields: {sorted(parameters)})")
        return int(text)

    speed_rpm, first, last, front = number("SCAN"), number("AMIN"), number("AMAX"), number("AFRT")
    turn, nearest, farthest = number("ARES"), number("DMIN"), number("DMAX")
    if not (speed_rpm and first < last <= MAX_STEP and last - first < turn and nearest < farthest):
        raise ProtocolError(
            f"PP makes no sense: steps {first} .. {last} of {turn} a turn, ranges {nearest} .. {farthest} mm, "
            f"{speed_rpm} rpm"
        )
    return LidarInfo(
        vendor=version.get("VEND", ""),
        product=version.get("PROD", ""),
        firmware=version.get("FIRM", ""),
        protocol=version.get("PROT", ""),
        serial=version.get("SERI", ""),
        model=parameters.get("MODL", ""),
        min_range_m=nearest / 1000,
        max_range_m=farthest / 1000,
        steps_per_turn=turn,
        first_step=first,
        last_step=last,
        front_step=front,
        scan_period_s=60 / speed_rpm,
    )


def sensor_status(fields: Mapping[str, str]) -> SensorStatus:
    """II as typed data."""
    return SensorStatus(
        laser_on=fields.get("LASR") == "ON",
        scan_speed=fields.get("SCSP", ""),
        measuring=fields.get("MESM", ""),
        bit_rate=fields.get("SBPS", ""),
        time=fields.get("TIME", ""),
        status=fields.get("STAT", ""),
    )
