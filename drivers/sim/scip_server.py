"""A simulated LiDAR on a real TCP port: speaks SCIP 2 byte for byte, keeps time by its own clock, takes faults."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import random
import selectors
import socket
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from drivers.clock import Clock
from drivers.scip.codec import with_check
from drivers.sim.scip_faults import ScipFaults
from drivers.sim.scip_sensor import LidarModel, SensorClock, Session, Shot, to_values
from drivers.types import Array

Source = Callable[[float], tuple[Array, NDArray[np.uint8]]]

_READ_BYTES = 4096
_MAX_LINE_BYTES = 256
# Small, as in a sensor: a client that does not read loses scans, it does not get them all minutes later.
_SEND_BUFFER_BYTES = 16_384
_MAX_OUTBOX_BYTES = 1 << 20
_IDLE_WALL_S = 0.5
_SHORTEST_WAIT_S = 0.0002
_PAST_SCANS = 400


@dataclass(eq=False)
class _Client:
    """One connection: its conversation, what came in, what waits to go out."""

    socket: socket.socket
    session: Session
    inbox: bytearray = field(default_factory=bytearray)
    outbox: bytearray = field(default_factory=bytearray)
    last_due: float = 0.0
    frames: int = 0


class ScipServer:
    """A UTM-30LX-EW (or another `model`) on `host:port`, running from construction until `close`.

    `source(time)` is asked, at each scan's own time (the clock's), for (N,) metres with NaN for nothing and (N,) uint8
    error codes, N = `last_step` + 1; only while some client has the laser on, and from this server's one thread.
    A scan is sent when its sweep is over. `sensor_clock`: what the sensor's own clock shows; by default its time since
    construction. A client that is too slow loses whole scans (`frames_dropped`), and never holds up another.
    """

    def __init__(
        self,
        source: Source,
        clock: Clock,
        host: str = "127.0.0.1",
        port: int = 0,
        faults: ScipFaults | None = None,
        *,
        model: LidarModel | None = None,
        sensor_clock: SensorClock | None = None,
        seed: int = 0,
    ) -> None:
        self.faults = faults or ScipFaults()
        self.model = model or LidarModel()
        self.sensor_clock = sensor_clock or SensorClock(clock.now())
        self.scans_taken = 0
        self.frames_dropped = 0
        self._source = source
        self._clock = clock
        self._random = random.Random(seed)
        self._clients: list[_Client] = []
        self._latest: Shot | None = None
        self._past: deque[Shot] = deque(maxlen=_PAST_SCANS)
        self._next_scan: float | None = None
        self._agenda: list[tuple[float, int, _Client, bytes, bool]] = []
        self._numbers = itertools.count()
        self._closing = False
        self._listener: socket.socket | None = self._listen(host, port)
        self.host, self.port = self._listener.getsockname()[:2]
        self._wake_receiver, self._wake_sender = socket.socketpair()
        self._wake_sender.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wake_receiver, selectors.EVENT_READ)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name=f"simulated LiDAR {self.port}", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """The address to give a driver."""
        return f"tcp://{self.host}:{self.port}"

    @property
    def laser_on(self) -> bool:
        """Whether any client has the laser on."""
        return any(client.session.laser_on for client in list(self._clients))

    def jump_clock(self, seconds: float) -> None:
        """Move the sensor's clock by `seconds`, as a fault or a restart does."""
        now = self._clock.now()
        self.sensor_clock.set(now, self.sensor_clock.read(now) + seconds)

    def close(self) -> None:
        """Stop listening and drop every client. Harmless when done twice."""
        self._closing = True
        self._wake()
        self._thread.join()

    def __enter__(self) -> ScipServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @staticmethod
    def _listen(host: str, port: int) -> socket.socket:
        listener = socket.create_server((host, port), backlog=8)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        listener.setblocking(False)
        return listener

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # full: it will wake anyway; closed: nobody sleeps there
            self._wake_sender.send(b"!")

    def _run(self) -> None:
        try:
            while not self._closing:
                self._turn()
        finally:
            for client in list(self._clients):
                self._drop(client)
            self._selector.close()
            for each in (self._listener, self._wake_receiver, self._wake_sender):
                if each is not None:
                    each.close()

    def _turn(self) -> None:
        due = self._agenda[0][0] if self._agenda else None
        if self._next_scan is not None:
            due = self._next_scan if due is None else min(due, self._next_scan)
        wait = _IDLE_WALL_S
        if due is not None:
            left = due - self._clock.now()
            wait = min(wait, max(_SHORTEST_WAIT_S, self._clock.to_wall(left))) if left > 0 else 0.0
        if self._closing:
            return
        for key, events in self._selector.select(wait):
            if key.fileobj is self._wake_receiver:
                self._wake_receiver.recv(64)
            elif key.fileobj is self._listener:
                self._accept()
            else:
                if events & selectors.EVENT_READ:
                    self._read(key.data)
                if events & selectors.EVENT_WRITE and key.data in self._clients:
                    self._flush(key.data)
        self._apply_switches()
        self._scan_if_due()
        now = self._clock.now()
        while self._agenda and self._agenda[0][0] <= now:
            _, _, client, data, is_scan = heapq.heappop(self._agenda)
            self._deliver(client, data, is_scan=is_scan)

    def _apply_switches(self) -> None:
        if self.faults.hang_ups and self.faults.take("hang_ups"):
            for client in list(self._clients):
                self._drop(client)
        if self.faults.refuse and self._listener is not None:
            self._selector.unregister(self._listener)
            self._listener.close()
            self._listener = None
        elif not self.faults.refuse and self._listener is None:
            self._listener = self._listen(self.host, self.port)
            self._selector.register(self._listener, selectors.EVENT_READ)

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client = _Client(connection, Session(self.model, self.sensor_clock, self._reset))
        self._clients.append(client)
        self._selector.register(connection, selectors.EVENT_READ, client)

    def _reset(self, now: float) -> None:
        self.sensor_clock.set(now, 0.0)
        for client in self._clients:
            client.session.standby()

    def _drop(self, client: _Client) -> None:
        if client in self._clients:
            self._clients.remove(client)
            self._selector.unregister(client.socket)
            client.socket.close()

    def _read(self, client: _Client) -> None:
        try:
            data = client.socket.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop(client)
            return
        client.inbox += data.replace(b"\r", b"\n")
        *lines, rest = bytes(client.inbox).split(b"\n")
        client.inbox[:] = rest[-_MAX_LINE_BYTES:]
        for line in lines:
            if line:
                now = self._clock.now()
                recent = self._latest if self._latest and now - self._latest.time < 3 * self.model.period_s else None
                reply = client.session.answer(line[:_MAX_LINE_BYTES], now, recent)
                if not client.session.laser_on:
                    self._forget_scans(client)
                if reply:
                    self._send_later(client, reply, now, is_scan=False)
        if self._next_scan is None and self.laser_on:
            self._next_scan = self._clock.now()

    def _forget_scans(self, client: _Client) -> None:
        """A stopped client's scans that are still under way do not follow the reply that says so."""
        kept = [entry for entry in self._agenda if not (entry[2] is client and entry[4])]
        if len(kept) != len(self._agenda):
            heapq.heapify(kept)
            self._agenda = kept

    def _scan_if_due(self) -> None:
        now = self._clock.now()
        if self._next_scan is None or now < self._next_scan:
            return
        if not self.laser_on:
            self._next_scan = None
            return
        started = self._next_scan
        period = self.model.period_s
        if now - started > period:  # the machine was too busy: those scans were never taken
            started += period * int((now - started) / period)
        self._next_scan = started + period
        shot = self._shoot(started)
        for client in list(self._clients):
            for frame in client.session.take(shot):
                self._send_scan(client, frame, started + self.model.ready_s)

    def _shoot(self, time: float) -> Shot:
        if self.faults.frozen and self._latest is not None:
            return self._latest
        if self.faults.replay and self._past:
            shot = self._past[0]
            self._past.rotate(-1)
            return shot
        shot = Shot(time, self.sensor_clock.stamp(time), to_values(*self._source(time)))
        self.scans_taken += 1
        self._latest = shot
        self._past.append(shot)
        return shot

    def _send_scan(self, client: _Client, frame: bytes, ready: float) -> None:
        faults = self.faults
        client.frames += 1
        if faults.drop_every and client.frames % faults.drop_every == 0:
            return
        if faults.status_frames and faults.take("status_frames"):
            frame = frame.partition(b"\n")[0] + b"\n" + with_check(faults.status.encode("ascii")) + b"\n"
        if faults.corrupt_frames and faults.take("corrupt_frames"):
            middle = len(frame) // 2
            middle += frame[middle : middle + 1] == b"\n"
            frame = frame[:middle] + bytes((frame[middle] ^ 1,)) + frame[middle + 1 :]
        if faults.cut_frames and faults.take("cut_frames"):
            frame = frame[: len(frame) // 2]
        if faults.garbage_frames and faults.take("garbage_frames"):
            frame = faults.garbage + frame
        self._send_later(client, frame, ready, is_scan=True)

    def _send_later(self, client: _Client, data: bytes, ready: float, *, is_scan: bool) -> None:
        delay = self.faults.latency_s + self.faults.jitter_s * self._random.random()
        client.last_due = max(client.last_due, ready + delay)  # bytes do not overtake each other
        heapq.heappush(self._agenda, (client.last_due, next(self._numbers), client, data, is_scan))

    def _deliver(self, client: _Client, data: bytes, *, is_scan: bool) -> None:
        if self.faults.silent or client not in self._clients:
            return
        if is_scan and client.outbox:
            self.frames_dropped += 1
            return
        if self.faults.babble:
            data = self._random.randbytes(len(data))
        client.outbox += data
        if len(client.outbox) > _MAX_OUTBOX_BYTES:
            self._drop(client)  # it asks and never listens
            return
        self._flush(client)

    def _flush(self, client: _Client) -> None:
        limit = self.faults.chunk_bytes
        try:
            while client.outbox:
                size = self._random.randint(1, limit) if limit else len(client.outbox)
                del client.outbox[: client.socket.send(bytes(client.outbox[:size]))]
        except BlockingIOError:
            pass
        except OSError:
            self._drop(client)
            return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.outbox else 0)
        if self._selector.get_key(client.socket).events != wanted:
            self._selector.modify(client.socket, wanted, client)
