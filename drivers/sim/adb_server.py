"""A simulated adb server with phones: speaks the real protocol, and takes faults on purpose.

Phones can be unplugged in the middle of anything, be unauthorised, be full, and refuse apps.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

_WORD = struct.Struct("<4sI")
_PACKET = struct.Struct("<BI")
_STAT = struct.Struct("<4sIII")
_VERSION = 41
# The scripts that `drivers.adb.screen` has the phone's shell run.
_RECORD = re.compile(r"screenrecord --time-limit (?P<limit>\d+) (?P<path>\S+) </dev/null >\S+ 2>&1 & echo \$! >\S+$")
_FINISH = re.compile(r"pid=\$\(cat (?P<path>\S+)\.pid\) && kill -2 \$pid; while kill -0 \$pid; do sleep 0\.1; done")


@dataclass
class SimulatedPhone:
    """A phone's state. An apk's content is the name of its package, or "bad"."""

    serial: str
    state: str = "device"
    model: str = "Sim"
    battery_percent: int = 80
    temperature_tenths: int = 251
    packages: dict[str, str] = field(default_factory=dict)  # name: what it has stored
    files: dict[str, bytes] = field(default_factory=dict)
    log: list[tuple[float, str]] = field(default_factory=list)
    free_bytes: int = 1 << 30
    silent: bool = False  # takes commands and says nothing
    recording: tuple[str, float] | None = None  # of its screen: where to, and for how many seconds at most

    def log_frames(self) -> bytes:
        """What stands for the pictures of a recording: the state of the phone's apps."""
        return repr(self.packages).encode()

    def perform(self, words: list[str]) -> tuple[str, str, int]:
        """A shell command: output, errors, exit code."""
        output = self._output(words)
        if output is None:
            return "", f"/system/bin/sh: {words[0] if words else ''}: inaccessible or not found\n", 127
        return output, "", 0

    def _output(self, words: list[str]) -> str | None:
        output: str | None = None
        match words:
            case ["dumpsys", "battery"]:
                lines = ["Current Battery Service state:", "  AC powered: false", "  USB powered: true"]
                lines += [f"  level: {self.battery_percent}", "  scale: 100"]
                output = "\n".join([*lines, f"  temperature: {self.temperature_tenths}"]) + "\n"
            case ["df", "-k", "/data"]:
                heading = "Filesystem     1K-blocks    Used Available Use% Mounted on\n"
                output = f"{heading}/dev/block/dm-5  {1 << 22} 0 {self.free_bytes >> 10}  10% /data\n"
            case ["pm", "list", "packages", "-3"]:
                output = "".join(f"package:{each}\n" for each in sorted(self.packages))
            case ["pm", "uninstall", name]:
                found = self.packages.pop(name, None) is not None
                output = "Success\n" if found else "Failure [DELETE_FAILED_INTERNAL_ERROR]\n"
            case ["pm", "clear", name]:
                output = "Success\n" if name in self.packages else "Failed\n"
                self.packages.update({name: ""} if name in self.packages else {})
            case ["date", "+%s"]:
                output = f"{time.time():.0f}\n"
            case ["logcat", "-d", "-v", _, "-T", moment]:
                output = "".join(f"{at:.3f} {text}\n" for at, text in self.log if at >= float(moment))
            case ["sh", "-c", script] if begun := _RECORD.match(script):
                self.recording = (begun["path"], float(begun["limit"]))
                self.files[f"{begun['path']}.pid"] = b"4711\n"
                output = ""
            case ["sh", "-c", script] if finished := _FINISH.match(script):
                path = finished["path"]
                if self.recording is not None and self.recording[0] == path:
                    self.files[path] = b"\0\0\0\x18ftypmp42" + self.log_frames()
                    self.recording = None
                output = "" if path in self.files else "cat: No such file or directory\n"
            case ["rm", "-rf" | "-f", *paths]:
                gone = [
                    each for each in self.files if any(each == path or each.startswith(path + "/") for path in paths)
                ]
                for each in gone:
                    del self.files[each]
                output = ""
        return output


class SimulatedAdbServer:
    """The server, on a free port of the loopback interface; as a context it runs."""

    def __init__(self, *phones: SimulatedPhone) -> None:
        self.phones = {each.serial: each for each in phones}
        self.asked: list[str] = []
        self._changed = threading.Condition()
        self._changes = 0
        self._closing = False
        self._connections: dict[socket.socket, str] = {}
        outer = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError, EOFError):
                    outer._serve(self.request)
                outer._connections.pop(self.request, None)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> SimulatedAdbServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        self._server.shutdown()
        self._tell()
        for each in tuple(self._connections):
            _cut(each)
        self._server.server_close()
        self._thread.join()

    def unplug(self, serial: str) -> SimulatedPhone:
        """Take a phone away; what goes on with it breaks off."""
        phone = self.phones.pop(serial)
        for connection, user in tuple(self._connections.items()):
            if user == serial:
                _cut(connection)
        self._tell()
        return phone

    def plug(self, phone: SimulatedPhone) -> None:
        """Connect a phone, or tell of its new state."""
        self.phones[phone.serial] = phone
        self._tell()

    def _tell(self) -> None:
        with self._changed:
            self._changes += 1
            self._changed.notify_all()

    def _listing(self) -> bytes:
        lines = [
            f"{each.serial:<22} {each.state} product:sim model:{each.model} device:sim transport_id:{number}\n"
            for number, each in enumerate(self.phones.values(), start=1)
        ]
        return _block("".join(lines).encode())

    def _serve(self, connection: socket.socket) -> None:
        self._connections[connection] = ""
        service = self._request(connection)
        if service == "host:version":
            connection.sendall(b"OKAY" + _block(b"%04x" % _VERSION))
        elif service == "host:devices-l":
            connection.sendall(b"OKAY" + self._listing())
        elif service == "host:track-devices-l":
            self._track(connection)
        elif service.startswith("host:transport:"):
            self._with_phone(connection, service.removeprefix("host:transport:"))
        else:
            connection.sendall(b"FAIL" + _block(b"unknown host service"))

    def _track(self, connection: socket.socket) -> None:
        seen = -1
        connection.sendall(b"OKAY")
        while not self._closing:
            with self._changed:
                while self._changes == seen and not self._closing:
                    self._changed.wait()
                seen = self._changes
            connection.sendall(self._listing())

    def _with_phone(self, connection: socket.socket, serial: str) -> None:
        phone = self.phones.get(serial)
        if phone is None:
            connection.sendall(b"FAIL" + _block(f"device '{serial}' not found".encode()))
            return
        if phone.state != "device":
            connection.sendall(b"FAIL" + _block(f"device {phone.state}".encode()))
            return
        self._connections[connection] = serial
        connection.sendall(b"OKAY")
        service = self._request(connection)
        if phone.silent:
            connection.recv(1)
            return
        if service.startswith("shell,v2,raw:"):
            connection.sendall(b"OKAY")
            output, errors, code = phone.perform(shlex.split(service.removeprefix("shell,v2,raw:")))
            for kind, data in ((1, output.encode()), (2, errors.encode()), (3, bytes([code]))):
                if data or kind == 3:
                    connection.sendall(_PACKET.pack(kind, len(data)) + data)
        elif service == "sync:":
            connection.sendall(b"OKAY")
            self._sync(connection, phone)
        elif service.startswith("exec:cmd package install "):
            connection.sendall(b"OKAY")
            name = _exactly(connection, int(service.rpartition(" ")[2])).decode().strip()
            if name == "bad":
                connection.sendall(b"Failure [INSTALL_PARSE_FAILED_NOT_APK: Failed to parse]\n")
            else:
                phone.packages.setdefault(name, "")
                connection.sendall(b"Success\n")
        else:
            connection.sendall(b"FAIL" + _block(b"closed"))

    def _sync(self, connection: socket.socket, phone: SimulatedPhone) -> None:
        verbs: dict[bytes, Callable[[socket.socket, SimulatedPhone, str], None]] = {
            b"SEND": _take_file,
            b"RECV": _give_file,
            b"STAT": _stat_file,
        }
        while True:
            kind, size = _WORD.unpack(_exactly(connection, _WORD.size))
            if kind not in verbs:
                return
            verbs[kind](connection, phone, _exactly(connection, size).decode())

    def _request(self, connection: socket.socket) -> str:
        service = _exactly(connection, int(_exactly(connection, 4), 16)).decode()
        self.asked.append(service)
        return service


def _take_file(connection: socket.socket, phone: SimulatedPhone, about: str) -> None:
    path = about.rpartition(",")[0]
    content = bytearray()
    while True:
        kind, size = _WORD.unpack(_exactly(connection, _WORD.size))
        if kind == b"DONE":
            break
        content += _exactly(connection, size)
    if len(content) > phone.free_bytes:
        message = b"No space left on device"
        connection.sendall(_WORD.pack(b"FAIL", len(message)) + message)
        return
    phone.files[path] = bytes(content)
    connection.sendall(_WORD.pack(b"OKAY", 0))


def _give_file(connection: socket.socket, phone: SimulatedPhone, path: str) -> None:
    content = phone.files.get(path)
    if content is None:
        message = b"open failed: No such file or directory"
        connection.sendall(_WORD.pack(b"FAIL", len(message)) + message)
        return
    for start in range(0, len(content), 65536):
        part = content[start : start + 65536]
        connection.sendall(_WORD.pack(b"DATA", len(part)) + part)
    connection.sendall(_WORD.pack(b"DONE", 0))


def _stat_file(connection: socket.socket, phone: SimulatedPhone, path: str) -> None:
    content = phone.files.get(path)
    mode, size = (0, 0) if content is None else (0o100644, len(content))
    connection.sendall(_STAT.pack(b"STAT", mode, size, 0))


def _block(data: bytes) -> bytes:
    return b"%04x" % len(data) + data


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        chunk = connection.recv(size - len(data))
        if not chunk:
            raise EOFError
        data += chunk
    return bytes(data)


def _cut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
