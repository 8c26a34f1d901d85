"""Continuous scans: a thread reads, decodes, checks freshness, and keeps the newest scans for the consumer."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType

from drivers.errors import DeviceError, DeviceSilentError, ProtocolError
from drivers.scip.commands import TRANSIENT_STATUSES, Measurement
from drivers.scip.link import Received, ScipLink
from drivers.scip.reading import ScanReader
from drivers.types import Scan

_POLL_WALL_S = 0.05
# Sensor-clock seconds without a fresh scan, while old ones keep coming, before the sensor's clock is asked for.
_SUSPECT_S = 0.3


class ScanStream:
    """An iterator over scans as they come. A consumer that is too slow loses whole old scans; `dropped` counts them.

    Made by `HokuyoLidar.stream`. Use it in a `with` block, or close it: closing turns the laser off.
    Iterating raises DeviceSilentError when nothing, or nothing new, comes any more; ProtocolError when only garbage
    comes; DeviceUnreachableError when the connection is lost; DeviceError when the sensor reports a fault.
    """

    def __init__(
        self,
        link: ScipLink,
        reader: ScanReader,
        measurement: Measurement,
        *,
        depth: int,
        silence_s: float,
        synchronise: Callable[[], bool],
        stop: Callable[[], None],
    ) -> None:
        if depth < 1:
            raise ValueError(f"a stream keeps at least one scan, not {depth}")
        self.measurement = measurement
        self._link = link
        self._reader = reader
        self._silence_s = silence_s
        self._synchronise = synchronise
        self._stop_measuring = stop
        self._slots: deque[Scan] = deque()
        self._depth = depth
        self._changed = threading.Condition()
        self._stopping = False
        self._finished = False
        self._error: DeviceError | None = None
        self._start_measuring()
        self._thread = threading.Thread(target=self._run, name=f"scip {link.url}", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Whole scans this sensor's consumers were too slow for."""
        return self._link.counters.dropped

    @property
    def running(self) -> bool:
        """Whether scans may still come."""
        return not self._finished

    def __iter__(self) -> ScanStream:
        return self

    def __next__(self) -> Scan:
        with self._changed:
            self._changed.wait_for(lambda: self._slots or self._finished)
            if self._slots:
                return self._slots.popleft()
            if self._error is not None:
                raise self._error
            raise StopIteration

    def __enter__(self) -> ScanStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the measurement and turn the laser off. Scans not yet taken are given up. Harmless when done twice."""
        self._stopping = True
        if self._thread is not threading.current_thread():
            self._thread.join()
        with self._changed:
            self._slots.clear()

    def _start_measuring(self) -> None:
        # The acknowledgement may be lost; the first scan (status 99) is as good a one.
        self._link.exchange(self.measurement.continuous(), accept=(b"00", b"99"))
        self._fresh_at = self._link.clock.now()
        self._fresh_wall = time.monotonic()
        self._asked_at = self._fresh_at
        self._bytes_at_fresh = self._link.bytes_read
        self._refused = 0
        self._last_refusal = ""

    def _run(self) -> None:
        error: DeviceError | None = None
        try:
            while not self._stopping:
                # The time before waiting counts: a process that was stopped meanwhile must not blame the sensor.
                now, wall = self._link.clock.now(), time.monotonic()
                received = self._link.receive(_POLL_WALL_S)
                if received is None or not self._take(received):
                    self._check_freshness(now, wall)
        except DeviceError as exc:
            error = exc
        except Exception as exc:  # a consumer must never wait for a thread that died
            error = DeviceError(f"{self._link.url}: reading the LiDAR failed by a fault of this program: {exc!r}")
            error.__cause__ = exc
        try:
            self._stop_measuring()
        except DeviceError as exc:
            # Closing a sensor that is gone is no news; that it is gone was told, or will be by the next command.
            error = error or (None if self._stopping else exc)
        with self._changed:
            self._error = error
            self._finished = True
            self._changed.notify_all()

    def _take(self, received: Received) -> bool:
        """Use a frame; tells whether it was a fresh scan."""
        try:
            reply = self._link.parse(received.frame, self.measurement.echo)
        except ProtocolError as exc:
            self._last_refusal = str(exc)
            return False
        if reply.status != b"99":
            if reply.status in TRANSIENT_STATUSES or reply.status == b"00":
                return False
            raise DeviceError(str(self._link.refused(self.measurement.continuous(), reply)))
        try:
            scan = self._reader.scan(reply.body, self.measurement, received.arrival)
        except ProtocolError as exc:
            self._link.damaged(exc)
            self._last_refusal = str(exc)
            return False
        if scan is None:
            self._refused += 1
            return False
        self._fresh_at = received.arrival
        self._fresh_wall = time.monotonic()
        self._bytes_at_fresh = self._link.bytes_read
        self._refused = 0
        with self._changed:
            if len(self._slots) >= self._depth:
                self._slots.popleft()
                self._link.counters.dropped += 1
            self._slots.append(scan)
            self._changed.notify_all()
        return True

    def _check_freshness(self, now: float, wall: float) -> None:
        """Raise when there has been no fresh scan for too long before `now` (`wall` by the wall's clock)."""
        if self._refused and min(now - self._fresh_at, now - self._asked_at) > _SUSPECT_S:
            # Old scans again, or a sensor whose clock was reset: only the sensor's clock itself tells them apart.
            refused = self._refused
            fresh_at, fresh_wall = self._fresh_at, self._fresh_wall
            self._stop_measuring()
            jumped = self._synchronise()
            self._start_measuring()
            if not jumped:
                self._fresh_at, self._fresh_wall, self._refused = fresh_at, fresh_wall, refused
        if now - self._fresh_at < self._silence_s or wall - self._fresh_wall < self._link.wall(0):
            return
        url, waited = self._link.url, now - self._fresh_at
        if self._refused:
            raise DeviceSilentError(
                f"{url}: for {waited:.1f} s the LiDAR has sent nothing but old scans again ({self._refused} with a "
                "time stamp not later than one before, by its own clock): restart the sensor"
            )
        if self._link.bytes_read > self._bytes_at_fresh:
            raise ProtocolError(
                f"{url}: for {waited:.1f} s nothing the LiDAR sent was a whole scan "
                f"({self._link.bytes_read - self._bytes_at_fresh} bytes; {self._last_refusal or 'half a frame'}): "
                "check the cable, and that no other device shares the line"
            )
        raise DeviceSilentError(
            f"{url}: the LiDAR has been silent for {waited:.1f} s while it should send a scan every "
            f"{self._reader.info.scan_period_s * (1 + self.measurement.skip):.3f} s: check its power and cable"
        )
