"""Starts a bench process and does to its robots what an experimenter would; used by the demo and by tests."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

from drivers.clock import Clock, clock_for_scale
from drivers.errors import DeviceError, DeviceSilentError, DeviceUnreachableError
from drivers.sim.world import Truth

_START_WALL_S = 30.0
_REPLY_WALL_S = 10.0


class BenchError(DeviceError):
    """The bench did not start, or refused a request."""


class Bench:
    """A bench process, running from entry to exit of the context (or from `start` to `close`).

    `room`: name of a room that ships with the program, or a room file. Its walls stand off that map by normal errors of
    `survey_sigma_m` (None: what the map states; 0: exactly as mapped), drawn with `room_seed` (None: `seed`).
    `robots`: the handles, one a robot.
    """

    def __init__(
        self,
        room: str | Path = "standard",
        time_scale: float = 1.0,
        seed: int = 0,
        *,
        robots: int = 1,
        battery: float = 0.8,
        serial: str = "pty",
        dock: str | None = None,
        room_seed: int | None = None,
        survey_sigma_m: float | None = None,
    ) -> None:
        self.time_scale = time_scale
        self._arguments = [
            *("--room", str(room), "--time-scale", str(time_scale), "--seed", str(seed), "--robots", str(robots)),
            *("--battery", str(battery), "--serial", serial, "--parent", str(os.getpid())),
            *(("--dock", dock) if dock else ()),
            *(("--room-seed", str(room_seed)) if room_seed is not None else ()),
            *(("--survey-sigma", str(survey_sigma_m)) if survey_sigma_m is not None else ()),
        ]
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: _Connection | None = None
        self.control_url = ""
        self.robots: tuple[BenchRobot, ...] = ()

    def start(self) -> Self:
        """Start the process and wait until it is ready. Raises BenchError with what it printed when it is not."""
        with tempfile.TemporaryFile() as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "drivers.sim", *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                # Ctrl-C is for whoever holds the bench: a robot under way is stopped first, then the bench is closed.
                start_new_session=True,
            )
            line = _first_line(self._process, _START_WALL_S)
            if not line:
                self.close()
                errors.seek(0)
                told = errors.read().decode(errors="replace").strip()
                raise BenchError(f"the simulated bench did not start: {told or 'it printed nothing'}")
        ready = json.loads(line)
        self.control_url = ready["control"]
        self._connection = _Connection(self.control_url)
        self.robots = tuple(
            BenchRobot(self._connection, index, urls["lidar"], urls["base"])
            for index, urls in enumerate(ready["robots"])
        )
        return self

    @property
    def clock(self) -> Clock:
        """The clock that the bench keeps; whoever talks to its robots keeps the same."""
        return clock_for_scale(self.time_scale)

    @property
    def pid(self) -> int:
        """Of the bench process. Raises BenchError when it is not running."""
        if self._process is None or self._process.poll() is not None:
            raise BenchError("the simulated bench is not running")
        return self._process.pid

    def close(self) -> None:
        """End the process. May be repeated."""
        if self._connection is not None:
            self._connection.close()
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            # A process that was stopped by SIGSTOP would not hear of it.
            process.send_signal(signal.SIGCONT)
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if process.stdout is not None:
            process.stdout.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class BenchRobot:
    """One robot of a bench: where its wires are, and what can be done to it. Verbs are those of `RobotControl`."""

    def __init__(self, connection: _Connection, index: int, lidar_url: str, base_url: str) -> None:
        self._connection = connection
        self._index = index
        self.lidar_url = lidar_url
        self.base_url = base_url

    def truth(self) -> Truth:
        """Where the robot really is now."""
        return Truth(**self._do("truth"))

    def reading(self) -> dict[str, Any]:
        """What the body tells its motor board: the fields of `drivers.sim.body.BodyReading`."""
        return cast("dict[str, Any]", self._do("reading"))

    def board(self) -> dict[str, Any]:
        """`mode`, `left_mm_s` and `right_mm_s` of the motor board."""
        return cast("dict[str, Any]", self._do("board"))

    def received(self, since: float = 0.0) -> list[tuple[float, bytes]]:
        """What clients wrote to the motor board after `since`, each with its time (the bench's clock)."""
        return [(each["time"], bytes.fromhex(each["hex"])) for each in self._do("received", since=since)]

    def put_robot(self, x: float, y: float, heading: float) -> None:
        """Carry the robot to a pose, metres and radians."""
        self._do("put_robot", x=x, y=y, heading=heading)

    def set_person(
        self,
        name: str,
        path: Sequence[tuple[float, float]],
        speed_m_s: float = 1.0,
        after_s: float = 0.0,
        leaves: bool = False,
    ) -> None:
        """Let a person appear at the first place of `path` in `after_s` seconds of the bench and walk along it."""
        self._do("set_person", name=name, path=list(path), speed_m_s=speed_m_s, after_s=after_s, leaves=leaves)

    def remove_person(self, name: str) -> None:
        """Let a person be gone."""
        self._do("remove_person", name=name)

    def set_body(self, **changes: object) -> None:
        """Change settings of `drivers.sim.robot.BodyModel`."""
        self._do("set_body", changes=changes)

    def set_beams(self, **changes: object) -> None:
        """Change settings of `drivers.sim.beam_model.BeamModel`."""
        self._do("set_beams", changes=changes)

    def set_docking(self, **changes: object) -> None:
        """Change settings of `drivers.sim.docking_run.DockingModel`."""
        self._do("set_docking", changes=changes)

    def set_battery(self, ratio: float) -> None:
        """Set the state of charge, 0 .. 1."""
        self._do("set_battery", ratio=ratio)

    def set_charger_fault(self, faulty: bool) -> None:
        """Let the charger report a fault on contact, or work again."""
        self._do("set_charger_fault", faulty=faulty)

    def set_lidar_faults(self, **changes: object) -> None:
        """Change faults of the LiDAR's wire, `drivers.sim.scip_faults.ScipFaults`."""
        garbage = changes.get("garbage")
        if isinstance(garbage, bytes):
            changes["garbage"] = garbage.hex()
        self._do("set_lidar_faults", changes=changes)

    def clear_lidar_faults(self) -> None:
        """Turn every fault of the LiDAR's wire off."""
        self._do("clear_lidar_faults")

    def jump_lidar_clock(self, seconds: float) -> None:
        """Move the LiDAR's own clock."""
        self._do("jump_lidar_clock", seconds=seconds)

    def set_board_faults(self, **changes: object) -> None:
        """Change faults of the motor board and its line, `drivers.sim.open_interface.BoardFaults`."""
        self._do("set_board_faults", changes=changes)

    def power_cycle_board(self) -> None:
        """As if the board's battery was taken out and put back."""
        self._do("power_cycle_board")

    def set_board_power(self, on: bool) -> None:
        """Cut the supply of board and motors, as a relay in it does, or give it back."""
        self._do("set_board_power", on=on)

    def unplug_board(self) -> None:
        """Pull the board's cable."""
        self._do("unplug_board")

    def plug_in_board(self) -> str:
        """Put the board's cable back; returns (and keeps in `base_url`) where it is now."""
        self.base_url = str(self._do("plug_in_board"))
        return self.base_url

    def _do(self, verb: str, **arguments: object) -> Any:
        return self._connection.ask({"robot": self._index, "do": verb, "with": arguments})


class _Connection:
    """Requests and replies, one at a time."""

    def __init__(self, url: str) -> None:
        host, _, port = url.removeprefix("tcp://").rpartition(":")
        self._url = url
        self._lock = threading.Lock()
        self._socket = socket.create_connection((host, int(port)), timeout=_REPLY_WALL_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._replies = self._socket.makefile("rb")

    def ask(self, request: dict[str, Any]) -> Any:
        """The result. Raises BenchError when refused, DeviceSilentError or DeviceUnreachableError without a reply."""
        with self._lock:
            try:
                self._socket.sendall(json.dumps(request).encode() + b"\n")
                line = self._replies.readline()
            except TimeoutError:
                raise DeviceSilentError(f"the bench at {self._url} did not answer {request['do']!r} in time") from None
            except (OSError, ValueError) as exc:
                raise DeviceUnreachableError(f"the bench at {self._url} is gone ({exc}); was it closed?") from None
        if not line:
            raise DeviceUnreachableError(f"the bench at {self._url} closed the connection; has it ended?")
        reply = json.loads(line)
        if "error" in reply:
            raise BenchError(f"the bench refused {request['do']!r}: {reply['error']}")
        return reply["result"]

    def close(self) -> None:
        self._replies.close()
        self._socket.close()


def _first_line(process: subprocess.Popen[bytes], wall_s: float) -> bytes:
    """What the process printed up to its first line feed; empty when it ended or took too long."""
    assert process.stdout is not None
    deadline = time.monotonic() + wall_s
    line = b""
    while not line.endswith(b"\n"):
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([process.stdout], [], [], left)[0]:
            return b""
        part = os.read(process.stdout.fileno(), 65536)
        if not part:
            return b""
        line += part
    return line
