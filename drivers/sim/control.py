"""What an experimenter can do to the robots of a running bench, over JSON lines on a socket."""

from __future__ import annotations

import contextlib
import inspect
import json
import socket
import socketserver
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError, validate_call

from drivers.sim.beam_model import BeamModel
from drivers.sim.board_server import BoardServer
from drivers.sim.docking_run import DockingModel
from drivers.sim.open_interface import BoardFaults, OpenInterfaceBoard
from drivers.sim.person import Person
from drivers.sim.robot import BodyModel
from drivers.sim.scip_server import ScipServer
from drivers.sim.world import World

Settings = TypeVar("Settings", BodyModel, BeamModel, DockingModel, BoardFaults)
_ADAPTERS: dict[type[Any], TypeAdapter[Any]] = {
    kind: TypeAdapter(kind) for kind in (BodyModel, BeamModel, DockingModel, BoardFaults)
}


class RobotControl:
    """The verbs for one robot. Each returns what JSON can carry; a wrong argument raises ValueError saying why."""

    def __init__(self, world: World, board: OpenInterfaceBoard, line: BoardServer, lidar: ScipServer) -> None:
        self._world = world
        self._board = board
        self._line = line
        self._lidar = lidar

    def truth(self) -> dict[str, float]:
        """Where the robot really is now: time, x, y, heading (radians), linear, angular."""
        return asdict(self._world.truth())

    def reading(self) -> dict[str, Any]:
        """What the body tells its motor board."""
        return asdict(self._world.reading())

    def board(self) -> dict[str, Any]:
        """The board's mode and the wheel speeds that it asks for, mm/s."""
        left, right = self._board.wheel_speeds_mm_s
        return {"mode": self._board.mode, "left_mm_s": left, "right_mm_s": right}

    def received(self, since: float = 0.0) -> list[dict[str, Any]]:
        """What clients wrote to the board after `since` (the bench's clock): time, and the bytes in hexadecimal."""
        return [{"time": each.time, "hex": each.data.hex()} for each in list(self._board.received) if each.time > since]

    def put_robot(self, x: float, y: float, heading: float) -> None:
        """Carry the robot to a pose, metres and radians."""
        self._world.put_robot(x, y, heading)

    def set_person(
        self,
        name: str,
        path: list[tuple[float, float]],
        speed_m_s: float = 1.0,
        after_s: float = 0.0,
        leaves: bool = False,
    ) -> None:
        """Let a person appear at the first place of `path` in `after_s` seconds and walk along it."""
        start = self._world.truth().time + after_s
        self._world.set_person(name, Person(tuple(path), start, speed_m_s, leaves))

    def remove_person(self, name: str) -> None:
        """Let a person be gone; nothing happens when there is none of that name."""
        self._world.set_person(name, None)

    def set_body(self, changes: dict[str, Any]) -> dict[str, Any]:
        """Change settings of `BodyModel` (wheel errors, slip, latency, stalls, cliff ...); returns all of them."""
        self._world.body = changed(self._world.body, changes)
        return asdict(self._world.body)

    def set_beams(self, changes: dict[str, Any]) -> dict[str, Any]:
        """Change settings of `BeamModel` (noise, bias, drop-outs, mount, covered sector ...); returns all of them."""
        self._world.beams = changed(self._world.beams, changes)
        return asdict(self._world.beams)

    def set_docking(self, changes: dict[str, Any]) -> dict[str, Any]:
        """Change settings of `DockingModel` (misses ...); returns all of them."""
        self._world.docking = changed(self._world.docking, changes)
        return asdict(self._world.docking)

    def set_battery(self, ratio: float) -> None:
        """Set the state of charge, 0 .. 1."""
        self._world.set_battery(ratio)

    def set_charger_fault(self, faulty: bool) -> None:
        """Let the charger report a fault on contact, or work again."""
        self._world.set_charger_fault(faulty)

    def set_lidar_faults(self, changes: dict[str, Any]) -> None:
        """Change faults of the LiDAR's wire (`ScipFaults`)."""
        garbage = changes.get("garbage")
        if isinstance(garbage, str):
            changes = {**changes, "garbage": bytes.fromhex(garbage)}
        self._lidar.faults.update(**changes)

    def clear_lidar_faults(self) -> None:
        """Turn every fault of the LiDAR's wire off."""
        self._lidar.faults.clear()

    def jump_lidar_clock(self, seconds: float) -> None:
        """Move the LiDAR's own clock."""
        self._lidar.jump_clock(seconds)

    def set_board_faults(self, changes: dict[str, Any]) -> dict[str, Any]:
        """Change faults of the motor board and its line (`BoardFaults`); returns all of them."""
        faults = self._board.faults
        wanted = changed(faults, changes)
        for name in changes:
            setattr(faults, name, getattr(wanted, name))
        return asdict(faults)

    def power_cycle_board(self) -> None:
        """As if the board's battery was taken out and put back."""
        self._board.power_cycle()

    def set_board_power(self, on: bool) -> None:
        """Cut the supply of board and motors, or give it back."""
        self._board.set_power(on)

    def unplug_board(self) -> None:
        """Pull the board's cable."""
        self._line.unplug()

    def plug_in_board(self) -> str:
        """Put the board's cable back; returns where it is now (a pseudo terminal gets a new path)."""
        self._line.plug_in()
        return self._line.url


def changed(settings: Settings, changes: dict[str, Any]) -> Settings:
    """A copy of `settings` with some fields changed. Raises ValueError for unknown names and unfit values."""
    kind = type(settings)
    known = [each.name for each in fields(settings)]
    for name in changes:
        if name not in known:
            raise ValueError(f"{kind.__name__} has no setting {name!r}; there are: {', '.join(known)}")
    result: Settings = _ADAPTERS[kind].validate_python({**asdict(settings), **changes})
    return result


_VERBS = tuple(name for name, _ in inspect.getmembers(RobotControl, inspect.isfunction) if not name.startswith("_"))


class ControlServer:
    """Answers `{"robot": 0, "do": VERB, "with": {...}}` with `{"result": ...}` or `{"error": "..."}`, line by line."""

    def __init__(self, robots: Sequence[RobotControl], host: str = "127.0.0.1", port: int = 0) -> None:
        self._verbs: list[dict[str, Callable[..., Any]]] = [
            {name: validate_call(getattr(robot, name)) for name in _VERBS} for robot in robots
        ]
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def setup(self) -> None:
                super().setup()
                self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

            def handle(self) -> None:
                with contextlib.suppress(ConnectionError):
                    for line in self.rfile:
                        self.wfile.write(json.dumps(outer.answer(line)).encode() + b"\n")

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True

        self._server = Server((host, port), Handler)
        bound_host, bound_port = self._server.server_address[:2]
        self.url = f"tcp://{bound_host!s}:{bound_port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="bench control", daemon=True
        )
        self._thread.start()

    def answer(self, line: bytes) -> dict[str, Any]:
        """The reply to one request."""
        try:
            request = json.loads(line)
            if not isinstance(request, dict):
                raise ValueError('a request is an object: {"robot": 0, "do": VERB, "with": {...}}')
            index = request.get("robot", 0)
            if not (isinstance(index, int) and 0 <= index < len(self._verbs)):
                raise ValueError(f"there is no robot {index!r}; they count from 0 to {len(self._verbs) - 1}")
            verbs = self._verbs[index]
            verb = request["do"]
            if verb not in verbs:
                raise ValueError(f"unknown verb {verb!r}; there are: {', '.join(verbs)}")
            return {"result": verbs[verb](**request.get("with", {}))}
        except ValidationError as exc:
            told = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in exc.errors())
            return {"error": told}
        except (ValueError, KeyError, TypeError, OSError) as exc:
            return {"error": f"{type(exc).__name__}: {exc}"}

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
