"""Serves a daemon over HTTP until it is told to end."""

from __future__ import annotations

import contextlib
import gc
import ipaddress
import json
import os
import socket
import ssl
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import uvicorn

from labctl.api import create_app
from labctl.config import Lab
from labctl.daemon import run_daemon

# Threads that compute hand over to the one that answers an emergency stop this often (Python's standard is 5 ms).
_SWITCH_S = 0.0005
_BACKLOG = 2048
# Long: who drives a browser thinks between commands, and takes a connection that just closed for a failure.
_KEEP_ALIVE_S = 120
_LARGEST_MESSAGE = 256 << 20  # of a websocket: screenshots of large pages come as one
# Between the motion guards, which go first (-10), and everything else (0).
_NICE = -5


class BindError(Exception):
    """The daemon cannot listen there."""


@dataclass(frozen=True, slots=True)
class Exposure:
    """How others than this machine's users are kept out: TLS by ourselves, or a proxy before us that does it."""

    tls_cert: Path | None = None
    tls_key: Path | None = None
    behind_proxy: bool = False

    def tls(self) -> ssl.SSLContext | None:
        """What the daemon's side of TLS needs, if it is wanted. Raises BindError."""
        if self.tls_cert is None:
            if self.tls_key is not None:
                raise BindError("--tls-key needs --tls-cert, the certificate with its chain, as PEM")
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(self.tls_cert, self.tls_key)
        except (OSError, ssl.SSLError) as exc:
            key = self.tls_key or "the same file"
            raise BindError(f"cannot use the certificate {self.tls_cert} with its key from {key}: {exc}") from None
        return context


def bind(host: str, port: int, exposure: Exposure = Exposure()) -> socket.socket:
    """A listening socket. Raises BindError, also when others would reach the daemon without protection."""
    try:
        loopback = is_loopback(host)
    except ValueError:
        raise BindError(f"{host!r} is no address; give one of this machine's, such as 127.0.0.1 or 0.0.0.0") from None
    exposure.tls()
    if not loopback and exposure.tls_cert is None and not exposure.behind_proxy:
        raise BindError(
            f"not listening on {host} without protection: tokens and commands to robots would cross the network in "
            "plain sight. Give --tls-cert and --tls-key; or --behind-proxy, when a proxy does TLS; or "
            "stay on 127.0.0.1 with an SSH tunnel from elsewhere: ssh -L 8470:127.0.0.1:8470 THIS-MACHINE"
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except (OSError, OverflowError) as exc:
        raise BindError(f"cannot listen on {host} port {port}: {exc}; choose another --port") from None
    listener.set_inheritable(False)
    return listener


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address. Raises ValueError for what is no address."""
    return host == "localhost" or ipaddress.ip_address(host).is_loopback


def advertised(url: str) -> str:
    """The URL that others are told, as it is used. Raises BindError for what is none."""
    parts = urlsplit(url)
    try:
        well = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        well = False
    if not well or parts.username is not None or parts.query or parts.fragment:
        raise BindError(
            f"--advertise {url} is no address of a daemon; it looks like https://lab-east.example:8470, without "
            "user, query or fragment"
        )
    return url.rstrip("/")


def _is_everywhere(host: str) -> bool:
    return ipaddress.ip_address(host).is_unspecified


def serve(
    lab: Lab,
    listener: socket.socket,
    data: Path,
    database: str | None = None,
    exposure: Exposure = Exposure(),
    *,
    advertise: str | None = None,
) -> None:
    """Run the daemon until SIGTERM or SIGINT. Prints one JSON line once it answers.

    `advertise`: where others reach it (see `advertised`), when that is not where it listens. Raises what
    `labctl.daemon.run_daemon` does, and BindError where other daemons of the lab could not reach it.
    """
    sys.setswitchinterval(_SWITCH_S)
    with contextlib.suppress(OSError):  # where the system lets it: an emergency stop goes before what computes
        os.setpriority(os.PRIO_PROCESS, 0, _NICE)
    host, port = listener.getsockname()[:2]
    tls = exposure.tls()
    scheme = "http" if tls is None else "https"
    url = f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
    reached_at = advertise or url
    if advertise is None and database is not None and not database.startswith("sqlite") and _is_everywhere(host):
        raise BindError(
            f"{host} is no address that other daemons of the lab can reach this one at: give --advertise URL, such as "
            f"{scheme}://{socket.gethostname()}:{port}"
        )
    trust_loopback = is_loopback(host) and not exposure.behind_proxy
    with run_daemon(lab, data, database, reached_at, trust_loopback=trust_loopback) as daemon:

        def announce() -> None:
            print(json.dumps({"ready": True, "url": url, "pid": os.getpid(), "data": str(data.resolve())}), flush=True)

        daemon.webdriver.address(reached_at.replace("http", "ws", 1))
        config = uvicorn.Config(
            create_app(daemon),
            log_config=None,
            access_log=False,
            ws="websockets-sansio",
            ws_max_size=_LARGEST_MESSAGE,
            ws_per_message_deflate=False,
            lifespan="on",
            server_header=False,
            timeout_graceful_shutdown=2,
            timeout_keep_alive=_KEEP_ALIVE_S,
            backlog=_BACKLOG,
            # A proxy's word on the client's address, for the audit log; only a proxy on this machine is believed.
            proxy_headers=exposure.behind_proxy,
        )
        if tls is not None:
            config.ssl_certfile, config.ssl_keyfile = exposure.tls_cert, exposure.tls_key
        _Server(config, announce).run(sockets=[listener])


class _Server(uvicorn.Server):
    """Says when it answers."""

    def __init__(self, config: uvicorn.Config, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        # What is there now stays: looking through it all for garbage again and again would hold an emergency stop up.
        gc.collect()
        gc.freeze()
        self._announce()
