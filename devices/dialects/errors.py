"""JSON Wire status numbers as W3C WebDriver errors."""

from __future__ import annotations

from typing import Any

from devices.dialects.wire import WireAnswer
from devices.webdriver import WebDriverError

UNKNOWN_COMMAND = 9
# Response status codes of the JSON Wire protocol, as error codes of W3C WebDriver section 6.6.
_W3C = {
    6: "invalid session id",
    7: "no such element",
    8: "no such frame",
    UNKNOWN_COMMAND: "unsupported operation",
    10: "stale element reference",
    11: "element not interactable",
    12: "invalid element state",
    13: "unknown error",
    15: "element not interactable",  # not selectable; today's standard has no word of its own for it
    17: "javascript error",
    19: "invalid selector",
    21: "timeout",
    23: "no such window",
    24: "invalid cookie domain",
    25: "unable to set cookie",
    26: "unexpected alert open",
    27: "no such alert",
    28: "script timeout",
    29: "invalid argument",
    32: "invalid selector",
    33: "session not created",
    34: "move target out of bounds",
}


def wire_error(answer: WireAnswer, asked: str) -> WebDriverError:
    """The error that an answer with a nonzero status tells of. `asked`: what was wanted, for people."""
    code = _W3C.get(answer.status, "unknown error")
    message = _message(answer.value) or f"the server gave status {answer.status} and no message"
    return WebDriverError(code, f"{asked}: {message}", stacktrace=_stack(answer.value))


def _message(value: Any) -> str:
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, dict):
        for key in ("message", "Message", "localizedMessage"):
            if isinstance(value.get(key), str) and value[key].strip():
                return str(value[key]).strip()
    return ""


def _stack(value: Any) -> str:
    if isinstance(value, dict):
        for key in ("stacktrace", "stackTrace", "StackTrace", "StackTraceString"):
            if isinstance(value.get(key), str):
                return str(value[key])
    return ""
