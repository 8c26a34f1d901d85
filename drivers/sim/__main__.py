"""The bench as a process: `python -m drivers.sim --room standard`. Prints one JSON line when ready, ends on SIGTERM."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from drivers.clock import Clock, clock_for_scale
from drivers.documents import DocumentError
from drivers.rooms import Room
from drivers.sim.as_built import as_built
from drivers.sim.board_server import BoardServer
from drivers.sim.control import ControlServer, RobotControl
from drivers.sim.open_interface import OpenInterfaceBoard
from drivers.sim.scip_server import ScipServer
from drivers.sim.world import World

_WATCH_PARENT_S = 0.5
# Of the machine's clock: a motor board's thread that does not run for so long is kept from it by other load.
_STARVED_WALL_S = 0.02
_ENDING = (signal.SIGTERM, signal.SIGINT)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bench until told to end. Returns 0, or 2 when it cannot start."""
    options = _parser().parse_args(arguments)
    # Blocked before any thread starts, so that they wait for this one's loop instead of interrupting whatever it does.
    asked_to_end: list[int] = []
    # A thread of a numeric library that began before the block may get the signal instead; then the handler is run.
    for number in _ENDING:
        signal.signal(number, lambda received, _frame: asked_to_end.append(received))
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    # A LiDAR's thread must not hold up a motor board's for 5 ms: what is measured is the guard, not the bench.
    sys.setswitchinterval(0.0005)
    try:
        room = Room.load(options.room) if options.room.endswith((".yaml", ".yml")) else Room.library(options.room)
        dock = room.dock(options.dock or (room.docks[0].name if room.docks else ""))
        clock = clock_for_scale(options.time_scale)
        room_seed = options.seed if options.room_seed is None else options.room_seed
        built = as_built(room, room_seed, options.survey_sigma)
        with contextlib.ExitStack() as stack:
            robots = []
            for index in range(options.robots):
                world = World(
                    built,
                    clock,
                    dock.name,
                    seed=options.seed + index,
                    battery_ratio=options.battery,
                    waits_for_board_s=_STARVED_WALL_S / clock.to_wall(1.0),
                )
                if options.at is not None:
                    x, y, heading_deg = options.at
                    world.put_robot(x, y, math.radians(heading_deg))
                robots.append(_connect(stack, options, world, clock, index))
            control = ControlServer([each for each, _ in robots], port=options.control_port)
            stack.callback(control.close)
            ready = {
                "control": control.url,
                "room": room.name,
                "time_scale": options.time_scale,
                "pid": os.getpid(),
                "robots": [urls for _, urls in robots],
            }
            _announce(ready, options.state_file)
            if options.state_file:
                stack.callback(Path(options.state_file).unlink, missing_ok=True)
            while not asked_to_end and signal.sigtimedwait(_ENDING, _WATCH_PARENT_S) is None:
                if options.parent is not None and os.getppid() != options.parent:
                    break
    except (DocumentError, ValueError, OSError) as exc:
        print(f"the bench cannot start: {exc}", file=sys.stderr)
        return 2
    except KeyError as exc:
        print(f"the bench cannot start: {exc.args[0]}", file=sys.stderr)
        return 2
    return 0


def _connect(
    stack: contextlib.ExitStack, options: argparse.Namespace, world: World, clock: Clock, index: int
) -> tuple[RobotControl, dict[str, str]]:
    """Put a robot, alone in its own copy of the room, on its wires."""
    seed = options.seed + index
    lidar_port = options.lidar_port + index if options.lidar_port else 0
    lidar = stack.enter_context(ScipServer(world.scan, clock, port=lidar_port, seed=seed))
    board = OpenInterfaceBoard(world, clock, seed=seed)
    if options.serial == "pty":
        line = stack.enter_context(BoardServer.on_pty(board, clock))
    else:
        port = int(options.serial.removeprefix("tcp").removeprefix(":") or 0)
        line = stack.enter_context(BoardServer.on_tcp(board, clock, port=port + index if port else 0))
    return RobotControl(world, board, line, lidar), {"lidar": lidar.url, "base": line.url}


def _announce(ready: dict[str, Any], state_file: str | None) -> None:
    text = json.dumps(ready)
    if state_file:
        part = Path(f"{state_file}.part")
        part.write_text(text + "\n", encoding="utf-8")
        part.replace(state_file)
    print(text, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m drivers.sim", description="A simulated robot, LiDAR and motor board on real sockets and ptys."
    )
    parser.add_argument("--room", default="standard", help="a room that ships with the program, or a room file")
    parser.add_argument("--dock", help="the dock to start at (default: the room's first)")
    parser.add_argument(
        "--at", nargs=3, type=float, metavar=("X", "Y", "DEG"), help="start there instead: metres, and the heading"
    )
    parser.add_argument("--time-scale", type=float, default=1.0, help="seconds of the bench in one second (0.1 to 100)")
    parser.add_argument("--seed", type=int, default=0, help="of noise and slip; robot i gets SEED + i")
    parser.add_argument("--room-seed", type=int, help="of how the walls stand off the map (default: that of the rest)")
    parser.add_argument(
        "--survey-sigma", type=_sigma, metavar="M", help="how far, in metres; 0: as mapped (default: as the map states)"
    )
    parser.add_argument("--robots", type=_count, default=1, help="how many, each alone in its own copy of the room")
    parser.add_argument("--battery", type=float, default=0.8, help="state of charge at the start, 0 to 1")
    parser.add_argument("--lidar-port", type=_port, default=0, help="TCP port of the first LiDAR (0: any free one)")
    parser.add_argument("--control-port", type=_port, default=0, help="TCP port for experimenters (0: any free one)")
    parser.add_argument("--serial", type=_serial, default="pty", help="the motor boards' line: pty, tcp or tcp:PORT")
    parser.add_argument("--state-file", help="write the line that is printed when ready to this file, too")
    parser.add_argument("--parent", type=int, metavar="PID", help="end when this parent process is gone")
    return parser


def _count(text: str) -> int:
    count = int(text)
    if not 1 <= count <= 64:
        raise argparse.ArgumentTypeError(f"{count} robots are not 1 to 64")
    return count


def _sigma(text: str) -> float:
    sigma = float(text)
    if not 0 <= sigma <= 0.1:
        raise argparse.ArgumentTypeError(f"{text} m is not a survey error of 0 to 0.1 m")
    return sigma


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{port} is not a port, 0 to 65535")
    return port


def _serial(text: str) -> str:
    if text in ("pty", "tcp"):
        return text
    kind, _, port = text.partition(":")
    if kind != "tcp" or not port.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not pty, tcp or tcp:PORT")
    _port(port)
    return text


if __name__ == "__main__":
    sys.exit(main())
