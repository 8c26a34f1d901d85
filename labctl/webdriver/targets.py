"""The WebDriver servers of a lab's devices: started and watched, or looked at where they run elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit, urlunsplit

import structlog
from sqlalchemy.exc import SQLAlchemyError

from devices.hub import Target
from devices.hub.capabilities import with_defaults
from devices.targets import Program, ServerState, WatchedServer, appium, chromedriver, command, geckodriver
from devices.targets.process import is_ready
from drivers.errors import DeviceError
from labctl.config import Lab
from labctl.config.browser_sound import DEFAULTS as SOUND_DEFAULTS
from labctl.config.browser_sound import SoundSection
from labctl.config.webdriver import (
    AddressTarget,
    AppiumTarget,
    BrowserConfig,
    ChromedriverTarget,
    DesktopTarget,
    GeckodriverTarget,
    ProgramTarget,
    WebDriverConfig,
    WiniumTarget,
)
from labctl.errors import LabError
from labctl.store import Store, inventory
from labctl.webdriver.phones import Phones

log = structlog.get_logger(__name__)
_LOOK_EVERY_S = 10.0
_LOOK_AGAIN_S = 1.0
_LARGEST_LOG = 16 << 20
_STARTING = "it is starting"
_NICE = -15  # of browsers with sound: other work on the machine shall not be heard in a call


class _Server(Protocol):
    """A server under watch, here or elsewhere."""

    @property
    def url(self) -> str: ...

    def start(self) -> None: ...

    def restart(self, reason: str) -> None: ...

    def close(self) -> None: ...


def webdriver_devices(lab: Lab) -> set[str]:
    """The phones, browsers and desktops of a lab: offline until their servers answer."""
    return {name for name, each in lab.devices.items() if isinstance(each, WebDriverConfig)}


class Targets:
    """All of them. `on_change` is called when devices came or went, `on_lost` with a device, why it is lost, and
    whether its sessions are gone with it: those of a server that still runs have to be quit.

    `reach` says where an address as a host of the lab sees it is reached from here.
    """

    def __init__(self, lab: Lab, data: Path, store: Store) -> None:
        self.configs = {name: each for name, each in lab.devices.items() if isinstance(each, WebDriverConfig)}
        self.on_change: Callable[[], None] = lambda: None
        self.on_lost: Callable[[str, str, bool], None] = lambda _device, _reason, _gone: None
        self.reach: Callable[[str, str], str] = lambda _host, url: url
        # Threads of its own: hosts that are down must not keep others waiting for one.
        self._reaching = ThreadPoolExecutor(max_workers=64, thread_name_prefix="reach")
        self._lab = lab
        self._store = store
        self._logs = data / "webdriver"
        self._servers: dict[str, _Server] = {name: self._server(name) for name in self.configs}
        self._faults: dict[str, dict[str, str]] = {name: {"server": _STARTING} for name in self.configs}
        self._telling = threading.Lock()
        self.phones = Phones(self.configs, store, data / "phones", self._connected, self._through)
        for name in self.phones.sections:
            self._faults[name]["phone"] = _STARTING

    def start(self) -> None:
        """Begin to run them."""
        self.phones.start()
        for each in self._servers.values():
            each.start()

    def close(self) -> None:
        """End all that was started, side by side."""
        self._reaching.shutdown(wait=False, cancel_futures=True)
        self.phones.close()
        threads = [threading.Thread(target=each.close) for each in self._servers.values()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def target(self, device: str) -> Target:
        """The server of a device, as the hub knows it."""
        config = self.configs[device]
        server = self._servers[device]
        return Target(
            url=server.url,
            defaults=_defaults(config),
            reach=self._reach(config),
            local=isinstance(config.target, ChromedriverTarget | GeckodriverTarget),
            start_timeout_s=config.target.start_timeout_s,
            command_timeout_s=config.target.command_timeout_s,
        )

    def _reach(self, config: WebDriverConfig) -> Callable[[str, int], Awaitable[tuple[str, int]]] | None:
        target = config.target
        if not isinstance(target, AddressTarget) or target.host is None:
            return None
        host = target.host

        async def reach(address: str, port: int) -> tuple[str, int]:
            there = f"tcp://[{address}]:{port}" if ":" in address else f"tcp://{address}:{port}"
            loop = asyncio.get_running_loop()
            try:
                parts = urlsplit(await loop.run_in_executor(self._reaching, self.reach, host, there))
            except (DeviceError, LabError) as exc:
                raise OSError(f"by way of {host}: {exc}") from exc
            return parts.hostname or "", parts.port or port

        return reach

    def look_after(self, device: str, reason: str) -> None:
        """Make sure that a device whose server misbehaved is given to nobody before the server is well again.

        One of ours is started anew, with everything it had started; one elsewhere has to answer first.
        """
        self._servers[device].restart(reason)

    def sound_is_new(self) -> None:
        """Start the browsers anew that were on the lab's own sound server, which has died and was started again."""
        for name, config in self.configs.items():
            sound = _sound(config)
            if sound is not None and sound.is_virtual(self._lab.devices):
                self._servers[name].restart("its sound server died and was started again")

    def log_size(self, device: str) -> int:
        """How long the log of a device's server is now, 0 where there is none."""
        with contextlib.suppress(OSError):
            return self._log(device).stat().st_size
        return 0

    def log_since(self, device: str, offset: int) -> bytes:
        """The log of a device's server from there on, its end where it is very long; a long one begins anew."""
        file = self._log(device)
        try:
            size = file.stat().st_size
            with file.open("rb") as opened:
                opened.seek(max(offset if offset <= size else 0, size - _LARGEST_LOG))
                content = opened.read()
            if size > _LARGEST_LOG:
                with file.open("r+b") as opened:
                    opened.truncate(0)
        except OSError:
            return b""
        return content

    def _log(self, device: str) -> Path:
        return self._logs / f"{device}.log"

    def _server(self, device: str) -> _Server:
        target = self.configs[device].target

        def heard(state: ServerState, reason: str) -> None:
            self._heard(device, state, reason)

        if isinstance(target, AddressTarget):
            return _Elsewhere(lambda: self._address(target), heard)
        program = _program(target)
        sound = _sound(self.configs[device])
        if sound is not None:
            program = replace(program, at_start=lambda: sound.environment(self._lab.devices), nice=_NICE)
        return WatchedServer(program, self._log(device), heard)

    def _through(self, host: str, url: str) -> str:
        return self.reach(host, url)

    def _address(self, target: AddressTarget) -> str:
        return target.url if target.host is None else self.reach(target.host, _with_port(target.url))

    def _heard(self, device: str, state: ServerState, reason: str) -> None:
        told = "" if state is ServerState.READY else reason or "its server does not answer"
        self._note(device, "server", told)
        if state is ServerState.OFFLINE:
            elsewhere = isinstance(self.configs[device].target, AddressTarget)
            self.on_lost(device, f"its WebDriver server was lost: {reason}", not elsewhere)

    def _connected(self, device: str, reason: str) -> None:
        was = self._faults[device].get("phone", "")
        self._note(device, "phone", reason)
        if reason and not was:
            self.on_lost(device, reason, False)

    def doubt(self, device: str, reason: str) -> None:
        """A phone could not be made clean: it is to be looked at."""
        self._write(device, "suspect", reason)

    def _note(self, device: str, part: str, reason: str) -> None:
        """A device is good when nothing is wrong with any part of it."""
        with self._telling:
            faults = self._faults[device]
            if faults.get(part) == reason:
                return
            faults[part] = reason
            wrong = "; ".join(filter(None, faults.values()))
            self._write(device, "offline" if wrong else "good", wrong)

    def _write(self, device: str, state: str, reason: str) -> None:
        try:
            self._store.write(lambda transaction: inventory.set_device_state(transaction, device, state, reason))
            self.on_change()
        except (SQLAlchemyError, LabError) as exc:
            log.error("the state of a device was not noted", device=device, state=state, error=str(exc))


class _Elsewhere:
    """A server that somebody else runs; asked now and then whether it answers."""

    def __init__(self, address: Callable[[], str], on_state: Callable[[ServerState, str], None]) -> None:
        self.url = ""
        self._address = address
        self._on_state = on_state
        self._state: ServerState | None = None
        self._asking = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="server elsewhere", daemon=True)

    def start(self) -> None:
        self.url = self._address()
        self._thread.start()

    def restart(self, reason: str) -> None:
        """It cannot be started anew from here; it has to answer before anybody gets the device."""
        self._look(reason)

    def close(self) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _watch(self) -> None:
        while not self._over.is_set():
            self._look("")
            self._over.wait(_LOOK_EVERY_S if self._state is ServerState.READY else _LOOK_AGAIN_S)

    def _look(self, reason: str) -> None:
        with self._asking:
            ready = is_ready(self.url)
            state = ServerState.READY if ready else ServerState.OFFLINE
            if state is self._state or self._over.is_set():
                return
            self._state = state
        told = "" if ready else f"{_place(self.url)} does not answer GET /status" + (f" ({reason})" if reason else "")
        self._on_state(state, told)


def _program(target: object) -> Program:
    match target:
        case ChromedriverTarget():
            return chromedriver(target.program, target.arguments)
        case GeckodriverTarget():
            return geckodriver(target.program, target.arguments)
        case AppiumTarget():
            return appium(target.program, target.home, target.arguments)
        case DesktopTarget():
            display = {"DISPLAY": target.display} if target.display else {}
            own = [sys.executable, "-m", "devices.desktop", "--port", "{port}"]
            return command(own, environment={**display, **target.environment})
        case WiniumTarget():
            gateway = [sys.executable, "-m", "devices.dialects", target.url, "--flavour", target.flavour]
            return command([*gateway, "--port", "{port}"])
        case ProgramTarget():
            return command(target.command, target.base, target.environment)
    raise TypeError(f"no program serves {target!r}")


def _defaults(config: WebDriverConfig) -> dict[str, object]:
    udid = getattr(config, "udid", None)
    of_sound = {} if _sound(config) is None else SOUND_DEFAULTS[config.target.driver]
    return with_defaults({**({"appium:udid": udid} if udid else {}), **of_sound}, config.defaults)


def _sound(config: WebDriverConfig) -> SoundSection | None:
    return config.sound if isinstance(config, BrowserConfig) else None


def _with_port(url: str) -> str:
    parts = urlsplit(url)
    if parts.port is not None:
        return url
    return urlunsplit(parts._replace(netloc=f"{parts.netloc}:{443 if parts.scheme == 'https' else 80}"))


def _place(url: str) -> str:
    """An address without credentials, for people."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
