"""Threads for routes that wait for a device or for another daemon, apart from those of all others.

Requests are served by forty threads. A reboot takes one for minutes, a host that is down for as long as it may take to
connect: were it one of the forty, a rack without power would keep leases from being granted.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable
from functools import partial, wraps
from typing import ParamSpec, TypeVar

import anyio.to_thread

_AT_ONCE = 200
_limiters: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, anyio.CapacityLimiter] = weakref.WeakKeyDictionary()
P = ParamSpec("P")
T = TypeVar("T")


async def wait_for(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do `work` in a thread of those that may wait."""
    loop = asyncio.get_running_loop()
    if (limiter := _limiters.get(loop)) is None:
        limiter = _limiters[loop] = anyio.CapacityLimiter(_AT_ONCE)
    return await anyio.to_thread.run_sync(partial(work, *args, **kwargs), limiter=limiter)


def waits(route: Callable[P, T]) -> Callable[P, Awaitable[T]]:
    """Mark a route as one that may have to wait for a device."""

    @wraps(route)
    async def waiting(*args: P.args, **kwargs: P.kwargs) -> T:
        return await wait_for(route, *args, **kwargs)

    return waiting
