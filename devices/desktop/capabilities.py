"""What a client may ask of a new session: W3C capability processing, and the typed settings that come of it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from typing import Any

from devices.webdriver import WebDriverError

MAX_TIMEOUT_MS = 2**53 - 1
AUTOMATION_NAMES = frozenset({"desktop", "labdesktop", "atspi"})

# Capabilities of the lab's hub, which choose the device and mean nothing to the driver itself.
HUB_KEYS = frozenset(
    {"device", "kind", "labels", "lease", "job", "record", "idleTimeout", "priority", "wait", "healing"}
)


@dataclass(frozen=True)
class Settings:
    """A session as asked for. Times in seconds."""

    command: tuple[str, ...] = ()  # the application to start; empty: attach, or the whole desktop
    environment: dict[str, str] = field(default_factory=dict)
    folder: str | None = None  # the application's working directory
    attach_pid: int | None = None
    attach_name: str | None = None
    display: str | None = None  # ":1"; None: one of its own
    screen: str = "1280x1024x24"
    session_bus: str | None = None  # with `display`
    window_manager: str = "auto"  # auto, none, or a command
    home: str = "fresh"  # fresh, inherit, or a folder
    animations: bool = False  # with a fresh home: whether GTK shows changes gradually
    click: str = "action"  # action or pointer
    hidden: bool = False  # find and list what is not shown as well
    scope: str = "window"  # where a find without an element looks: window or application
    command_timeout_s: float = 10.0
    start_timeout_s: float = 30.0
    idle_timeout_s: float = 0.0  # 0: never
    implicit_s: float = 0.0
    page_load_s: float = 300.0
    script_s: float | None = 30.0

    @property
    def whole_desktop(self) -> bool:
        """Whether the session sees every application of its display."""
        return not self.command and self.attach_pid is None and self.attach_name is None


def negotiate(body: dict[str, Any]) -> tuple[Settings, dict[str, Any]]:
    """The settings of the first set of capabilities that this driver can serve, and the capabilities to answer with.

    W3C WebDriver, "Processing capabilities". Raises WebDriverError "invalid argument" for malformed requests and
    "session not created" with the reason for each set when none matches.
    """
    asked = body.get("capabilities")
    if not isinstance(asked, dict):
        raise WebDriverError("invalid argument", '"capabilities" must be an object with alwaysMatch and firstMatch')
    always = asked.get("alwaysMatch", {})
    first = asked.get("firstMatch", [{}])
    if not isinstance(always, dict):
        raise WebDriverError("invalid argument", '"alwaysMatch" must be an object')
    if not isinstance(first, list) or not first or not all(isinstance(entry, dict) for entry in first):
        raise WebDriverError("invalid argument", '"firstMatch" must be a list of at least one object')
    refused = []
    for entry in first:
        both = sorted(set(always) & set(entry))
        if both:
            raise WebDriverError("invalid argument", f"{', '.join(both)} stands in both alwaysMatch and firstMatch")
        merged = {name: value for name, value in {**always, **entry}.items() if value is not None}
        settings = _settings(merged)
        reason = _mismatch(merged)
        if reason is None:
            return settings, _answer(merged, settings)
        refused.append(reason)
    raise WebDriverError("session not created", "no capabilities that a Linux desktop can serve: " + "; ".join(refused))


def _mismatch(asked: dict[str, Any]) -> str | None:  # noqa: PLR0911 - one reason each
    platform = asked.get("platformName")
    if platform is not None and platform.lower() not in ("linux", "any"):
        return f"platformName is {platform}, this is linux"
    browser = asked.get("browserName")
    if browser not in (None, "", "desktop"):
        return f"browserName is {browser}, this drives desktop applications"
    automation = asked.get("appium:automationName")
    if automation is not None and str(automation).lower() not in AUTOMATION_NAMES:
        return f"appium:automationName is {automation}, this is one of {', '.join(sorted(AUTOMATION_NAMES))}"
    for name in ("browserVersion", "proxy"):
        if asked.get(name):
            return f"{name} is asked for, which a desktop has not"
    for name in ("acceptInsecureCerts", "webSocketUrl"):
        if asked.get(name):
            return f"{name} is asked for, which this driver does not offer"
    for name in asked:
        vendor = name.partition(":")[0] if ":" in name else None
        if vendor is not None and vendor not in ("lab", "appium", "se"):
            return f"{name} is no capability of this driver"
    return None


class _Reader:
    """Reads values out of capabilities, each with an error that names it."""

    def __init__(self, asked: dict[str, Any]) -> None:
        self.asked = asked

    def _value(self, names: tuple[str, ...]) -> tuple[str, Any]:
        for name in names:
            if name in self.asked:
                return name, self.asked[name]
        return names[0], None

    def text(self, *names: str) -> str | None:
        name, value = self._value(names)
        if value is not None and not isinstance(value, str):
            raise WebDriverError("invalid argument", f"{name} must be a string, not {value!r}")
        return value

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        asked = self.text(name)
        value = choices[0] if asked is None else asked
        if value not in choices:
            raise WebDriverError("invalid argument", f"{name} must be one of {', '.join(choices)}, not {value!r}")
        return value

    def flag(self, name: str) -> bool:
        value = self.asked.get(name, False)
        if not isinstance(value, bool):
            raise WebDriverError("invalid argument", f"{name} must be true or false, not {value!r}")
        return value

    def number(self, name: str, default: float, *, least: float = 0.0) -> float:
        value = self.asked.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= MAX_TIMEOUT_MS:
            raise WebDriverError("invalid argument", f"{name} must be a number from {least:g} on, not {value!r}")
        return float(value)

    def words(self, *names: str) -> tuple[str, ...]:
        name, value = self._value(names)
        if value is None:
            return ()
        if isinstance(value, str):
            try:
                return tuple(shlex.split(value))
            except ValueError as error:
                raise WebDriverError("invalid argument", f"{name}: {error}: {value!r}") from error
        if isinstance(value, list) and all(isinstance(word, str) for word in value):
            return tuple(value)
        raise WebDriverError("invalid argument", f"{name} must be a string or a list of strings, not {value!r}")

    def table(self, *names: str) -> dict[str, str]:
        name, value = self._value(names)
        if value is None:
            return {}
        if isinstance(value, dict) and all(isinstance(part, str) for pair in value.items() for part in pair):
            return dict(value)
        raise WebDriverError("invalid argument", f"{name} must be an object of strings, not {value!r}")


_LAB_KEYS = frozenset(
    [
        "app",
        "arguments",
        "environment",
        "workingDirectory",
        "attach",
        "display",
        "screen",
        "sessionBus",
        "windowManager",
        "home",
        "animations",
        "click",
        "hidden",
        "scope",
        "commandTimeout",
        "startTimeout",
    ]
)


def _settings(asked: dict[str, Any]) -> Settings:
    known = sorted(_LAB_KEYS)
    for name in asked:
        if name.startswith("lab:") and name[4:] not in _LAB_KEYS | HUB_KEYS:
            raise WebDriverError("invalid argument", f"no capability {name}; there are lab:{', lab:'.join(known)}")
    read = _Reader(asked)
    if "platformName" in asked:
        read.text("platformName")
    app = read.words("lab:app", "appium:app")
    arguments = read.words("lab:arguments", "appium:appArguments", "appium:arguments")
    if app == ("Root",):
        app = ()
    if arguments and not app:
        raise WebDriverError("invalid argument", "arguments are given but no appium:app or lab:app to start with them")
    attach = asked.get("lab:attach")
    attach_pid, attach_name = _attach(attach)
    if app and attach is not None:
        raise WebDriverError("invalid argument", "either an application to start or lab:attach, not both")
    display = read.text("lab:display")
    display = None if display in (None, "new") else display
    if attach is not None and display is None:
        raise WebDriverError("invalid argument", "lab:attach needs lab:display, the display the application runs on")
    timeouts = asked.get("timeouts", {})
    implicit, load, script = read_timeouts(timeouts)
    return Settings(
        command=app + arguments,
        environment=read.table("lab:environment", "appium:environment"),
        folder=read.text("lab:workingDirectory", "appium:appWorkingDir"),
        attach_pid=attach_pid,
        attach_name=attach_name,
        display=display,
        screen=_screen(read.text("lab:screen") or "1280x1024x24"),
        session_bus=read.text("lab:sessionBus"),
        window_manager=read.text("lab:windowManager") or "auto",
        home=read.text("lab:home") or ("fresh" if display is None else "inherit"),
        animations=read.flag("lab:animations"),
        click=read.choice("lab:click", ("action", "pointer")),
        hidden=read.flag("lab:hidden"),
        scope=read.choice("lab:scope", ("window", "application")),
        command_timeout_s=read.number("lab:commandTimeout", 10_000, least=1) / 1000,
        start_timeout_s=read.number("lab:startTimeout", 30_000, least=1) / 1000,
        idle_timeout_s=read.number("appium:newCommandTimeout", 0),
        implicit_s=0.0 if implicit is None else implicit / 1000,
        page_load_s=300.0 if load is None else load / 1000,
        script_s=30.0 if "script" not in timeouts else (None if script is None else script / 1000),
    )


def _attach(value: Any) -> tuple[int | None, str | None]:
    match value:
        case None:
            return None, None
        case {"pid": int(pid)} if len(value) == 1 and pid > 0:
            return pid, None
        case {"name": str(name)} if len(value) == 1 and name:
            return None, name
        case _:
            raise WebDriverError(
                "invalid argument", f'lab:attach must be {{"pid": N}} or {{"name": "..."}}, not {value!r}'
            )


def _screen(text: str) -> str:
    parts = text.split("x")
    if len(parts) == 3 and all(part.isdigit() for part in parts) and int(parts[2]) in (16, 24, 30):
        width, height = int(parts[0]), int(parts[1])
        if 1 <= width <= 16384 and 1 <= height <= 16384:
            return text
    raise WebDriverError("invalid argument", f"lab:screen must be WIDTHxHEIGHTxDEPTH (16, 24 or 30 bits), not {text!r}")


def read_timeouts(value: Any) -> tuple[float | None, float | None, float | None]:
    """Implicit, page load and script time-outs in milliseconds, None where not given (for script also: unlimited).

    Raises WebDriverError("invalid argument").
    """
    if not isinstance(value, dict):
        raise WebDriverError("invalid argument", f"timeouts must be an object, not {value!r}")
    found = []
    for name in ("implicit", "pageLoad", "script"):
        entry = value.get(name)
        whole = isinstance(entry, int | float) and not isinstance(entry, bool) and float(entry).is_integer()
        good = whole and 0 <= float(str(entry)) <= MAX_TIMEOUT_MS
        if name in value and not good and not (name == "script" and entry is None):
            raise WebDriverError("invalid argument", f"timeout {name} must be a whole number of ms, not {entry!r}")
        found.append(None if entry is None else float(entry))
    return found[0], found[1], found[2]


def _answer(asked: dict[str, Any], settings: Settings) -> dict[str, Any]:
    shown = {name: value for name, value in asked.items() if ":" in name and name != "lab:environment"}
    return shown | {
        "browserName": "desktop",
        "browserVersion": "",
        "platformName": "linux",
        "acceptInsecureCerts": False,
        "pageLoadStrategy": asked.get("pageLoadStrategy", "normal"),
        "proxy": {},
        "setWindowRect": True,
        "strictFileInteractability": False,
        "timeouts": {
            "implicit": int(settings.implicit_s * 1000),
            "pageLoad": int(settings.page_load_s * 1000),
            "script": None if settings.script_s is None else int(settings.script_s * 1000),
        },
        "unhandledPromptBehavior": "ignore",
    }
