"""Pilots that are lost under way: a program holds a page's input in a real browser, and something takes it away.

Shared by tests and benchmarks. Run as a program it is the one that drives; what, its only argument says, as JSON.
"""

from __future__ import annotations

import contextlib
import json
import math
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _browsers import BrowserDriver, browser_driver
from _vendors_robot import guard_settings, vendors_client, vendors_robot, vendors_stop

from devices.client import HttpWire, WebDriverSession
from devices.pilot import PagedBase, PilotPage, open_input
from devices.pilot.foreign import ForeignPage, ForeignSeat
from devices.pilot.wheels import ShownWheels
from drivers.clock import SystemClock
from drivers.errors import DeviceError
from drivers.guard import GuardClient, GuardProcess, GuardSettings, LidarRules
from drivers.guard.foreign_client import ForeignGuardClient
from drivers.guard.rules import REST
from drivers.sim import Bench, BenchRobot
from drivers.sim.pilot import PilotServer
from drivers.sim.vendor import VendorRobot

PAGES = ("ours", "another maker's")
SPEED_M_S = 0.2
START = (1.0, 2.4, 0.0)
FARTHEST_X_M = 3.0  # ahead of it there is room to stop
_PATIENCE_S = 60.0


@dataclass(frozen=True)
class Loss:
    """What became of a robot whose pilot was lost. Seconds of the machine's clock from the loss on: `stop_s` until the
    guard had stopped it, `rest_s` until it rested; `way_m` it went till then. `status`: why, as the guard says; `told`:
    what the driving program said last, empty where it said nothing."""

    stop_s: float
    rest_s: float
    way_m: float
    status: str
    told: str


@dataclass
class Pilot:
    """The program that drives, the browser it drives through, and the robot."""

    program: subprocess.Popen[str]
    driver: BrowserDriver
    session: WebDriverSession  # somebody else's hold of the same session
    robot: BenchRobot

    def told(self) -> str:
        """The next thing that the program says; empty when it ended without."""
        assert self.program.stdout is not None
        ready, _, _ = select.select([self.program.stdout], [], [], _PATIENCE_S)
        return self.program.stdout.readline().strip() if ready else ""


def _another_tab(pilot: Pilot) -> None:
    pilot.session.command("POST", "/window", {"handle": pilot.session.command("POST", "/window/new", {})["handle"]})


LOSSES: dict[str, Callable[[Pilot], None]] = {
    "program killed": lambda pilot: pilot.program.kill(),
    "program frozen": lambda pilot: pilot.program.send_signal(signal.SIGSTOP),
    "browser killed": lambda pilot: pilot.driver.kill_browser(),
    "page frozen": lambda pilot: pilot.driver.freeze_pages(),
    "session ended": lambda pilot: pilot.session.command("DELETE", ""),
    "page left": lambda pilot: pilot.session.go("about:blank"),
    "another tab": _another_tab,
}


@dataclass
class PilotedRobot:
    """A robot with its guard; `vendor`: the computer on it, where another maker's page drives it."""

    robot: BenchRobot
    vendor: VendorRobot | None
    guard: GuardProcess
    _fencing: int = 0

    def lose(self, cause: str, input_: str, browser: str, folder: Path) -> Loss:
        """Drive straight on by an input of the page in a browser of its own, and lose the pilot by one of LOSSES.

        `folder`: an empty one. Raises TimeoutError when the robot does not get under way, or not to rest, in a minute.
        """
        self._fencing += 1
        self.robot.put_robot(*START)
        if self.vendor is not None:
            self.vendor.restart()
        with (
            browser_driver(browser, folder) as driver,
            self.guard.client() as watcher,
            driver.broken(folder / "profile") as session,
        ):
            task = {
                "driver": driver.url,
                "session": session.id,
                "input": input_,
                "guard": self.guard.address,
                "fencing": self._fencing,
                "vendor": self.vendor.url if self.vendor is not None else None,
            }
            program = subprocess.Popen(
                [sys.executable, __file__, json.dumps(task)],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            pilot = Pilot(program, driver, session, self.robot)
            try:
                if (said := pilot.told()) != "ready":
                    raise TimeoutError(f"the robot could not be driven: {said}")
                return _measured(cause, pilot, watcher)
            finally:
                program.send_signal(signal.SIGCONT)
                program.kill()
                program.wait()
                if program.stdout is not None:
                    program.stdout.close()


@contextlib.contextmanager
def piloted_robot(page: str, folder: Path) -> Iterator[PilotedRobot]:
    """A robot that is driven through that page, one of PAGES; its guard keeps its memory in `folder`.

    The guard has its standard times but for scans, which a busy machine delivers late.
    """
    with contextlib.ExitStack() as stack:
        if page == "ours":
            robot, vendor = stack.enter_context(Bench("standard", 1.0, seed=5, dock="A")).robots[0], None
            settings = GuardSettings(
                base_url=robot.base_url,
                lidar_url=robot.lidar_url,
                listen=(f"unix://{folder}/guard.sock",),
                state_dir=str(folder),
                simulated=True,
                lidar=LidarRules(mount_x_m=0.1, max_age_s=0.5),
            )
        else:
            robot, vendor = stack.enter_context(vendors_robot())
            settings = guard_settings(robot, folder, vendors_stop(vendor.url))
        yield PilotedRobot(robot, vendor, stack.enter_context(GuardProcess.start(settings)))


def _measured(cause: str, pilot: Pilot, watcher: GuardClient) -> Loss:
    robot = pilot.robot

    def under_way() -> bool:
        truth = robot.truth()
        if truth.x > FARTHEST_X_M:
            robot.put_robot(*START)
        return truth.linear > 0.9 * SPEED_M_S and watcher.status().applied != REST

    _wait(under_way, "under way")
    before, lost = robot.truth(), time.monotonic()
    LOSSES[cause](pilot)
    _wait(lambda: watcher.status().applied == REST, "stopped")
    stop_s, status = time.monotonic() - lost, watcher.status().detail
    _wait(lambda: robot.truth().linear == 0, "at rest")
    rest_s, after = time.monotonic() - lost, robot.truth()
    told = pilot.told() if cause not in ("program killed", "program frozen") else ""
    way_m = math.hypot(after.x - before.x, after.y - before.y)
    return Loss(stop_s, rest_s, way_m, status, told)


def _wait(condition: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + _PATIENCE_S
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError(f"the robot was not {what} within {_PATIENCE_S:g} s")
        time.sleep(0.002)


def _drive(task: dict[str, Any]) -> str:
    """Hold the input until something is wrong; what it is."""
    clock = SystemClock()
    session = WebDriverSession(HttpWire(task["driver"], 10.0), task["session"], {})
    with contextlib.ExitStack() as stack:
        base = stack.enter_context(ForeignGuardClient.connect(task["guard"], task["fencing"], clock.now() + 600, clock))
        base.scan(timeout=30.0)
        seat: PagedBase | ForeignSeat
        try:
            if task["vendor"] is None:
                page = PilotPage(session)
                page.open(stack.enter_context(PilotServer(base)).url)
                seat = PagedBase(base, page, open_input(task["input"], session), clock)
            else:
                client = vendors_client(task["vendor"])
                foreign, piloted = ForeignPage(session, client), open_input(task["input"], session, client)
                foreign.open()
                wheels = ShownWheels(base.geometry, *client.fastest(task["input"]))
                seat = ForeignSeat(
                    base, foreign, piloted, clock, ask=base.drive, geometry=base.geometry, wheels=wheels, resumes=True
                )
                seat.state()
                seat.arm(20.0)
            print("ready", flush=True)
            while True:
                seat.drive(SPEED_M_S, 0.0)
                clock.sleep(0.04)
                seat.state()
        except DeviceError as exc:
            return str(exc)


if __name__ == "__main__":
    print(_drive(json.loads(sys.argv[1])), flush=True)
