"""What W3C WebDriver says: errors with their HTTP statuses and shape on the wire, bodies, element keys, locators."""

from __future__ import annotations

import json
from typing import Any, NoReturn

ELEMENT_KEY = "element-6066-11e4-a52e-4f735466cecf"  # section 12.1, the web element identifier

# Error code to HTTP status, W3C WebDriver section 6.6.
HTTP_STATUS = {
    "detached shadow root": 404,
    "element click intercepted": 400,
    "element not interactable": 400,
    "insecure certificate": 400,
    "invalid argument": 400,
    "invalid cookie domain": 400,
    "invalid element state": 400,
    "invalid selector": 400,
    "invalid session id": 404,
    "javascript error": 500,
    "move target out of bounds": 500,
    "no such alert": 404,
    "no such cookie": 404,
    "no such element": 404,
    "no such frame": 404,
    "no such shadow root": 404,
    "no such window": 404,
    "script timeout": 500,
    "session not created": 500,
    "stale element reference": 404,
    "timeout": 500,
    "unable to capture screen": 500,
    "unable to set cookie": 500,
    "unexpected alert open": 500,
    "unknown command": 404,
    "unknown error": 500,
    "unknown method": 405,
    "unsupported operation": 500,
}


class WebDriverError(Exception):
    """An error as a WebDriver client gets to see it. `code`: one of HTTP_STATUS; others count as unknown errors."""

    def __init__(self, code: str, message: str, *, stacktrace: str = "", data: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code if code in HTTP_STATUS else "unknown error"
        self.message = message
        self.stacktrace = stacktrace
        self.data = data

    @property
    def http_status(self) -> int:
        return HTTP_STATUS[self.code]

    def body(self) -> dict[str, Any]:
        """The JSON document that goes with the status."""
        value: dict[str, Any] = {"error": self.code, "message": self.message, "stacktrace": self.stacktrace}
        if self.data is not None:
            value["data"] = self.data
        return {"value": value}


def read_json(body: bytes | str) -> Any:
    """A body as it came from somebody else. Raises ValueError, also for what no JSON allows (NaN) and nobody nests."""
    text = body if isinstance(body, str) else body.decode(json.detect_encoding(body), "surrogatepass")
    try:
        return _DECODE(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _no_json(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


_DECODE = json.JSONDecoder(parse_constant=_no_json).decode  # json.loads would make one for each body


def page_locator(using: str, value: str) -> tuple[str, str]:
    """A locator as browsers know it: ids and names go as CSS (section 12.3.1 has neither)."""
    if using not in ("id", "name"):
        return using, value
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')
    return "css selector", f'[{using}="{quoted}"]'
