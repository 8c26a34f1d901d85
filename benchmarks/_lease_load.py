"""Clients that take and give back leases over HTTP, as lightly as can be, so that the daemon is what is measured."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Timings:
    """What clients saw, in seconds."""

    grant: list[float] = field(default_factory=list)
    release: list[float] = field(default_factory=list)
    each: list[int] = field(default_factory=list)  # grants per client
    longest_wait: float = 0.0
    errors: list[str] = field(default_factory=list)
    elapsed: float = 0.0


class Connection:
    """One HTTP/1.1 connection that is kept open."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter

    async def open(self) -> None:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)

    def close(self) -> None:
        self._writer.close()

    async def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
        data = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        self._writer.write(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
        top = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status = int(top.split(" ", 2)[1])
        length = next(line for line in top.lower().split("\r\n") if line.startswith("content-length:"))
        return status, json.loads(await self._reader.readexactly(int(length.split(":")[1])))


async def churn(
    port: int, clients: int, seconds: float, wanted: Callable[[int, int], dict[str, Any]], most: int | None = None
) -> Timings:
    """`clients` take what `wanted(client, turn)` says and give it back at once, for so long or so many times each."""
    timings = Timings(each=[0] * clients)
    began = time.perf_counter()

    async def client(number: int) -> None:
        connection = Connection(port)
        await connection.open()
        turn = 0
        while time.perf_counter() - began < seconds and (most is None or turn < most):
            asked = time.perf_counter()
            status, lease = await connection.ask("POST", "/api/v1/leases", wanted(number, turn))
            granted = time.perf_counter()
            if status != 201:
                timings.errors.append(f"{status}: {lease.get('detail')}")
                break
            status, ended = await connection.ask("DELETE", f"/api/v1/leases/{lease['id']}")
            released = time.perf_counter()
            if status != 200:
                timings.errors.append(f"{status}: {ended.get('detail')}")
                break
            timings.grant.append(granted - asked)
            timings.release.append(released - granted)
            timings.each[number] += 1
            timings.longest_wait = max(timings.longest_wait, granted - asked)
            turn += 1
        connection.close()

    await asyncio.gather(*(client(number) for number in range(clients)))
    timings.elapsed = time.perf_counter() - began
    return timings


async def handovers(port: int, device: str, times: int) -> list[float]:
    """From the answer to a release to the answer of the one who waited for the same device, in seconds."""
    holder, waiter = Connection(port), Connection(port)
    await holder.open()
    await waiter.open()
    found = []
    for _ in range(times):
        _, held = await holder.ask("POST", "/api/v1/leases", {"devices": [device]})
        waiting = asyncio.ensure_future(waiter.ask("POST", "/api/v1/leases", {"devices": [device], "wait_s": 60}))
        listed: list[Any] = []
        looker = Connection(port)
        await looker.open()
        while not listed:
            listed = (await looker.ask("GET", "/api/v1/leases?state=waiting"))[1]["items"]
        looker.close()
        asked = time.perf_counter()
        await holder.ask("DELETE", f"/api/v1/leases/{held['id']}")
        _, granted = await waiting
        found.append(time.perf_counter() - asked)
        await waiter.ask("DELETE", f"/api/v1/leases/{granted['id']}")
    holder.close()
    waiter.close()
    return found
