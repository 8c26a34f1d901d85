"""Capabilities negotiation: what a client may ask for, in which order, and which device would do. Pure.

Source: W3C WebDriver 2, section 7.2 "Processing capabilities": validate, merge, match.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from devices.hub.options import LabOptions, split
from devices.webdriver import WebDriverError

_PROXY_TYPES = frozenset({"pac", "direct", "autodetect", "system", "manual"})
_PROMPT_HANDLERS = frozenset({"dismiss", "dismiss and notify", "accept", "accept and notify", "ignore"})
_PROMPT_TYPES = frozenset({"alert", "beforeUnload", "confirm", "default", "file", "prompt"})
_TOLD_APART_BY = frozenset({"browserName", "platformName"})
_REMOTE_URL = "se:remoteUrl"  # Selenium's clients say in it which address they were given
_LARGEST_INTEGER = 2**53 - 1


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to fill a request, after merging: capabilities for the target, and options for the lab."""

    capabilities: Mapping[str, Any] = field(default_factory=dict)
    options: LabOptions = field(default_factory=LabOptions)


def process(parameters: Any) -> list[Candidate]:
    """The candidates of a New Session command's parameters, best first.

    Without the address at which the client found the lab: its token stands in that, which is for nobody who reads what
    was asked for, and a Selenium Grid would tell it in place of its own websockets' addresses. Raises WebDriverError
    "invalid argument", naming the place.
    """
    if not isinstance(parameters, dict):
        raise _invalid("the body", "must be a JSON object")
    request = parameters.get("capabilities")
    if not isinstance(request, dict):
        hint = (
            "; this endpoint speaks W3C WebDriver: a client that sends desiredCapabilities alone is too old, "
            "Selenium 4 or Appium's clients from 2 on send what is needed"
            if "desiredCapabilities" in parameters
            else ""
        )
        raise _invalid("capabilities", f"must be an object{hint}")
    required = _validated(request.get("alwaysMatch", {}), "alwaysMatch")
    first_match = request.get("firstMatch", [{}])
    if not isinstance(first_match, list) or not first_match:
        raise _invalid("firstMatch", "must be a list with at least one object")
    choices = [_validated(each, f"firstMatch[{index}]") for index, each in enumerate(first_match)]
    return [Candidate(*split(_merged(required, choice, index))) for index, choice in enumerate(choices)]


def admits(offered: Mapping[str, Any], capabilities: Mapping[str, Any]) -> bool:
    """Whether a device that offers `offered` could fill `capabilities`.

    Browser and platform have to be offered where they are asked for, so that a test for Chrome does not end up on a
    phone; what else the device says nothing about is for its own driver to judge. `platformName` is compared without
    regard to case, `browserVersion` as a prefix of whole parts ("120" is met by "120.0.6099"); lists offer each of
    their members.
    """
    return misfit(offered, capabilities) == ""


def misfit(offered: Mapping[str, Any], capabilities: Mapping[str, Any]) -> str:
    """The first capability that a device does not meet, for people; "" when it admits all."""
    for name, wanted in capabilities.items():
        if name in offered:
            if not _meets(name, offered[name], wanted):
                return f"{name} is {offered[name]!r}, not {wanted!r}"
        elif name in _TOLD_APART_BY and wanted != "":
            return f"it has no {name}, and {wanted!r} is asked for"
    return ""


def request_for(candidates: Sequence[Candidate], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The New Session parameters for a target: each candidate over the device's defaults, in order."""
    merged = [with_defaults(defaults, each.capabilities) for each in candidates]
    if len(merged) == 1:
        return {"capabilities": {"alwaysMatch": merged[0], "firstMatch": [{}]}}
    return {"capabilities": {"alwaysMatch": {}, "firstMatch": merged}}


def with_defaults(defaults: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """`wanted` over `defaults`: objects key by key, lists one after the other, else what is wanted wins."""
    merged = dict(defaults)
    for name, value in wanted.items():
        below = merged.get(name)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            merged[name] = with_defaults(below, value)
        elif isinstance(below, list) and isinstance(value, list):
            merged[name] = [*below, *(each for each in value if each not in below)]
        else:
            merged[name] = value
    return merged


def _merged(required: dict[str, Any], choice: dict[str, Any], index: int) -> dict[str, Any]:
    for name in choice:
        if name in required:
            raise _invalid(f"firstMatch[{index}].{name}", "is in alwaysMatch already")
    return {**required, **choice}


def _validated(capabilities: Any, where: str) -> dict[str, Any]:
    if not isinstance(capabilities, dict):
        raise _invalid(where, "must be an object")
    for name, value in capabilities.items():
        if value is not None:
            _validate(name, value, f"{where}.{name}")
    return {name: value for name, value in capabilities.items() if value is not None and name != _REMOTE_URL}


def _validate(name: str, value: Any, where: str) -> None:
    if name in ("acceptInsecureCerts", "strictFileInteractability", "webSocketUrl"):
        if not isinstance(value, bool):
            raise _invalid(where, "must be true or false")
    elif name in ("browserName", "browserVersion", "platformName"):
        if not isinstance(value, str):
            raise _invalid(where, "must be a text")
    elif name == "pageLoadStrategy":
        if value not in ("none", "eager", "normal"):
            raise _invalid(where, "must be none, eager or normal")
    elif name == "proxy":
        _validate_proxy(value, where)
    elif name == "timeouts":
        _validate_timeouts(value, where)
    elif name == "unhandledPromptBehavior":
        _validate_prompts(value, where)
    elif ":" not in name:
        raise _invalid(where, "is no capability of WebDriver; those of a vendor have a colon, such as appium:app")


def _validate_proxy(value: Any, where: str) -> None:
    if not isinstance(value, dict):
        raise _invalid(where, "must be an object")
    kind = value.get("proxyType")
    if not isinstance(kind, str) or kind not in _PROXY_TYPES:
        raise _invalid(f"{where}.proxyType", f"must be one of {', '.join(sorted(_PROXY_TYPES))}")
    for name, part in value.items():
        if name in ("proxyAutoconfigUrl", "httpProxy", "sslProxy", "socksProxy", "ftpProxy"):
            if not isinstance(part, str):
                raise _invalid(f"{where}.{name}", "must be a text")
        elif name == "noProxy":
            if not isinstance(part, list) or not all(isinstance(each, str) for each in part):
                raise _invalid(f"{where}.{name}", "must be a list of texts")
        elif name == "socksVersion" and not (_is_integer(part) and 0 <= part <= 255):
            raise _invalid(f"{where}.{name}", "must be a whole number from 0 to 255")
    if kind == "pac" and "proxyAutoconfigUrl" not in value:
        raise _invalid(f"{where}.proxyAutoconfigUrl", "is needed with proxyType pac")
    if "socksProxy" in value and "socksVersion" not in value:
        raise _invalid(f"{where}.socksVersion", "is needed with socksProxy")


def _validate_timeouts(value: Any, where: str) -> None:
    if not isinstance(value, dict):
        raise _invalid(where, "must be an object")
    for name, part in value.items():
        if name not in ("script", "pageLoad", "implicit"):
            raise _invalid(f"{where}.{name}", "is not known; known are script, pageLoad, implicit")
        if part is None and name == "script":
            continue
        if not _is_integer(part) or not 0 <= part <= _LARGEST_INTEGER:
            raise _invalid(f"{where}.{name}", "must be a whole number of milliseconds")


def _validate_prompts(value: Any, where: str) -> None:
    handlers = value if isinstance(value, dict) else {"default": value}
    for kind, handler in handlers.items():
        if kind not in _PROMPT_TYPES:
            raise _invalid(f"{where}.{kind}", f"is not known; known are {', '.join(sorted(_PROMPT_TYPES))}")
        if not isinstance(handler, str) or handler not in _PROMPT_HANDLERS:
            raise _invalid(where, f"must be one of {', '.join(sorted(_PROMPT_HANDLERS))}")


def _is_integer(value: Any) -> bool:
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    return whole and not isinstance(value, bool)


def _meets(name: str, offered: Any, wanted: Any) -> bool:
    if isinstance(offered, list) and not isinstance(wanted, list):
        return any(_meets(name, each, wanted) for each in offered)
    if not isinstance(offered, str) or not isinstance(wanted, str):
        return bool(offered == wanted)
    if name == "platformName":
        return offered.casefold() == wanted.casefold()
    if name == "browserVersion":
        return f"{offered}.".startswith(f"{wanted}.")
    return offered == wanted


def _invalid(where: str, what: str) -> WebDriverError:
    return WebDriverError("invalid argument", f"{where} {what}")
