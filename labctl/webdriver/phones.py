"""Android phones beside their WebDriver sessions: connected or not, battery, logs, and clean for the next lease."""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import structlog
from sqlalchemy.exc import SQLAlchemyError

from drivers.adb import AdbServer, ConnectedPhone, Phone
from drivers.errors import DeviceError
from labctl.config.webdriver import AdbSection, PhoneConfig, WebDriverConfig
from labctl.errors import LabError
from labctl.store import Store, Transaction, inventory

log = structlog.get_logger(__name__)
_BATTERY_EVERY_S = 60.0
_AGAIN_S = 2.0


@dataclass(frozen=True, slots=True)
class Before:
    """A phone as a session found it: on which lease, with which apps; `moment`: of its own clock."""

    lease: str
    packages: frozenset[str]
    moment: float

    def to_json(self) -> str:
        return json.dumps({"lease": self.lease, "packages": sorted(self.packages), "moment": self.moment})

    @classmethod
    def from_json(cls, text: str) -> Before:
        """Raises ValueError, KeyError, TypeError."""
        told = json.loads(text)
        return cls(str(told["lease"]), frozenset(told["packages"]), float(told["moment"]))


@dataclass
class Phones:
    """The phones that have an adb section. `on_connection` hears of a phone and why it cannot be used, "" when it can.

    `reach` says where an address as a host of the lab sees it is reached from here. `folder`: for what they were like
    before their sessions, since a daemon that is killed leaves them to the next one to clean.
    """

    configs: Mapping[str, WebDriverConfig]
    store: Store
    folder: Path
    on_connection: Callable[[str, str], None]
    reach: Callable[[str, str], str]
    _over: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)
    _stops: list[Callable[[], None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.sections: dict[str, tuple[PhoneConfig, AdbSection]] = {
            name: (config, config.adb)
            for name, config in self.configs.items()
            if isinstance(config, PhoneConfig) and config.adb is not None
        }

    def start(self) -> None:
        """Begin to watch their servers."""
        servers: dict[tuple[str, str | None], list[str]] = defaultdict(list)
        for name, (_, adb) in self.sections.items():
            servers[adb.server, adb.host].append(name)
        for names in servers.values():
            self._threads.append(threading.Thread(target=self._watch, args=(names,), name="adb", daemon=True))
        if servers:
            self._threads.append(threading.Thread(target=self._ask_batteries, name="batteries", daemon=True))
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        self._over.set()
        for stop in tuple(self._stops):
            stop()
        for thread in self._threads:
            thread.join()

    # Sessions

    def begin(self, device: str, lease: str) -> None:
        """A session begins: what an earlier lease left is removed, and the phone is remembered as it is.

        Raises DeviceError, OSError.
        """
        if device not in self.sections:
            return
        phone = self._phone(device)
        earlier = self._before(device)
        if earlier is not None and earlier.lease != lease:
            self._reset(device, phone, earlier)
            earlier = None
        moment = phone.now()
        if earlier is None:
            self._remember(device, Before(lease, frozenset(phone.packages()), moment))
        else:
            self._remember(device, replace(earlier, moment=moment))

    def end(self, device: str, *, lease_over: bool) -> str:
        """A session has ended: what the phone logged meanwhile. With the lease, the phone becomes clean.

        Raises DeviceError.
        """
        before = self._before(device)
        if before is None:
            return ""
        phone = self._phone(device)
        told = phone.log_since(before.moment) if self.sections[device][1].log else ""
        if lease_over:
            self._reset(device, phone, before)
        return told

    def _reset(self, device: str, phone: Phone, before: Before) -> None:
        adb = self.sections[device][1]
        if adb.remove_new_apps:
            for package in sorted(phone.packages() - before.packages):
                phone.uninstall(package)
        for package in adb.clear:
            phone.clear(package)
        for path in adb.remove:
            phone.ask("rm", "-rf", path)
        self._file(device).unlink(missing_ok=True)

    def _before(self, device: str) -> Before | None:
        """What a phone was like before its last session, unless it has become clean since."""
        try:
            return Before.from_json(self._file(device).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as exc:
            log.warning("what a phone was like before its session is not known", device=device, error=str(exc))
            return None

    def _remember(self, device: str, before: Before) -> None:
        file = self._file(device)
        file.parent.mkdir(parents=True, exist_ok=True)
        half = file.with_suffix(".new")
        half.write_text(before.to_json(), encoding="utf-8")
        half.replace(file)

    def _file(self, device: str) -> Path:
        return self.folder / f"{device}.json"

    # Connection and battery

    def _phone(self, device: str) -> Phone:
        config, adb = self.sections[device]
        return self._server(adb).phone(str(config.udid))

    def _server(self, adb: AdbSection) -> AdbServer:
        server = AdbServer.at(adb.server)
        if adb.host is None:
            return server
        parts = urlsplit(self.reach(adb.host, f"tcp://{server.host}:{server.port}"))
        return AdbServer(parts.hostname or "", parts.port or server.port)

    def _watch(self, names: list[str]) -> None:
        """Follow one adb server for the phones that hang on it."""
        while not self._over.is_set():
            try:
                with self._server(self.sections[names[0]][1]).watching() as watch:
                    self._stops.append(watch.stop)
                    try:
                        for connected in watch:
                            self._compare(names, connected)
                            if self._over.is_set():
                                return
                    finally:
                        self._stops.remove(watch.stop)
            except (DeviceError, LabError, ValueError) as exc:
                if self._over.is_set():
                    return
                for name in names:
                    self.on_connection(name, str(exc))
                self._over.wait(_AGAIN_S)

    def _compare(self, names: list[str], connected: list[ConnectedPhone]) -> None:
        states = {each.serial: each.state for each in connected}
        for name in names:
            config, adb = self.sections[name]
            state = states.get(str(config.udid))
            if state == "device":
                self.on_connection(name, "")
            elif state is None:
                self.on_connection(name, f"the phone {config.udid} is not connected to the adb server at {adb.server}")
            else:
                self.on_connection(
                    name, f"the phone {config.udid} is {state}, as `adb devices` says; look at its screen"
                )

    def _ask_batteries(self) -> None:
        while not self._over.is_set():
            for name in self.sections:
                try:
                    battery = self._phone(name).battery()
                except (DeviceError, LabError, ValueError) as exc:
                    log.debug("no word of a battery", device=name, error=str(exc))
                    continue
                facts = {"battery_ratio": battery.ratio, "battery_temperature_c": battery.temperature_c}
                try:
                    self.store.write(partial(_note, name, facts))
                except (SQLAlchemyError, LabError) as exc:
                    log.warning("the state of a battery was not noted", device=name, error=str(exc))
            self._over.wait(_BATTERY_EVERY_S)


def _note(name: str, facts: dict[str, float], transaction: Transaction) -> None:
    inventory.set_facts(transaction, name, facts)
