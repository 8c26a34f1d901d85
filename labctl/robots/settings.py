"""Turns what the lab file says of a robot into the settings of its motion guard."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import replace
from pathlib import Path

from drivers.guard import GuardSettings
from drivers.rooms import Room
from labctl.config import RobotConfig
from labctl.config.model import BaseSection, ForeignBaseSection

_LONGEST_SOCKET_PATH = 100  # the kernel takes 107 bytes


def guard_settings(name: str, robot: RobotConfig, room: Room, state_dir: Path) -> GuardSettings:
    """The guard's settings: limits of the lab file, geofence and dock zones of the room. Listens on a Unix socket."""
    settings = GuardSettings(
        base_url=robot.base.url if isinstance(robot.base, BaseSection) else "",
        stop=robot.base.stop if isinstance(robot.base, ForeignBaseSection) else None,
        lidar_url=robot.lidar.url,
        listen=(f"unix://{socket_path(state_dir)}",),
        state_dir=str(state_dir),
        name=name,
        simulated=robot.simulated,
        time_scale=robot.time_scale,
        command_ttl_s=robot.guard.command_ttl_s,
        limits=robot.guard.limits,
        stopping=robot.guard.stopping,
        footprint=robot.guard.footprint,
        lidar=robot.lidar.rules,
        pose=robot.guard.pose,
        docking=robot.guard.docking,
        geofence=tuple((float(x), float(y)) for x, y in room.geofence),
        dock_zones=tuple(tuple((float(x), float(y)) for x, y in dock.zone) for dock in room.docks),
    )
    return settings if robot.base.geometry is None else replace(settings, geometry=robot.base.geometry)


def socket_path(state_dir: Path) -> Path:
    """Where the guard listens: in its state folder, or, when that path is too long for a socket, in a private one."""
    direct = state_dir.resolve() / "guard.sock"
    if len(os.fsencode(direct)) <= _LONGEST_SOCKET_PATH:
        return direct
    folder = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()) / f"labctl-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to somebody else; set XDG_RUNTIME_DIR or choose a shorter --data")
    return folder / f"{hashlib.sha256(os.fsencode(direct)).hexdigest()[:16]}.sock"
