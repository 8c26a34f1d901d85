"""How to reach a host: address, user, keys, and how long silence may last."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

DEFAULT_KNOWN_HOSTS = Path("~/.ssh/known_hosts")


@dataclass(frozen=True, slots=True)
class SshSettings:
    """An account on a host.

    `name`: what people call it in messages. `keys`: private key files, tried in this order; a certificate lies beside
    its key as KEY-cert.pub or is named in `certificates`. `agent`: also ask the agent at SSH_AUTH_SOCK. Without keys
    the usual files of ~/.ssh are tried. `silence_s`: after so long without an answer the link counts as lost, and
    the host kills what ran over it.
    """

    address: str
    user: str
    port: int = 22
    name: str = ""
    keys: tuple[Path, ...] = ()
    certificates: tuple[Path, ...] = ()
    agent: bool = True
    known_hosts: Path = DEFAULT_KNOWN_HOSTS
    connect_timeout_s: float = 10.0
    silence_s: float = 15.0

    def __post_init__(self) -> None:
        if not self.address or self.address.startswith("-"):
            raise ValueError(f"{self.address!r} is no address of a host")
        if not self.user:
            raise ValueError(f"no user is given for {self.address}")
        if not 1 <= self.port <= 65535:
            raise ValueError(f"port {self.port} is outside 1 .. 65535")
        if self.connect_timeout_s <= 0 or self.silence_s <= 0:
            raise ValueError("connect_timeout_s and silence_s must be positive")

    @property
    def title(self) -> str:
        """What messages call the host."""
        where = self.address if self.port == 22 else f"{self.address} port {self.port}"
        return f"{self.name} ({where})" if self.name and self.name != self.address else where

    @property
    def known_as(self) -> str:
        """The host's name in a known_hosts file."""
        return self.address if self.port == 22 else f"[{self.address}]:{self.port}"
