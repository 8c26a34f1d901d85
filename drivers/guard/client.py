"""The guard's client: what drives a guarded base, from any thread of any process."""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import math
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from drivers import errors
from drivers.clock import Clock, SystemClock
from drivers.clock_mapping import ClockEstimate, ClockMapping, machine_clock
from drivers.errors import DeviceError, DeviceSilentError, DeviceUnreachableError, ProtocolError
from drivers.guard import wire
from drivers.guard.wire import FrameReader, Kind
from drivers.types import BaseGeometry, BaseState, MotionStatus, Pose, Scan

# Seconds of the machine's clock: how long the guard may take to answer, at least. It answers in milliseconds.
_ANSWER_WITHIN_S = 5.0
# Seconds of the client's clock.
_HEARTBEAT_S = 0.1
_SILENT_AFTER_S = 0.5
_QUEUED_SCANS = 8
# Of a guard on another machine: how often its clock is read, at first and from then on (seconds of the machine's
# clock).
_FIRST_EXCHANGES = 8
_COMPARE_CLOCKS_S = 1.0


class GuardClient:
    """A connection to a guard; satisfies `drivers.protocols.GuardedBase`. Thread-safe.

    Without a grant it observes, and can call an emergency stop. All methods raise DeviceUnreachableError when the
    connection is lost; then connect anew. Times are seconds of the clock given to `connect`.
    """

    def __init__(self, url: str, connection: socket.socket, clock: Clock) -> None:
        self._url = url
        self._socket = connection
        self._clock = clock
        self._sending = threading.Lock()
        self._changed = threading.Condition()
        self._answers: dict[int, dict[str, Any]] = {}
        self._numbers = itertools.count(1)
        self._fencing = 0
        self._deadline = -math.inf
        self._lost: str | None = None
        self._state: BaseState | None = None
        self._status: MotionStatus | None = None
        self._scan: Scan | None = None
        self._queues: list[deque[Scan]] = []
        self._subscribed: dict[str, bool] = {"states": False, "scans": False, "statuses": False}
        self._name = ""
        self._mapping: ClockMapping | None = None  # None where the guard reads the same clock as we
        self._clock_asked = -math.inf
        self._reader = threading.Thread(target=self._read, name=f"guard {url}", daemon=True)
        self._wake_read, self._wake_write = socket.socketpair()

    @classmethod
    def connect(
        cls,
        url: str,
        fencing: int = 0,
        deadline: float | None = None,
        clock: Clock | None = None,
        token: str | None = None,
    ) -> Self:
        """Connect to `unix:///path` or `tcp://host:port`; with `fencing` and `deadline`, take the base as well.

        Raises DeviceUnreachableError when no guard is there, ProtocolError when it does not accept the token or the
        clock, MotionRefusedError when the fencing number is too low.
        """
        clock = clock or SystemClock()
        client = cls(url, _connect(url), clock)
        client._reader.start()
        try:
            wall = clock.to_wall(1.0)
            hello = client._ask("hello", token=token, time_scale=1.0 / wall if wall > 0 else 1.0)
            client._name = str(hello["name"])
            client._compare_clocks(str(hello.get("clock", "")))
            client._mount = wire.unpack_pose(hello["mount"])
            client._geometry = BaseGeometry(*hello["geometry"])
            if deadline is not None:
                client.grant(fencing, deadline)
        except BaseException:
            client.close()
            raise
        return client

    _mount: Pose
    _geometry: BaseGeometry

    @property
    def name(self) -> str:
        """The base's name in the guard's settings."""
        return self._name

    @property
    def geometry(self) -> BaseGeometry:
        return self._geometry

    @property
    def mount(self) -> Pose:
        return self._mount

    @property
    def fencing(self) -> int:
        """The fencing number that commands carry; 0 before a grant."""
        return self._fencing

    def clock_estimate(self) -> ClockEstimate | None:
        """How the guard's clock stands to ours; None where both are one machine's. Times are mapped already."""
        return self._mapping.estimate() if self._mapping else None

    # The lease

    def grant(self, fencing: int, deadline: float) -> None:
        """Take the base with `fencing` until `deadline` (of the client's clock), after which the guard stops it.

        Raises MotionRefusedError when a higher number was granted before.
        """
        now = self._clock.now()
        self._ask("grant", fencing=fencing, remaining=deadline - now, sent=now)
        self._fencing, self._deadline = fencing, deadline

    def renew(self, deadline: float) -> None:
        """Move the end of the lease. Raises MotionRefusedError when it has gone to someone else."""
        self.grant(self._fencing, deadline)

    def release(self) -> None:
        """Give the base back: it is stopped."""
        self._ask("release", fencing=self._fencing)
        self._deadline = -math.inf

    # MotionBase

    def drive(self, linear: float, angular: float) -> None:
        """Ask for a velocity. Returns at once; see `status` for refusals. Sends nothing after the lease's deadline."""
        now = self._clock.now()
        if now >= self._deadline:
            return
        self._send(
            wire.message({"op": "drive", "linear": linear, "angular": angular, "fencing": self._fencing, "sent": now})
        )

    def stop(self) -> None:
        """Bring the base to rest; also acknowledges a bump, a dropped wheel, a cliff or a board that was silent."""
        self._ask("stop", fencing=self._fencing)

    def state(self) -> BaseState:
        """The board's latest reading. Raises DeviceSilentError when it is older than 0.5 s or there is none."""
        self._subscribe("states")
        with self._changed:
            if self._state is None:
                self._changed.wait_for(lambda: self._state is not None or self._lost is not None, _ANSWER_WITHIN_S / 5)
            self._check_link()
            state = self._state
        age = math.inf if state is None else self._clock.now() - state.time
        if state is None or age > max(_SILENT_AFTER_S, self._jitter()):
            raise DeviceSilentError(
                f"the motor board of {self._name} has said nothing for {age:.2f} s; check its power and its cable"
            )
        return state

    def status(self) -> MotionStatus:
        """Whether the base may move and, if not, why: asked of the guard, after all commands sent before."""
        fencing = self._fencing or None
        status = wire.unpack_status(self._ask("status", fencing=fencing)["status"])
        return replace(status, time=self._on_our_clock(status.time))

    def latest_status(self) -> MotionStatus | None:
        """The last status the guard pushed by itself (on every change and ten times a second); None at first."""
        self._subscribe("statuses")
        return self._status

    # PoseScanner

    def scan(self, after: float = 0.0, timeout: float = 1.0) -> Scan:
        """The first scan taken later than `after`. Raises DeviceSilentError when none comes in `timeout` seconds."""
        self._subscribe("scans")

        def newer() -> bool:
            return self._lost is not None or (self._scan is not None and self._scan.time > after)

        with self._changed:
            found = self._changed.wait_for(newer, self._clock.to_wall(timeout))
            self._check_link()
            if not found or self._scan is None:
                raise DeviceSilentError(
                    f"no fresh scan from the LiDAR on {self._name} within {timeout:.1f} s; check its power and cable"
                )
            return self._scan

    @contextmanager
    def scans(self) -> Iterator[Iterator[Scan]]:
        """Scans as they come; a consumer that is too slow loses whole old ones. Ends with DeviceSilentError after
        1 s without any."""
        self._subscribe("scans")
        mine: deque[Scan] = deque(maxlen=_QUEUED_SCANS)
        with self._changed:
            self._queues.append(mine)
        try:
            yield self._drain(mine)
        finally:
            with self._changed:
                self._queues = [each for each in self._queues if each is not mine]

    # Docking, EmergencyStop, pose

    def seek_dock(self) -> None:
        """Start the board's docking run. Raises MotionRefusedError with the guard's reason when it may not."""
        self._ask("seek_dock", fencing=self._fencing)

    def cancel_docking(self) -> None:
        """End the docking run and stand still."""
        self.stop()

    def emergency_stop(self, reason: str) -> None:
        """Stop now and stay stopped until reset; returns when the latch is stored. Needs no lease."""
        self._exchange(Kind.EMERGENCY_STOP, {"reason": reason})

    def reset_emergency_stop(self, person: str, reason: str) -> None:
        """Take the latch off. Raises MotionRefusedError without a person and a reason."""
        self._ask("reset", person=person, reason=reason)

    def set_pose(self, pose: Pose) -> None:
        """Tell the guard where the base was at `pose.time`, in the map; it carries on by the wheels.

        Raises MotionRefusedError when that is too long ago, or somebody else holds the base.
        """
        self._ask("set_pose", pose=wire.pack_pose(pose), fencing=self._fencing, sent=self._clock.now())

    def close(self) -> None:
        """Cut the connection; the guard stops what this client drives. May be repeated."""
        with self._changed:
            self._lost = self._lost or "it was closed"
            self._changed.notify_all()
        with contextlib.suppress(OSError):
            self._wake_write.send(b"x")
        if self._reader.is_alive() and self._reader is not threading.current_thread():
            self._reader.join(timeout=2.0)
        for each in (self._socket, self._wake_read, self._wake_write):
            each.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, operation: str, **content: Any) -> dict[str, Any]:
        return self._exchange(Kind.JSON, {"op": operation, **content})

    def _exchange(self, kind: Kind, content: dict[str, Any]) -> dict[str, Any]:
        number = next(self._numbers)
        self._send(wire.frame(kind, json.dumps({**content, "id": number}).encode()))
        with self._changed:
            self._changed.wait_for(lambda: number in self._answers or self._lost is not None, _ANSWER_WITHIN_S)
            answer = self._answers.pop(number, None)
            if answer is None:
                self._check_link()
                raise DeviceSilentError(
                    f"the guard at {self._url} did not answer within {_ANSWER_WITHIN_S:.0f} s; see whether it runs"
                )
        if "error" in answer:
            raise _error(str(answer["error"]))(str(answer.get("message", "")))
        return answer

    def _send(self, data: bytes) -> None:
        self._check_link()
        try:
            with self._sending:
                self._socket.sendall(data)
        except OSError as exc:
            self._lose(str(exc) or type(exc).__name__)
            self._check_link()

    def _check_link(self) -> None:
        if self._lost is not None:
            raise DeviceUnreachableError(
                f"the connection to the guard of {self._name or 'a base'} at {self._url} is gone: {self._lost}; "
                "see whether it runs, and whether its host can be reached; then connect anew"
            )

    def _lose(self, why: str) -> None:
        with self._changed:
            self._lost = self._lost or why
            self._changed.notify_all()

    def _subscribe(self, what: str) -> None:
        if not self._subscribed[what]:
            wanted = {**self._subscribed, what: True}
            self._ask("subscribe", **wanted)
            self._subscribed = wanted

    def _compare_clocks(self, theirs: str) -> None:
        """Get to know the guard's clock before anything is told by it, unless it is ours. A guard elsewhere is asked
        again each second."""
        if theirs and theirs == machine_clock():
            return
        self._mapping = mapping = ClockMapping()
        for known in range(_FIRST_EXCHANGES):
            self._ask_clock()
            with self._changed:
                self._changed.wait_for(functools.partial(self._compared, mapping, known), _ANSWER_WITHIN_S)
            self._check_link()
            if mapping.count <= known:
                raise DeviceSilentError(f"the guard at {self._url} does not tell its time; is it of this version?")

    def _compared(self, mapping: ClockMapping, known: int) -> bool:
        return mapping.count > known or self._lost is not None

    def _ask_clock(self) -> None:
        self._clock_asked = time.monotonic()
        self._send(wire.message({"op": "clock", "sent": self._clock.now()}))

    def _on_our_clock(self, theirs: float) -> float:
        return theirs if not self._mapping else self._mapping.here(theirs)[0]

    def _jitter(self) -> float:
        """How old a reading may get by the machine's scheduling alone (0.3 s of it), in the client's clock."""
        wall = self._clock.to_wall(1.0)
        return 0.3 / wall if wall > 0 else 0.0

    def _drain(self, mine: deque[Scan]) -> Iterator[Scan]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: mine or self._lost is not None, max(1.0, self._clock.to_wall(1.0)))
                self._check_link()
                if not mine:
                    raise DeviceSilentError(f"the LiDAR on {self._name} has gone silent; check its power and cable")
                scan = mine.popleft()
            yield scan

    def _read(self) -> None:
        frames = FrameReader()
        beat = max(0.005, self._clock.to_wall(_HEARTBEAT_S))
        next_beat = time.monotonic() + beat
        try:
            # poll, not select: a daemon with many connections has descriptors beyond select's 1024.
            ours, poller = self._socket.fileno(), select.poll()
            for each in (self._socket, self._wake_read):
                poller.register(each, select.POLLIN)
            while self._lost is None:
                ready = poller.poll(1000 * max(0.0, next_beat - time.monotonic()))
                if any(descriptor == ours for descriptor, _ in ready):
                    data = self._socket.recv(1 << 18)
                    if not data:
                        self._lose("the guard closed it")
                        return
                    for kind, payload in frames.feed(data):
                        self._take(kind, payload)
                if time.monotonic() >= next_beat:
                    next_beat = time.monotonic() + beat
                    if self._mapping and time.monotonic() >= self._clock_asked + _COMPARE_CLOCKS_S:
                        self._ask_clock()
                    if self._name and self._fencing:
                        self._send(wire.message({"op": "heartbeat", "sent": self._clock.now()}))
        except (OSError, ValueError, DeviceError) as exc:
            self._lose(str(exc) or type(exc).__name__)

    def _take(self, kind: Kind, payload: bytes) -> None:
        if kind is Kind.SCAN:
            scan = wire.unpack_scan(payload)
            if self._mapping is not None:
                at, error = self._mapping.here(scan.time)
                scan = replace(scan, time=at, time_error=scan.time_error + error)
            with self._changed:
                self._scan = scan
                for each in self._queues:
                    each.append(scan)
                self._changed.notify_all()
            return
        told = wire.parse_message(payload)
        with self._changed:
            if "id" in told:
                self._answers[told["id"]] = told
            elif told.get("event") == "state":
                state = wire.unpack_state(told["state"])
                self._state = replace(state, time=self._on_our_clock(state.time))
            elif told.get("event") == "status":
                status = wire.unpack_status(told["status"])
                self._status = replace(status, time=self._on_our_clock(status.time))
            elif told.get("event") == "clock" and self._mapping is not None:
                self._mapping.feed(float(told["sent"]), float(told["clock"]), self._clock.now())
            elif "error" in told:
                self._lost = str(told.get("message"))
            self._changed.notify_all()


def _connect(url: str) -> socket.socket:
    try:
        if url.startswith("unix://"):
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                connection.settimeout(_ANSWER_WITHIN_S)
                connection.connect(url.removeprefix("unix://"))
            except BaseException:
                connection.close()
                raise
        elif url.startswith("tcp://"):
            host, _, port = url.removeprefix("tcp://").rpartition(":")
            connection = socket.create_connection((host.strip("[]"), int(port)), _ANSWER_WITHIN_S)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        else:
            raise ValueError("it must start with unix:// or tcp://")
    except (OSError, ValueError, OverflowError) as exc:
        raise DeviceUnreachableError(
            f"no connection to a guard at {url}: {exc}; see whether the guard of that base runs"
        ) from exc
    return connection


def _error(name: str) -> type[DeviceError]:
    kind = getattr(errors, name, None)
    return kind if isinstance(kind, type) and issubclass(kind, DeviceError) else ProtocolError
