"""What `labctl webhooks` shows and does."""

from __future__ import annotations

from typing import Any

from labctl.cli.connecting import connected
from labctl.cli.exits import ERRORED, PASSED
from labctl.cli.output import note, print_json, print_table

_PATH = "/api/v1/webhooks"


def list_webhooks(url: str | None, *, as_json: bool) -> int:
    """All of them."""
    with connected(url) as lab:
        items = list(lab.pages(_PATH))
    if as_json:
        print_json(items)
        return PASSED
    rows = [
        (
            each["id"],
            each["url"],
            " ".join(each["kinds"]),
            each["job"],
            each["delivered"],
            each["given_up"],
            f"try {each['attempts'] + 1} at {each['next_at']}: {each['last_error']}"
            if each["attempts"]
            else each["last_error"],
        )
        for each in items
    ]
    columns = ("webhook", "address", "kinds", "job", "delivered", "given up", "trouble")
    print_table(columns, rows, "nobody is told of anything")
    return PASSED


def add_webhook(url: str | None, address: str, kinds: list[str], job: str | None, *, as_json: bool) -> int:
    """Make one; its secret is shown once."""
    wanted: dict[str, Any] = {"url": address, "job": job} | ({"kinds": kinds} if kinds else {})
    with connected(url) as lab:
        made = lab.request("POST", _PATH, json=wanted)
    if as_json:
        print_json(made)
        return PASSED
    note(f"webhook {made['id']} is told of {', '.join(made['kinds'])}; this secret signs it and is not shown again:")
    print(made["secret"])
    return PASSED


def remove_webhook(url: str | None, webhook: str) -> int:
    """End one."""
    with connected(url) as lab:
        lab.send("DELETE", f"{_PATH}/{webhook}")
    note(f"webhook {webhook} is told of nothing any more")
    return PASSED


def test_webhook(url: str | None, webhook: str, *, as_json: bool) -> int:
    """Send a test event."""
    with connected(url) as lab:
        return _sent(lab.request("POST", f"{_PATH}/{webhook}/test", timeout=60), webhook, as_json=as_json)


def list_deliveries(url: str | None, webhook: str, limit: int, *, as_json: bool) -> int:
    """What became of the newest events."""
    with connected(url) as lab:
        items = lab.request("GET", f"{_PATH}/{webhook}/deliveries", params={"limit": limit})["items"]
    if as_json:
        print_json(items)
        return PASSED
    rows = [
        (
            each["event"],
            each["kind"],
            each["job"],
            each["time"],
            each["state"].replace("_", " "),
            each["attempts"],
            each["next_at"],
            each["error"],
        )
        for each in items
    ]
    columns = ("event", "kind", "job", "happened", "state", "tries", "next try", "error")
    print_table(columns, rows, "nothing happened that it wants to know")
    return PASSED


def retry_webhook(url: str | None, webhook: str, event: int | None, *, as_json: bool) -> int:
    """Try again now, what waits or one event."""
    with connected(url) as lab:
        if event is not None:
            sent = lab.request("POST", f"{_PATH}/{webhook}/deliveries/{event}", timeout=60)
            return _sent(sent, webhook, as_json=as_json)
        shown = lab.request("POST", f"{_PATH}/{webhook}/retry")
    if as_json:
        print_json(shown)
    else:
        note(f"what waits for webhook {webhook} is tried now; see labctl webhooks deliveries {webhook}")
    return PASSED


def _sent(sent: dict[str, Any], webhook: str, *, as_json: bool) -> int:
    if as_json:
        print_json(sent)
    elif sent["delivered"]:
        note(f"webhook {webhook} took event {sent['event']}")
    else:
        note(f"webhook {webhook} did not take event {sent['event']}: {sent['error']}")
    return PASSED if sent["delivered"] else ERRORED
