"""One Android phone: its apps, files, logs and battery."""

from __future__ import annotations

import shlex
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from drivers.adb.shell import ShellResult, read_result
from drivers.adb.wire import AdbRefusedError, Wire
from drivers.errors import DeviceError, ProtocolError

_CHUNK = 64 * 1024  # of the sync service; more is not allowed
_INSTALL_WITHIN_S = 300.0
_WORD = struct.Struct("<4sI")
_STAT = struct.Struct("<4sIII")


@dataclass(frozen=True, slots=True)
class Battery:
    """`ratio`: charge, 0 to 1; `temperature_c`: degrees Celsius; `powered`: on a charger or a computer."""

    ratio: float
    temperature_c: float
    powered: bool


class Phone:
    """A phone behind an adb server. All methods raise DeviceError, AdbRefusedError where the phone says no."""

    def __init__(self, address: tuple[str, int], serial: str, timeout_s: float) -> None:
        self.serial = serial
        self._address = address
        self._timeout_s = timeout_s

    # Commands

    def shell(self, *command: str, timeout_s: float | None = None) -> ShellResult:
        """Run a command of these words; they reach it as they are."""
        with self._service(f"shell,v2,raw:{shlex.join(command)}", timeout_s) as wire:
            return read_result(wire, self.serial)

    def ask(self, *command: str) -> str:
        """The output of a command that must succeed."""
        result = self.shell(*command)
        if result.exit_code:
            said = (result.errors or result.output).strip()
            raise DeviceError(f"{self.serial}: {shlex.join(command)} ended with {result.exit_code}: {said}")
        return result.output

    # Health

    def battery(self) -> Battery:
        """How the battery is."""
        told = self.ask("dumpsys", "battery")
        fields = dict(line.strip().split(": ", 1) for line in told.splitlines() if ": " in line)
        try:
            ratio = int(fields["level"]) / int(fields.get("scale", "100"))
            temperature = int(fields["temperature"]) / 10
        except (KeyError, ValueError, ZeroDivisionError):
            raise ProtocolError(f"{self.serial}: dumpsys battery says nothing of the level: {told[:200]!r}") from None
        powered = any(fields.get(f"{source} powered") == "true" for source in ("AC", "USB", "Wireless", "Dock"))
        return Battery(ratio, temperature, powered)

    def free_bytes(self) -> int:
        """The room that is left where apps and their data go."""
        lines = self.ask("df", "-k", "/data").splitlines()  # toybox: Filesystem, 1K-blocks, Used, Available, ...
        try:
            return int(lines[-1].split()[3]) * 1024
        except (IndexError, ValueError):
            raise ProtocolError(f"{self.serial}: df says nothing of the room left: {lines!r}") from None

    # Apps

    def packages(self) -> set[str]:
        """The apps that somebody installed; not those of the system."""
        lines = self.ask("pm", "list", "packages", "-3").splitlines()
        return {line.strip().removeprefix("package:") for line in lines if line.strip()}

    def install(self, apk: Path) -> None:
        """Install an app, over an older one with its data kept."""
        size = apk.stat().st_size
        with self._service(f"exec:cmd package install -r -S {size}", _INSTALL_WITHIN_S) as wire:
            with apk.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    wire.write(chunk)
            said = wire.rest().decode(errors="replace").strip()
        if not said.startswith("Success"):
            raise AdbRefusedError(f"{self.serial}: {apk.name} was not installed: {said or 'the phone said nothing'}")

    def uninstall(self, package: str) -> None:
        """Remove an app and its data."""
        self._package_manager("uninstall", package)

    def clear(self, package: str) -> None:
        """Stop an app and remove its data: as if just installed."""
        self._package_manager("clear", package)

    def _package_manager(self, verb: str, package: str) -> None:
        said = self.ask("pm", verb, package).strip()
        if not said.startswith("Success"):
            raise AdbRefusedError(f"{self.serial}: pm {verb} {package}: {said}")

    # Logs

    def now(self) -> float:
        """The phone's clock, seconds since 1970."""
        return float(self.ask("date", "+%s").strip())

    def log_since(self, moment: float) -> str:
        """The log from a moment of the phone's clock on."""
        return self.ask("logcat", "-d", "-v", "threadtime,epoch", "-T", f"{moment:.3f}")

    # Files

    def push(self, source: Path, target: str, mode: int = 0o644) -> None:
        """Copy a file to the phone."""
        with self._service("sync:", None) as wire:
            wire.write(_word(b"SEND", f"{target},{0o100000 | mode}".encode()))
            with source.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    wire.write(_word(b"DATA", chunk))
            wire.write(_WORD.pack(b"DONE", int(source.stat().st_mtime)))
            self._sync_okay(wire, *_WORD.unpack(wire.read(_WORD.size)), what=f"push to {target}")

    def pull(self, source: str, target: Path) -> None:
        """Copy a file from the phone. A file that broke off is not left."""
        try:
            with self._service("sync:", None) as wire, target.open("wb") as file:
                wire.write(_word(b"RECV", source.encode()))
                while True:
                    kind, size = _WORD.unpack(wire.read(_WORD.size))
                    if kind == b"DONE":
                        return
                    if kind != b"DATA":
                        self._sync_okay(wire, kind, size, what=f"pull of {source}")
                        raise ProtocolError(f"{self.serial}: pull of {source} was answered {kind!r}")
                    file.write(wire.read(size))
        except BaseException:
            target.unlink(missing_ok=True)
            raise

    def size(self, path: str) -> int | None:
        """The size of a file in bytes, None where there is none."""
        with self._service("sync:", None) as wire:
            wire.write(_word(b"STAT", path.encode()))
            kind, mode, size, _ = _STAT.unpack(wire.read(_STAT.size))
        if kind != b"STAT":
            raise ProtocolError(f"{self.serial}: STAT of {path} was answered {kind!r}")
        return size if mode else None

    def _sync_okay(self, wire: Wire, kind: bytes, size: int, *, what: str) -> None:
        if kind == b"FAIL":
            said = wire.read(size).decode(errors="replace")
            raise AdbRefusedError(f"{self.serial}: the {what} was refused: {said}")
        if kind != b"OKAY":
            raise ProtocolError(f"{self.serial}: the {what} was answered {kind!r}")

    @contextmanager
    def _service(self, service: str, timeout_s: float | None) -> Iterator[Wire]:
        limit = timeout_s or self._timeout_s
        with Wire(self._address, self.serial, limit) as wire:
            wire.request(f"host:transport:{self.serial}")
            wire.request(service)
            yield wire


def _word(kind: bytes, data: bytes) -> bytes:
    return _WORD.pack(kind, len(data)) + data
