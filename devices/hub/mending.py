"""Locator healing of a session: a find that finds nothing any more is asked for once again, then explained or mended.

Only where the client wants it (`lab:healing`), and never silently: each is a line of the command log and a measurement
of the run, with its evidence.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from devices.healing import Heal, Healer, HealingMode, Locator, Memory, SourceError
from devices.hub.options import LabOptions
from devices.hub.provider import Placement
from devices.hub.target import JSON_HEADERS, Call, Reply, TargetError, Upstream
from devices.recording import Recording
from devices.webdriver import page_locator, read_json

# A page that still loads is not a page that has changed: what is missing is looked for this long before it is healed.
_SETTLES_S = 1.0
_AGAIN_EVERY_S = 0.25
_SOURCE_WITHIN_S = 30.0
_OK = 200
_NOT_FOUND = 404


class Mended(Protocol):
    """The session whose finds are mended; `path`: of it on its target."""

    @property
    def path(self) -> str: ...
    @property
    def upstream(self) -> Upstream: ...
    @property
    def placement(self) -> Placement: ...
    @property
    def options(self) -> LabOptions: ...
    @property
    def capabilities(self) -> Mapping[str, Any]: ...
    @property
    def recording(self) -> Recording: ...


class Mender:
    """What a session remembers in order to heal. `folder`: for what is remembered from session to session."""

    def __init__(self, session: Mended, mode: HealingMode, threshold: float, folder: Path | None) -> None:
        self._session = session
        self._mode = mode
        self._threshold = threshold
        self._healer = Healer()
        name = session.options.healing.memory
        self._file = None if folder is None or name is None else folder / f"{name}.json.gz"

    async def recall(self) -> None:
        """Take what earlier sessions remembered."""
        if self._file is not None:
            try:
                self._healer.memory = await asyncio.to_thread(Memory.load, self._file)
            except (OSError, ValueError) as exc:
                self._session.recording.note(time.time(), "nothing remembered for healing", error=str(exc))

    async def keep(self) -> None:
        """Remember for later sessions what this one found."""
        if self._file is not None:
            try:
                await asyncio.to_thread(self._healer.memory.save, self._file)
            except OSError as exc:
                self._session.recording.note(time.time(), "nothing kept for healing", error=str(exc))

    async def after_find(self, call: Call, tail: str, reply: Reply) -> Reply:
        """The answer to a find, another one where it was healed."""
        locator = _locator(call, tail)
        if locator is None:
            return reply
        if reply.status == _OK:
            await self._remember(locator)
            return reply
        if reply.status != _NOT_FOUND or _error(reply) != "no such element":
            return reply
        try:
            return await self._mend(call, reply, locator)
        except (TargetError, SourceError) as exc:
            self._session.recording.note(time.time(), "healing failed", locator=str(locator), error=str(exc))
            return reply

    async def _mend(self, call: Call, reply: Reply, locator: Locator) -> Reply:
        until = time.monotonic() + _SETTLES_S
        while time.monotonic() < until:
            await asyncio.sleep(_AGAIN_EVERY_S)
            again = await self._ask(call)
            if again.status == _OK:
                await self._remember(locator)
                return again
        source = await self._source()
        heal = None if source is None else await asyncio.to_thread(self._healer.heal, locator, source)
        if heal is None:
            return reply
        used = self._mode is HealingMode.HEAL and heal.confidence >= self._threshold
        found = reply
        if used:
            using, value = heal.replacement.using, heal.replacement.value
            if self._session.capabilities.get("browserName"):
                using, value = page_locator(using, value)
            body = json.dumps({"using": using, "value": value}).encode()
            found = await self._ask(Call(call.method, call.path, JSON_HEADERS, body))
            used = found.status == _OK
        await self._tell(heal, used)
        return found if used else reply

    async def _tell(self, heal: Heal, used: bool) -> None:
        told: dict[str, Any] = {
            "broken": str(heal.broken),
            "replacement": str(heal.replacement),
            "was": heal.was,
            "now": heal.now,
            "confidence": round(heal.confidence, 4),
            "threshold": self._threshold,
            "evidence": list(heal.evidence),
            "healed": used,
        }
        self._session.recording.note(time.time(), "locator healed" if used else "locator might be", **told)
        await self._session.placement.healed(told)

    async def _remember(self, locator: Locator) -> None:
        try:
            source = await self._source()
        except TargetError:
            return  # the session's next command meets it, and says so
        if source is not None:
            await asyncio.to_thread(self._healer.remember, locator, source)

    async def _source(self) -> str | None:
        reply = await self._ask(Call("GET", f"{self._session.path}/source"))
        try:
            value = read_json(reply.whole())["value"]
        except (ValueError, KeyError, TypeError):
            return None
        return value if reply.status == _OK and isinstance(value, str) else None

    async def _ask(self, call: Call) -> Reply:
        return await self._session.upstream.exchange(call, _SOURCE_WITHIN_S, whole=True)


def _locator(call: Call, tail: str) -> Locator | None:
    """The locator of a Find Element in the whole page; None for any other command."""
    if call.method != "POST" or tail != "/element" or not isinstance(call.body, bytes):
        return None
    try:
        body = read_json(call.body)
        return Locator(str(body["using"]), str(body["value"]))
    except (ValueError, KeyError, TypeError):
        return None


def _error(reply: Reply) -> str:
    try:
        return str(read_json(reply.whole())["value"]["error"])
    except (ValueError, KeyError, TypeError):
        return ""
