"""The sessions that are open, those that wait for a device, and why the last ones ended."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from devices.hub.mending import Mender
from devices.hub.options import LabOptions
from devices.hub.provider import Ending, Placement
from devices.hub.target import Upstream
from devices.recording import Recording

_REMEMBERED = 1000


@dataclass(eq=False)
class Session:
    """One open session. `id` is what clients say, `target_id` what the target says; `key` opens its websockets.

    `path`: of the session on the target. Times are of `time.monotonic()`.
    """

    id: str
    target_id: str
    owner: str
    placement: Placement
    upstream: Upstream
    options: LabOptions
    capabilities: Mapping[str, Any]
    recording: Recording
    idle_timeout_s: float
    sockets: Mapping[str, str] = field(default_factory=dict)  # "bidi", "cdp": the target's websocket URLs
    downloads: Path | None = None
    key: str = field(default_factory=lambda: secrets.token_urlsafe(18))
    began_at: float = field(default_factory=time.time)
    last_used: float = field(default_factory=time.monotonic)
    busy: int = 0
    commands: int = 0
    verdict: Ending | None = None  # as the client declared it
    why: str | None = None  # it ends, or has ended
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    mender: Mender | None = None

    @property
    def device(self) -> str:
        return self.placement.device

    @property
    def ending(self) -> bool:
        return self.why is not None

    @property
    def path(self) -> str:
        return f"/session/{self.target_id}"


@dataclass(eq=False)
class Waiting:
    """A request for a session in the queue. `reason`: what it waits for."""

    owner: str
    wanted: str
    since: float = field(default_factory=time.time)
    reason: str = "it is being looked for a device"


class SessionTable:
    """Open sessions by id, waiting requests, and a memory of how sessions ended."""

    def __init__(self) -> None:
        self._open: dict[str, Session] = {}
        self._ended: OrderedDict[str, str] = OrderedDict()
        self.waiting: set[Waiting] = set()

    def __iter__(self) -> Iterator[Session]:
        return iter(tuple(self._open.values()))

    def __len__(self) -> int:
        return len(self._open)

    def get(self, session: str) -> Session | None:
        return self._open.get(session)

    def add(self, session: Session) -> None:
        self._open[session.id] = session

    def remove(self, session: Session, reason: str) -> None:
        self._open.pop(session.id, None)
        self._ended[session.id] = reason
        while len(self._ended) > _REMEMBERED:
            self._ended.popitem(last=False)

    def how_it_ended(self, session: str) -> str | None:
        """Why a session that was open is not any more; None of one that never was, or long ago."""
        return self._ended.get(session)

    def name_for(self, target_id: str) -> str:
        """What clients shall call a session: the target's own id unless it is short, odd or taken."""
        plain = target_id.replace("-", "").isalnum() and target_id.isascii()
        if plain and 16 <= len(target_id) <= 100 and target_id not in self._open and target_id not in self._ended:
            return target_id
        return secrets.token_hex(16)
