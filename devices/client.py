"""A small WebDriver client for the lab's own use: one connection kept open, one command a call.

Tests of others use Selenium or Appium; this one is quick enough to hold a robot's keys (a few milliseconds a command).
"""

from __future__ import annotations

import base64
import http.client
import json
import select
from types import TracebackType
from typing import Any, Protocol, Self
from urllib.parse import unquote, urlsplit

from devices.webdriver import ELEMENT_KEY, WebDriverError, read_json
from drivers.errors import DeviceUnreachableError


class Wire(Protocol):
    """How commands reach the server."""

    def call(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        """The value in the answer. Raises WebDriverError for a refusal."""

    def close(self) -> None: ...


class WebDriverSession:
    """A session on a WebDriver server; not thread-safe. `open` begins one at a URL.

    Commands raise WebDriverError for what the server refuses, DeviceUnreachableError when it is gone.
    """

    def __init__(self, wire: Wire, session: str, capabilities: dict[str, Any]) -> None:
        self._wire = wire
        self.id = session
        self.capabilities = capabilities

    @classmethod
    def open(cls, url: str, capabilities: dict[str, Any], timeout_s: float = 60.0) -> Self:
        """Begin a session at http://[user:token@]host:port[/prefix]; `capabilities` as in alwaysMatch."""
        wire = HttpWire(url, timeout_s)
        try:
            value = wire.call("POST", "/session", {"capabilities": {"alwaysMatch": capabilities}})
        except BaseException:
            wire.close()
            raise
        return cls(wire, value["sessionId"], value["capabilities"])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.quit()

    def quit(self) -> None:
        """End the session; harmless when it has ended."""
        try:
            self.command("DELETE", "")
        except WebDriverError as exc:
            if exc.code != "invalid session id":
                raise
        finally:
            self._wire.close()

    def disconnect(self) -> None:
        """Close the connection; the session stays open."""
        self._wire.close()

    def command(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """The value that a command below the session answers with: `command("GET", "/title")`."""
        return self._wire.call(method, f"/session/{self.id}{path}", body)

    def go(self, url: str) -> None:
        self.command("POST", "/url", {"url": url})

    def find(self, using: str, value: str) -> str:
        """The id of the first element that a locator finds."""
        return str(self.command("POST", "/element", {"using": using, "value": value})[ELEMENT_KEY])

    def find_all(self, using: str, value: str) -> list[str]:
        found = self.command("POST", "/elements", {"using": using, "value": value})
        return [str(each[ELEMENT_KEY]) for each in found]

    def click(self, element: str) -> None:
        self.command("POST", f"/element/{element}/click", {})

    def type(self, element: str, text: str) -> None:
        self.command("POST", f"/element/{element}/value", {"text": text})

    def rect(self, element: str) -> dict[str, float]:
        """x, y, width, height in CSS pixels."""
        found: dict[str, float] = self.command("GET", f"/element/{element}/rect")
        return found

    def execute(self, script: str, *args: Any) -> Any:
        """Run JavaScript in the page, or a command of the driver such as "mobile: scroll"."""
        return self.command("POST", "/execute/sync", {"script": script, "args": list(args)})

    def actions(self, *sources: dict[str, Any]) -> None:
        """Perform input actions (W3C WebDriver section 15.3)."""
        self.command("POST", "/actions", {"actions": list(sources)})

    def release(self) -> None:
        """Let go of every key and button."""
        self.command("DELETE", "/actions")

    def screenshot(self) -> bytes:
        """The window as a PNG."""
        return base64.b64decode(self.command("GET", "/screenshot"))


class HttpWire:
    """HTTP with the connection kept open."""

    def __init__(self, url: str, timeout_s: float) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"cannot reach a WebDriver server at {url!r}: give http://host:port")
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(parts.hostname, parts.port, timeout=timeout_s)
        self._prefix = parts.path.rstrip("/")
        self._where = f"{parts.scheme}://{parts.hostname}:{self._connection.port}{self._prefix}"  # without the token
        self._headers = {"Content-Type": "application/json; charset=utf-8"}
        if parts.username is not None:
            login = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
            self._headers["Authorization"] = f"Basic {base64.b64encode(login).decode()}"

    def call(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        payload = json.dumps(body or {}).encode() if method == "POST" else None
        if self._closed_by_server():
            self._connection.close()  # it opens itself anew
        try:
            self._connection.request(method, self._prefix + path, payload, self._headers)
            answer = self._connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as exc:
            self._connection.close()
            raise DeviceUnreachableError(
                f"the WebDriver server at {self._where} did not answer {method} {path}: {exc or type(exc).__name__}"
            ) from None
        try:
            value = read_json(text)["value"]
        except (ValueError, KeyError, TypeError):
            raise WebDriverError(
                "unknown error", f"{self._where} answered {method} {path} with HTTP {answer.status}: {text[:200]!r}"
            ) from None
        if answer.status >= 400:
            told = value if isinstance(value, dict) else {}
            raise WebDriverError(str(told.get("error", "unknown error")), str(told.get("message", "")))
        return value

    def close(self) -> None:
        self._connection.close()

    def _closed_by_server(self) -> bool:
        """Whether the server has said something unasked, which can only be that it closes: Node does after 5 s."""
        if self._connection.sock is None:
            return False
        poll = select.poll()
        poll.register(self._connection.sock, select.POLLIN)
        return bool(poll.poll(0))
