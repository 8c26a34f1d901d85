"""Which headers pass a proxy, and which belong to the hop or to us. Source: RFC 9110, section 7.6.1."""

from __future__ import annotations

from collections.abc import Iterable

_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
# Said anew for the target: its own name and the body's length. The lab's credentials are none of its business, and
# drivers refuse what seems to come from a page.
_NOT_TO_TARGET = _HOP | {b"host", b"content-length", b"authorization", b"origin", b"expect"}
_NOT_TO_CLIENT = _HOP | {b"content-length", b"date"}  # the server in front says the date


def to_target(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """A client's headers as the target gets them: names in lower case, values untouched."""
    return _without(headers, _NOT_TO_TARGET)


def to_client(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """A target's headers as the client gets them; the body's length is said by whoever sends the body."""
    return _without(headers, _NOT_TO_CLIENT)


def first(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    """The value of the first header with that lower-case name."""
    for each, value in headers:
        if each.lower() == name:
            return value
    return None


def _without(headers: Iterable[tuple[bytes, bytes]], dropped: frozenset[bytes]) -> list[tuple[bytes, bytes]]:
    """The headers but for those dropped, and those that the Connection header names as the hop's."""
    kept = []
    named: list[bytes] = []
    for name, value in headers:
        lower = name.lower()
        if lower not in dropped:
            kept.append((name, value))
        elif lower == b"connection":
            named += value.lower().split(b",")
    if not named:
        return kept
    of_the_hop = {each.strip() for each in named}
    return [each for each in kept if each[0].lower() not in of_the_hop]
