"""WebDriver sessions for steps: through the hub like any client's, so that they are recorded, but without a socket."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

from devices.hub.asgi import Message
from devices.webdriver import WebDriverError, read_json
from labctl.auth import Principal
from labctl.errors import LabError, LabFailureError, NotFoundError, UnavailableError
from labctl.webdriver.gate import PREFIX, STEP, Asker
from labctl.webdriver.service import OpenSession, WebDriverService

_ANSWER_WITHIN_S = 3600.0  # the target's own time limit ends a command long before


class StepSessions:
    """Satisfies `labctl.steps.Sessions`."""

    def __init__(self, service: WebDriverService) -> None:
        self._service = service
        self._lock = threading.Lock()
        self._open: dict[tuple[str, str], tuple[OpenSession, Principal]] = {}  # with whose it is
        self._notes: dict[tuple[str, str], dict[str, Any]] = {}

    def open(self, run: str, device: str, holder: str, capabilities: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            self._forget_ended()
            if (run, device) in self._open:
                raise LabFailureError(f"{device} has a session in this run already; close it first")
        # Who may submit the job may run its steps. The name is none that a person or a token can have, lest anybody be
        # taken for it.
        asker = Principal(f"{holder} (a step)", administrator=True)
        try:
            opened = self._service.open(asker, run, {**capabilities, "lab:device": device})
        except LabError as exc:
            raise LabFailureError(exc.detail) from exc
        with self._lock:
            self._open[run, device] = opened, asker
            self._notes[run, device] = {}
        return opened.capabilities

    def is_open(self, run: str, device: str) -> bool:
        with self._lock:
            return (run, device) in self._open

    def call(self, run: str, device: str, method: str, path: str, body: dict[str, Any] | None) -> Any:
        opened, owner = self._of(run, device)
        payload = json.dumps(body or {}).encode() if method == "POST" else b""
        target = f"{PREFIX}/session/{opened.id}{path}"
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": target,
            "raw_path": target.encode(),
            "query_string": b"",
            "headers": [
                (b"host", b"127.0.0.1"),
                (b"content-type", b"application/json; charset=utf-8"),
                *([(b"content-length", b"%d" % len(payload))] if method == "POST" else []),
            ],
            "client": None,
            "server": None,
            STEP: Asker(owner),
        }
        try:
            status, text = self._service.in_loop(_exchange(self._service, scope, payload), _ANSWER_WITHIN_S)
        except UnavailableError as exc:
            raise LabFailureError(exc.detail) from exc
        try:
            value = read_json(text)["value"]
        except (ValueError, KeyError, TypeError):
            raise LabFailureError(f"{device} answered {method} {path} with no WebDriver: {text[:200]!r}") from None
        if status >= 400:
            told = value if isinstance(value, dict) else {}
            raise WebDriverError(str(told.get("error", "unknown error")), str(told.get("message", "")))
        return value

    @contextmanager
    def direct(self, run: str, device: str) -> Iterator[tuple[str, str]]:
        opened, _ = self._of(run, device)
        try:
            place = self._service.reserve(opened.id)
        except LabError as exc:
            raise LabFailureError(exc.detail) from exc
        try:
            yield place
        finally:
            self._service.unreserve(opened.id)

    def close(self, run: str, device: str) -> None:
        with self._lock:
            found = self._open.pop((run, device), None)
            self._notes.pop((run, device), None)
        if found is None:
            return
        try:
            self._service.quit(found[0].id)
        except NotFoundError:
            pass  # it has ended by itself
        except LabError as exc:
            raise LabFailureError(exc.detail) from exc

    def notes(self, run: str, device: str) -> dict[str, Any]:
        with self._lock:
            return self._notes.get((run, device), {})

    def _of(self, run: str, device: str) -> tuple[OpenSession, Principal]:
        with self._lock:
            found = self._open.get((run, device))
        if found is None:
            raise LabFailureError(f"{device} has no session in this run; open one with webdriver.open")
        return found

    def _forget_ended(self) -> None:
        """Sessions that ended with their run, or by themselves."""
        alive = {each["id"] for each in self._service.sessions()}
        for key in [key for key, (opened, _) in self._open.items() if opened.id not in alive]:
            del self._open[key]
            self._notes.pop(key, None)


async def _exchange(service: WebDriverService, scope: MutableMapping[str, Any], body: bytes) -> tuple[int, bytes]:
    status, parts, asked = 500, [], False

    async def receive() -> Message:
        nonlocal asked
        if asked:  # the step waits for its answer: it does not go away
            await service.over()
            return {"type": "http.disconnect"}
        asked = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        else:
            parts.append(message.get("body", b""))

    await service(scope, receive, send)
    return status, b"".join(parts)
