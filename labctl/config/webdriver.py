"""Phones, browsers and desktops in the lab file: what clients may ask for, and the WebDriver server behind it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from labctl.config.browser_sound import DEFAULTS as SOUND_DEFAULTS
from labctl.config.browser_sound import SoundSection
from labctl.config.model import DeviceConfig, Name, Section

_Arguments = list[Annotated[str, Field(max_length=1000)]]
_Command = Annotated[list[str], Field(min_length=1, max_length=100)]


class TargetSection(Section):
    """What all WebDriver servers have. A command may take `command_timeout_s`, New Session `start_timeout_s`."""

    start_timeout_s: Annotated[float, Field(gt=0, le=3600)] = 180.0
    command_timeout_s: Annotated[float, Field(gt=0, le=24 * 3600)] = 330.0


class ChromedriverTarget(TargetSection):
    """A chromedriver that the lab starts and watches."""

    driver: Literal["chromedriver"]
    program: str = "chromedriver"
    arguments: _Arguments = Field(default_factory=list)


class GeckodriverTarget(TargetSection):
    """A geckodriver that the lab starts and watches."""

    driver: Literal["geckodriver"]
    program: str = "geckodriver"
    arguments: _Arguments = Field(default_factory=list)


class AppiumTarget(TargetSection):
    """An Appium server that the lab starts and watches. `home`: its APPIUM_HOME, where its drivers are installed."""

    driver: Literal["appium"]
    program: _Command = Field(default_factory=lambda: ["appium"])
    home: Path | None = None
    arguments: _Arguments = Field(default_factory=list)


class ProgramTarget(TargetSection):
    """Any WebDriver server that the lab starts and watches; "{port}" in the command stands for its port.

    `base`: what goes before /session, such as /wd/hub.
    """

    driver: Literal["program"]
    command: _Command
    base: Annotated[str, Field(pattern=r"^(/[^?#]*[^/?#])?$")] = ""
    environment: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _takes_a_port(self) -> ProgramTarget:
        if not any("{port}" in each for each in self.command):
            raise ValueError('the command has to say "{port}" where the server takes its port')
        return self


class DesktopTarget(TargetSection):
    """The lab's own driver of Linux desktops, started and watched by the lab. `display`: the X display, DISPLAY unless
    given.
    """

    driver: Literal["desktop"]
    display: Annotated[str, Field(pattern=r"^[\w.-]*:\d+(\.\d+)?$")] | None = None
    environment: dict[str, str] = Field(default_factory=dict)


class WiniumTarget(TargetSection):
    """A Winium server on a Windows machine, or another JSON Wire server, behind the lab's gateway."""

    driver: Literal["winium"]
    url: str
    flavour: Literal["winium-desktop", "winium-mobile", "winium-coded-ui", "json-wire"] = "winium-desktop"


class AddressTarget(TargetSection):
    """A WebDriver server that runs elsewhere: an Appium server, a Selenium Grid, a cloud. `url`: before /session.

    `host`: the lab's host that the address counts from, reached through its tunnel.
    """

    driver: Literal["url"]
    url: str
    host: Name | None = None

    @field_validator("url")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("must be an address such as http://192.0.2.10:4723")
        return value.rstrip("/")


Target = Annotated[
    ChromedriverTarget
    | GeckodriverTarget
    | AppiumTarget
    | DesktopTarget
    | ProgramTarget
    | WiniumTarget
    | AddressTarget,
    Field(discriminator="driver"),
]


class WebDriverConfig(DeviceConfig):
    """What phones, browsers and desktops share.

    `matches`: what clients may ask for; of what stands here, only that. `defaults` lie beneath what a client asks for.
    `count`: how many sessions it carries at once, each as a device of its own: grid-1, grid-2 ...
    """

    offers: ClassVar[tuple[str, ...]] = ("WebDriverTarget",)

    target: Target
    matches: dict[str, Any] = Field(default_factory=dict)
    defaults: dict[str, Any] = Field(default_factory=dict)
    count: Annotated[int, Field(ge=1, le=500)] = 1

    @property
    def offered(self) -> dict[str, Any]:
        """What capabilities of clients are compared with."""
        return self.matches


class BrowserConfig(WebDriverConfig):
    """A browser. `sound`: the mock microphone and speaker that it is on, where the lab starts its driver."""

    kind: Literal["browser"] = "browser"
    sound: SoundSection | None = None

    @property
    def offered(self) -> dict[str, Any]:
        known = {"chromedriver": "chrome", "geckodriver": "firefox"}.get(self.target.driver)
        named = {"browserName": known} if known else {}
        here = {} if self.target.driver == "url" else {"platformName": "linux"}
        return {**named, **here, **self.matches}

    @model_validator(mode="after")
    def _says_which(self) -> BrowserConfig:
        if "browserName" not in self.offered and self.target.driver != "url":
            raise ValueError("matches has to say the browserName that clients ask for")
        if self.sound is not None and self.target.driver not in SOUND_DEFAULTS:
            raise ValueError(f"sound needs a browser that the lab starts: a target of {' or '.join(SOUND_DEFAULTS)}")
        if self.sound is not None and self.count > 1:
            raise ValueError("several sessions cannot share one microphone: list the browsers one by one")
        return self


class AdbSection(Section):
    """The adb server that a phone hangs on, and what is done with the phone when a session ends.

    `host`: the lab's host that the address counts from. `log`: keep the phone's log. `remove_new_apps`: those that came
    with the session; `clear`: apps whose data is removed; `remove`: files and folders.
    """

    server: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]*(:\d{1,5})?$")] = "127.0.0.1:5037"
    host: Name | None = None
    log: bool = True
    remove_new_apps: bool = True
    clear: list[Annotated[str, Field(pattern=r"^[A-Za-z0-9_.]+$")]] = Field(default_factory=list)
    remove: list[Annotated[str, Field(pattern=r"^/(sdcard|storage|data/local/tmp)/.+")]] = Field(default_factory=list)


class PhoneConfig(WebDriverConfig):
    """A phone or tablet. `udid`: its serial number, sent to Appium as `appium:udid`. `adb`: for a real Android one."""

    kind: Literal["phone"] = "phone"
    udid: str | None = None
    adb: AdbSection | None = None

    @property
    def offered(self) -> dict[str, Any]:
        return {**({"appium:udid": self.udid} if self.udid else {}), **self.matches}

    @model_validator(mode="after")
    def _says_which(self) -> PhoneConfig:
        if "platformName" not in self.matches:
            raise ValueError("matches has to say the platformName that clients ask for, such as Android")
        if self.adb is not None and self.udid is None:
            raise ValueError("adb knows phones by their serial number: give the udid, as `adb devices` lists it")
        if self.udid is not None and self.count > 1:
            raise ValueError("a phone of a serial number is one: list phones one by one")
        return self


class DesktopConfig(WebDriverConfig):
    """A desktop: programs with windows, on Linux or Windows."""

    kind: Literal["desktop"] = "desktop"

    @property
    def offered(self) -> dict[str, Any]:
        platform = "windows" if self.target.driver == "winium" else "linux"
        return {"platformName": platform, **self.matches}


def with_slots(devices: dict[str, DeviceConfig]) -> dict[str, DeviceConfig]:
    """The devices, with a device of its own for each session of those that carry several."""
    found: dict[str, DeviceConfig] = {}
    for name, device in devices.items():
        if isinstance(device, WebDriverConfig) and device.count > 1:
            one = device.model_copy(update={"count": 1})
            found |= dict.fromkeys(_slots(name, device), one)
        else:
            found[name] = device
    return found


def _slots(name: str, device: WebDriverConfig) -> list[str]:
    return [f"{name}-{number}" for number in range(1, device.count + 1)] if device.count > 1 else []


def webdriver_problems(devices: dict[str, DeviceConfig]) -> list[tuple[tuple[str, ...], str]]:
    """What is wrong between WebDriver devices, hosts and audio endpoints: where (below `devices`) and what."""
    hosts = [name for name, device in devices.items() if device.kind == "host"]
    named = [
        (name, part, section.host)
        for name, device in devices.items()
        if isinstance(device, WebDriverConfig)
        for part, section in (("target", device.target), ("adb", getattr(device, "adb", None)))
        if isinstance(section, AddressTarget | AdbSection)
    ]
    problems: list[tuple[tuple[str, ...], str]] = [
        ((name, part, "host"), f"no host is called {host!r}; hosts are: {', '.join(hosts) or 'none'}")
        for name, part, host in named
        if host not in (None, *hosts)
    ]
    problems += [
        ((name, "count"), f"its sessions would be devices of their own, and {slot!r} is one already")
        for name, device in devices.items()
        if isinstance(device, WebDriverConfig)
        for slot in _slots(name, device)
        if slot in devices
    ]
    for name, device in devices.items():
        if isinstance(device, BrowserConfig) and device.sound is not None:
            problems.extend(((name, "sound", end), problem) for end, problem in device.sound.problems(devices))
    return problems
