"""WebDriver sessions over the API: which are open, which requests wait and why. Sessions themselves: /webdriver."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from labctl.api.common import Asker, Page, TheDaemon, iso
from labctl.auth import Resource, authorise

router = APIRouter(prefix="/api/v1/webdriver", tags=["webdriver"])


@router.get("/sessions")
def list_sessions(daemon: TheDaemon, asker: Asker) -> Page:
    """Open WebDriver sessions, oldest first."""
    authorise(asker, "read", Resource("webdriver"))
    return Page(items=[_timed(each, "began_at") for each in daemon.webdriver.sessions()], next=None)


@router.get("/queue")
def list_waiting(daemon: TheDaemon, asker: Asker) -> Page:
    """Requests for sessions that wait for a device, longest first, each with the reason."""
    authorise(asker, "read", Resource("webdriver"))
    return Page(items=[_timed(each, "since") for each in daemon.webdriver.waiting()], next=None)


@router.delete("/sessions/{session}")
def end_session(
    session: str, daemon: TheDaemon, asker: Asker, reason: Annotated[str, Query(max_length=500)] = ""
) -> dict[str, str]:
    """End a session: its keys are let go, its device is free, its run is cancelled."""
    owner = next((each["owner"] for each in daemon.webdriver.sessions() if each["id"] == session), None)
    authorise(asker, "webdriver.end", Resource("webdriver", session, owner))
    reason = reason or f"ended by {asker.name}"
    daemon.webdriver.end(session, reason)
    return {"id": session, "reason": reason}


def _timed(shown: dict[str, Any], key: str) -> dict[str, Any]:
    return {**shown, key: iso(shown[key])}
