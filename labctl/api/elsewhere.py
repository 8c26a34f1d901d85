"""Lists that name what other daemons of the lab have too: each is asked, and what one that is silent has is named."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import sqlalchemy as sa
import structlog
from fastapi import Request, Response

from labctl.api.common import principal_of
from labctl.api.forwarding import FORWARDED, OWN_TO_A_CONNECTION, was_forwarded
from labctl.auth import Resource, may
from labctl.daemon import Daemon
from labctl.errors import UnavailableError
from labctl.store import daemons
from labctl.store.daemons import DaemonRow
from labctl.store.tables import devices

log = structlog.get_logger(__name__)
_AT_A_TIME = 16
_ANSWER_S = 5.0
_ACT_S = 60.0
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


def of_others(daemon: Daemon, request: Request) -> Items:
    """What the other daemons list at the path of the request.

    What a daemon has that does not answer is not among them: nobody else knows of it.
    """
    asked = _ask_each(daemon, request, _living(daemon, request))
    return [item for _, found in asked if not isinstance(found, str) for item in found]


def who_has(daemon: Daemon, request: Request, path: str, item: str) -> DaemonRow | None:
    """The other daemon whose list at `path` has an item with that `id`."""
    asked = _ask_each(daemon, request, _living(daemon, request), path)
    having = (owner for owner, found in asked if not isinstance(found, str) and any(x["id"] == item for x in found))
    return next(having, None)


def pass_on(daemon: Daemon, request: Request, owner: DaemonRow) -> Response:
    """What `owner` answers to a request without a body. Raises UnavailableError."""
    import httpx  # noqa: PLC0415  # takes a moment, and a lab of one daemon does without

    url = f"{owner.url}{request.url.path}" + (f"?{request.url.query}" if request.url.query else "")
    try:
        answer = httpx.request(request.method, url, headers=_headers(daemon, request), timeout=_ACT_S, trust_env=False)
    except httpx.HTTPError as exc:
        raise UnavailableError(f"the daemon {owner.name} at {owner.url} does not answer: {exc}") from None
    return Response(answer.content, answer.status_code, media_type=answer.headers.get("content-type"))


def _living(daemon: Daemon, request: Request) -> list[DaemonRow]:
    """The other daemons that can be asked."""
    store = daemon.store
    if not store.shared or was_forwarded(request.scope):
        return []
    with store.read() as connection:
        others = daemons.everyone(connection, store.time(connection)).values()
    return [each for each in others if each.id != store.daemon_id and each.alive and each.url is not None]


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
    asked = _ask_each(daemon, request, [others[each] for each in named])
    return [(owner, named[owner.id], found) for owner, found in asked]


def _ask_each(
    daemon: Daemon, request: Request, owners: Sequence[DaemonRow], path: str | None = None
) -> list[tuple[DaemonRow, Items | str]]:
    """What each of them lists at `path`, that of the request unless given, or why it does not."""
    if not owners:
        return []
    headers, where = _headers(daemon, request), path or request.url.path
    with ThreadPoolExecutor(min(len(owners), _AT_A_TIME)) as pool:
        return list(zip(owners, pool.map(lambda each: _ask(each, where, headers), owners), strict=True))


def _headers(daemon: Daemon, request: Request) -> list[tuple[bytes, bytes]]:
    """Those of the request: whoever asks is judged there again."""
    headers = [(name, value) for name, value in request.headers.raw if name not in OWN_TO_A_CONNECTION]
    return [*headers, (FORWARDED, daemon.store.daemon_id.encode())]


def _ask(owner: DaemonRow, path: str, headers: list[tuple[bytes, bytes]]) -> Items | str:
    import httpx  # noqa: PLC0415  # see above

    if owner.url is None or not owner.alive:
        return "is not running"
    try:
        answer = httpx.get(owner.url + path, headers=headers, timeout=_ANSWER_S, trust_env=False)
        answer.raise_for_status()
        items: Items = answer.json()["items"]
    except (httpx.HTTPError, ValueError, KeyError) as exc:
        log.warning("another daemon did not list what it has", url=owner.url, error=str(exc))
        return f"does not answer: {exc}"
    return items
