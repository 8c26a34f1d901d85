"""Robots over HTTP: how they are, and taking off an emergency stop (which is pressed in `labctl.api.emergency`)."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import Field

from drivers.errors import MotionRefusedError
from labctl.api.common import Asker, Body, Page, TheDaemon
from labctl.api.elsewhere import everywhere
from labctl.api.waiting import waits
from labctl.auth import Resource, authorise, authorise_list, may
from labctl.errors import ConflictError
from labctl.robots import Robot
from labctl.robots.supervisor import RobotHealth

router = APIRouter(prefix="/api/v1/robots", tags=["robots"])
Text = Annotated[str, Field(min_length=1, max_length=500, pattern=r"\S")]
_UNKNOWN = dict.fromkeys(("guard_restarts", "estop", "motion", "battery"))
_SILENT: dict[str, Any] = {"name": "", "health": RobotHealth.OFFLINE, "reason": "", **_UNKNOWN}


class Reset(Body):
    """Who takes the emergency stop off, at the robot's side, and why that is safe."""

    person: Text
    reason: Text


@router.get("")
@waits
def list_robots(daemon: TheDaemon, asker: Asker, request: Request) -> Page:
    """All robots of the lab, by name; those of a daemon that does not answer are offline."""
    authorise_list(asker, "read", "robot")
    visible = [robot for name, robot in daemon.fleet.robots.items() if may(asker, "read", Resource("robot", name))]
    own = [_show(robot) for robot in visible]
    return Page(items=everywhere(daemon, request, own, kind="robot", silent=_SILENT), next=None)


@router.get("/{name}")
@waits
def show_robot(name: str, daemon: TheDaemon, asker: Asker) -> dict[str, Any]:
    """One robot: its health, what the motion guard does, the battery."""
    authorise(asker, "read", Resource("robot", name))
    return _show(daemon.fleet.get(name))


@router.post("/{name}/estop/reset")
@waits
def reset_emergency_stop(name: str, reset: Reset, daemon: TheDaemon, asker: Asker) -> dict[str, Any]:
    """Take the emergency stop off. Only a person at the robot's side may say that."""
    authorise(asker, "robots.reset", Resource("robot", name))
    robot = daemon.fleet.get(name)
    try:
        robot.reset_emergency_stop(reset.person, reset.reason)
    except MotionRefusedError as exc:
        raise ConflictError(str(exc)) from exc
    about = {"person": reset.person, "reason": reset.reason, "principal": asker.name}
    daemon.store.write(lambda transaction: transaction.emit("robot.estop_reset", device=name, **about))
    return _show(robot)


def _show(robot: Robot) -> dict[str, Any]:
    state, status = robot.readings()
    shown: dict[str, Any] = {
        "name": robot.name,
        "health": robot.health,
        "reason": robot.reason,
        "guard_restarts": robot.restarts,
        "estop": None if status is None else status.latched,
        "motion": None,
        "battery": None,
    }
    if status is not None:
        shown["motion"] = {
            "allowed": status.allowed,
            "stopped_by": status.reason,
            "detail": status.detail,
            "linear_m_s": status.applied.linear,
            "angular_rad_s": status.applied.angular,
        }
    if state is not None:
        shown["battery"] = {"ratio": state.battery_ratio, "charging": state.charging, "on_dock": state.on_dock}
    return shown
