"""The Create 2 as a moving base: one serial line, a thread that reads it, and verbs that write to it at once."""

from __future__ import annotations

import contextlib
import threading
from types import TracebackType
from typing import Self

import serial

from drivers.clock import Clock, SystemClock
from drivers.create2.codec import (
    BAUD_RATE,
    CANCEL_DOCKING_BYTES,
    NOMINAL_GEOMETRY,
    SEEK_DOCK,
    START,
    START_STREAM,
    STOP_BYTES,
    STOP_INTERFACE,
    BoardSensors,
    drive_direct,
    twist_to_wheel_speeds,
)
from drivers.create2.encoders import EncoderUnwrapper, OdometryBreak
from drivers.create2.stream import StreamParser
from drivers.errors import DeviceSilentError, DeviceUnreachableError, MotionRefusedError
from drivers.serial_line import open_serial_line
from drivers.types import BaseGeometry, BaseMode, BaseState, MotionStatus, Twist

# The board is silent when the stream (a record every 15 ms) has stopped for this long, seconds of the driver's clock.
SILENT_AFTER_S = 0.5
# How long the first record may take after the stream was asked for, seconds of the machine's clock.
FIRST_RECORD_S = 2.0
# A mode command takes effect within 20 ms and is reported one record later; on a loaded host records come late.
MODE_CHANGE_S = 0.25

# Wheels that still turn this long after the board went passive are not coasting: the board drives itself.
COASTING_S = 0.5
# How old a turn of the wheels may be and still count as going on.
_TURNING_S = 0.2

# Roombas of the older Open Interface ignore what comes within 20 ms after a mode command.
_MODE_PAUSE_S = 0.03
_READ_TIMEOUT_S = 0.1
_WRITE_TIMEOUT_S = 0.1
# How long a stop waits for another thread's write before it writes all the same.
_STOP_WAITS_S = 0.005


class Create2:
    """A Create 2 on a serial line; satisfies `MotionBase` and `Docking`, without the guard's protection.

    The board keeps its last wheel speeds for ever: it has no time-out of its own. Only `drivers.guard` should drive it.
    Opening leaves the base at rest in passive mode; `enter_safe_mode` is an explicit act, also after a cliff, a wheel
    drop or the charger's plug has thrown the board back into passive mode, where it ignores drive commands. Safe mode
    ends charging: leave a docked base in passive mode. Verbs may be called from any thread.
    """

    def __init__(self, url: str, line: serial.SerialBase, clock: Clock, geometry: BaseGeometry) -> None:
        self._url = url
        self._line = line
        self._clock = clock
        self._geometry = geometry
        self._parser = StreamParser()
        self._encoders = EncoderUnwrapper()
        self._arrived = threading.Condition()
        self._latest: tuple[BoardSensors, BaseState] | None = None
        self._lost: str | None = None
        self._closing = False
        self._writing = threading.Lock()
        self._stops = 0
        self._dock_asked_at: float | None = None
        self._safe_asked_at: float | None = None
        self._passive_since = self._turned_at = float("-inf")
        self._twist = Twist(0.0, 0.0)
        self._reader = threading.Thread(target=self._read, name=f"create2 {url}", daemon=True)

    @classmethod
    def open(cls, url: str, clock: Clock | None = None, geometry: BaseGeometry | None = None) -> Create2:
        """Open the board at `url` (device path, `serial://`, `socket://`, `rfc2217://`), bring it to rest and listen.

        Raises DeviceUnreachableError when the port is absent, taken or forbidden, DeviceSilentError when no sensor
        record comes within 2 s.
        """
        line = open_serial_line(url, BAUD_RATE, _READ_TIMEOUT_S, _WRITE_TIMEOUT_S)
        base = cls(url, line, clock or SystemClock(), geometry or NOMINAL_GEOMETRY)
        base._reader.start()
        try:
            base._begin()
        except BaseException:
            base._abandon()
            raise
        return base

    @property
    def geometry(self) -> BaseGeometry:
        return self._geometry

    @property
    def connected(self) -> bool:
        """Whether the line is open as far as we know; once lost it stays lost: open the board anew."""
        return self._lost is None and not self._closing

    @property
    def frames(self) -> int:
        """Sensor records received whole."""
        return self._parser.frames

    @property
    def damaged_frames(self) -> int:
        """Places in the stream where a record began but was damaged."""
        return self._parser.damaged

    @property
    def odometry_breaks(self) -> int:
        """How often wheel counts could not be trusted across a gap: odometry from before such a gap is void."""
        return self._encoders.breaks

    @property
    def last_odometry_break(self) -> OdometryBreak | None:
        return self._encoders.last_break

    def enter_safe_mode(self) -> None:
        """Ask for safe mode, wheels at rest: from here on the board obeys `drive`. Ends a docking run, and charging.

        Returns at once; `state().mode` tells when the board has obeyed (it does not while a wheel is dropped).
        """
        self._twist = Twist(0.0, 0.0)
        self._write_at_once(CANCEL_DOCKING_BYTES)
        self._safe_asked_at = self._clock.now()

    def drive(self, linear: float, angular: float) -> None:
        """Write wheel speeds for m/s forward and rad/s counter-clockwise.

        Raises MotionRefusedError when the speed is beyond the board's or the board is not in a mode that obeys,
        DeviceUnreachableError when the line is gone. A drive overtaken by a `stop` is dropped.
        """
        stops = self._stops
        command = drive_direct(*twist_to_wheel_speeds(linear, angular, self._geometry))
        self._refuse_in_wrong_mode()
        with self._writing:
            if self._stops != stops:
                return
            self._twist = Twist(linear, angular)
            self._send(command)

    def stop(self) -> None:
        """Write zero speed now, ahead of any other thread's commands. May be repeated.

        Where the board drives itself (to the dock, or cleaning because somebody pressed its button) it would ignore
        that: safe mode goes before it then.
        Raises DeviceUnreachableError when the line does not take the bytes.
        """
        self._stops += 1
        self._twist = Twist(0.0, 0.0)
        drives_itself = self._runs_to_dock() or self._turns_in_passive_mode()
        self._write_at_once(CANCEL_DOCKING_BYTES if drives_itself else STOP_BYTES)

    def seek_dock(self) -> None:
        """Start the board's own docking run; the board goes into passive mode and drives by itself."""
        self._twist = Twist(0.0, 0.0)
        self._safe_asked_at = None
        self._dock_asked_at = self._clock.now()
        self._write(SEEK_DOCK)

    def cancel_docking(self) -> None:
        """End the docking run: safe mode, then zero speed. Repeat until `state().mode` is safe."""
        self._stops += 1
        self.enter_safe_mode()

    def restart(self) -> None:
        """Start the board's interface and its stream anew, after a silence or a reset. Leaves passive mode, at rest."""
        self._twist = Twist(0.0, 0.0)
        self._safe_asked_at = None
        self._write(STOP_BYTES + START)
        self._clock.sleep(_MODE_PAUSE_S)
        self._write(START_STREAM)

    def sensors(self) -> BoardSensors:
        """All streamed sensors of the latest record. Raises as `state` does."""
        return self._recent()[0]

    def state(self) -> BaseState:
        """The latest reading.

        Raises DeviceSilentError when no record came for 0.5 s (of the driver's clock), DeviceUnreachableError when
        the line is gone.
        """
        return self._recent()[1]

    def wait_state(self, after: float, timeout: float = 1.0) -> BaseState:
        """The first reading that arrived later than `after`; seconds of the driver's clock.

        Raises DeviceSilentError when none comes in time, DeviceUnreachableError when the line is gone.
        """
        if not self._wait_record(after, self._clock.to_wall(timeout)):
            raise DeviceSilentError(f"{self._name()} sent no sensor record for {timeout:.2f} s; {self._advice()}")
        return self._recent()[1]

    def status(self) -> MotionStatus:
        """Whether the board obeys drive commands. The reasons of the motion guard are not known here."""
        latest = self._latest
        mode = latest[1].mode if latest else BaseMode.OFF
        obeys = mode in (BaseMode.SAFE, BaseMode.FULL)
        return MotionStatus(
            time=self._clock.now(),
            allowed=obeys,
            latched=False,
            docking=self._runs_to_dock(),
            reason=None,
            detail=f"the board is in {mode} mode",
            commanded=self._twist,
            applied=self._twist,
            stops=self._stops,
        )

    def close(self) -> None:
        """Stop, hand the board back to its own buttons, close the line. May be repeated."""
        if self._closing:
            return
        with contextlib.suppress(DeviceUnreachableError):  # a lost line cannot be told, and there is nothing to free
            self.stop()
            self._clock.sleep(_MODE_PAUSE_S)
            self._write(STOP_INTERFACE)
            # On TCP, bytes that nobody read when the socket closes would take these two along: read on a little.
            self._clock.sleep(_MODE_PAUSE_S)
        self._abandon()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _begin(self) -> None:
        self.restart()
        if not self._wait_record(float("-inf"), FIRST_RECORD_S):
            raise DeviceSilentError(
                f"{self._name()} sent no sensor record for {FIRST_RECORD_S:.0f} s; {self._advice()}"
            )
        if not self._rests_on_dock():
            # In passive mode it may be driving itself, to the dock or on a cleaning run. Only safe mode ends that.
            self._write(CANCEL_DOCKING_BYTES)
            self._clock.sleep(_MODE_PAUSE_S)
            self.restart()

    def _write(self, data: bytes) -> None:
        with self._writing:
            self._send(data)

    def _write_at_once(self, data: bytes) -> None:
        # A write that hangs must not hold up a stop: after a moment the bytes go out without the lock.
        mine = self._writing.acquire(timeout=_STOP_WAITS_S)
        try:
            self._send(data)
        finally:
            if mine:
                self._writing.release()

    def _send(self, data: bytes) -> None:
        self._refuse_disconnected()
        try:
            self._line.write(data)
        except (serial.SerialException, OSError) as exc:
            raise DeviceUnreachableError(
                f"{self._name()} did not take {data.hex(' ')}: {exc}; check cable and power, then open it again"
            ) from exc

    def _refuse_disconnected(self) -> None:
        if not self.connected:
            why = self._lost or "it was closed"
            raise DeviceUnreachableError(f"{self._name()} is not connected: {why}; open it again")

    def _refuse_in_wrong_mode(self) -> None:
        sensors, state = self._recent()
        asked = self._safe_asked_at
        if asked is not None and state.time < asked + MODE_CHANGE_S:
            return
        if self._runs_to_dock():
            raise MotionRefusedError(
                f"{self._name()} is on its own docking run and ignores drive commands; end it with cancel_docking first"
            )
        if state.mode in (BaseMode.SAFE, BaseMode.FULL):
            return
        causes = [
            name
            for name, present in (
                ("a wheel is dropped", sensors.wheel_drop),
                ("a cliff is seen", sensors.cliff),
                ("the charger's plug is in", sensors.internal_charger),
            )
            if present
        ]
        why = f" ({', '.join(causes)})" if causes else ""
        raise MotionRefusedError(
            f"{self._name()} is in {state.mode} mode{why} and ignores drive commands;"
            " see why it left safe mode, then enter safe mode again"
        )

    def _rests_on_dock(self) -> bool:
        latest = self._latest
        return latest is not None and latest[1].on_dock and self._clock.now() - latest[1].time <= SILENT_AFTER_S

    def _runs_to_dock(self) -> bool:
        return self._dock_asked_at is not None and not self._rests_on_dock()

    def _turns_in_passive_mode(self) -> bool:
        latest = self._latest
        return (
            latest is not None
            and latest[1].mode is BaseMode.PASSIVE
            and self._turned_at > self._passive_since + COASTING_S
            and self._clock.now() - self._turned_at < _TURNING_S
        )

    def _recent(self) -> tuple[BoardSensors, BaseState]:
        self._refuse_disconnected()
        latest = self._latest
        age = self._clock.now() - latest[1].time if latest else float("inf")
        if latest is None or age > SILENT_AFTER_S:
            raise DeviceSilentError(f"{self._name()} has been silent for {age:.2f} s; {self._advice()}")
        return latest

    def _wait_record(self, after: float, wall_seconds: float) -> bool:
        def newer() -> bool:
            return self._lost is not None or (self._latest is not None and self._latest[1].time > after)

        with self._arrived:
            return self._arrived.wait_for(newer, wall_seconds)

    def _name(self) -> str:
        return f"the Create 2 at {self._url}"

    def _advice(self) -> str:
        heard = (
            f"{self._parser.frames} good and {self._parser.damaged} damaged records, {self._parser.skipped} other bytes"
        )
        return (
            f"heard so far: {heard}; check that it is switched on (its power light is lit), that the cable sits"
            " and that nothing else uses the line"
        )

    def _abandon(self) -> None:
        self._closing = True
        if self._reader.is_alive():
            self._reader.join(timeout=10 * _READ_TIMEOUT_S)
        self._line.close()

    def _read(self) -> None:
        while not self._closing:
            try:
                data = self._line.read(self._parser.needed)
            except (serial.SerialException, OSError, TypeError) as exc:
                # pyserial raises TypeError when its descriptor vanishes under a read.
                with self._arrived:
                    self._lost = f"reading failed: {exc}"
                    self._arrived.notify_all()
                return
            now = self._clock.now()
            for record in self._parser.feed(data):
                self._take(record, now)

    def _take(self, sensors: BoardSensors, now: float) -> None:
        left, right = self._encoders.update(sensors.encoder_left, sensors.encoder_right, now)
        state = BaseState(
            time=now,
            left_ticks=left,
            right_ticks=right,
            mode=sensors.mode,
            on_dock=sensors.home_base,
            charging=sensors.charging,
            battery_ratio=min(1.0, sensors.charge_mah / sensors.capacity_mah) if sensors.capacity_mah else 0.0,
            battery_current_a=sensors.current_a,
            battery_voltage_v=sensors.voltage_v,
            bump_left=sensors.bump_left,
            bump_right=sensors.bump_right,
            wheel_drop=sensors.wheel_drop,
            cliff=sensors.cliff,
            odometry_breaks=self._encoders.breaks,
        )
        before = self._latest[1] if self._latest else state
        if before is state or before.mode is not state.mode:
            self._passive_since = now
        if (left, right) != (before.left_ticks, before.right_ticks):
            self._turned_at = now
        asked = self._dock_asked_at
        if asked is not None and sensors.mode in (BaseMode.SAFE, BaseMode.FULL) and now > asked + MODE_CHANGE_S:
            self._dock_asked_at = None
        with self._arrived:
            self._latest = (sensors, state)
            self._arrived.notify_all()
