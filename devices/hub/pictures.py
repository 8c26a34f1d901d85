"""Screenshots that nobody asked for: of failures and for the film strip, between commands and never ahead of one."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from devices.hub.target import Call, TargetError

if TYPE_CHECKING:
    from devices.hub.sessions import Session

# A failed command is pictured once the session rests this long: who polls for an element fails many times.
_REST_S = 0.25
_PICTURE_WITHIN_S = 10.0
_MOST_PICTURES = 50
_MOST_FRAMES = 3000


class Pictures:
    """The screenshots of one session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._failed: str | None = None  # the command that waits for its picture
        self._timer: asyncio.TimerHandle | None = None
        self._taking: asyncio.Task[None] | None = None
        self._film: asyncio.Task[None] | None = None
        self._taken = 0
        self._commands_at_frame = 0  # before the first command there is nothing to be seen

    def start(self, film_per_s: float) -> None:
        """Begin the film strip, where one is wanted."""
        if film_per_s:
            self._film = asyncio.get_running_loop().create_task(self._run_film(1.0 / film_per_s))

    def failed(self, command: str) -> None:
        """A command failed: picture it as soon as the session rests, or is about to end."""
        if self._taken >= _MOST_PICTURES:
            return
        self._failed = command
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(_REST_S, self._rested)

    async def finish(self, *, alive: bool) -> None:
        """Take the picture that is due, if the target can; no more after this."""
        if self._film is not None:
            self._film.cancel()
        if self._timer is not None:
            self._timer.cancel()
        if self._taking is not None:
            await asyncio.wait({self._taking}, timeout=_PICTURE_WITHIN_S)
        if alive and self._failed is not None:
            await self._take_failure()

    def _rested(self) -> None:
        session = self._session
        if session.ending or self._failed is None:
            return
        loop = asyncio.get_running_loop()
        if session.busy or time.monotonic() - session.last_used < _REST_S:
            self._timer = loop.call_later(_REST_S, self._rested)
        else:
            self._taking = loop.create_task(self._take_failure())

    async def _take_failure(self) -> None:
        command, self._failed = self._failed, None
        at = time.time()
        response = await self._screenshot()
        if response is not None:
            self._taken += 1
            self._session.recording.note(at, "failure pictured", command=command)
            self._session.recording.picture(at, f"failure-{self._taken:02}", response)

    async def _run_film(self, every_s: float) -> None:
        session = self._session
        for _ in range(_MOST_FRAMES):
            await asyncio.sleep(every_s)
            # Nothing can have changed by us without a command; pages that move by themselves are not worth the load.
            if session.ending or session.busy or session.commands == self._commands_at_frame:
                continue
            self._commands_at_frame = session.commands
            at = time.time()
            if (response := await self._screenshot()) is not None:
                session.recording.frame(at, response)

    async def _screenshot(self) -> bytes | None:
        session = self._session
        call = Call("GET", f"{session.path}/screenshot")
        try:
            reply = await session.upstream.exchange(call, _PICTURE_WITHIN_S, whole=True)
        except TargetError:
            return None
        return reply.whole() if reply.status == 200 else None
