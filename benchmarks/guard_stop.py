"""How soon the wheels are told to stop, and how far the base still goes: the guard on the simulated bench, real wires.

    python benchmarks/guard_stop.py [--quick]

Each loss of control happens while another process drives at 0.3 m/s, 50 commands a second. Times come from the board's
own log: from the last command that the driver can have sent to the first stop bytes on the serial line. The way is the
bench's truth, from that moment to rest. "link to the host cut": the guard was sent to a host behind a real sshd, board
and LiDAR hang there, and the driver is here; every packet between the two is dropped from one moment on (a network
namespace, where root may make one; else a silent relay). The peer in the same run is the board alone (the driver
process writes to it without a guard): a Create 2 has no time-out, so it drives on, and what is shown is how far in the
first 2 s.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from _wire import wire

from drivers.clock import SystemClock
from drivers.guard import GuardProcess, GuardSettings, LidarRules
from drivers.guard.rules import stopping_distance
from drivers.remote_guard import RemoteGuardProcess
from drivers.rooms import Room
from drivers.sim.board_server import BoardServer
from drivers.sim.open_interface import OpenInterfaceBoard
from drivers.sim.scip_server import ScipServer
from drivers.sim.world import World
from drivers.ssh import SshError, SshHost
from drivers.types import Pose

SPEED = 0.3
START = (1.5, 2.4, 0.0)
TOKEN = "benchmark"

GUARDED = """
import sys, time
from drivers.clock import SystemClock
from drivers.guard import GuardClient
clock = SystemClock()
client = GuardClient.connect(sys.argv[1], int(sys.argv[2]), clock.now() + 60, clock, sys.argv[3])
while True:
    client.drive(float(sys.argv[4]), 0.0)
    time.sleep(0.02)
"""
UNGUARDED = """
import sys, time
from drivers.create2 import Create2
base = Create2.open(sys.argv[1])
base.enter_safe_mode()
while True:
    base.drive(float(sys.argv[2]), 0.0)
    time.sleep(0.02)
"""


class Tunnel:
    """A TCP relay to the guard that can be cut without either end being told."""

    def __init__(self, target: str) -> None:
        host, _, port = target.removeprefix("tcp://").rpartition(":")
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self._open = True
        self._sockets = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        self._open = False

    def close(self) -> None:
        for each in self._sockets:
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            client, _ = self._listener.accept()
            server = socket.create_connection(self._target)
            self._sockets += [client, server]
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while (data := source.recv(65536)) and self._open:
                sink.sendall(data)
            if self._open:
                sink.shutdown(socket.SHUT_WR)


class Bench:
    """A robot in the standard room behind real wires."""

    def __init__(self) -> None:
        self.clock = SystemClock()
        self.room = Room.library("standard")
        self.world = World(self.room, self.clock, "A")
        self.board = OpenInterfaceBoard(self.world, self.clock)
        self.line = BoardServer.on_pty(self.board, self.clock)
        self.lidar = ScipServer(self.world.scan, self.clock)

    def settings(self, folder: str) -> GuardSettings:
        return GuardSettings(
            base_url=self.line.url,
            lidar_url=self.lidar.url,
            token=TOKEN,
            state_dir=folder,
            lidar=LidarRules(mount_x_m=0.1),
            geofence=tuple((float(x), float(y)) for x, y in self.room.geofence),
        )

    def wheels(self, since: float, stop: bool) -> list[float]:
        """When drive-direct commands that stop (or that move) the wheels reached the board, later than `since`."""
        zero = bytes([145, 0, 0, 0, 0])
        late = itertools.takewhile(lambda write: write.time > since, reversed(list(self.board.received)))
        found = [write.time for write in late if 145 in write.data[:2] and (zero in write.data) == stop]
        return found[::-1]

    def wait(self, condition: Callable[[], bool], seconds: float = 15.0) -> None:
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                raise SystemExit("the bench did not get where it should within 15 s; is the machine overloaded?")
            time.sleep(0.002)

    def first_stop(self, since: float) -> float:
        """When the first stop bytes later than `since` reached the board; waits for them."""
        self.wait(lambda: bool(self.wheels(since, stop=True)))
        return self.wheels(since, stop=True)[0]

    def rolling(self) -> None:
        """Wait until the base has driven at full speed for a moment."""
        self.wait(lambda: self.world.truth().linear > 0.95 * SPEED)
        time.sleep(0.2)

    def close(self) -> None:
        self.line.close()
        self.lidar.close()


def guarded(bench: Bench, guard: GuardProcess, fencing: int, cause: str) -> tuple[float, float]:
    """Lose control once; (seconds to stop bytes, metres to rest)."""
    bench.world.put_robot(*START)
    with guard.client(fencing, bench.clock.now() + 60) as observer:
        observer.scan(timeout=10)
        observer.set_pose(Pose(*START, np.eye(3) * 1e-6, time=bench.clock.now()))
        observer.status()
        tunnel = Tunnel(guard.address)
        arguments = [tunnel.address, str(fencing), TOKEN, str(SPEED)]
        driver = subprocess.Popen([sys.executable, "-c", GUARDED, *arguments], stderr=subprocess.DEVNULL)
        try:
            bench.rolling()
            lost, before = bench.clock.now(), bench.world.truth()
            if cause == "emergency stop":
                observer.emergency_stop("benchmark")
            elif cause == "tunnel cut":
                tunnel.cut()
            elif cause == "guard killed":
                os.kill(guard.pid, signal.SIGKILL)
            else:
                driver.send_signal(signal.SIGSTOP if cause == "client SIGSTOP" else signal.SIGKILL)
            stopped = bench.first_stop(lost)
            bench.wait(lambda: bench.world.truth().linear == 0)
            after = bench.world.truth()
            if cause == "emergency stop":
                observer.reset_emergency_stop("benchmark", "next round")
        finally:
            driver.send_signal(signal.SIGCONT)
            driver.kill()
            driver.wait()
            tunnel.close()
    return stopped - lost, float(np.hypot(after.x - before.x, after.y - before.y))


def far(bench: Bench, rounds: int) -> list[tuple[float, float]]:
    """Lose the link to the host that the guard runs on, so many times; as `guarded`."""
    found = []
    with (
        tempfile.TemporaryDirectory() as folder,
        wire(Path(folder), silence_s=2.0) as line,
        ScipServer(bench.world.scan, bench.clock, line.beside) as lidar,
        SshHost.open(line.settings) as host,
    ):
        settings = replace(bench.settings(""), name="far", lidar_url=lidar.url)
        for fencing in range(1, rounds + 1):
            with RemoteGuardProcess.start(host, settings, python=sys.executable) as guard:
                found.append(cut_off(bench, guard, fencing, line.cut))
                line.mend()
            bench.wait(lambda: _answers(host), 60)
    return found


def cut_off(bench: Bench, guard: RemoteGuardProcess, fencing: int, cut: Callable[[], None]) -> tuple[float, float]:
    bench.world.put_robot(*START)
    with guard.client(fencing, bench.clock.now() + 60) as observer:
        observer.scan(timeout=20)
        observer.set_pose(Pose(*START, np.eye(3) * 1e-6, time=bench.clock.now()))
        observer.status()
    arguments = [guard.address, str(fencing), guard.settings.token, str(SPEED)]
    driver = subprocess.Popen([sys.executable, "-c", GUARDED, *arguments], stderr=subprocess.DEVNULL)
    try:
        bench.rolling()
        lost, before = bench.clock.now(), bench.world.truth()
        cut()
        stopped = bench.first_stop(lost)
        bench.wait(lambda: bench.world.truth().linear == 0)
        after = bench.world.truth()
    finally:
        driver.kill()
        driver.wait()
    return stopped - lost, float(np.hypot(after.x - before.x, after.y - before.y))


def _answers(host: SshHost) -> bool:
    try:
        host.exec("true")
    except SshError:
        return False
    return True


def unguarded(bench: Bench) -> tuple[float, float]:
    """The same without a guard: (inf or seconds to stop bytes, metres in the first 2 s)."""
    bench.world.put_robot(*START)
    driver = subprocess.Popen([sys.executable, "-c", UNGUARDED, bench.line.url, str(SPEED)])
    try:
        bench.rolling()
        lost, before = bench.clock.now(), bench.world.truth()
        driver.kill()
        driver.wait()
        time.sleep(2.0)
        after = bench.world.truth()
        stops = bench.wheels(lost, stop=True)
    finally:
        driver.kill()
        driver.wait()
        bench.world.set_wheel_speeds(0.0, 0.0)
    return (stops[0] - lost if stops else float("inf")), float(np.hypot(after.x - before.x, after.y - before.y))


def busy_clients(guard: GuardProcess, count: int) -> Callable[[], None]:
    """Connections that stream every scan, state and status; returns what ends them."""
    clients = [guard.client() for _ in range(count)]
    for client in clients:
        client.scan(timeout=10)
        client.state()
        client.latest_status()

    def end() -> None:
        for client in clients:
            client.close()

    return end


def latencies(bench: Bench, guard: GuardProcess, rounds: int) -> list[float]:
    """Seconds from calling an emergency stop on an open connection to stop bytes at the board, which turns the base."""
    found = []
    bench.world.put_robot(*START)
    with guard.client(1, bench.clock.now() + 3600) as driver, guard.client() as caller:
        driver.scan(timeout=10)
        for index in range(rounds):
            begun = bench.clock.now()
            while not bench.wheels(begun, stop=False):
                driver.drive(0.0, 0.6)
                time.sleep(0.013 + 0.007 * (index % 3))
            called = bench.clock.now()
            caller.emergency_stop("benchmark")
            found.append(bench.first_stop(called) - called)
            caller.reset_emergency_stop("benchmark", "next round")
    return found


def row(cause: str, found: list[tuple[float, float]], alone_m: float) -> None:
    times, ways = [1000 * each[0] for each in found], [each[1] for each in found]
    print(
        f"| {cause} | {len(found)} | {statistics.median(times):.1f} | {max(times):.1f} | "
        f"{statistics.median(ways):.3f} | {max(ways):.3f} | {statistics.median(ways) / alone_m:.2f} |",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few rounds")
    quick = parser.parse_args().quick
    rounds, calls = (2, 50) if quick else (20, 1000)
    bench = Bench()
    try:
        alone = unguarded(bench)
        print(f"\n| loss of control at {SPEED} m/s | rounds | to stop bytes, median ms | worst ms ", end="")
        print("| way to rest, median m | worst m | way / unguarded |\n|---|---|---|---|---|---|---|")
        print(f"| no guard, client SIGKILL | 1 | never | never | {alone[1]:.3f} in 2 s, on and on | | 1 |")
        fencing = 1
        for cause in ("client SIGKILL", "client SIGSTOP", "tunnel cut", "emergency stop", "guard killed"):
            with tempfile.TemporaryDirectory() as folder:
                found = []
                guard = GuardProcess.start(bench.settings(folder))
                try:
                    for _ in range(rounds):
                        fencing += 1
                        found.append(guarded(bench, guard, fencing, cause))
                        if cause == "guard killed":
                            guard.close()
                            guard = GuardProcess.start(bench.settings(folder))
                finally:
                    guard.close()
            row(cause, found, alone[1])
        row("link to the host cut", far(bench, rounds), alone[1])
        print(
            "\n| emergency stop, client to stop bytes | calls | median ms | p99 ms | worst ms |\n|---|---|---|---|---|"
        )
        with tempfile.TemporaryDirectory() as folder:
            guard = GuardProcess.start(replace(bench.settings(folder), geofence=()))
            try:
                for name, streams in (("guard at rest", 0), ("four clients stream everything", 4)):
                    end = busy_clients(guard, streams)
                    times = sorted(1000 * each for each in latencies(bench, guard, calls))
                    end()
                    p99 = times[min(len(times) - 1, int(0.99 * len(times)))]
                    print(f"| {name} | {calls} | {statistics.median(times):.2f} | {p99:.2f} | {times[-1]:.2f} |")
            finally:
                guard.close()
        stopping = bench.settings("").stopping
        print(f"\nThe guard keeps {stopping_distance(SPEED, stopping):.3f} m free ahead at {SPEED} m/s "
              f"({stopping.margin_m} m of it margin).")  # fmt: skip
    finally:
        bench.close()


if __name__ == "__main__":
    main()
