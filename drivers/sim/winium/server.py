"""Winium's servers on the wire: JSON Wire over an HTTP of their own.

After the sources of Winium.Desktop 1.6, Winium.Mobile and Winium.StoreApps.CodedUi (2GIS), which share it: one
connection at a time, closed after the answer, no Content-Length in answers; header names are looked up as written and a
body's length counts characters; errors come with HTTP 200 and a status; unknown paths as plain text.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import unquote

from drivers.sim.winium.application import Application
from drivers.sim.winium.coded_ui import CodedUiCommands
from drivers.sim.winium.commands import SESSION, UNKNOWN, Commands, PlainError, Refusal
from drivers.sim.winium.desktop import DesktopCommands
from drivers.sim.winium.mobile import MobileCommands

_KINDS: dict[str, type[Commands]] = {"desktop": DesktopCommands, "mobile": MobileCommands, "coded-ui": CodedUiCommands}
_CR_LF = "\r\n"


@dataclass
class WiniumFaults:
    """What goes wrong on purpose. `hang_s`: seconds before each answer; `cut`: characters of the answer that still go
    out before the connection closes; `rubbish`: the answer's body instead (empty: as when the phone is lost)."""

    hang_s: float = 0.0
    cut: int | None = None
    rubbish: str | None = None


@dataclass
class WiniumServer:
    """The server; a context that runs it in a thread. `requests`: what was asked, for tests to look at.

    `kind`: which of the three it is. `has_location`: it knows the command for an element's place, as older ones do not.
    """

    host: str = "127.0.0.1"
    port: int = 0
    faults: WiniumFaults = field(default_factory=WiniumFaults)
    has_location: bool = True
    kind: Literal["desktop", "mobile", "coded-ui"] = "desktop"

    def __post_init__(self) -> None:
        self.requests: list[str] = []
        self._stop = threading.Event()
        self._wake = threading.Event()
        self.commands = _KINDS[self.kind](self._stop, has_location=self.has_location)
        self._routes = self.commands.routes()

    @property
    def application(self) -> Application:
        """The application of the present session."""
        return self.commands.application

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def __enter__(self) -> Self:
        self._listener = socket.create_server((self.host, self.port), backlog=8)
        self.port = self._listener.getsockname()[1]
        self._listener.settimeout(0.1)
        self._thread = threading.Thread(target=self._run, name="winium", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._wake.set()
        self._thread.join()
        self._listener.close()

    def recover(self) -> None:
        """End all faults, a hang under way too."""
        self.faults = WiniumFaults()
        self._wake.set()
        self._wake = threading.Event()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            with client:
                client.settimeout(60)
                with contextlib.suppress(OSError):
                    self._converse(client)

    def _converse(self, client: socket.socket) -> None:
        reader = client.makefile("r", encoding="utf-8", newline="")
        start = reader.readline().strip()
        headers: dict[str, str] = {}
        while line := reader.readline().strip():
            parts = line.split(":")
            headers[parts[0]] = parts[1].strip()
        length = int(headers.get("Content-Length", "0"))
        text = reader.read(length) if length else ""
        if not start:
            return
        method, target, _ = start.split(" ")
        self.requests.append(f"{method} {target}")
        status, body = self._respond(method, target, text)
        if self.faults.hang_s:
            self._wake.wait(self.faults.hang_s)
        if self._stop.is_set():
            return
        if self.faults.rubbish is not None:
            body = self.faults.rubbish
        head = f"HTTP/1.1 {status}{_CR_LF}Content-Type: application/json;charset=UTF-8{_CR_LF}Connection: close"
        answer = (head + _CR_LF * 2 + body).encode()
        client.sendall(answer if self.faults.cut is None else answer[: self.faults.cut])

    def _respond(self, method: str, target: str, text: str) -> tuple[str, str]:
        matches = (
            (found, command)
            for verb, pattern, command in self._routes
            if verb == method and (found := pattern.fullmatch(target)) is not None
        )
        if (match := next(matches, None)) is None:
            return "404 Not Found", f"Unknown command {self.url}{target}"
        found, command = match
        at = [unquote(each) for each in found.groups()]
        try:
            value: Any = command(json.loads(text) if text else {}, *at)
            status = 0
        except PlainError as exc:
            return exc.http_status, str(exc)
        except Refusal as exc:
            status, value = exc.status, str(exc)
        except LookupError as exc:
            status, value = UNKNOWN, f"{type(exc).__name__}: {exc}"
        return "200 OK", json.dumps({"sessionId": SESSION, "status": status, "value": value}, indent=2)
