"""Takes typed text out of what is written down: passwords that a test types are not for the lab's history."""

from __future__ import annotations

import re
from typing import Any

MASK = "***"
# Commands whose body holds what is typed, and commands whose answer may read it back from a field.
_TYPES = re.compile(
    r"/(value|keys|actions|se/file|alert/text|alert_text|chromium/send_command_and_get_result)(\?|$)|/appium/|"
    r"/(execute|chromium/send_command|goog/cdp)(/|$)"
)
_READS = re.compile(r"/(property|attribute)/value(\?|$)|/text(\?|$)|/source(\?|$)|/execute(/|$)|_and_get_result(\?|$)")
# Where typed text stands in those bodies.
_TEXT_KEYS = frozenset({"text", "value", "keysToSend", "args", "params", "script"})


def types_text(path: str) -> bool:
    """Whether a command's body may hold typed text."""
    return _TYPES.search(path) is not None


def reads_text(path: str) -> bool:
    """Whether a command's answer may hold typed text."""
    return _READS.search(path) is not None


def masked(body: Any) -> Any:
    """A command's parsed body without the texts in it that somebody typed; its shape stays."""
    if isinstance(body, dict):
        return {key: _blank(value) if key in _TEXT_KEYS else masked(value) for key, value in body.items()}
    if isinstance(body, list):
        return [masked(each) for each in body]
    return body


def _blank(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _blank(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_blank(each) for each in value]
    return MASK if isinstance(value, str) else value
