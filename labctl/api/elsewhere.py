"""Lists that name what other daemons of the lab have too: each is asked, and what one that is silent has is named."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import sqlalchemy as sa
import structlog
from fastapi import Request

from labctl.api.common import principal_of
from labctl.api.forwarding import FORWARDED, OWN_TO_A_CONNECTION, was_forwarded
from labctl.auth import Resource, may
from labctl.daemon import Daemon
from labctl.store import daemons
from labctl.store.daemons import DaemonRow
from labctl.store.tables import devices

log = structlog.get_logger(__name__)
_AT_A_TIME = 16
_ANSWER_S = 5.0
Items = list[dict[str, Any]]


def everywhere(daemon: Daemon, request: Request, own: Items, *, kind: str, silent: dict[str, Any]) -> Items:
    """The `own` items of a list of the lab's devices of that `kind`, and those of all other daemons, by name.

    `silent`: how a device of a daemon that does not answer looks; its `name` and `reason` are filled in.
    """
    asker, items = principal_of(request.scope), list(own)
    for owner, names, found in _asked(daemon, request, kind):
        if isinstance(found, str):
            reason = f"its daemon {owner.name} ({owner.url or owner.id}) {found}"
            visible = [name for name in names if may(asker, "read", Resource(kind, name))]
            items += [{**silent, "name": name, "reason": reason} for name in visible]
        else:
            items += found
    return sorted(items, key=lambda each: str(each["name"]))


def _asked(daemon: Daemon, request: Request, kind: str) -> list[tuple[DaemonRow, list[str], Items | str]]:
    """Of each other daemon the names of its devices of that kind, and what it lists or why it does not."""
    store = daemon.store
    if not store.shared or was_forwarded(request.scope):
        return []
    named: dict[str, list[str]] = {}
    with store.read() as connection:
        others = daemons.everyone(connection, store.time(connection))
        theirs = sa.and_(devices.c.kind == kind, devices.c.state != "removed", devices.c.daemon != store.daemon_id)
        for row in connection.execute(sa.select(devices.c.name, devices.c.daemon).where(theirs)):
            named.setdefault(row.daemon, []).append(row.name)
    if not named:
        return []
    headers = [(name, value) for name, value in request.headers.raw if name not in OWN_TO_A_CONNECTION]
    headers.append((FORWARDED, store.daemon_id.encode()))
    with ThreadPoolExecutor(min(len(named), _AT_A_TIME)) as pool:
        answers = list(pool.map(lambda each: _ask(others[each], request, headers), named))
    return [(others[each], names, found) for (each, names), found in zip(named.items(), answers, strict=True)]


def _ask(owner: DaemonRow, request: Request, headers: list[tuple[bytes, bytes]]) -> Items | str:
    import httpx  # noqa: PLC0415  # takes a moment, and a lab of one daemon does without

    if owner.url is None or not owner.alive:
        return "is not running"
    try:
        answer = httpx.get(owner.url + request.url.path, headers=headers, timeout=_ANSWER_S, trust_env=False)
        answer.raise_for_status()
        items: Items = answer.json()["items"]
    except (httpx.HTTPError, ValueError, KeyError) as exc:
        log.warning("another daemon did not list what it has", url=owner.url, error=str(exc))
        return f"does not answer: {exc}"
    return items
