"""Hosts in the lab file: the small computers that LiDARs, motor boards, sound cards and phones hang on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from drivers.power import Dialect
from drivers.power.wake_on_lan import magic_packet
from drivers.ssh.console import ConsoleLine
from drivers.ssh.health import Limits
from drivers.ssh.host import destination
from labctl.config.audio import AudioConfig, SshEndpoint
from labctl.config.model import DeviceConfig, Name, Section

_Text = Annotated[str, Field(min_length=1, max_length=300)]


class OutletPower(Section):
    """A socket of an outlet with a web interface; `socket` counts from 0."""

    driver: Literal["http"]
    dialect: Dialect
    url: Annotated[str, Field(pattern=r"^https?://")]
    socket: Annotated[int, Field(ge=0, le=63)] = 0
    user: str = "admin"
    password_file: Path | None = Field(default=None, description="holds the outlet's password in its first line")


class UsbPower(Section):
    """A port of a USB hub, by uhubctl; on the daemon's machine unless `host` names the one that the hub hangs on."""

    driver: Literal["usb"]
    location: _Text
    port: Annotated[int, Field(ge=1, le=63)]
    host: Name | None = None


class NetworkPower(Section):
    """Wake-on-LAN; it is switched off by a command on the host itself."""

    driver: Literal["wake-on-lan"]
    hardware_address: str
    broadcast: str = "255.255.255.255"
    off_command: _Text = "sudo -n systemctl poweroff || systemctl poweroff"

    @field_validator("hardware_address")
    @classmethod
    def _is_one(cls, value: str) -> str:
        magic_packet(value)
        return value


Power = Annotated[OutletPower | UsbPower | NetworkPower, Field(discriminator="driver")]


class ConsoleSection(Section):
    """A serial console on the host: a terminal device, or a TCP port where ser2net or the like serves it."""

    tty: str = ""
    baud_rate: Annotated[int, Field(ge=50, le=4_000_000)] = 115_200
    tcp: str | int = ""

    @model_validator(mode="after")
    def _is_one(self) -> ConsoleSection:
        self.line()
        return self

    def line(self) -> ConsoleLine:
        return ConsoleLine(self.tty, self.baud_rate, str(self.tcp))


class ForwardSection(Section):
    """A port kept open on the daemon's machine (loopback), which leads to `to` as the host sees it."""

    to: str | int
    local_port: Annotated[int, Field(ge=0, le=65535)] = 0

    @field_validator("to")
    @classmethod
    def _is_a_destination(cls, value: str | int) -> str | int:
        destination(value)
        return value


class HealthSection(Section):
    """What to look at: file systems by a path in each, commands or packages that must be there, units that must run."""

    disks: tuple[str, ...] = ("/",)
    packages: tuple[_Text, ...] = ()
    units: tuple[_Text, ...] = ()
    limits: Limits = Limits()


class HostConfig(DeviceConfig):
    """A computer that is reached over SSH.

    `key`: a private key; the agent and ~/.ssh are tried otherwise. `jump`: the host to go through. `known_hosts`: the
    trusted host keys, in the daemon's data folder unless given.
    """

    files: ClassVar[tuple[str, ...]] = ("key", "certificate", "known_hosts")
    offers: ClassVar[tuple[str, ...]] = ("Shell",)

    kind: Literal["host"] = "host"
    address: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.:-]{0,200}$")]
    user: _Text
    port: Annotated[int, Field(ge=1, le=65535)] = 22
    key: Path | None = None
    certificate: Path | None = None
    agent: bool = True
    known_hosts: Path | None = None
    jump: Name | None = None
    silence_s: Annotated[float, Field(ge=1, le=600)] = 15.0
    reboot_command: str | None = None
    power: Power | None = None
    consoles: dict[Name, ConsoleSection] = Field(default_factory=dict)
    forwards: dict[Name, ForwardSection] = Field(default_factory=dict)
    health: HealthSection = HealthSection()

    @property
    def capabilities(self) -> tuple[str, ...]:
        return ("Shell",) if self.power is None else ("Shell", "PowerSwitch")


def with_absolute_paths(host: HostConfig, folder: Path) -> HostConfig:
    """The same, where the paths inside its sections no longer count from `folder`."""
    power = host.power
    if not isinstance(power, OutletPower) or power.password_file is None:
        return host
    return host.model_copy(update={"power": power.model_copy(update={"password_file": folder / power.password_file})})


def host_problems(devices: dict[str, DeviceConfig]) -> list[tuple[tuple[str, ...], str]]:
    """What is wrong between hosts, and between them and what hangs on them: where (below `devices`) and what."""
    hosts = {name: device for name, device in devices.items() if isinstance(device, HostConfig)}
    known = f"hosts are: {', '.join(hosts) or 'none'}"
    problems: list[tuple[tuple[str, ...], str]] = []
    for name, device in devices.items():
        endpoint = device.endpoint if isinstance(device, AudioConfig) else None
        if isinstance(endpoint, SshEndpoint) and endpoint.host not in hosts:
            problems.append(((name, "endpoint", "host"), f"no host is called {endpoint.host!r}; {known}"))
    for name, host in hosts.items():
        if host.jump is not None and host.jump not in hosts:
            problems.append(((name, "jump"), f"no host is called {host.jump!r}; {known}"))
        elif _goes_round(name, hosts):
            problems.append(((name, "jump"), "the jump hosts lead back to where they began"))
        if isinstance(host.power, UsbPower) and host.power.host not in (None, *hosts):
            problems.append(((name, "power", "host"), f"no host is called {host.power.host!r}; {known}"))
        if isinstance(host.power, OutletPower) and (file := host.power.password_file) and not file.is_file():
            problems.append(((name, "power", "password_file"), f"there is no file {file}"))
        for field in ("key", "certificate"):
            if (path := getattr(host, field)) is not None and not path.is_file():
                problems.append(((name, field), f"there is no file {path}"))
    return problems


def _goes_round(start: str, hosts: dict[str, HostConfig]) -> bool:
    seen, name = {start}, hosts[start].jump
    while name is not None and name in hosts:
        if name in seen:
            return True
        seen.add(name)
        name = hosts[name].jump
    return False
