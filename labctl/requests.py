"""The request under way: its id, who asks and from where; for the audit log, the events and the daemon's own log."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """About one request. Outside of requests everything is empty."""

    id: str = ""
    principal: str = ""
    address: str = ""


_OUTSIDE = RequestInfo()
_CURRENT: ContextVar[RequestInfo] = ContextVar("labctl_request", default=_OUTSIDE)


def current_request() -> RequestInfo:
    """The request that this thread or task works for."""
    return _CURRENT.get()


def begin_request(info: RequestInfo) -> None:
    """From now on this task works for that request."""
    _CURRENT.set(info)
