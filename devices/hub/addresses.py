"""Addresses in capabilities: where a session's websockets are on the target, and where clients shall find them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

if TYPE_CHECKING:
    from devices.hub.sessions import Session
    from devices.hub.target import Target

BIDI, CDP = "bidi", "cdp"
KEY = "key"
_DEBUGGERS = (
    ("goog:chromeOptions", "debuggerAddress"),
    ("ms:edgeOptions", "debuggerAddress"),
)
_UNSPECIFIED = frozenset({"0.0.0.0", "::", "localhost", "127.0.0.1", "::1", ""})


def sockets_of(capabilities: Mapping[str, Any]) -> dict[str, str]:
    """The websockets that a target's capabilities tell of.

    "bidi" from `webSocketUrl`; "cdp" from `se:cdp`, or an `http:` URL of the DevTools from the debugger's address.
    """
    found: dict[str, str] = {}
    if isinstance(url := capabilities.get("webSocketUrl"), str):
        found[BIDI] = url
    if isinstance(url := capabilities.get("se:cdp"), str):
        found[CDP] = url
        return found
    for vendor, name in _DEBUGGERS:
        options = capabilities.get(vendor)
        if isinstance(options, dict) and isinstance(address := options.get(name), str):
            found[CDP] = f"http://{address}"
    if CDP not in found and isinstance(address := capabilities.get("moz:debuggerAddress"), str):
        found[CDP] = f"http://{address}"
    return found


def public_capabilities(session: Session, capabilities: Mapping[str, Any], websockets: str) -> dict[str, Any]:
    """What the client is told: the target's capabilities with our addresses, and what the lab adds.

    The debugger's own address stays for programs on the target's machine; Selenium takes `se:cdp` first.
    """
    shown = dict(capabilities)
    base = f"{websockets}/session/{session.id}"
    if BIDI in session.sockets:
        # WebDriver BiDi, section 4, says this path to the letter, and clients check it.
        shown["webSocketUrl"] = f"{base}?{KEY}={session.key}"
    if CDP in session.sockets:
        shown["se:cdp"] = f"{base}/ws/{session.key}/{CDP}"
        shown.setdefault("se:cdpVersion", str(capabilities.get("browserVersion", "")))
    if session.downloads is not None:
        shown["se:downloadsEnabled"] = True
    return {**shown, "lab:device": session.device, **session.placement.about}


async def reached(url: str, target: Target) -> str:
    """A URL as the target's machine says it, as it is reached from here."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or {"https": 443, "wss": 443}.get(parts.scheme, 80)
    if target.reach is not None:
        host, port = await target.reach(host, port)
    elif host in _UNSPECIFIED:
        host = target.host
    return urlunsplit(parts._replace(netloc=f"[{host}]:{port}" if ":" in host else f"{host}:{port}"))
