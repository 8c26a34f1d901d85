"""A Hokuyo LiDAR that speaks SCIP 2, over TCP or a serial line."""

from __future__ import annotations

import atexit
from collections.abc import Callable
from types import TracebackType

from drivers.clock import Clock, SystemClock
from drivers.errors import DeviceError, DeviceSilentError, ProtocolError
from drivers.scip.codec import decode_number, without_check
from drivers.scip.commands import (
    SENSOR_STATES,
    LidarInfo,
    Measurement,
    SensorStatus,
    lidar_info,
    parse_info,
    sensor_status,
)
from drivers.scip.link import ScipLink
from drivers.scip.reading import ScanReader
from drivers.scip.stream import ScanStream
from drivers.scip.timing import ClockMapping, TimeExchange
from drivers.scip.transport import open_transport
from drivers.types import Scan

_TIME_EXCHANGES = 16


class HokuyoLidar:
    """An open LiDAR. Close it, or use it in a `with` block: it never stays behind with its laser on.

    Every method raises DeviceUnreachableError when the connection is lost, DeviceSilentError when the sensor does not
    answer, ProtocolError when what it answers makes no sense or is a refusal. Times are seconds of the clock given to
    `open`. Not for use by several threads at once, except that a stream may be closed from any thread.
    """

    def __init__(self, link: ScipLink, info: LidarInfo, mapping: ClockMapping) -> None:
        self.info = info
        self._link = link
        self._reader = ScanReader(info, mapping, link.counters)
        self._stream: ScanStream | None = None
        self._closed = False
        # A serial sensor keeps measuring when its host's program ends.
        atexit.register(self.close)

    @classmethod
    def open(cls, url: str, clock: Clock | None = None, *, timeout_s: float = 2.0) -> HokuyoLidar:
        """Connect to `tcp://host[:10940]` or `serial:///dev/ttyACM0[?baud=115200]`, end whatever the sensor was doing,
        ask who it is, and read its clock.

        `timeout_s`: how long to wait for a connection and for each answer.
        Raises DeviceUnreachableError, DeviceSilentError, ProtocolError.
        """
        clock = clock or SystemClock()
        transport = open_transport(url, max(clock.to_wall(timeout_s), 1.0))
        link = ScipLink(url, transport, clock, timeout_s)
        try:
            _quieten(link)
            version = parse_info(link.exchange(b"VV").lines, "VV")
            info = lidar_info(version, parse_info(link.exchange(b"PP").lines, "PP"))
            return cls(link, info, _read_clock(link))
        except BaseException:
            link.close()
            raise

    @property
    def url(self) -> str:
        """The address given to `open`."""
        return self._link.url

    @property
    def dropped(self) -> int:
        """Whole scans that consumers were too slow for."""
        return self._link.counters.dropped

    @property
    def checksum_errors(self) -> int:
        """Frames given up because a check character did not fit."""
        return self._link.counters.checksum_errors

    @property
    def damaged_frames(self) -> int:
        """Frames given up for any reason, checksum errors included."""
        return self._link.counters.damaged_frames

    @property
    def garbage_bytes(self) -> int:
        """Bytes that belonged to no usable frame."""
        return self._link.counters.garbage_bytes

    @property
    def replayed(self) -> int:
        """Scans refused because their time stamp was not later than the last one's, or lay in the future."""
        return self._link.counters.replayed

    @property
    def clock_jumps(self) -> int:
        """How often the sensor's clock turned out to have been reset."""
        return self._link.counters.clock_jumps

    def measurement(
        self,
        first_step: int | None = None,
        last_step: int | None = None,
        *,
        width: int = 3,
        cluster: int = 1,
        skip: int = 0,
    ) -> Measurement:
        """What to measure; the sensor's whole field of view unless narrowed. Raises ValueError outside of it."""
        first = self.info.first_step if first_step is None else first_step
        last = self.info.last_step if last_step is None else last_step
        if first < self.info.first_step or last > self.info.last_step:
            raise ValueError(
                f"steps {first} .. {last} are outside what {self.info.model or 'the sensor'} measures, "
                f"{self.info.first_step} .. {self.info.last_step}"
            )
        return Measurement(first, last, width, cluster, skip)

    def stream(self, measurement: Measurement | None = None, *, depth: int = 2, silence_s: float = 1.0) -> ScanStream:
        """Scans as the sensor takes them (MD, MS), until the stream is closed.

        `depth`: how many scans wait for a slow consumer before the oldest is dropped. `silence_s`: after how long
        without a fresh scan to give up (never less than a second on the wall).
        """
        self._require_idle("start a stream")
        self._stream = ScanStream(
            self._link,
            self._reader,
            measurement or self.measurement(),
            depth=depth,
            silence_s=silence_s,
            synchronise=self._synchronise,
            stop=self._quit,
        )
        return self._stream

    def scan(self, measurement: Measurement | None = None) -> Scan:
        """One scan, begun after this call (MD, MS with a count of one: the laser goes on and off by itself)."""
        self._require_idle("take a scan")
        measurement = measurement or self.measurement()
        command = measurement.continuous(1)
        self._link.exchange(command)
        answer = self._link.wait_for(measurement.echo + b"00")
        if answer.reply.status != b"99":
            raise self._link.refused(command, answer.reply)
        return self._fresh(lambda: self._reader.scan(answer.reply.body, measurement, answer.arrival))

    def latest_scan(self, measurement: Measurement | None = None) -> Scan:
        """The scan the sensor took last (GD, GS). Leaves the laser on: quick to repeat; `laser_off` ends it."""
        self._require_idle("take a scan")
        measurement = measurement or self.measurement()
        self.laser_on()
        self._link.send(measurement.once)
        answer = self._link.wait_for(measurement.once)
        if answer.reply.status != b"00":
            raise self._link.refused(measurement.once, answer.reply)
        return self._fresh(lambda: self._reader.scan(answer.reply.body, measurement, answer.arrival, repeats=True))

    def laser_on(self) -> None:
        """Light the laser (BM); harmless when it is lit."""
        self._require_idle("light the laser")
        self._link.exchange(b"BM", accept=(b"00", b"02"))

    def laser_off(self) -> None:
        """Put the laser out (QT)."""
        self._require_idle("put the laser out")
        self._quit()

    def status(self) -> SensorStatus:
        """What the sensor says of itself (II)."""
        self._require_idle("ask for its status")
        return sensor_status(parse_info(self._link.exchange(b"II").lines, "II"))

    def state(self) -> str:
        """The sensor's operating state in words (%ST). Older models do not know the command and raise ProtocolError."""
        self._require_idle("ask for its state")
        line, _ = self._link.exchange(b"%ST").take_line()
        code = without_check(line, "reply to %ST").decode("ascii", "replace")
        return SENSOR_STATES.get(code, f"unknown state {code}")

    def reset(self) -> None:
        """Reset the sensor's settings and its clock (RS), laser off, then read the clock anew."""
        self._require_idle("reset it")
        self._link.exchange(b"RS")
        self._reader.remap(_read_clock(self._link), jumped=True)

    def synchronise(self) -> float:
        """Read the sensor's clock anew (TM0, TM1, TM2); tells the mapping's error, seconds."""
        self._require_idle("read its clock")
        self._synchronise()
        mapping = self._reader.mapping
        return mapping.error(mapping.to_sensor(self._link.clock.now()))

    def close(self) -> None:
        """Put the laser out and let go of the sensor. Harmless when done twice, or when the sensor is gone."""
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self.close)
        try:
            if self._stream is not None:
                self._stream.close()
            self._quit()
        except DeviceError:
            pass  # gone already: an Ethernet sensor ends its scans with the connection
        finally:
            self._link.close()

    def __enter__(self) -> HokuyoLidar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _require_idle(self, purpose: str) -> None:
        if self._closed:
            raise DeviceError(f"{self.url}: cannot {purpose}, this LiDAR was closed: open it again")
        if self._stream is not None and self._stream.running:
            raise DeviceError(f"{self.url}: cannot {purpose} while a stream is running: close the stream first")

    def _fresh(self, read: Callable[[], Scan | None]) -> Scan:
        try:
            scan = read()
        except ProtocolError as exc:
            self._link.damaged(exc)
            raise type(exc)(f"{self.url}: {exc}") from None
        if scan is None:
            raise DeviceSilentError(
                f"{self.url}: the LiDAR gave an old scan again, or its clock was reset: call synchronise()"
            )
        return scan

    def _quit(self) -> None:
        self._link.exchange(b"QT")

    def _synchronise(self) -> bool:
        """Read the clock anew; tells whether it is another clock than before."""
        before = self._reader.mapping
        mapping = _read_clock(self._link)
        now = self._link.clock.now()
        apart = abs(mapping.to_sensor(now) - before.to_sensor(now))
        jumped = apart > mapping.error(mapping.to_sensor(now)) + before.error(before.to_sensor(now)) + 0.002
        self._link.counters.clock_jumps += jumped
        self._reader.remap(mapping, jumped=jumped)
        return jumped


def _quieten(link: ScipLink) -> None:
    """End whatever a previous client left going on, and find the start of a reply."""
    if link.url.startswith("serial:"):
        # The oldest models wake up speaking SCIP 1.1; newer ones answer this with an error, which says as much.
        link.send(b"SCIP2.0")
    # A sensor left in time adjustment takes no other command (C-42-03320B, section 8.6).
    link.send(b"TM2")
    link.exchange(b"QT")
    link.forget_partial()


def _read_clock(link: ScipLink) -> ClockMapping:
    link.exchange(b"TM0", accept=(b"00", b"02"))
    exchanges = []
    try:
        for _ in range(_TIME_EXCHANGES):
            sent = link.clock.now()
            link.send(b"TM1")
            answer = link.wait_for(b"TM1")
            if answer.reply.status != b"00":
                raise link.refused(b"TM1", answer.reply)
            line, _ = answer.reply.take_line()
            stamp = decode_number(without_check(line, f"{link.url}: reply to TM1"))
            exchanges.append(TimeExchange(sent, answer.arrival, stamp))
    finally:
        link.exchange(b"TM2", accept=(b"00", b"03"))
    try:
        return ClockMapping(exchanges)
    except ProtocolError as exc:
        raise ProtocolError(f"{link.url}: {exc}: restart the sensor") from None
