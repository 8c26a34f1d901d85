"""What clients of the guard may ask, and what they are answered."""

from __future__ import annotations

import contextlib
import hmac
import math
import socket
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from drivers.clock import Clock
from drivers.clock_mapping import machine_clock
from drivers.errors import DeviceError, MotionRefusedError, ProtocolError
from drivers.guard import wire
from drivers.guard.core import GuardCore
from drivers.guard.foreign import ForeignBase
from drivers.guard.session import Session
from drivers.guard.settings import GuardSettings
from drivers.guard.wire import Kind, message
from drivers.types import StopReason, Twist

Request = dict[str, Any]
# Called when the memory is stored, with what went wrong or None.
Stored = Callable[[str | None], None]


class Requests:
    """Carries out clients' messages on a core.

    `stop_now` writes the stop bytes, and tells why the base may not have got them; `persist` stores the core's memory
    and then calls what it is given; `start_docking` writes to the board; `decide` lets the core decide at once, so that
    a status tells what became of the command before it. `foreign`: the base, where its own client drives it.
    """

    def __init__(
        self,
        settings: GuardSettings,
        clock: Clock,
        core: GuardCore,
        *,
        stop_now: Callable[[], str | None],
        persist: Callable[[Stored], None],
        start_docking: Callable[[], None],
        decide: Callable[[], None],
        foreign: ForeignBase | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._core = core
        self._stop_now = stop_now
        self._persist = persist
        self._start_docking = start_docking
        self._decide = decide
        self._foreign = foreign
        self._undecided = False
        # Each tells whether it has answered already, or will later.
        self._operations: dict[str, Callable[[Session, Request, float], bool]] = {
            "drive": self._drive,
            "heartbeat": self._heartbeat,
            "status": self._status,
            "clock": self._tell_clock,
            "subscribe": self._subscribe,
            "grant": self._grant,
            "release": self._release,
            "stop": self._stop,
            "seek_dock": self._seek_dock,
            "set_pose": self._set_pose,
            "reset": self._reset,
            "arm": self._arm,
            "disarm": self._disarm,
            "trip": self._trip,
            "reading": self._reading,
        }

    def handle(self, session: Session, kind: Kind, payload: bytes) -> bool:
        """Carry out one message; True when it may change what the wheels do."""
        if session.closed:
            return False
        if kind is Kind.EMERGENCY_STOP and session.known:
            self._emergency_stop(session, payload)
            return True
        request: Request = {}
        try:
            request = wire.parse_message(payload)
            if not session.known:
                self._hello(session, request)
                return False
            operation = self._operations.get(request["op"])
            if operation is None:
                raise ProtocolError(f"the guard does not know the operation {request['op']!r}")
            if not operation(session, request, self._clock.now()):
                _answer(session, request)
            changes = request["op"] not in ("heartbeat", "status", "subscribe", "clock")
            self._undecided |= changes
            return changes
        except (DeviceError, KeyError, TypeError, ValueError, OverflowError) as exc:
            name = type(exc).__name__ if isinstance(exc, DeviceError) else "ProtocolError"
            told = str(exc) if isinstance(exc, DeviceError) else f"not a request the guard understands: {exc!r}"
            _answer(session, request, error=name, message=told)
            if not session.known:
                session.end()
            return False

    def _emergency_stop(self, session: Session, payload: bytes) -> None:
        trouble = self._stop_now()
        request: Request = {}
        # What cannot be read is a call for an emergency stop all the same.
        with contextlib.suppress(ProtocolError):
            request = wire.parse_message(payload)
        self._core.latch(str(request.get("reason", "")))
        self._undecided = True
        told = None
        if trouble is not None:
            told = (
                f"the emergency stop of {self._settings.name} is latched, but its motor board may not have got the stop"
                f" bytes: {trouble}"
            )
        self._answer_when_stored(session, request, told)

    def _hello(self, session: Session, request: Request) -> None:
        expected, told = self._settings.token or "", str(request.get("token"))
        if session.socket.family != socket.AF_UNIX and not hmac.compare_digest(told.encode(), expected.encode()):
            raise ProtocolError("the guard does not know this token; use the one of its configuration")
        scale, ours = float(request["time_scale"]), self._settings.time_scale
        if not abs(scale - ours) <= 1e-6 * ours:
            raise ProtocolError(f"the client's clock runs at {scale:g}, the guard's at {ours:g}: make them the same")
        session.known = True
        geometry = self._settings.geometry
        _answer(
            session,
            request,
            name=self._settings.name,
            mount=wire.pack_pose(self._settings.lidar.mount),
            clock=machine_clock(),
            geometry=[geometry.left_metres_per_tick, geometry.right_metres_per_tick, geometry.wheel_base_m],
        )

    def _drive(self, session: Session, request: Request, now: float) -> bool:
        issued = session.lateness.issued(float(request["sent"]), now)
        twist = Twist(float(request["linear"]), float(request["angular"]))
        self._core.command(twist, int(request["fencing"]), issued, now, session.number)
        return True

    def _heartbeat(self, session: Session, request: Request, now: float) -> bool:
        self._core.heartbeat(session.number, session.lateness.issued(float(request["sent"]), now))
        return True

    def _status(self, session: Session, request: Request, now: float) -> bool:
        if self._undecided:
            self._decide()
            self._undecided = False
        status = self._core.status(now, request.get("fencing"))
        if self._foreign is not None:
            status = self._foreign.described(status)
        _answer(session, request, status=wire.pack_status(status))
        return True

    def _tell_clock(self, session: Session, request: Request, _now: float) -> bool:
        session.send(message({"event": "clock", "sent": request["sent"], "clock": self._clock.now()}))
        return True

    def _subscribe(self, session: Session, request: Request, _now: float) -> bool:
        session.scans, session.states, session.statuses = (
            bool(request.get(key)) for key in ("scans", "states", "statuses")
        )
        return False

    def _grant(self, session: Session, request: Request, now: float) -> bool:
        known = self._core.memory.fencing
        remaining = float(request["remaining"])
        if not math.isfinite(remaining):
            raise ProtocolError(f"a lease of {remaining} s: it must end at some time")
        deadline = session.lateness.issued(float(request["sent"]), now) + remaining
        self._core.grant(int(request["fencing"]), deadline)
        if self._core.memory.fencing == known:
            return False
        self._answer_when_stored(session, request)  # so that the number is sure to survive a power cut
        return True

    def _release(self, _session: Session, request: Request, _now: float) -> bool:
        self._core.release(int(request["fencing"]))
        return False

    def _stop(self, _session: Session, request: Request, now: float) -> bool:
        self._core.stop(int(request["fencing"]), now)
        return False

    def _seek_dock(self, session: Session, request: Request, now: float) -> bool:
        self._core.seek_dock(int(request["fencing"]), now, session.number)
        try:
            self._start_docking()
        except DeviceError as exc:
            self._core.docking_not_begun(str(exc))
            self._undecided = True
            raise
        return False

    def _set_pose(self, session: Session, request: Request, now: float) -> bool:
        refusal = self._core.check_pose_from(int(request.get("fencing", 0)), now)
        if refusal is not None:
            raise MotionRefusedError(f"the pose of {self._settings.name} was not taken: {refusal.detail}")
        sent = float(request["sent"])
        pose = wire.unpack_pose(request["pose"])
        age = max(0.0, sent - pose.time)
        self._core.set_pose(wire.unpack_pose({**request["pose"], "time": session.lateness.issued(sent, now) - age}))
        return False

    def _reset(self, session: Session, request: Request, _now: float) -> bool:
        self._core.reset(str(request.get("person", "")), str(request.get("reason", "")))
        self._answer_when_stored(session, request)
        return True

    # A base that its own client drives

    def _arm(self, session: Session, request: Request, now: float) -> bool:
        foreign = self._of_holder(request, now)
        if self._core.memory.latched is not None:
            raise MotionRefusedError(f"the emergency stop of {self._settings.name} is on: {self._core.memory.latched}")
        self._core.stop(int(request["fencing"]), now)
        foreign.arm(session.number)
        return False

    def _disarm(self, _session: Session, request: Request, now: float) -> bool:
        self._of_holder(request, now).disarm()
        return False

    def _trip(self, _session: Session, request: Request, now: float) -> bool:
        self._of_holder(request, now).trip(StopReason.CLIENT_TROUBLE, str(request.get("why", ""))[:300])
        return False

    def _reading(self, session: Session, request: Request, now: float) -> bool:
        state = wire.unpack_state(request["state"])
        sent = float(request["sent"])
        age = max(0.0, sent - state.time)
        self._of_holder(request, now).tell(replace(state, time=session.lateness.issued(sent, now) - age))
        return True

    def _of_holder(self, request: Request, now: float) -> ForeignBase:
        if self._foreign is None:
            raise MotionRefusedError(f"{self._settings.name} is driven by the guard itself: it has no stop channel")
        refusal = self._core.check_fencing(int(request.get("fencing", 0)), now)
        if refusal is not None:
            raise MotionRefusedError(f"{self._settings.name} is not yours to drive: {refusal.detail}")
        return self._foreign

    def _answer_when_stored(self, session: Session, request: Request, complaint: str | None = None) -> None:
        def stored(trouble: str | None) -> None:
            if complaint is not None:
                _answer(session, request, error="DeviceSilentError", message=complaint)
            elif trouble is None:
                _answer(session, request)
            else:
                told = f"done, but it will not survive a restart of the guard: {trouble}; see to that disk"
                _answer(session, request, error="DeviceError", message=told)

        self._persist(stored)


def _answer(session: Session, request: Request, **content: Any) -> None:
    # Only what a client of ours counts by is given back: a list nested deep enough could be read, but not written.
    if isinstance(number := request.get("id"), int | str):
        session.send(message({"id": number, **content}))
