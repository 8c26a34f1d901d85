"""A robot on the bench that another maker's page drives, what a lab file says of it, and its guard's settings."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from devices.pilot import Keys, Pad, PilotClient, Stick
from drivers.guard import GuardSettings, LidarRules, Stopping
from drivers.sim import Bench, BenchRobot
from drivers.sim.vendor import VendorRobot
from drivers.stop_channel import Request, StopSettings, VendorStop

MIDDLE = (1.9, 2.4, 0.0)  # of the standard room, with space all round: x and y in metres, heading in radians


@contextlib.contextmanager
def vendors_robot() -> Iterator[tuple[BenchRobot, VendorRobot]]:
    """The robot in its room, and the vendor's computer on it."""
    with Bench("standard", 1.0, seed=5, dock="A") as bench, VendorRobot(bench.robots[0].base_url) as vendor:
        yield bench.robots[0], vendor


def vendors_client(url: str) -> PilotClient:
    """The vendor's page."""
    return PilotClient(
        url=url,
        wheels="return window.robovisit.wheels",
        alive="return window.robovisit.connected",
        battery="return window.robovisit.battery",
        keyboard=Keys(0.2, 0.6, ahead="w", back="s", left="a", right="d", slow="Space"),
        mouse=Pad("#joystick", 0.3, 1.0),
        gamepad=Stick(0.3, 1.0),
        ready_within_s=20.0,
    )


def vendors_stop(url: str) -> StopSettings:
    """The vendor's own stop."""
    halt, resume = Request(f"{url}api/halt", expect="true"), Request(f"{url}api/resume")
    return StopSettings(vendor=VendorStop(stop_request=halt, release_request=resume))


def guard_settings(robot: BenchRobot, folder: Path, stop: StopSettings, latency_s: float = 0.6) -> GuardSettings:
    """Of a guard without a motor board. It grants a busy machine time: what is tried is what it does in the end."""
    return GuardSettings(
        base_url="",
        stop=stop,
        lidar_url=robot.lidar_url,
        listen=(f"unix://{folder}/guard.sock",),
        state_dir=str(folder),
        simulated=True,
        command_ttl_s=1.0,
        lidar=LidarRules(mount_x_m=0.1, max_age_s=0.5),
        stopping=Stopping(latency_s=latency_s),
    )
