"""Emergency stop: from the HTTP request to the stop bytes on the motor board's wire, with the daemon busy.

Four robots stream: three drive courses one after the other, reports are drawn after each, and readers follow the event
log; the fourth turns on the spot and is stopped again and again. The bench runs in real time, and its clock is the
machine's, so that the time at which the board got the bytes compares with the time of the request.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import statistics
import tempfile
import threading
import time
from pathlib import Path

from drivers.clock import SystemClock
from drivers.guard import GuardClient
from drivers.sim import Bench, BenchRobot
from drivers.types import Pose
from labctl.cli.courses import course_job
from labctl.cli.daemon_child import daemon_child
from labctl.client import Lab, Robot

VICTIM = "robot-1"
STOP = bytes([145, 0, 0, 0, 0])  # drive direct, both wheels at rest
PLACE = (2.5, 2.4, 0.0)
GIVE_UP_S = 2.0


def lab_file(robots: list[BenchRobot]) -> str:
    devices: dict[str, object] = {}
    for number, robot in enumerate(robots, start=1):
        devices[f"room-{number}"] = {"kind": "room"}
        devices[f"robot-{number}"] = {
            "kind": "robot",
            "room": f"room-{number}",
            "simulated": True,
            "base": {"url": robot.base_url},
            "lidar": {"url": robot.lidar_url, "rules": {"mount_x_m": 0.1}},
        }
    return json.dumps({"lab": "benchmark", "devices": devices})


def load(url: str, robots: list[str]) -> None:
    """In a process of its own: drive courses, each of which ends where it began, and read the event log, for ever."""
    threads = [threading.Thread(target=keep_driving, args=(url, name), daemon=True) for name in robots]
    threads += [threading.Thread(target=follow, args=(url,), daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def keep_driving(url: str, name: str) -> None:
    with Lab(url) as lab:
        while True:
            job = lab.run(json.dumps(course_job("standard", name)))
            if job["verdict"] != "passed":  # too much for the machine: the robot is brought back, so that it goes on
                bring_back(lab.robot(name))


def bring_back(robot: Robot) -> None:
    """Out of the quarantine that follows a course that was broken off, by the supervised way."""
    while robot.health()["state"] == "quarantined":
        session = robot.return_to_dock("benchmark", "it is to make load")
        while session["state"] != "ended":
            session = robot.hold(session["id"])
            time.sleep(0.2)
        if robot.preflight()["passed"]:
            robot.acknowledge("benchmark", "it is to make load")


def follow(url: str) -> None:
    with Lab(url) as lab:
        for _ in lab.events():
            pass


def stop_once(lab: Lab, client: GuardClient, robot: BenchRobot) -> tuple[float, float] | None:
    """Milliseconds from the request to the stop bytes, and to the answer; None when the base did not turn."""
    client.set_pose(Pose(*PLACE, time=time.monotonic()))
    turning = time.monotonic()
    while time.monotonic() - turning < 0.3:
        client.drive(0.0, 0.8)
        time.sleep(0.05)
    if robot.board()["left_mm_s"] == 0:
        return None
    begun = time.monotonic()
    lab.robot(VICTIM).estop("benchmark")
    answered = time.monotonic()
    stopped = None
    while stopped is None and time.monotonic() - begun < GIVE_UP_S:
        stopped = next((at for at, data in robot.received(begun) if STOP in data), None)
    if stopped is None:
        raise SystemExit("the stop bytes never came")
    lab.robot(VICTIM).reset("benchmark", "measured")
    client.stop()
    return 1000 * (stopped - begun), 1000 * (answered - begun)


def measure(count: int, busy: bool) -> list[tuple[float, float]]:
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        # The robot that is stopped has a bench of its own: what is measured must not wait for other robots' simulation.
        robots = list(stack.enter_context(Bench()).robots)
        if busy:
            robots += stack.enter_context(Bench(robots=3, seed=1)).robots
        (folder / "lab.yaml").write_text(lab_file(robots), encoding="utf-8")
        daemon = stack.enter_context(daemon_child(folder / "lab.yaml", folder / "data", folder / "log"))
        lab = stack.enter_context(Lab(daemon.url))
        victim = robots[0]
        victim.put_robot(*PLACE)
        if busy:
            others = [f"robot-{number}" for number in range(2, len(robots) + 1)]
            process = multiprocessing.get_context("spawn").Process(target=load, args=(daemon.url, others), daemon=True)
            process.start()
            stack.callback(process.join)
            stack.callback(process.kill)
        lease = stack.enter_context(lab.lease([VICTIM], duration_s=60, wait_s=60))
        client = stack.enter_context(
            GuardClient.connect(
                f"unix://{folder / 'data' / 'robots' / VICTIM / 'guard.sock'}",
                lease.fencing,
                time.monotonic() + 3600,
                SystemClock(),
            )
        )
        samples: list[tuple[float, float]] = []
        misses = 0
        while len(samples) < count:
            sample = stop_once(lab, client, victim)
            if sample is not None:
                samples.append(sample)
            elif (misses := misses + 1) > count:
                raise SystemExit(f"the base does not turn: {client.status()}")
    return samples


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="40 stops of each kind instead of 300")
    options = parser.parse_args()
    count = 40 if options.quick else 300
    print("| daemon | stops | to the wire: median, ms | p99, ms | worst, ms | to the answer: median, ms | p99, ms |")
    print("|---|---|---|---|---|---|---|")
    for name, busy in (("idle, one robot", False), ("four robots streaming, reports drawn", True)):
        wire, answer = map(list, zip(*measure(count, busy), strict=True))
        print(
            f"| {name} | {count} | {statistics.median(wire):.1f} | {percentile(wire, 0.99):.1f} | {max(wire):.1f} "
            f"| {statistics.median(answer):.1f} | {percentile(answer, 0.99):.1f} |",
            flush=True,
        )
    print("\nto reach: p99 to the wire at most 20 ms with the daemon busy")


if __name__ == "__main__":
    main()
