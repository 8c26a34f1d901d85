"""Bytes of the Create 2 Open Interface: commands out, one streamed sensor record in. Pure functions.

Source: iRobot Create 2 Open Interface Specification based on the iRobot Roomba 600 (2018): chapters "Open Interface
Modes", "Command Reference", "Sensor Packets".
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

from drivers.errors import MotionRefusedError, ProtocolError
from drivers.types import BaseGeometry, BaseMode, ChargingState

BAUD_RATE = 115200
STREAM_PERIOD_S = 0.015
MAX_WHEEL_SPEED_MM_S = 500

# 508.8 encoder counts a turn on a wheel of 72 mm (packets 43 and 44); the wheels are 235 mm apart (command 137).
NOMINAL_METRES_PER_TICK = math.pi * 0.072 / 508.8
NOMINAL_GEOMETRY = BaseGeometry(NOMINAL_METRES_PER_TICK, NOMINAL_METRES_PER_TICK, 0.235)

START = bytes([128])
SAFE = bytes([131])
SEEK_DOCK = bytes([143])
STOP_INTERFACE = bytes([173])


def drive_direct(left_mm_s: int, right_mm_s: int) -> bytes:
    """Command 145: wheel speeds, -500 .. 500 mm/s. The right wheel goes first on the wire."""
    for side, speed in (("left", left_mm_s), ("right", right_mm_s)):
        if not -MAX_WHEEL_SPEED_MM_S <= speed <= MAX_WHEEL_SPEED_MM_S:
            raise MotionRefusedError(
                f"the {side} wheel would have to turn at {speed} mm/s, the Create 2 takes -500 .. 500 mm/s;"
                " ask for less speed or a wider turn"
            )
    return struct.pack(">Bhh", 145, right_mm_s, left_mm_s)


# Each is sent twice in one write. A byte lost on the line leaves the board waiting for the last argument of the command
# before, which then swallows the head of whatever follows; the second copy is read whole all the same.
STOP_BYTES = drive_direct(0, 0) * 2
# In passive mode the board ignores 145, so a docking run ends by safe mode first.
CANCEL_DOCKING_BYTES = (SAFE + drive_direct(0, 0)) * 2


def twist_to_wheel_speeds(linear: float, angular: float, geometry: BaseGeometry) -> tuple[int, int]:
    """Left and right wheel speeds in the board's own mm/s for a twist in m/s and rad/s.

    The board converts mm/s into ticks by its nominal wheel, so a calibrated geometry is undone here.
    Raises MotionRefusedError when the twist is not finite or too fast for a wheel.
    """
    if not (math.isfinite(linear) and math.isfinite(angular)):
        raise MotionRefusedError(f"a velocity of {linear} m/s and {angular} rad/s is not a number the base can drive")
    left, right = _wheel_speeds(linear, angular, geometry)
    if max(abs(left), abs(right)) * 1000 > MAX_WHEEL_SPEED_MM_S + 0.5:
        raise MotionRefusedError(
            f"{linear:.3f} m/s with {angular:.3f} rad/s needs wheel speeds of {left:.3f} and {right:.3f} m/s;"
            " the Create 2 takes -0.5 .. 0.5 m/s a wheel; ask for less speed or a wider turn"
        )
    return round(left * 1000), round(right * 1000)


def reach_factor(linear: float, angular: float, geometry: BaseGeometry) -> float:
    """What a finite twist (m/s, rad/s) must be scaled by, at most 1, so that the board takes its wheel speeds."""
    fastest = max(abs(speed) for speed in _wheel_speeds(linear, angular, geometry))
    return min(1.0, MAX_WHEEL_SPEED_MM_S / 1000 / fastest) if fastest else 1.0


def _wheel_speeds(linear: float, angular: float, geometry: BaseGeometry) -> tuple[float, float]:
    """Left and right wheel speeds, m/s as the board counts them."""
    half = angular * geometry.wheel_base_m / 2
    left = (linear - half) * NOMINAL_METRES_PER_TICK / geometry.left_metres_per_tick
    right = (linear + half) * NOMINAL_METRES_PER_TICK / geometry.right_metres_per_tick
    return left, right


@dataclass(frozen=True, slots=True)
class BoardSensors:
    """The streamed sensor packets of one moment, in SI units.

    Encoder counts are raw, -32768 .. 32767, and wrap. `current_a` is positive while charging. Infrared characters are
    0 .. 255, 0 for nothing received.
    """

    encoder_left: int
    encoder_right: int
    bump_left: bool
    bump_right: bool
    wheel_drop_left: bool
    wheel_drop_right: bool
    cliff_left: bool
    cliff_front_left: bool
    cliff_front_right: bool
    cliff_right: bool
    charging: ChargingState
    internal_charger: bool
    home_base: bool
    voltage_v: float
    current_a: float
    charge_mah: int
    capacity_mah: int
    mode: BaseMode
    infrared_omni: int
    infrared_left: int
    infrared_right: int

    @property
    def wheel_drop(self) -> bool:
        return self.wheel_drop_left or self.wheel_drop_right

    @property
    def cliff(self) -> bool:
        return self.cliff_left or self.cliff_front_left or self.cliff_front_right or self.cliff_right


# Packet id and struct code of what we stream, in the order asked for.
_STREAMED = (
    (43, "h"), (44, "h"), (7, "B"), (9, "B"), (10, "B"), (11, "B"), (12, "B"), (34, "B"), (21, "B"), (22, "H"),
    (23, "h"), (25, "H"), (26, "H"), (35, "B"), (17, "B"), (52, "B"), (53, "B"),
)  # fmt: skip
_RECORD = struct.Struct(">" + "".join("B" + code for _, code in _STREAMED))
_IDS = tuple(identifier for identifier, _ in _STREAMED)

START_STREAM = bytes([148, len(_IDS), *_IDS])
PAYLOAD_LENGTH = _RECORD.size

_CHARGING = tuple(ChargingState)
_MODES = tuple(BaseMode)


def decode_sensors(payload: bytes) -> BoardSensors:
    """One streamed payload (without header, length and checksum).

    Raises ProtocolError when the packets are not the ones asked for or hold values the specification does not know.
    """
    if len(payload) != PAYLOAD_LENGTH:
        raise ProtocolError(f"a Create 2 stream payload of {len(payload)} bytes, expected {PAYLOAD_LENGTH}")
    values = _RECORD.unpack(payload)
    if values[0::2] != _IDS:
        raise ProtocolError(f"the Create 2 streamed packets {list(values[0::2])}, asked for were {list(_IDS)}")
    (left, right, bumps, cliff_l, cliff_fl, cliff_fr, cliff_r, sources, charging, voltage, current, charge, capacity,
     mode, infrared, infrared_left, infrared_right) = values[1::2]  # fmt: skip
    if charging >= len(_CHARGING) or sources > 3 or bumps > 15:
        raise ProtocolError(
            f"the Create 2 reports charging state {charging}, charging sources {sources}, bumps {bumps}:"
            " at least one of them is not in the specification"
        )
    return BoardSensors(
        encoder_left=left,
        encoder_right=right,
        bump_right=bool(bumps & 1),
        bump_left=bool(bumps & 2),
        wheel_drop_right=bool(bumps & 4),
        wheel_drop_left=bool(bumps & 8),
        cliff_left=bool(cliff_l),
        cliff_front_left=bool(cliff_fl),
        cliff_front_right=bool(cliff_fr),
        cliff_right=bool(cliff_r),
        charging=_CHARGING[charging],
        internal_charger=bool(sources & 1),
        home_base=bool(sources & 2),
        voltage_v=voltage / 1000,
        current_a=current / 1000,
        charge_mah=charge,
        capacity_mah=capacity,
        # Owners report modes such as 32 after a fall out of safe mode: whatever they are, they do not obey.
        mode=_MODES[mode] if mode < len(_MODES) else BaseMode.PASSIVE,
        infrared_omni=infrared,
        infrared_left=infrared_left,
        infrared_right=infrared_right,
    )
