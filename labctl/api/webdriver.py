"""WebDriver sessions over the API: which are open, which requests wait and why. Sessions themselves: /webdriver."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from labctl.api.common import Asker, Page, TheDaemon, iso
from labctl.api.elsewhere import of_others, pass_on, who_has
from labctl.api.waiting import waits
from labctl.auth import Resource, authorise

router = APIRouter(prefix="/api/v1/webdriver", tags=["webdriver"])


@router.get("/sessions")
@waits
def list_sessions(daemon: TheDaemon, asker: Asker, request: Request) -> Page:
    """Open WebDriver sessions of all daemons that answer, oldest first."""
    authorise(asker, "read", Resource("webdriver"))
    own = [_timed(each, "began_at") for each in daemon.webdriver.sessions()]
    # One on a device of another daemon is known here and there, and is one run.
    found = {each["run"]: each for each in (*of_others(daemon, request), *own)}
    return Page(items=sorted(found.values(), key=lambda each: str(each["began_at"])), next=None)


@router.get("/queue")
@waits
def list_waiting(daemon: TheDaemon, asker: Asker, request: Request) -> Page:
    """Requests for sessions that wait for a device, at any daemon that answers, longest first, each with the reason."""
    authorise(asker, "read", Resource("webdriver"))
    own = [_timed(each, "since") for each in daemon.webdriver.waiting()]
    found = [*own, *of_others(daemon, request)]
    return Page(items=sorted(found, key=lambda each: str(each["since"])), next=None)


@router.delete("/sessions/{session}", response_model=None)
@waits
def end_session(
    session: str,
    daemon: TheDaemon,
    asker: Asker,
    request: Request,
    *,
    reason: Annotated[str, Query(max_length=500)] = "",
) -> dict[str, str] | Response:
    """End a session: its keys are let go, its device is free, its run is cancelled."""
    known = {each["id"]: each["owner"] for each in daemon.webdriver.sessions()}
    if session not in known and (owner := who_has(daemon, request, f"{router.prefix}/sessions", session)) is not None:
        return pass_on(daemon, request, owner)  # whether the asker may is decided there, where its owner is known
    authorise(asker, "webdriver.end", Resource("webdriver", session, known.get(session)))
    reason = reason or f"ended by {asker.name}"
    daemon.webdriver.end(session, reason)
    return {"id": session, "reason": reason}


def _timed(shown: dict[str, Any], key: str) -> dict[str, Any]:
    return {**shown, key: iso(shown[key])}
