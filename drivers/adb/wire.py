"""The adb server's protocol on a socket: length-prefixed requests, OKAY or FAIL, then the service's own bytes.

Source: AOSP, packages/modules/adb, OVERVIEW.TXT and SERVICES.TXT.
"""

from __future__ import annotations

import contextlib
import socket
from types import TracebackType
from typing import Self

from drivers.errors import DeviceError, DeviceSilentError, DeviceUnreachableError, ProtocolError

_LONGEST_REQUEST = 0xFFFF


class AdbRefusedError(DeviceError):
    """The adb server or the phone answered FAIL, with a reason in its own words."""


class Wire:
    """One connection to an adb server; it serves one request, or one transport to a phone and then one service."""

    def __init__(self, address: tuple[str, int], about: str, timeout_s: float) -> None:
        """Raises DeviceUnreachableError. `about`: whom it is for, in errors."""
        self._about = about
        self._timeout_s = timeout_s
        try:
            self._socket = socket.create_connection(address, timeout=timeout_s)
        except OSError as exc:
            host, port = address
            raise DeviceUnreachableError(
                f"{about}: no adb server answers at {host}:{port} ({exc}); start one there: adb start-server"
            ) from exc
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def interrupt(self) -> None:
        """End a read that another thread waits in."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def patience(self, timeout_s: float | None) -> None:
        """How long the next reads may take; None: for ever."""
        self._socket.settimeout(timeout_s)

    def request(self, service: str) -> None:
        """Ask for a service. Raises AdbRefusedError, DeviceError."""
        encoded = service.encode()
        if len(encoded) > _LONGEST_REQUEST:
            raise ValueError(f"an adb request has at most {_LONGEST_REQUEST} bytes")
        self.write(b"%04x" % len(encoded) + encoded)
        self.answered(service)

    def answered(self, what: str) -> None:
        """Read OKAY. Raises AdbRefusedError, DeviceError."""
        status = self.read(4)
        if status == b"FAIL":
            raise AdbRefusedError(f"{self._about}: adb refused {what!r}: {self.block().decode(errors='replace')}")
        if status != b"OKAY":
            raise ProtocolError(f"{self._about}: an adb server answers OKAY or FAIL to {what!r}, this says {status!r}")

    def block(self) -> bytes:
        """A block with its length before it, in four hexadecimal digits."""
        digits = self.read(4)
        try:
            return self.read(int(digits, 16))
        except ValueError:
            raise ProtocolError(f"{self._about}: {digits!r} is no length of an adb block") from None

    def write(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError as exc:
            raise self._lost(exc) from exc

    def read(self, size: int) -> bytes:
        """Exactly that many bytes."""
        parts = bytearray()
        while len(parts) < size:
            chunk = self.some(size - len(parts))
            if not chunk:
                raise DeviceSilentError(f"{self._about}: the connection ended in the middle of an answer")
            parts += chunk
        return bytes(parts)

    def some(self, most: int = 65536) -> bytes:
        """What there is, b"" at the end."""
        try:
            return self._socket.recv(most)
        except TimeoutError:
            raise DeviceSilentError(f"{self._about}: nothing came for {self._socket.gettimeout()} s") from None
        except OSError as exc:
            raise self._lost(exc) from exc

    def rest(self) -> bytes:
        """All up to the end."""
        parts = bytearray()
        while chunk := self.some():
            parts += chunk
        return bytes(parts)

    def _lost(self, error: OSError) -> DeviceError:
        return DeviceSilentError(f"{self._about}: the connection to the adb server was lost: {error}")
