"""What the hub needs to know of a WebDriver server that drives a device, and how its answers come back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

Headers = Sequence[tuple[bytes, bytes]]


JSON_HEADERS = ((b"content-type", b"application/json; charset=utf-8"),)


@dataclass(frozen=True, slots=True)
class Call:
    """A command on its way to a target. `path` begins behind the target's base URL, query included, as received.

    `body`: whole, or a stream of `length` bytes (None: unknown).
    """

    method: str
    path: str
    headers: Headers = ()
    body: bytes | AsyncIterator[bytes] = b""
    length: int | None = None


@dataclass(slots=True)
class Reply:
    """A target's answer. `headers` without those of the hop; `body`: whole, or a stream where it is large.

    A stream may raise TargetError half-way; `close` lets go of the connection when a stream is not read to its end.
    """

    status: int
    headers: Headers
    body: bytes | AsyncIterator[bytes]
    close: Callable[[], None] = lambda: None

    def whole(self) -> bytes:
        """The body where it is whole, b"" of a stream."""
        return self.body if isinstance(self.body, bytes) else b""


class TargetError(Exception):
    """A target gave no answer, or none that HTTP knows. `hung`: it took the command and kept silent."""

    def __init__(self, message: str, *, hung: bool = False) -> None:
        super().__init__(message)
        self.hung = hung


class Upstream(Protocol):
    """A connection to a target that speaks W3C WebDriver towards the hub, whatever goes over the wire."""

    async def exchange(self, call: Call, timeout_s: float, *, whole: bool = False) -> Reply:
        """Carry one command. `whole`: never as a stream. Raises TargetError."""


@dataclass(frozen=True)
class Target:
    """A WebDriver server. `url`: its base, before `/session`, without a slash at the end.

    `defaults` lie beneath what a client asks for. `reach` says where an address as the target's machine sees it, such
    as a DevTools port, is reached from here (None: as the target itself). `local`: it sees this machine's files.
    `hub`: it is a hub like this one, with the device behind it: what a client says to the lab is for that one.
    """

    url: str
    defaults: Mapping[str, Any] = field(default_factory=dict)
    reach: Callable[[str, int], Awaitable[tuple[str, int]]] | None = None
    local: bool = False
    hub: bool = False
    start_timeout_s: float = 180.0
    command_timeout_s: float = 330.0

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def authority(self) -> str:
        """`host:port` as a Host header says it, without credentials."""
        return urlsplit(self.url).netloc.rpartition("@")[2]
