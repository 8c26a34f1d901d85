"""A simulated calling client: connects, invites, rings, accepts, sends and sees media, hangs up, over a real socket.

Endpoints find each other by address and speak JSON, one object a line; the connection that carries an invitation is the
call. States: idle -> calling or ringing -> in_call -> idle. Faults are taken on purpose: see `EndpointFaults`.
"""

from __future__ import annotations

import contextlib
import json
import random
import socket
import threading
import time
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from drivers.errors import DeviceError, DeviceUnreachableError, ProtocolError

PACKET_EVERY_S = 0.02
_LONGEST_LINE = 4096
_CONNECT_S = 5.0


class CallState(StrEnum):
    """Where an endpoint is."""

    IDLE = "idle"
    CALLING = "calling"
    RINGING = "ringing"
    IN_CALL = "in_call"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class EndpointFaults:
    """What goes wrong on purpose. `busy`: refuses calls; `mute`: publishes nothing; `loss_ratio`: of its packets."""

    busy: bool = False
    mute: bool = False
    loss_ratio: float = 0.0
    answer_delay_s: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.loss_ratio <= 1 or not 0 <= self.answer_delay_s <= 600:
            raise ValueError("loss_ratio is 0 .. 1, answer_delay_s is 0 .. 600")


@dataclass(frozen=True, slots=True)
class MediaSeen:
    """Packets that came from the other side. `lost`: numbers that are missing between the first and the last."""

    packets: int = 0
    lost: int = 0

    @property
    def loss_ratio(self) -> float:
        """Of all that were sent since the first that came, 0 .. 1."""
        return self.lost / (self.packets + self.lost) if self.packets else 0.0


class StateError(DeviceError):
    """The endpoint cannot do that in its present state."""


@dataclass
class SimulatedEndpoint:
    """One client. Verbs raise StateError in the wrong state, DeviceUnreachableError without the other side."""

    name: str
    faults: EndpointFaults = EndpointFaults()
    seed: int = 0
    state: CallState = CallState.IDLE
    peer: str = ""
    seen: MediaSeen = MediaSeen()
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _call: socket.socket | None = None
    _publishing: threading.Event | None = None
    _next_number: int | None = None

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._answer_calls, name=f"endpoint {self.name}", daemon=True).start()

    @property
    def address(self) -> str:
        """Where other endpoints invite this one: "127.0.0.1:40123"."""
        host, port = self._listener.getsockname()[:2]
        return f"{host}:{port}"

    def invite(self, address: str) -> None:
        """Call another endpoint; it rings there once this returns, unless `state` says that it refused."""
        host, _, port = address.rpartition(":")
        if not host or not port.isdecimal():
            raise DeviceUnreachableError(f"{self.name} cannot invite {address!r}: no address like 127.0.0.1:40123")
        self._move(CallState.CALLING, (CallState.IDLE,), "invite")
        try:
            call = socket.create_connection((host, int(port)), timeout=_CONNECT_S)
        except (OSError, OverflowError) as exc:
            self._move(CallState.IDLE)
            raise DeviceUnreachableError(f"{self.name} cannot invite {address}: {exc}") from None
        call.settimeout(None)
        with self._changed:
            self._call = call
        self._send({"type": "invite", "from": self.name})
        threading.Thread(target=self._follow, args=(call,), name=f"call of {self.name}", daemon=True).start()

    def accept(self) -> None:
        """Take the call that rings."""
        if self.faults.answer_delay_s:
            time.sleep(self.faults.answer_delay_s)
        self._move(CallState.IN_CALL, (CallState.RINGING,), "accept")
        self._send({"type": "accepted"})

    def publish(self) -> None:
        """Send media until the call ends."""
        with self._changed:
            self._require((CallState.IN_CALL,), "publish")
            if self._publishing is not None:
                raise StateError(f"{self.name} publishes already")
            stop = self._publishing = threading.Event()
        if not self.faults.mute:
            threading.Thread(target=self._send_media, args=(stop,), name=f"media of {self.name}", daemon=True).start()

    def await_state(self, state: CallState, timeout_s: float) -> bool:
        """Whether it is in that state within the time; back at once when it cannot get there any more."""
        with self._changed:
            self._changed.wait_for(lambda: self.state in (state, CallState.CLOSED), timeout_s)
            return self.state is state

    def await_media(self, packets: int, timeout_s: float) -> MediaSeen:
        """What was seen once `packets` have come, or the time is over, or the call."""
        with self._changed:
            self._changed.wait_for(
                lambda: self.seen.packets >= packets or self.state is not CallState.IN_CALL, timeout_s
            )
            return self.seen

    def hang_up(self) -> None:
        """End the call, if there is one."""
        with contextlib.suppress(DeviceError):
            self._send({"type": "bye"})
        self._end_call()

    def close(self) -> None:
        """Hang up and leave. May be repeated."""
        self.hang_up()
        self._move(CallState.CLOSED)
        with contextlib.suppress(OSError):  # wakes the thread that accepts
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    # The other side

    def _answer_calls(self) -> None:
        while True:
            try:
                call, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._follow, args=(call,), name=f"call of {self.name}", daemon=True).start()

    def _follow(self, call: socket.socket) -> None:
        """Take in what the other side says, until it hangs up."""
        try:
            with call, call.makefile("rb") as lines:
                while line := lines.readline(_LONGEST_LINE):
                    self._hear(call, _parse(line))
        except (OSError, ProtocolError, ValueError):  # a line that broke is a call that ended
            pass
        finally:
            if self._call is call:
                self._end_call()

    def _hear(self, call: socket.socket, said: dict[str, Any]) -> None:
        match said.get("type"):
            case "invite":
                self._ring(call, str(said.get("from", "")))
            case "ringing":
                with self._changed:
                    self.peer = str(said.get("from", ""))
            case "accepted":
                self._move(CallState.IN_CALL, (CallState.CALLING,), "be accepted")
            case "busy" | "bye":
                if self._call is call:
                    self._end_call()
            case "media":
                self._see(int(said["number"]))

    def _ring(self, call: socket.socket, caller: str) -> None:
        with self._changed:
            free = self.state is CallState.IDLE and not self.faults.busy
            if free:
                self.state, self.peer, self._call = CallState.RINGING, caller, call
                self._changed.notify_all()
        answer = {"type": "ringing", "from": self.name} if free else {"type": "busy"}
        call.sendall(json.dumps(answer).encode() + b"\n")

    def _see(self, number: int) -> None:
        with self._changed:
            expected = number if self._next_number is None else self._next_number
            self.seen = MediaSeen(self.seen.packets + 1, self.seen.lost + max(0, number - expected))
            self._next_number = number + 1
            self._changed.notify_all()

    def _send_media(self, stop: threading.Event) -> None:
        number = 0
        while not stop.wait(PACKET_EVERY_S):
            number += 1
            if self._random.random() < self.faults.loss_ratio:
                continue
            try:
                self._send({"type": "media", "number": number})
            except DeviceError:
                return

    # State

    def _send(self, said: dict[str, Any]) -> None:
        call = self._call
        if call is None:
            raise StateError(f"{self.name} is in no call")
        try:
            call.sendall(json.dumps(said).encode() + b"\n")
        except OSError as exc:
            raise DeviceUnreachableError(f"{self.name} lost its call: {exc}") from None

    def _end_call(self) -> None:
        with self._changed:
            call, self._call = self._call, None
            if self._publishing is not None:
                self._publishing.set()
            self._publishing, self._next_number = None, None
            self.seen = MediaSeen()
            if self.state is not CallState.CLOSED:
                self.state = CallState.IDLE
            self._changed.notify_all()
        if call is not None:
            with contextlib.suppress(OSError):
                call.shutdown(socket.SHUT_RDWR)

    def _move(self, state: CallState, allowed: tuple[CallState, ...] | None = None, verb: str = "") -> None:
        with self._changed:
            if allowed is not None:
                self._require(allowed, verb)
            self.state = state
            self._changed.notify_all()

    def _require(self, allowed: tuple[CallState, ...], verb: str) -> None:
        if self.state not in allowed:
            raise StateError(f"{self.name} cannot {verb}: it is {self.state}, not {' or '.join(allowed)}")


def _parse(line: bytes) -> dict[str, Any]:
    said = json.loads(line)
    if not isinstance(said, dict) or not line.endswith(b"\n"):
        raise ProtocolError("the other endpoint sent no JSON object on a line")
    return said
