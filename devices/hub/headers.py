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
_OURS = frozenset({b"host", b"content-length", b"authorization", b"origin", b"expect"})


def to_target(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """A client's headers as the target gets them: names in lower case, values untouched."""
    given = list(headers)
    dropped = _named_by_connection(given) | _HOP | _OURS
    return [(name, value) for name, value in given if name.lower() not in dropped]


def to_client(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """A target's headers as the client gets them; the body's length is said by whoever sends the body."""
    given = list(headers)
    dropped = _named_by_connection(given) | _HOP | {b"content-length", b"date"}  # the server in front says the date
    return [(name, value) for name, value in given if name.lower() not in dropped]


def first(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    """The value of the first header with that lower-case name."""
    for each, value in headers:
        if each.lower() == name:
            return value
    return None


def _named_by_connection(headers: Iterable[tuple[bytes, bytes]]) -> frozenset[bytes]:
    named = [value for name, value in headers if name.lower() == b"connection"]
    return frozenset(part.strip().lower() for value in named for part in value.split(b","))
