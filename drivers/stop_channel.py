"""Ways to stop a robot that something else drives: its vendor's own stop, or a relay in its motors' supply.

The motion guard uses them (standard library only). A channel is worth what its trial shows: see `docs/courses.md`.
"""

from __future__ import annotations

import http.client
import subprocess
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from drivers.errors import DeviceError, DeviceUnreachableError
from drivers.power import Dialect, HttpOutlet, UsbPort
from drivers.protocols import PowerSwitch

# The lab file's pydantic models embed these classes: a misspelt key there is an error.
_FORBID: dict[str, str] = {"extra": "forbid"}
_LONGEST_ANSWER = 65_536
_NONE = "the lab file names no stop channel for this robot: give base.stop, vendor or power"


class StopChannel(Protocol):
    """Stops a robot, whoever drives it. Methods raise DeviceError when the channel does not confirm."""

    @property
    def name(self) -> str:
        """What messages call it."""

    def stop(self) -> None:
        """Stop the robot and keep it stopped; may be repeated."""

    def release(self) -> None:
        """Let the robot move again."""


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP request. `expect`: what the answer's body has to contain, beside a status of 200 to 299."""

    __pydantic_config__: ClassVar[dict[str, str]] = _FORBID
    url: str
    method: str = "POST"
    body: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    expect: str = ""

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise ValueError(f"url {self.url!r} must start with http:// or https://")

    def send(self, timeout_s: float) -> None:
        """Raises DeviceError when it is refused, DeviceUnreachableError when nobody answers."""
        body = self.body.encode() or None
        request = urllib.request.Request(self.url, body, dict(self.headers), method=self.method)
        # No proxy of the environment: a stop goes the shortest way there is.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=timeout_s) as response:
                answer = response.read(_LONGEST_ANSWER).decode(errors="replace")
        except urllib.error.HTTPError as exc:
            with exc:
                raise DeviceError(f"{self.method} {self.url} was refused: {exc.code} {exc.reason}") from exc
        except (OSError, ValueError, http.client.HTTPException) as exc:  # the last: an answer that is no HTTP
            raise DeviceUnreachableError(
                f"{self.method} {self.url} got no answer: {getattr(exc, 'reason', exc)}"
            ) from exc
        if self.expect not in answer:
            raise DeviceError(f"{self.method} {self.url} answered {answer[:200]!r}, without {self.expect!r}")


@dataclass(frozen=True, slots=True)
class VendorStop:
    """The robot's own stop, as its vendor offers it: HTTP requests, or commands on the guard's machine.

    `stop` and `stop_command`: one of the two; `release` or `release_command` undoes it, where it holds until undone.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _FORBID
    stop_request: Request | None = None
    release_request: Request | None = None
    stop_command: tuple[str, ...] = ()
    release_command: tuple[str, ...] = ()
    timeout_s: float = 1.0

    def __post_init__(self) -> None:
        if (self.stop_request is None) == (not self.stop_command):
            raise ValueError("give either stop_request or stop_command")
        if self.release_request is not None and self.release_command:
            raise ValueError("give release_request or release_command, not both")
        if not 0.05 <= self.timeout_s <= 10:
            raise ValueError(f"timeout_s is {self.timeout_s}, must lie in 0.05 .. 10")

    @property
    def name(self) -> str:
        return "the vendor's stop"

    def stop(self) -> None:
        """Raises DeviceError unless it was confirmed."""
        self._do(self.stop_request, self.stop_command)

    def release(self) -> None:
        """Raises DeviceError unless it was confirmed."""
        self._do(self.release_request, self.release_command)

    def _do(self, request: Request | None, command: tuple[str, ...]) -> None:
        if request is not None:
            request.send(self.timeout_s)
        elif command:
            _run(command, self.timeout_s)


@dataclass(frozen=True, slots=True)
class Outlet:
    """A socket of an outlet or relay with a web interface, as `drivers.power.HttpOutlet` knows them.

    `password_file`: holds its password in the first line, where it has one; an absolute path where the guard runs.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _FORBID
    url: str
    dialect: Dialect
    socket: int = 0
    user: str = "admin"
    password_file: str = ""

    def __post_init__(self) -> None:
        if self.password_file and not self.password_file.startswith("/"):
            raise ValueError(f"password_file {self.password_file!r} must be an absolute path")

    @property
    def password(self) -> str:
        """Raises DeviceError when the file cannot be read."""
        if not self.password_file:
            return ""
        try:
            return Path(self.password_file).read_text(encoding="utf-8").split("\n", 1)[0].strip()
        except OSError as exc:
            raise DeviceError(
                f"the outlet's password cannot be read from {self.password_file}: {exc.strerror}"
            ) from exc


@dataclass(frozen=True, slots=True)
class HubPort:
    """A port of a USB hub that can switch its power, as `drivers.power.UsbPort` knows them."""

    __pydantic_config__: ClassVar[dict[str, str]] = _FORBID
    location: str
    port: int


@dataclass(frozen=True, slots=True)
class PowerStop:
    """A relay in the supply of the robot's motors, and of nothing else: the LiDAR has to see it stop."""

    __pydantic_config__: ClassVar[dict[str, str]] = _FORBID
    outlet: Outlet | None = None
    hub_port: HubPort | None = None
    timeout_s: float = 1.0

    def __post_init__(self) -> None:
        if (self.outlet is None) == (self.hub_port is None):
            raise ValueError("give either outlet or hub_port")

    @property
    def switch(self) -> PowerSwitch:
        if self.outlet is not None:
            each = self.outlet
            return HttpOutlet(each.url, Dialect(each.dialect), each.socket, each.user, each.password, self.timeout_s)
        assert self.hub_port is not None
        return UsbPort(self.hub_port.location, self.hub_port.port)

    @property
    def name(self) -> str:
        if self.outlet is not None:
            return f"the relay (socket {self.outlet.socket} of the outlet {self.outlet.url})"
        return f"the relay ({self.switch.name})"

    def stop(self) -> None:
        """Cut the power. Raises DeviceError unless the relay says that it is off."""
        self.switch.off()

    def release(self) -> None:
        """Give the power back. Raises DeviceError unless the relay says that it is on."""
        self.switch.on()


@dataclass(frozen=True, slots=True)
class NoChannel:
    """What a robot has whose lab file names no way to stop it: nothing, and it says so."""

    name: ClassVar[str] = "its stop channel"

    def stop(self) -> None:
        raise DeviceError(_NONE)

    def release(self) -> None:
        raise DeviceError(_NONE)


@dataclass(frozen=True, slots=True)
class StopSettings:
    """The stop channel of a robot that its own client drives: `vendor` or `power`; without either there is none."""

    __pydantic_config__: ClassVar[dict[str, str]] = _FORBID
    vendor: VendorStop | None = None
    power: PowerStop | None = None

    def __post_init__(self) -> None:
        if self.vendor is not None and self.power is not None:
            raise ValueError("give either vendor or power")

    @property
    def channel(self) -> StopChannel:
        return self.vendor or self.power or NoChannel()


def _run(command: tuple[str, ...], timeout_s: float) -> None:
    told = " ".join(command)
    try:
        ended = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout_s,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise DeviceError(f"`{told}` did not end within {timeout_s:g} s") from None
    except OSError as exc:
        raise DeviceUnreachableError(f"`{told}` cannot be run: {exc}") from exc
    if ended.returncode != 0:
        said = ended.stdout.decode(errors="replace").strip()[-300:]
        raise DeviceError(f"`{told}` ended with {ended.returncode}: {said or 'it said nothing'}")
