"""A Create 2's motor board: takes and gives Open Interface bytes, moves a simulated body. Pure but for its clock.

Source: iRobot Create 2 Open Interface Specification based on the iRobot Roomba 600 (2018). Written
apart from the driver on purpose: neither may inherit the other's misreadings.
"""

from __future__ import annotations

import math
import random
import struct
import threading
from collections import deque
from dataclasses import dataclass

from drivers.clock import Clock
from drivers.sim.board_sensors import encode_packet, is_packet, members
from drivers.sim.body import BodyReading, SimulatedBody
from drivers.types import BaseMode, ChargingState

STREAM_PERIOD_S = 0.015

_RESET_BANNER = (
    b"bl-start\r\nSTR730\r\nbootloader id: #x4718\r\nbootloader info rev: #xF000\r\n2014-01-01-0000-L   \r\n"
)

# Argument bytes of each command; None: the first argument tells how many follow.
_ARGUMENTS: dict[int, int] = {
    7: 0, 128: 0, 129: 1, 130: 0, 131: 0, 132: 0, 133: 0, 134: 0, 135: 0, 136: 0, 137: 4, 138: 1, 139: 3, 141: 1,
    142: 1, 143: 0, 144: 3, 145: 4, 146: 4, 147: 1, 150: 1, 162: 2, 163: 4, 164: 4, 165: 1, 167: 15, 168: 3, 173: 0,
}  # fmt: skip
_SONG, _STREAM, _QUERY_LIST = 140, 148, 149

_MODE_NUMBER = {mode: number for number, mode in enumerate(BaseMode)}
_CHARGING_NUMBER = {state: number for number, state in enumerate(ChargingState)}
_TICKS_PER_MM = 508.8 / (math.pi * 72.0)
_WHEEL_BASE_MM = 235.0


@dataclass
class BoardFaults:
    """What is wrong with the board and its line; may be set at any time, from any thread.

    `lose_sent`, `lose_received`: probability 0 .. 1 that a byte from or to the board is lost. `corrupt_checksums`: how
    many of the next streamed records carry a wrong checksum. `silent`: sends nothing. `send_delay_s`,
    `receive_delay_s`: added latency either way, seconds. `frozen_encoders`: counts stand still. `ignore_stop`: the
    motor controller is stuck, nothing but a lower supply stops the wheels. `deaf`: takes no commands.
    `charger_plugged_in`: the charger's own plug is in. `home_base_blocks_safe_mode`: also the home base counts as that.
    `mode_change_dead_time_s`: commands ignored for so long after a mode command (20 ms on Roombas before the 600).
    """

    lose_sent: float = 0.0
    lose_received: float = 0.0
    corrupt_checksums: int = 0
    silent: bool = False
    send_delay_s: float = 0.0
    receive_delay_s: float = 0.0
    frozen_encoders: bool = False
    ignore_stop: bool = False
    deaf: bool = False
    charger_plugged_in: bool = False
    home_base_blocks_safe_mode: bool = False
    mode_change_dead_time_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Received:
    """Bytes that a client sent, and when they came, seconds of the board's clock."""

    time: float
    data: bytes


class OpenInterfaceBoard:
    """The board: `feed` it what a client wrote, `tick` it at least every 15 ms, send the client what both return.

    `received` keeps what clients wrote, oldest first (the latest 100,000 writes). `mode` and `wheel_speeds_mm_s` (left,
    right) tell what the board is doing. There is no time-out on the board: it keeps its last wheel speeds for ever.
    """

    def __init__(self, body: SimulatedBody, clock: Clock, faults: BoardFaults | None = None, seed: int = 0) -> None:
        self.faults = faults or BoardFaults()
        self.received: deque[Received] = deque(maxlen=100_000)
        self._body = body
        self._clock = clock
        self._random = random.Random(seed)
        self._lock = threading.RLock()
        self._inbox: deque[tuple[float, bytes]] = deque()
        self._outbox: deque[tuple[float, bytes]] = deque()
        self._frozen: tuple[int, int] | None = None
        self._encoder_zero = (0, 0)
        self._next_record = 0.0
        self._powered = True
        self._power_up()

    @property
    def mode(self) -> BaseMode:
        return self._mode

    @property
    def wheel_speeds_mm_s(self) -> tuple[int, int]:
        """Left and right, as last commanded and obeyed."""
        return self._left_mm_s, self._right_mm_s

    def feed(self, data: bytes) -> bytes:
        """Take bytes from the client; an incomplete command waits for its rest. Returns what is due to be sent."""
        with self._lock:
            now = self._clock.now()
            self.received.append(Received(now, bytes(data)))
            if not self._powered:
                return b""
            kept = _thin_out(data, self.faults.lose_received, self._random)
            self._inbox.append((now + self.faults.receive_delay_s, kept))
            return self._run(now)

    def tick(self, time: float) -> bytes:
        """Let the board's own doings catch up with `time`; returns what is due to be sent."""
        with self._lock:
            sent = self._run(time)
            self._fall_back_to_passive(self._body.reading())
            if self._streamed and not self._paused and time >= self._next_record:
                # A record that is late is not sent twice: the phase of the 15 ms grid is kept.
                self._next_record = time + STREAM_PERIOD_S - (time - self._next_record) % STREAM_PERIOD_S
                self._send(self._stream_record(), time)
                sent += self._due(time)
            return sent

    def power_cycle(self) -> None:
        """As if the battery was taken out and put back: off, wheels at rest, encoder counts at zero."""
        with self._lock:
            reading = self._body.reading()
            self._body.stop_docking()
            self._body.set_wheel_speeds(0.0, 0.0)
            self._encoder_zero = (reading.left_ticks, reading.right_ticks)
            self._inbox.clear()
            self._outbox.clear()
            self._power_up()

    def set_power(self, on: bool) -> None:
        """Cut the board's supply, motors and all, or give it back: then it is off until it is started anew."""
        with self._lock:
            self._powered = on
            self.power_cycle()

    def _power_up(self) -> None:
        self._mode = BaseMode.OFF
        self._pending = bytearray()
        self._left_mm_s = self._right_mm_s = 0
        self._requested = (0, 0)  # velocity and radius of the last drive command, packets 39 and 40
        self._streamed: bytes = b""
        self._paused = False
        self._deaf_until = float("-inf")
        here = self._ticks(self._body.reading())
        self._travelled_from = {19: here, 20: here}

    def _run(self, now: float) -> bytes:
        while self._inbox and self._inbox[0][0] <= now:
            _, data = self._inbox.popleft()
            for value in data:
                self._pending.append(value)
                self._take_command(now)
        return self._due(now)

    def _due(self, now: float) -> bytes:
        sent = bytearray()
        while self._outbox and self._outbox[0][0] <= now:
            sent += self._outbox.popleft()[1]
        return _thin_out(bytes(sent), self.faults.lose_sent, self._random)

    def _send(self, data: bytes, now: float) -> None:
        if not self.faults.silent:
            self._outbox.append((now + self.faults.send_delay_s, data))

    def _take_command(self, now: float) -> None:
        opcode = self._pending[0]
        length = _command_length(self._pending)
        if length is None or len(self._pending) < length:
            return
        arguments = bytes(self._pending[1:length])
        self._pending.clear()
        if opcode not in _KNOWN or self.faults.deaf or now < self._deaf_until:
            return
        if self._mode is BaseMode.OFF and opcode not in (7, 128):
            return
        self._obey(opcode, arguments, now)

    def _obey(self, opcode: int, arguments: bytes, now: float) -> None:
        match opcode:
            case 7:
                self.power_cycle()
                self._send(_RESET_BANNER, now)
            case 128 | 130 | 131 | 132 | 133 | 134 | 135 | 136 | 143 | 173:
                self._change_mode(opcode, now)
            case 137 | 144 | 145 | 146:
                if self._mode in (BaseMode.SAFE, BaseMode.FULL):
                    self._drive(opcode, arguments)
                    self._fall_back_to_passive(self._body.reading())
            case 142:
                self._send(self._packets(arguments), now)
            case 149:
                self._send(self._packets(arguments[1:]), now)
            case 148:
                self._streamed = bytes(identifier for identifier in arguments[1:] if is_packet(identifier))
                self._paused = False
                self._next_record = now + STREAM_PERIOD_S
            case 150:
                self._paused = arguments[0] == 0
            case _:
                pass  # brushes, lights, songs, baud rate, clock, buttons: taken, and of no consequence here

    def _change_mode(self, opcode: int, now: float) -> None:
        self._deaf_until = now + self.faults.mode_change_dead_time_s
        match opcode:
            case 128 | 143 | 133 | 134 | 135 | 136:
                self._mode = BaseMode.PASSIVE
            case 130 | 131:
                self._mode = BaseMode.SAFE
            case 132:
                self._mode = BaseMode.FULL
            case 173:
                self._mode = BaseMode.OFF
                self._streamed = b""
        if opcode == 143:
            self._set_speeds(0, 0)
            self._body.start_docking()
        elif opcode not in (128, 173):
            # A docking run that is under way outlives start and stop: those talk to the interface, not the behaviour.
            self._body.stop_docking()
        if self._mode in (BaseMode.OFF, BaseMode.PASSIVE) and (self._left_mm_s or self._right_mm_s):
            self._set_speeds(0, 0)
        self._fall_back_to_passive(self._body.reading())

    def _drive(self, opcode: int, arguments: bytes) -> None:
        first, second = struct.unpack(">hh", arguments) if len(arguments) == 4 else (0, 0)
        match opcode:
            case 145:
                self._set_speeds(left=second, right=first)
            case 146:
                # Full duty is about full speed on a free-running wheel.
                self._set_speeds(left=round(second * 500 / 255), right=round(first * 500 / 255))
            case 137:
                self._requested = (first, second)
                self._set_speeds(*_wheel_speeds_of_arc(first, second))

    def _set_speeds(self, left: int, right: int) -> None:
        left, right = max(-500, min(500, left)), max(-500, min(500, right))
        if self.faults.ignore_stop and (abs(left) + abs(right) < abs(self._left_mm_s) + abs(self._right_mm_s)):
            return
        self._left_mm_s, self._right_mm_s = left, right
        self._body.set_wheel_speeds(left / 1000, right / 1000)

    def _fall_back_to_passive(self, reading: BodyReading) -> None:
        """The safety rules of safe mode: wheel drop, charger, and a cliff unless it is left straight backwards."""
        if self._mode is not BaseMode.SAFE:
            return
        left, right = self._left_mm_s, self._right_mm_s
        forward = left + right > 0
        # Backward on an arc of less than about one robot radius (170 mm), or on the spot.
        tight = left != right and abs(_WHEEL_BASE_MM / 2 * (left + right) / (right - left)) < 170
        charger = self.faults.charger_plugged_in or (self.faults.home_base_blocks_safe_mode and reading.on_dock)
        if reading.wheel_drop or charger or (reading.cliff and (forward or tight)):
            self._mode = BaseMode.PASSIVE
            self._set_speeds(0, 0)

    def _stream_record(self) -> bytes:
        payload = self._packets(self._streamed, named=True)
        record = bytes([19, len(payload) % 256]) + payload
        checksum = -sum(record) % 256
        if self.faults.corrupt_checksums > 0:
            self.faults.corrupt_checksums -= 1
            checksum ^= 0x55
        return record + bytes([checksum])

    def _packets(self, identifiers: bytes, named: bool = False) -> bytes:
        """The data of sensor packets and groups one after the other, each behind its own id when `named`."""
        values = self._values(self._body.reading())
        parts = []
        for identifier in identifiers:
            parts.append(bytes([identifier] if named else []) + encode_packet(identifier, values))
            for counter in {19, 20}.intersection(members(identifier)):
                self._travelled_from[counter] = (values[43], values[44])
                values[counter] = 0
        return b"".join(parts)

    def _values(self, reading: BodyReading) -> dict[int, int]:
        """The values of the single packets 7 .. 58 that are not zero on this robot, by id."""
        left, right = self._ticks(reading)
        # Safe and full mode end charging.
        awake = self._mode in (BaseMode.SAFE, BaseMode.FULL)
        milliamps = round(reading.current_a * 1000)
        ground = 0 if reading.cliff else 2800
        return {
            7: reading.bump_right | reading.bump_left << 1 | (12 if reading.wheel_drop else 0),
            **dict.fromkeys((9, 10, 11, 12), int(reading.cliff)),
            17: reading.ir_omni,
            19: self._distance_mm(left, right),
            20: self._angle_deg(left, right),
            21: _CHARGING_NUMBER[ChargingState.NOT_CHARGING if awake else reading.charging],
            22: round(reading.voltage_v * 1000),
            23: min(milliamps, -200) if awake else milliamps,
            24: 25,
            25: round(reading.battery_charge_mah),
            26: round(reading.battery_capacity_mah),
            **dict.fromkeys((28, 29, 30, 31), ground),
            34: int(self.faults.charger_plugged_in) | reading.on_dock << 1,
            35: _MODE_NUMBER[self._mode],
            38: len(self._streamed),
            39: self._requested[0],
            40: self._requested[1],
            41: self._right_mm_s,
            42: self._left_mm_s,
            43: left,
            44: right,
            52: reading.ir_left,
            53: reading.ir_right,
            54: round(self._left_mm_s * 0.4),
            55: round(self._right_mm_s * 0.4),
            58: int(self._left_mm_s + self._right_mm_s > 0),
        }

    def _ticks(self, reading: BodyReading) -> tuple[int, int]:
        if not self.faults.frozen_encoders:
            self._frozen = None
            return reading.left_ticks - self._encoder_zero[0], reading.right_ticks - self._encoder_zero[1]
        if self._frozen is None:
            self._frozen = reading.left_ticks - self._encoder_zero[0], reading.right_ticks - self._encoder_zero[1]
        return self._frozen

    def _distance_mm(self, left: int, right: int) -> int:
        """Packet 19: how far the middle went since it was last asked for."""
        from_left, from_right = self._travelled_from[19]
        return round((left - from_left + right - from_right) / 2 / _TICKS_PER_MM)

    def _angle_deg(self, left: int, right: int) -> int:
        """Packet 20: how far it turned, counter-clockwise, since it was last asked for."""
        from_left, from_right = self._travelled_from[20]
        turn_mm = (right - from_right - left + from_left) / _TICKS_PER_MM
        return round(math.degrees(turn_mm / _WHEEL_BASE_MM))


_KNOWN = frozenset(_ARGUMENTS) | {_SONG, _STREAM, _QUERY_LIST}


def _command_length(command: bytearray) -> int | None:
    """Bytes of the command that begins `command`, or None while its length is not known yet."""
    opcode = command[0]
    if opcode == _SONG:
        return 3 + 2 * command[2] if len(command) >= 3 else None
    if opcode in (_STREAM, _QUERY_LIST):
        return 2 + command[1] if len(command) >= 2 else None
    return 1 + _ARGUMENTS.get(opcode, 0)


def _wheel_speeds_of_arc(velocity: int, radius: int) -> tuple[int, int]:
    """Left and right mm/s of command 137: velocity mm/s, radius mm, left turns positive; 0x8000 and 0x7FFF straight."""
    if radius in (-32768, 32767, 0):
        return velocity, velocity
    if radius == 1:
        return -velocity, velocity
    if radius == -1:
        return velocity, -velocity
    half = _WHEEL_BASE_MM / 2
    return round(velocity * (radius - half) / radius), round(velocity * (radius + half) / radius)


def _thin_out(data: bytes, probability: float, chance: random.Random) -> bytes:
    if probability <= 0:
        return data
    return bytes(value for value in data if chance.random() >= probability)
