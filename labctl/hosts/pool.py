"""All hosts of this daemon: keeps their connections warm, their forwards and consoles open, and says how they are."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import structlog

from drivers.errors import DeviceError
from drivers.power import HttpOutlet, UsbPort, WakeOnLan
from drivers.power.usb_hub import on as usb_on
from drivers.protocols import PowerSwitch
from drivers.ssh import Forward, HostUnreachableError, LinkLostError, SshError, SshHost, SshSettings
from drivers.ssh.console import Console
from drivers.ssh.health import HostHealth, examine
from drivers.ssh.reboot import REBOOT, reboot
from labctl.config import Lab
from labctl.config.host import HostConfig, NetworkPower, OutletPower, UsbPower
from labctl.credentials import credentials_file
from labctl.errors import NotFoundError
from labctl.store import Store
from labctl.store.inventory import set_device_state

log = structlog.get_logger(__name__)
_LOOK_EVERY_S = 2.0
_BACK_OFF_S = (1.0, 2.0, 5.0, 15.0, 30.0)


class LabHost:
    """One host with all that hangs on it. `reason`: why it is not up, "" when it is."""

    def __init__(self, name: str, config: HostConfig, ssh: SshHost, data: Path) -> None:
        self.name, self.config, self.ssh = name, config, ssh
        self.reason = "it is starting"
        self.noted: str | None = None  # the reason that the database took last
        self.forwards: dict[str, Forward] = {}
        self.consoles = {
            each: Console(ssh, section.line(), data / f"{each}.log") for each, section in config.consoles.items()
        }
        self.power: PowerSwitch | None = None
        self.wake = threading.Event()  # set it to have the host looked at now
        self._reached: dict[str, Forward] = {}
        self._lock = threading.Lock()

    def open(self) -> None:
        """Open the forwards and consoles that the lab file names. Raises DeviceUnreachableError for a taken port."""
        for each, section in self.config.forwards.items():
            self.forwards[each] = self.ssh.forward(section.to, section.local_port)
        for console in self.consoles.values():
            console.start()

    def close(self) -> None:
        for console in self.consoles.values():
            console.close()
        self.ssh.close()

    def reach(self, url: str) -> str:
        """An address as the host sees it ("tcp://127.0.0.1:10940") as one that works on this machine, kept open."""
        parts = urlsplit(url)
        if parts.hostname is None or parts.port is None:
            raise ValueError(f"{url!r} names no host and port that could be forwarded")
        remote = f"[{parts.hostname}]:{parts.port}" if ":" in parts.hostname else f"{parts.hostname}:{parts.port}"
        with self._lock:
            if remote not in self._reached:
                self._reached[remote] = self.ssh.forward(remote)
            forward = self._reached[remote]
        return urlunsplit(parts._replace(netloc=forward.address))

    def examine(self) -> tuple[HostHealth, list[str]]:
        """How it is now, and what is not well. Raises SshError."""
        section = self.config.health
        health = examine(self.ssh, disks=section.disks, packages=section.packages, units=section.units)
        return health, health.complaints(section.limits)

    def wait_until_up(self, timeout_s: float, wait: Callable[[float], object]) -> None:
        """Back when it answers. `wait` sleeps, and says True to give up. Raises HostUnreachableError."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                self.ssh.connect()
            except (HostUnreachableError, LinkLostError):
                if time.monotonic() >= deadline:
                    raise
            else:
                return
            if wait(_LOOK_EVERY_S):
                return

    def reboot(self, timeout_s: float = 300.0) -> float:
        """Restart it; the seconds until it answered again. Raises SshError."""
        return reboot(self.ssh, command=self.config.reboot_command or REBOOT, timeout_s=timeout_s)


class Hosts:
    """The hosts by name. `on_change` is called when one comes up or goes down."""

    def __init__(self, lab: Lab, data: Path, store: Store) -> None:
        self._store = store
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self.on_change: Callable[[], None] = lambda: None
        self.hosts: dict[str, LabHost] = {}
        configs = {name: device for name, device in lab.devices.items() if isinstance(device, HostConfig)}
        while waiting := [name for name in configs if name not in self.hosts]:
            for name in waiting:  # jump hosts first
                config = configs[name]
                if config.jump is None or config.jump in self.hosts:
                    via = None if config.jump is None else self.hosts[config.jump].ssh
                    ssh = SshHost(_settings(name, config, data / "known_hosts"), via)
                    self.hosts[name] = LabHost(name, config, ssh, data / "hosts" / name / "consoles")
        for host in self.hosts.values():
            host.power = self._switch(host)
        self._private = tuple(_private(configs.values(), data))

    def start(self) -> None:
        """Connect to all of them, each by a thread of its own."""
        for host in self.hosts.values():
            thread = threading.Thread(target=self._supervise, args=(host,), name=f"host {host.name}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def close(self) -> None:
        """Hang up everywhere; what runs over the connections is ended there."""
        self._stop.set()
        for host in self.hosts.values():
            host.wake.set()
        closing = [threading.Thread(target=host.close) for host in self.hosts.values()]
        for thread in closing:
            thread.start()
        for thread in (*closing, *self._threads):
            thread.join()

    def get(self, name: str) -> LabHost:
        """The host of that name. Raises NotFoundError."""
        if name not in self.hosts:
            raise NotFoundError(f"there is no host {name!r}; hosts are: {', '.join(self.hosts) or 'none'}")
        return self.hosts[name]

    def private_in(self, folder: Path) -> Path | None:
        """The daemon's data, a key or a password that `folder` holds or that it lies in; None where there is none."""
        real = folder.resolve()
        for each in self._private:
            if each.exists() and (each.is_relative_to(real) or real.is_relative_to(each)):
                return each
        return None

    def _supervise(self, host: LabHost) -> None:
        failures = 0
        try:
            host.open()
        except (DeviceError, OSError) as exc:
            log.error("a forward or console cannot be opened", host=host.name, error=str(exc))
        while not self._stop.is_set():
            host.wake.clear()
            try:
                host.ssh.connect()
            except SshError as exc:
                self._note(host, str(exc))
                failures += 1
                wait_s = _BACK_OFF_S[min(failures, len(_BACK_OFF_S)) - 1]
            else:
                failures = 0
                self._note(host, "")
                wait_s = _LOOK_EVERY_S
            if not self._stop.is_set():
                host.wake.wait(wait_s)

    def _note(self, host: LabHost, reason: str) -> None:
        if reason == host.noted or self._stop.is_set():
            return
        state = "offline" if reason else "good"
        if reason != host.reason:
            host.reason = reason
            log.info("host", host=host.name, state=state, reason=reason)
        try:
            self._store.write(lambda transaction: set_device_state(transaction, host.name, state, reason))
            self.on_change()
            host.noted = reason
        except Exception as exc:  # the database may be away, and the host has to be looked after all the same
            log.warning("a host's state could not be noted; it is tried again", host=host.name, error=str(exc).strip())

    def _switch(self, host: LabHost) -> PowerSwitch | None:
        match host.config.power:
            case OutletPower() as outlet:
                password = ""
                if outlet.password_file is not None:
                    password = outlet.password_file.read_text(encoding="utf-8").partition("\n")[0]
                return HttpOutlet(outlet.url, outlet.dialect, outlet.socket, outlet.user, password)
            case UsbPower() as usb if usb.host is not None:
                return UsbPort(usb.location, usb.port, usb_on(self.hosts[usb.host].ssh))
            case UsbPower() as usb:
                return UsbPort(usb.location, usb.port)
            case NetworkPower() as network:
                off = partial(host.ssh.exec, network.off_command, timeout_s=60)
                answers = partial(getattr, host.ssh, "connected")
                return WakeOnLan(network.hardware_address, network.broadcast, shut_down=off, answers=answers)
        return None


def _private(hosts: Iterable[HostConfig], data: Path) -> Iterator[Path]:
    yield data.resolve()
    yield credentials_file().resolve()
    with contextlib.suppress(RuntimeError):  # an account without a home
        yield Path("~/.ssh").expanduser().resolve()
    for host in hosts:
        if host.key is not None:
            yield host.key.expanduser().resolve()
        if isinstance(host.power, OutletPower) and host.power.password_file is not None:
            yield host.power.password_file.resolve()


def _settings(name: str, config: HostConfig, known_hosts: Path) -> SshSettings:
    return SshSettings(
        config.address,
        config.user,
        config.port,
        name,
        keys=() if config.key is None else (config.key,),
        certificates=() if config.certificate is None else (config.certificate,),
        agent=config.agent,
        known_hosts=config.known_hosts or known_hosts,
        silence_s=config.silence_s,
    )
