"""An adb server: which phones are connected to it, now and as that changes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from drivers.adb.phone import Phone
from drivers.adb.wire import Wire

_TIMEOUT_S = 10.0
PORT = 5037


@dataclass(frozen=True, slots=True)
class ConnectedPhone:
    """A phone that an adb server sees. `state`: device, offline, unauthorized, recovery ...; "device" is usable."""

    serial: str
    state: str
    properties: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AdbServer:
    """Where an adb server is. It may be forwarded from another machine."""

    host: str = "127.0.0.1"
    port: int = PORT
    timeout_s: float = _TIMEOUT_S

    @classmethod
    def at(cls, address: str) -> AdbServer:
        """`host:port` or `host`. Raises ValueError."""
        host, _, port = address.partition(":")
        return cls(host or "127.0.0.1", int(port) if port else PORT)

    def version(self) -> int:
        """The protocol version of the server. Raises DeviceError."""
        with self._asked("host:version") as wire:
            return int(wire.block(), 16)

    def phones(self) -> list[ConnectedPhone]:
        """The phones that are connected now. Raises DeviceError."""
        with self._asked("host:devices-l") as wire:
            return parse_phones(wire.block().decode(errors="replace"))

    @contextmanager
    def watching(self) -> Iterator[Watch]:
        """Hears of phones that come and go. Raises DeviceError."""
        with self._asked("host:track-devices-l") as wire:
            wire.patience(None)
            yield Watch(wire)

    def phone(self, serial: str) -> Phone:
        """The phone with that serial number, connected or not."""
        return Phone((self.host, self.port), serial, self.timeout_s)

    @contextmanager
    def _asked(self, service: str) -> Iterator[Wire]:
        with Wire((self.host, self.port), f"adb server {self.host}:{self.port}", self.timeout_s) as wire:
            wire.request(service)
            yield wire


class Watch:
    """A running watch. Iterating gives all connected phones, at first and after each change."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def __iter__(self) -> Iterator[list[ConnectedPhone]]:
        while True:
            yield parse_phones(self._wire.block().decode(errors="replace"))

    def stop(self) -> None:
        """End it, from another thread: the iteration raises DeviceSilentError."""
        self._wire.interrupt()


def parse_phones(text: str) -> list[ConnectedPhone]:
    """The lines of `devices-l`: serial, state, then properties as `name:value`."""
    found = []
    for line in text.splitlines():
        if not (words := line.split()):
            continue
        serial, *rest = words
        state = rest[0] if rest else "unknown"
        properties = dict(each.split(":", 1) for each in rest[1:] if ":" in each)
        found.append(ConnectedPhone(serial, state, properties))
    return found
