"""What `labctl sessions` shows and does."""

from __future__ import annotations

from labctl.cli.connecting import connected
from labctl.cli.output import note, print_json, print_table


def show_sessions(url: str | None, *, as_json: bool) -> int:
    """List open sessions and waiting requests."""
    with connected(url) as lab:
        opened = lab.request("GET", "/api/v1/webdriver/sessions")["items"]
        waiting = lab.request("GET", "/api/v1/webdriver/queue")["items"]
    if as_json:
        print_json({"sessions": opened, "waiting": waiting})
        return 0
    rows = [
        (each["id"], each["device"], each["owner"], each["job"], each["began_at"], each["commands"]) for each in opened
    ]
    print_table(("session", "device", "owner", "job", "since", "commands"), rows, "no session is open")
    if waiting:
        queue = [(each["wanted"], each["owner"], each["since"], each["reason"]) for each in waiting]
        print_table(("waits for", "owner", "since", "because"), queue, "")
    return 0


def end_session(url: str | None, session: str, reason: str) -> int:
    """End a session."""
    with connected(url) as lab:
        lab.request("DELETE", f"/api/v1/webdriver/sessions/{session}", params={"reason": reason})
    note(f"session {session} has ended")
    return 0
