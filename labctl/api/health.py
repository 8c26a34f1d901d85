"""How devices are over HTTP: checks, quarantine, the way back out of it, and a robot's supervised way to its dock."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field

from labctl.api.common import Asker, Body, TheDaemon, iso
from labctl.api.waiting import waits
from labctl.auth import Resource, authorise
from labctl.daemon import Daemon
from labctl.errors import ConflictError, NotFoundError
from labctl.health.checks import Check
from labctl.health.returning import HOLD_S, Session
from labctl.store import health
from labctl.store.tables import devices

router = APIRouter(prefix="/api/v1", tags=["health"])
Text = Annotated[str, Field(min_length=1, max_length=500, pattern=r"^[^\x00]*[^\s\x00][^\x00]*$")]


class Reason(Body):
    """Why, and who says so where that is not whoever asks."""

    reason: Text
    person: Text | None = None


@router.get("/devices/{name}/health")
def show_health(name: str, daemon: TheDaemon, asker: Asker) -> dict[str, Any]:
    """The latest checks of a device, its lab errors in a row, and how far it is on its way out of quarantine."""
    authorise(asker, "read", Resource("device", name))
    return _show(daemon, name)


@router.post("/devices/{name}/preflight")
@router.post("/robots/{name}/preflight")
@waits
def run_preflight(name: str, daemon: TheDaemon, asker: Asker) -> dict[str, Any]:
    """Look at everything, now. A preflight that passes is half of the way out of quarantine."""
    authorise(asker, "devices.maintain", Resource("device", name))
    _ensure_ours(daemon, name)
    passed, checks = daemon.health.preflight(name)
    return {"device": name, "passed": passed, "checks": [_check(each) for each in checks]}


@router.post("/devices/{name}/acknowledge")
@router.post("/robots/{name}/acknowledge")
def acknowledge(name: str, body: Reason, daemon: TheDaemon, asker: Asker) -> dict[str, Any]:
    """A person takes a device out of quarantine, after a preflight that passed."""
    authorise(asker, "devices.maintain", Resource("device", name))
    if daemon.health.returning.active(name):
        raise ConflictError(f"{name} is on its way to the dock; acknowledge it when it has arrived")
    daemon.health.acknowledge(name, body.person or asker.name, body.reason)
    return _show(daemon, name)


@router.post("/devices/{name}/quarantine")
def quarantine(name: str, body: Reason, daemon: TheDaemon, asker: Asker) -> dict[str, Any]:
    """Withhold a device until a preflight passes and a person acknowledges."""
    authorise(asker, "devices.maintain", Resource("device", name))
    daemon.health.quarantine(name, body.person or asker.name, body.reason)
    return _show(daemon, name)


@router.post("/robots/{name}/return-to-dock", status_code=201)
def return_to_dock(name: str, body: Reason, daemon: TheDaemon, asker: Asker) -> dict[str, Any]:
    """Begin the slow way back of a robot that is withheld. It moves only while `hold` is said, each second."""
    authorise(asker, "robots.return_to_dock", Resource("robot", name))
    return _session(daemon.health.returning.start(name, body.person or asker.name, body.reason))


@router.post("/robots/{name}/return-to-dock/{session}/hold")
def hold(name: str, session: str, daemon: TheDaemon, asker: Asker) -> dict[str, Any]:
    """A person still holds the key: the robot may go on for another second."""
    authorise(asker, "robots.return_to_dock", Resource("robot", name))
    return _session(daemon.health.returning.hold(name, session))


@router.get("/robots/{name}/return-to-dock/{session}")
def show_return(name: str, session: str, daemon: TheDaemon, asker: Asker) -> dict[str, Any]:
    """How a way back goes, or went."""
    authorise(asker, "read", Resource("robot", name))
    return _session(daemon.health.returning.get(name, session))


def _ensure_ours(daemon: Daemon, name: str) -> None:
    if name not in daemon.lab.devices:
        raise NotFoundError(f"there is no device {name!r} on this daemon; GET /api/v1/devices lists them")


def _check(check: Check) -> dict[str, Any]:
    return {
        "name": check.name,
        "well": check.well,
        "detail": check.detail,
        "value": check.value,
        "unit": check.unit,
    }


def _session(session: Session) -> dict[str, Any]:
    outcome = session.outcome
    return {
        "id": session.id,
        "robot": session.robot,
        "person": session.person,
        "progress": session.told,
        "state": "under way" if outcome is None else "ended",
        "verdict": None if outcome is None else outcome.verdict,
        "reason": "" if outcome is None else outcome.reason,
        "hold_s": HOLD_S,
    }


def _show(daemon: Daemon, name: str) -> dict[str, Any]:
    with daemon.store.read() as connection:
        device = connection.execute(devices.select().where(devices.c.name == name)).one_or_none()
        if device is None:
            raise NotFoundError(f"there is no device {name!r}; GET /api/v1/devices lists them")
        checks = health.known_checks(connection, name)
        counted, quarantined = health.counts(connection, name), health.open_quarantine(connection, name)
    way_back = None
    if quarantined is not None:
        way_back = {
            "cause": quarantined.cause,
            "reason": quarantined.reason,
            "since": iso(quarantined.since),
            "preflight_at": iso(quarantined.preflight_at),
            "preflight_passed": quarantined.preflight_passed,
            "preflight_detail": quarantined.preflight_detail,
        }
    return {
        "device": name,
        "state": device.state,
        "reason": device.state_reason,
        "since": iso(device.state_since),
        "facts": device.facts,
        "lab_errors": 0 if counted is None else counted.lab_errors,
        "quarantine_after": health.STANDARD_QUARANTINE_AFTER if counted is None else counted.quarantine_after,
        "checked_at": None if counted is None else iso(counted.checked_at),
        "checks": [
            {"name": row.name, "well": row.well, "detail": row.detail, "value": row.value, "unit": row.unit}
            for row in checks
        ],
        "quarantine": way_back,
    }
