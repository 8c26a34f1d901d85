"""`labctl watch`: events as lines."""

from __future__ import annotations

import json
from typing import Any

from labctl.cli.connecting import connected
from labctl.cli.output import note
from labctl.client import RESTART_S


def watch_events(url: str | None, after: int | None, *, as_json: bool) -> int:
    """Print events until interrupted."""
    with connected(url) as lab:
        after = lab.latest_event() if after is None else after
        for event in lab.events(after, patience_s=RESTART_S, tell=note):
            print(json.dumps(event) if as_json else describe(event), flush=True)
    return 0


def describe(event: dict[str, Any]) -> str:
    """An event as one line."""
    about = event["device"] or event["run"] or event["job"] or event["lease"] or ""
    data = " ".join(f"{key}={_short(value)}" for key, value in event["data"].items() if value not in (None, "", []))
    return f"{event['time']} {event['sequence']:>6} {event['kind']:<16} {about} {data}".rstrip()


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 120 else text[:117] + "..."
