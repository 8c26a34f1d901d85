"""Serves a daemon over HTTP until it is told to end."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import uvicorn

from labctl.api import create_app
from labctl.config import Lab
from labctl.daemon import run_daemon

# Threads that compute hand over to the one that answers an emergency stop this often (Python's standard is 5 ms).
_SWITCH_S = 0.0005
_BACKLOG = 2048
# Between the motion guards, which go first (-10), and everything else (0).
_NICE = -5


class BindError(Exception):
    """The daemon cannot listen there."""


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises BindError, also for an address that other machines could reach.

    Whoever reaches the daemon counts as its local administrator, so it listens on the loopback interface only.
    """
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        raise BindError(f"{host!r} is no address; the daemon listens on the loopback: 127.0.0.1 or ::1") from None
    if not loopback:
        raise BindError(
            f"not listening on {host}: the daemon does not ask who you are yet, so anybody in that network could drive "
            "the robots. Use 127.0.0.1, and an SSH tunnel from elsewhere: ssh -L 8470:127.0.0.1:8470 THIS-MACHINE"
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except (OSError, OverflowError) as exc:
        raise BindError(f"cannot listen on {host} port {port}: {exc}; choose another --port") from None
    listener.set_inheritable(False)
    return listener


def serve(lab: Lab, listener: socket.socket, data: Path, database: str | None = None) -> None:
    """Run the daemon until SIGTERM or SIGINT. Prints one JSON line once it answers.

    Raises `labctl.store.database.StoreError` when its state cannot be used.
    """
    sys.setswitchinterval(_SWITCH_S)
    with contextlib.suppress(OSError):  # where the system lets it: an emergency stop goes before what computes
        os.setpriority(os.PRIO_PROCESS, 0, _NICE)
    host, port = listener.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    with run_daemon(lab, data, database, url) as daemon:

        def announce() -> None:
            print(json.dumps({"ready": True, "url": url, "pid": os.getpid(), "data": str(data.resolve())}), flush=True)

        config = uvicorn.Config(
            create_app(daemon),
            log_config=None,
            access_log=False,
            ws="none",
            lifespan="off",
            timeout_graceful_shutdown=2,
            backlog=_BACKLOG,
        )
        _Server(config, announce).run(sockets=[listener])


class _Server(uvicorn.Server):
    """Says when it answers."""

    def __init__(self, config: uvicorn.Config, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._announce()
