"""Passes requests about a device of another daemon on to that daemon, so that any daemon of a lab answers for all.

Leases, jobs, runs and events are in the database, where every daemon finds them; what has to be said to a device itself
goes to the daemon that has it. Behind `Identify`, ahead of everything else: an emergency stop finds its robot wherever
it is. The caller's token goes along, and is judged there again.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
import structlog
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from labctl.api.emergency import is_emergency_stop
from labctl.api.identity import check_origin, refuse
from labctl.api.problems import problem
from labctl.daemon import Daemon
from labctl.errors import LabError, NotAllowedError
from labctl.store import daemons
from labctl.store.daemons import DaemonRow
from labctl.store.tables import devices

if TYPE_CHECKING:
    import httpx

log = structlog.get_logger(__name__)
_OF_A_DEVICE = re.compile(
    r"^/api/v1/(?:robots|hosts|desktops|phones|devices(?=/[^/]+/preflight$))/([^/]{1,100})(?:/|$)"
)
FORWARDED = b"x-labctl-forwarded"
OWN_TO_A_CONNECTION = frozenset(
    {b"connection", b"keep-alive", b"host", b"origin", b"transfer-encoding", b"te", b"upgrade", b"content-length"}
)
_CONNECT_S, _ANSWER_S = 5.0, 600.0
# A stop does not wait longer than this for the database to say where its robot is, when that was known before.
_LOOK_UP_S = 1.0


class Forwarding:
    """ASGI middleware; see above."""

    def __init__(self, app: ASGIApp, daemon: Daemon) -> None:
        self._app = app
        self._daemon = daemon
        self._client: httpx.AsyncClient | None = None
        self._owners: dict[str, DaemonRow] = {}  # as they were last
        # Threads of its own: what else the daemon does in threads may keep all of those for long.
        self._threads = ThreadPoolExecutor(max_workers=8, thread_name_prefix="owner")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (found := _OF_A_DEVICE.match(scope["path"])):
            device = found[1]
            if device not in self._daemon.lab.devices and not was_forwarded(scope):
                owner = await self._look_up(device, at_once=is_emergency_stop(scope))
                if owner is not None:
                    try:
                        if not is_emergency_stop(scope):
                            check_origin(scope["principal"], Headers(scope=scope))
                    except NotAllowedError as exc:
                        await refuse(exc, scope, receive, send)
                        return
                    await self.forward(device, owner, scope, receive, send)
                    return
        await self._app(scope, receive, send)

    async def _look_up(self, device: str, *, at_once: bool) -> DaemonRow | None:
        """The other daemon that has a device, if one has; `at_once`: or had, where it takes too long to find out."""
        asked = asyncio.get_running_loop().run_in_executor(self._threads, self._owner, device)
        if not at_once or (known := self._owners.get(device)) is None:
            owner = await asked
        else:
            try:
                owner = await asyncio.wait_for(asked, _LOOK_UP_S)
            except (TimeoutError, sa.exc.SQLAlchemyError, LabError):
                return known
        if owner is None:
            self._owners.pop(device, None)
        else:
            self._owners[device] = owner
        return owner

    def _owner(self, device: str) -> DaemonRow | None:
        """The other daemon that has a device, if one has."""
        store = self._daemon.store
        with store.read() as connection:
            query = sa.select(devices.c.daemon).where(devices.c.name == device, devices.c.state != "removed")
            owner = connection.execute(query).scalar()
            if owner is None or owner == store.daemon_id:
                return None
            return daemons.everyone(connection, store.time(connection)).get(owner)

    async def forward(self, device: str, owner: DaemonRow, scope: Scope, receive: Receive, send: Send) -> None:
        """Let `owner` answer."""
        import httpx  # noqa: PLC0415  # takes a moment, and a lab of one daemon does without

        if owner.url is None or not owner.alive:
            where = owner.url or owner.id
            gone = f"{device} belongs to the daemon {owner.name} ({where}), which does not answer: start it there"
            await problem(503, "Unavailable", gone)(scope, receive, send)
            return
        if self._client is None:
            # As many connections as there are requests: a stop must not wait until one that is held open ends.
            self._client = httpx.AsyncClient(
                timeout=httpx.Timeout(_ANSWER_S, connect=_CONNECT_S),
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=20),
                trust_env=False,
            )
        query = scope["query_string"].decode("latin-1")
        # As it came: with what is quoted in it undone, a part of the path could become a query there.
        url = owner.url + scope["raw_path"].decode("latin-1") + (f"?{query}" if query else "")
        headers = [(name, value) for name, value in scope["headers"] if name not in OWN_TO_A_CONNECTION]
        headers.append((FORWARDED, self._daemon.store.daemon_id.encode()))
        request = self._client.build_request(scope["method"], url, headers=headers, content=_body(receive))
        try:
            answer = await self._client.send(request, stream=True)
        except httpx.HTTPError as exc:
            log.warning("a request could not be passed on", device=device, url=owner.url, error=str(exc))
            told = f"the daemon {owner.name} at {owner.url}, which has {device}, does not answer: {exc}"
            await problem(503, "Unavailable", told)(scope, receive, send)
            return
        try:
            kept = [(name.lower(), value) for name, value in answer.headers.raw]
            kept = [(name, value) for name, value in kept if name not in OWN_TO_A_CONNECTION]
            await send({"type": "http.response.start", "status": answer.status_code, "headers": kept})
            async for chunk in answer.aiter_raw():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            await answer.aclose()


def was_forwarded(scope: MutableMapping[str, Any]) -> bool:
    """Whether another daemon passed a request on: it is answered here, by what is known here."""
    return any(name == FORWARDED for name, _ in scope["headers"])


async def _body(receive: Receive) -> AsyncIterator[bytes]:
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return
        yield message.get("body", b"")
        if not message.get("more_body", False):
            return
