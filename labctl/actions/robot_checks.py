"""The checks of robots and LiDARs: battery, emergency stop, board, LiDAR age, clock offset, pose in the room."""

from __future__ import annotations

import math
import os
import time

from courses.localization import find_pose
from drivers.clock import clock_for_scale
from drivers.errors import DeviceError
from drivers.guard import GuardClient
from drivers.scip import HokuyoLidar
from drivers.types import Array, Scan
from labctl.config import LidarConfig, RobotConfig, RoomConfig, load_room
from labctl.config.model import ForeignBaseSection
from labctl.health.checks import Check, Subject
from labctl.steps import BaseAddress

_SCAN_WITHIN_S = 5.0  # of the robot's clock
_FRESH_WITHIN_S = 5.0  # of the machine's
# The host's time of a scan may be wrong by so much before poses on the way suffer (20 ms are 8 mm at 0.4 m/s).
_CLOCK_OFFSET_S = 0.02
_FEWEST_BEAMS_RATIO = 0.5
_POSE_RESIDUAL_M = 0.03
_POSE_WITHIN_S = 60.0


class RobotChecks:
    """Satisfies `labctl.health.checks.Checks`; looks on as an observer of the guard, and needs no lease."""

    def quick(self, subject: Subject) -> list[Check]:
        return self._look(subject)[0]

    def preflight(self, subject: Subject) -> list[Check]:
        found, scan = self._look(subject)
        if scan is not None:
            found.append(_pose(subject, scan))
        return found

    def _look(self, subject: Subject) -> tuple[list[Check], Scan | None]:
        config = subject.lab.devices[subject.device]
        assert isinstance(config, RobotConfig)
        if subject.base is None:
            return [Check("guard", False, "its motion guard does not run; see its state and the guard's log")], None
        try:
            with _observer(subject.base) as base:
                body = _channel(config.base) if isinstance(config.base, ForeignBaseSection) else _board(base, config)
                found = [*body, _emergency_stop(base)]
                scan, told = _lidar(base, config)
                return [*found, *told], scan
        except DeviceError as exc:
            return [Check("guard", False, str(exc))], None


class LidarChecks:
    """Satisfies `labctl.health.checks.Checks` for a LiDAR that stands by itself."""

    def quick(self, subject: Subject) -> list[Check]:
        config = subject.lab.devices[subject.device]
        assert isinstance(config, LidarConfig)
        try:
            with HokuyoLidar.open(config.url) as lidar:
                scan = lidar.scan()
        except DeviceError as exc:
            return [Check("scan", False, str(exc))]
        return [_beams(scan)]

    def preflight(self, subject: Subject) -> list[Check]:
        return self.quick(subject)


def _observer(address: BaseAddress) -> GuardClient:
    return GuardClient.connect(address.url, clock=clock_for_scale(address.time_scale), token=address.token)


def _board(base: GuardClient, config: RobotConfig) -> list[Check]:
    try:
        state = base.state()
    except DeviceError as exc:
        return [Check("motor board", False, str(exc))]
    least, ratio = config.checks.min_battery_ratio, state.battery_ratio
    told = f"{ratio:.0%} charged" + ("" if ratio >= least else f", at least {least:.0%} are needed: let it charge")
    pressed = [
        name for name, bad in (("bumper", state.bump), ("wheel drop", state.wheel_drop), ("cliff", state.cliff)) if bad
    ]
    where = "is on its dock" if state.on_dock else "is not on a dock"
    return [
        Check("battery", ratio >= least, told, ratio, fact="battery_ratio"),
        Check("dock", True, where, float(state.on_dock), fact="on_dock"),
        Check("bumpers and wheels", not pressed, f"{', '.join(pressed)} pressed" if pressed else "nothing is pressed"),
    ]


def _channel(base: ForeignBaseSection) -> list[Check]:
    """Whether there is a way to stop a robot that its own client drives; whether it works is tried by each course."""
    if base.stop.power is not None:
        try:
            switch = base.stop.power.switch
            on = switch.state()
        except DeviceError as exc:
            return [Check("stop channel", False, str(exc))]
        return [Check("stop channel", True, f"{switch.name} is {'off' if on is False else 'on'}")]
    if base.stop.vendor is not None:
        return [Check("stop channel", True, f"{base.stop.vendor.name}; tried before each course")]
    return [Check("stop channel", False, "nothing but its client can stop it: give base.stop in the lab file")]


def _emergency_stop(base: GuardClient) -> Check:
    status = base.status()
    if not status.latched:
        return Check("emergency stop", True, "off")
    return Check("emergency stop", False, f"{status.detail}; a person at the robot's side may reset it")


def _lidar(base: GuardClient, config: RobotConfig) -> tuple[Scan | None, list[Check]]:
    clock = clock_for_scale(config.time_scale)
    limit = config.lidar.rules.max_age_s
    try:
        # A busy computer hands many a scan on late: one that is fresh shows that the LiDAR is well.
        give_up = time.monotonic() + _FRESH_WITHIN_S
        scan = base.scan(clock.now(), timeout=_SCAN_WITHIN_S)
        while (age := clock.now() - scan.time) > limit and time.monotonic() < give_up:
            scan = base.scan(scan.time, timeout=_SCAN_WITHIN_S)
    except DeviceError as exc:
        return None, [Check("LiDAR", False, str(exc))]
    fresh = -_CLOCK_OFFSET_S <= age <= limit
    offset = scan.time_error
    aged = f"scans arrive {age * 1000:.0f} ms old, at most {limit * 1000:.0f} are allowed"
    known = f"the LiDAR's clock is known to {offset * 1000:.1f} ms"
    return scan, [
        Check("LiDAR age", fresh, aged, age, "s"),
        Check("clock offset", offset <= _CLOCK_OFFSET_S, known, offset, "s"),
        _beams(scan),
    ]


def _beams(scan: Scan) -> Check:
    ratio = float((scan.error_codes == 0).mean())
    return Check("beams", ratio >= _FEWEST_BEAMS_RATIO, f"{ratio:.0%} of the beams carry a range", ratio)


def _pose(subject: Subject, scan: Scan) -> Check:
    config = subject.lab.devices[subject.device]
    assert isinstance(config, RobotConfig)
    room = subject.lab.devices[config.room]
    assert isinstance(room, RoomConfig)
    mount = config.lidar.rules.mount
    try:
        found = subject.workers.submit(_fit, room, scan.ranges, scan.angles, mount.xyh).result(_POSE_WITHIN_S)
    except Exception as exc:
        return Check("pose", False, f"its pose could not be worked out: {exc}")
    x, y, heading, residual, inliers, sure = found
    where = f"({x:.2f}, {y:.2f}) m, {math.degrees(heading):.0f} deg"
    told = f"at {where}, residual {residual * 1000:.1f} mm, {inliers:.0%} of the beams agree"
    if not sure:
        told += "; another place fits as well, or too little of the room is as surveyed"
    return Check("pose", sure and residual <= _POSE_RESIDUAL_M, told, residual, "m")


def _fit(
    room: RoomConfig, ranges: Array, angles: Array, mount: tuple[float, float, float]
) -> tuple[float, float, float, float, float, bool]:
    """In a worker: x, y, heading of the base, residual, share of beams that agree, and whether there is no doubt."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    found = find_pose(ranges, angles, load_room(room), mount)
    return (*found.base.xyh, found.match.residual_m, found.match.inlier_ratio, found.match.trustworthy)
