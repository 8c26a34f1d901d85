"""Wake-on-LAN: a packet that switches a computer on; off is a matter of the computer itself.

The magic packet is six bytes 0xFF and the hardware address 16 times (AMD publication 20213, "Magic Packet Technology").
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from dataclasses import dataclass

from drivers.errors import DeviceError

_ADDRESS = re.compile(r"^([0-9A-Fa-f]{2}[:-]?){5}[0-9A-Fa-f]{2}$")


def magic_packet(hardware_address: str) -> bytes:
    """The packet that wakes the network card with that address ("00:1f:16:..."). Raises ValueError."""
    if not _ADDRESS.match(hardware_address):
        raise ValueError(f"{hardware_address!r} is no hardware address; it looks like 00:1f:16:aa:bb:cc")
    return b"\xff" * 6 + bytes.fromhex(re.sub("[:-]", "", hardware_address)) * 16


@dataclass(frozen=True, slots=True)
class WakeOnLan:
    """A computer that wakes by its network card. `shut_down`: how to switch it off, such as a command over SSH.

    `answers`: whether it is up; without it nobody can know.
    """

    hardware_address: str
    broadcast: str = "255.255.255.255"
    port: int = 9
    shut_down: Callable[[], object] | None = None
    answers: Callable[[], bool] | None = None

    def __post_init__(self) -> None:
        magic_packet(self.hardware_address)

    @property
    def name(self) -> str:
        return f"the computer with the network card {self.hardware_address}"

    def on(self) -> None:
        """Send the packet. Whether the computer wakes up is seen when it answers."""
        packet = magic_packet(self.hardware_address)
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
                sender.sendto(packet, (self.broadcast, self.port))
        except OSError as exc:
            raise DeviceError(
                f"{self.name} cannot be woken: sending to {self.broadcast} failed: {exc}; "
                "give the broadcast address of its network"
            ) from exc

    def off(self) -> None:
        """Shut it down, where that was arranged. Raises DeviceError otherwise."""
        if self.shut_down is None:
            raise DeviceError(f"{self.name} can be woken over the network, but not switched off")
        self.shut_down()

    def state(self) -> bool | None:
        """Whether it answers; None when nobody can know."""
        return None if self.answers is None else self.answers()
