"""Byte pipes to a sensor: TCP (`tcp://host:port`) and serial (`serial:///dev/ttyACM0`)."""

from __future__ import annotations

import os
import select
import socket
from typing import Protocol
from urllib.parse import parse_qs, urlsplit

import serial

from drivers.errors import DeviceAddressError, DeviceSilentError, DeviceUnreachableError
from drivers.serial_line import holder_of

DEFAULT_PORT = 10940
_READ_BYTES = 65_536
_USAGE = "write tcp://HOST:PORT or serial:///dev/ttyACM0"


class Transport(Protocol):
    """An open pipe. Times are wall-clock seconds. Every method raises DeviceUnreachableError once the pipe is gone."""

    def read(self, timeout: float) -> bytes:
        """What has come in, waiting up to `timeout` for the first byte; empty when nothing came."""

    def write(self, data: bytes, timeout: float) -> None:
        """Send all of `data`. Raises DeviceSilentError when the device does not take it within `timeout`."""

    def close(self) -> None:
        """Let go of the device. Harmless when done twice."""


def _readable(descriptor: int, timeout: float) -> bool:
    # poll, not select: a daemon with many connections has descriptors beyond select's 1024.
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    return bool(poller.poll(max(0.0, timeout) * 1000))


class TcpTransport:
    """A TCP connection to an Ethernet model."""

    def __init__(self, host: str, port: int, timeout: float) -> None:
        self._where = f"{host}:{port}"
        try:
            self._socket = socket.create_connection((host, port), timeout)
        except TimeoutError:
            raise DeviceUnreachableError(
                f"the LiDAR at {self._where} did not take a connection within {timeout:g} s: "
                "check its power, its cable, and that this host is in its subnet"
            ) from None
        except ConnectionRefusedError:
            raise DeviceUnreachableError(
                f"the LiDAR at {self._where} refused the connection: check the port (a Hokuyo listens on "
                f"{DEFAULT_PORT}) and that no other program holds the sensor's few connections"
            ) from None
        except OSError as exc:
            raise DeviceUnreachableError(
                f"the LiDAR at {self._where} cannot be reached ({exc.strerror or exc}): check address and network"
            ) from None
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setblocking(False)

    def read(self, timeout: float) -> bytes:
        try:
            if not _readable(self._socket.fileno(), timeout):
                return b""
            data = self._socket.recv(_READ_BYTES)
        except BlockingIOError:
            return b""
        except (OSError, ValueError) as exc:
            raise self._gone(str(exc)) from None
        if not data:
            raise self._gone("it closed the connection")
        return data

    def write(self, data: bytes, timeout: float) -> None:
        try:
            self._socket.settimeout(max(0.001, timeout))
            self._socket.sendall(data)
        except TimeoutError:
            raise DeviceSilentError(f"the LiDAR at {self._where} took no command within {timeout:g} s") from None
        except OSError as exc:
            raise self._gone(str(exc)) from None
        finally:
            if self._socket.fileno() >= 0:
                self._socket.setblocking(False)

    def close(self) -> None:
        self._socket.close()

    def _gone(self, why: str) -> DeviceUnreachableError:
        return DeviceUnreachableError(
            f"the connection to the LiDAR at {self._where} was lost ({why}): check its power and cable, "
            "then open it again"
        )


class SerialTransport:
    """A serial line to a USB or RS-232 model."""

    def __init__(self, path: str, baud_rate: int) -> None:
        self._where = path
        # Many programs open a port without locking it, so that a lock of ours would not find them.
        if holder := holder_of(path):
            raise DeviceUnreachableError(
                f"the LiDAR's serial port {path} is held by {holder}: stop that program, then try again"
            )
        try:
            self._port = serial.Serial(path, baud_rate, timeout=0, write_timeout=1.0, exclusive=True)
        except (serial.SerialException, OSError, ValueError) as exc:
            raise DeviceUnreachableError(
                f"the LiDAR's serial port {path} cannot be opened ({exc}): check that it is plugged in, that this user "
                f"may use it (group dialout), and that no other program has it (fuser {path})"
            ) from None

    def read(self, timeout: float) -> bytes:
        try:
            if not _readable(self._port.fileno(), timeout):
                return b""
            data = os.read(self._port.fileno(), _READ_BYTES)
        except BlockingIOError:
            return b""
        except (OSError, ValueError, serial.SerialException) as exc:
            raise self._gone(str(exc)) from None
        if not data:
            raise self._gone("the line hung up")
        return data

    def write(self, data: bytes, timeout: float) -> None:
        try:
            self._port.write_timeout = max(0.001, timeout)
            self._port.write(data)
        except serial.SerialTimeoutException:
            raise DeviceSilentError(f"the LiDAR at {self._where} took no command within {timeout:g} s") from None
        except (OSError, serial.SerialException) as exc:
            raise self._gone(str(exc)) from None

    def close(self) -> None:
        self._port.close()

    def _gone(self, why: str) -> DeviceUnreachableError:
        return DeviceUnreachableError(
            f"the LiDAR at {self._where} is gone ({why}): check its power and cable, then open it again"
        )


def open_transport(url: str, timeout: float) -> Transport:
    """Open `tcp://host[:port]` (port 10940 unless given) or `serial:///path[?baud=115200]`.

    Raises DeviceAddressError when the address makes no sense, DeviceUnreachableError when nothing takes the connection.
    """
    try:
        parts = urlsplit(url)
        if parts.scheme == "tcp" and parts.hostname and parts.path in ("", "/"):
            return TcpTransport(parts.hostname, parts.port or DEFAULT_PORT, timeout)
        if parts.scheme == "serial" and parts.path and not parts.netloc:
            baud_rate = int(parse_qs(parts.query).get("baud", ["115200"])[0])
            return SerialTransport(parts.path, baud_rate)
    except ValueError as exc:
        raise DeviceAddressError(f"{url!r} is no address of a LiDAR ({exc}): {_USAGE}") from None
    raise DeviceAddressError(f"{url!r} is no address of a LiDAR: {_USAGE}")
