"""Opens serial lines exclusively, by device path or pyserial URL, with errors that say who is in the way."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import time
from pathlib import Path
from typing import Any

import serial
from serial.urlhandler.protocol_socket import Serial as SocketSerial

from drivers.errors import DeviceUnreachableError


def open_serial_line(url: str, baud_rate: int, read_timeout_s: float, write_timeout_s: float) -> serial.SerialBase:
    """The opened line, 8N1, ours alone as far as the system can tell.

    `url`: a device path, `serial:///dev/ttyUSB0`, `socket://host:port`, `rfc2217://host:port`. Time-outs in seconds of
    the machine's clock; `rfc2217://` knows none for writing, so prefer `socket://` for a base that moves.
    Raises DeviceUnreachableError when the port is absent, taken, forbidden or not a serial line.
    """
    port = url.removeprefix("serial://")
    local = "://" not in port
    if local and (holder := holder_of(port)):
        raise DeviceUnreachableError(
            f"the serial port {port} is held by {holder}; a second writer on a motor board is dangerous:"
            " stop that program, then try again"
        )
    try:
        line: serial.SerialBase
        if port.startswith("socket://"):
            line = _TcpLine(port, timeout=read_timeout_s, write_timeout=write_timeout_s)
        elif local:
            line = _LocalLine(
                port, baudrate=baud_rate, timeout=read_timeout_s, write_timeout=write_timeout_s, exclusive=True
            )
        else:
            line = serial.serial_for_url(
                port,
                baudrate=baud_rate,
                timeout=read_timeout_s,
                # pyserial's rfc2217:// takes no time-out for writing; its socket gives up after 5 s.
                write_timeout=None if port.startswith("rfc2217://") else write_timeout_s,
            )
    except (serial.SerialException, ValueError, OSError) as exc:
        raise DeviceUnreachableError(_explain(url, port, local, exc)) from exc
    return line


class _LocalLine(serial.Serial):
    """pyserial's serial port, but whose write fails only where the line does not take the bytes in time.

    pyserial's fails also where the line took them all at once and this process was not run for that long after.
    """

    def write(self, data: Any, /) -> int:
        if not self.is_open:
            raise serial.PortNotOpenError
        return _write_all(self.fileno(), bytes(data), self.write_timeout)


class _TcpLine(SocketSerial):
    """pyserial's `socket://`, but without delayed small writes, closed for good where the far end went first, and with
    the same care for writes."""

    _socket: socket.socket | None

    def write(self, data: Any, /) -> int:
        if not self.is_open or self._socket is None:
            raise serial.PortNotOpenError
        return _write_all(self._socket.fileno(), bytes(data), self.write_timeout)

    def open(self) -> None:
        super().open()
        if self._socket is not None:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self) -> None:
        # pyserial 3.5 leaves the socket open when shutting it down fails, and sleeps 0.3 s.
        self.is_open = False
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _write_all(descriptor: int, data: bytes, timeout_s: float | None) -> int:
    """Raises SerialTimeoutException when the line took not all in time, SerialException when it took nothing at all."""
    until = None if timeout_s is None else time.monotonic() + timeout_s
    left = memoryview(data)
    room = select.poll()
    room.register(descriptor, select.POLLOUT)
    while True:
        over = until is not None and time.monotonic() >= until  # as it was before the line is tried once more
        try:
            left = left[os.write(descriptor, left) :]
        except BlockingIOError:
            pass
        except OSError as exc:
            raise serial.SerialException(f"write failed: {exc}") from exc
        if not left:
            return len(data)
        if over:
            raise serial.SerialTimeoutException("Write timeout")
        room.poll(None if until is None else max(0.0, until - time.monotonic()) * 1000)


def holder_of(port: str) -> str | None:
    """The other process that has the device open, as "name (pid N)", as far as /proc lets us see; else None."""
    try:
        device = Path(port).resolve(strict=True)
    except OSError:
        return None
    for folder in Path("/proc").glob("[0-9]*"):
        if folder.name == str(os.getpid()):
            continue
        # Processes end while we look and those of other users keep their secrets: pass over them.
        with contextlib.suppress(OSError):
            for entry in (folder / "fd").iterdir():
                with contextlib.suppress(OSError):
                    if entry.readlink() == device:
                        return f"{(folder / 'comm').read_text().strip()} (pid {folder.name})"
    return None


def _explain(url: str, port: str, local: bool, exc: Exception) -> str:
    number = getattr(exc, "errno", None)
    if not local:
        return f"cannot connect to {url}: {exc}; check that the host is up and its serial server listens on that port"
    if number == errno.ENOENT:
        return f"there is no serial port {port}; check the cable, then look at /dev/serial/by-id/ for its present name"
    if number in (errno.EACCES, errno.EPERM):
        return (
            f"no permission to open {port}; add this user to the group that owns it"
            " (often: sudo usermod -aG dialout $USER) and log in again"
        )
    if number in (errno.EBUSY, errno.EAGAIN):
        return f"the serial port {port} is in use by {holder_of(port) or 'another program'}; stop that, then try again"
    return f"{port} cannot be opened as a serial line: {exc}"
