"""The desktop a session runs on: its X server, session bus, window manager and folders, and the end of all of them."""

from __future__ import annotations

import asyncio
import os
import secrets
import select
import shlex
import shutil
import signal
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from devices.desktop.capabilities import Settings
from devices.webdriver import WebDriverError

# In the environment of everything a session starts: finds the children of children that left their parents.
MARK = "LABCTL_DESKTOP_SESSION"

WINDOW_MANAGERS = ("openbox", "xfwm4", "marco", "metacity", "matchbox-window-manager")

# What makes toolkits speak AT-SPI from the start (GTK 2 and 3; Qt 5 and 6) and X11, where the input goes.
ACCESSIBLE_ENVIRONMENT = {
    "GTK_MODULES": "gail:atk-bridge",
    "GDK_BACKEND": "x11",
    "GTK_A11Y": "atspi",
    "QT_QPA_PLATFORM": "xcb",
    "QT_ACCESSIBILITY": "1",
    "QT_LINUX_ACCESSIBILITY_ALWAYS_ON": "1",
    "NO_AT_BRIDGE": "0",
    "ACCESSIBILITY_ENABLED": "1",
}

# No keys and buttons of the window manager's own: a manager that looks at each click first delays it behind later
# input.
OPENBOX_CONFIG = """<?xml version="1.0" encoding="UTF-8"?>
<openbox_config xmlns="http://openbox.org/3.4/rc">
  <focus><focusNew>yes</focusNew><followMouse>no</followMouse></focus>
  <placement><policy>Smart</policy><center>yes</center></placement>
  <desktops><number>1</number><popupTime>0</popupTime></desktops>
  <keyboard/>
  <mouse/>
</openbox_config>
"""

# For a fresh home: changes are there at once, so that a test sees the end and not the way.
GTK_SETTINGS = "[Settings]\ngtk-enable-animations=0\n"

END_GRACE_S = 3.0


@dataclass
class Desk:
    """Where a session's application runs, and what was started for it."""

    display: str
    session_bus: str
    environment: dict[str, str]
    own: bool  # display and bus were started for the session
    mark: str
    folder: Path | None = None  # holds the runtime directory and the fresh home
    started: list[asyncio.subprocess.Process] = field(default_factory=list)

    async def start(self, command: tuple[str, ...], folder: str | None = None) -> asyncio.subprocess.Process:
        """Start a program on this desktop, in a process group of its own; its output goes to `output.log`.

        Raises WebDriverError("session not created") when it cannot be started.
        """
        log = self.folder / "output.log" if self.folder is not None else Path(os.devnull)
        with log.open("ab") as output:
            process = await _spawn(command, self.environment, folder=folder, output=output.fileno())
        self.started.append(process)
        return process

    def output(self) -> str:
        """The last lines that the programs of this desktop wrote."""
        if self.folder is None:
            return ""
        with suppress(OSError):
            return (self.folder / "output.log").read_text("utf-8", "replace")[-600:].strip()
        return ""

    async def end(self) -> None:
        """End everything that runs for the session, the last started first, and remove its folder."""
        for process in reversed(self.started):
            await _end(process)
        await asyncio.to_thread(end_marked, self.mark)
        if self.folder is not None:
            await asyncio.to_thread(shutil.rmtree, self.folder, ignore_errors=True)


async def open_desk(settings: Settings) -> Desk:
    """The desktop that the settings ask for, ready to start applications on.

    Raises WebDriverError("session not created") that says what is missing.
    """
    mark = secrets.token_hex(8)
    if settings.display is not None:
        bus = settings.session_bus or os.environ.get("DBUS_SESSION_BUS_ADDRESS", "")
        if not bus:
            raise WebDriverError(
                "session not created",
                f"the display {settings.display} needs its session bus: give lab:sessionBus (the value of "
                "DBUS_SESSION_BUS_ADDRESS there), or start the driver inside that session",
            )
        environment = _environment(settings, settings.display, bus, mark)
        desk = Desk(settings.display, bus, environment, own=False, mark=mark)
        desk.folder = Path(tempfile.mkdtemp(prefix="labctl-desktop-"))
        _make_home(settings, desk)
        return desk
    desk = Desk("", "", {}, own=True, mark=mark, folder=Path(tempfile.mkdtemp(prefix="labctl-desktop-")))
    try:
        await _start_own(desk, settings)
    except BaseException:
        await desk.end()
        raise
    return desk


async def _start_own(desk: Desk, settings: Settings) -> None:
    assert desk.folder is not None
    runtime = desk.folder / "run"
    runtime.mkdir(mode=0o700)
    xvfb = ("Xvfb", "-displayfd", "{fd}", "-screen", "0", settings.screen, "-nolisten", "tcp", "-noreset")
    dbus = ("dbus-daemon", "--session", "--nofork", "--nopidfile", "--nosyslog", "--print-address={fd}")
    desk.environment = _environment(settings, "", "", desk.mark) | {"XDG_RUNTIME_DIR": str(runtime)}
    _make_home(settings, desk)
    number = await _start_answering(desk, xvfb, settings.start_timeout_s, "xvfb")
    desk.display = f":{number}"
    desk.environment["DISPLAY"] = desk.display
    desk.session_bus = await _start_answering(desk, dbus, settings.start_timeout_s, "dbus-daemon")
    desk.environment["DBUS_SESSION_BUS_ADDRESS"] = desk.session_bus
    manager = window_manager(settings.window_manager)
    if manager == ("openbox",):
        config = desk.folder / "openbox.xml"
        config.write_text(OPENBOX_CONFIG, encoding="utf-8")
        manager = (*manager, "--sm-disable", "--config-file", str(config))
    if manager is not None:
        await desk.start(manager)


def window_manager(asked: str) -> tuple[str, ...] | None:
    """The command of the window manager asked for: None for "none" and for "auto" where there is none."""
    if asked == "none":
        return None
    if asked != "auto":
        return tuple(shlex.split(asked))
    found = next((name for name in WINDOW_MANAGERS if shutil.which(name)), None)
    return None if found is None else (found,)


def _environment(settings: Settings, display: str, bus: str, mark: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name not in ("WAYLAND_DISPLAY", "XAUTHORITY")}
    if settings.display is not None:
        inherited = dict(os.environ)
    return (
        inherited
        | ACCESSIBLE_ENVIRONMENT
        | {"DISPLAY": display, "DBUS_SESSION_BUS_ADDRESS": bus, MARK: mark}
        | settings.environment
    )


def _make_home(settings: Settings, desk: Desk) -> None:
    if settings.home == "inherit":
        return
    assert desk.folder is not None
    home = desk.folder / "home" if settings.home == "fresh" else Path(settings.home)
    home.mkdir(parents=True, exist_ok=True)
    desk.environment["HOME"] = str(home)
    for name, place in (
        ("XDG_CONFIG_HOME", ".config"),
        ("XDG_CACHE_HOME", ".cache"),
        ("XDG_DATA_HOME", ".local/share"),
        ("XDG_STATE_HOME", ".local/state"),
    ):
        if name not in settings.environment:
            desk.environment[name] = str(home / place)
    if settings.home != "fresh":
        return
    if "GSETTINGS_BACKEND" not in settings.environment:
        desk.environment["GSETTINGS_BACKEND"] = "memory"
    if not settings.animations:
        for toolkit in ("gtk-3.0", "gtk-4.0"):
            folder = home / ".config" / toolkit
            folder.mkdir(parents=True)
            (folder / "settings.ini").write_text(GTK_SETTINGS, encoding="utf-8")


async def _start_answering(desk: Desk, command: tuple[str, ...], timeout_s: float, package: str) -> str:
    """Start a server that writes its address to a file descriptor when it is ready; that address."""
    reading, writing = os.pipe()
    try:
        filled = tuple(word.replace("{fd}", str(writing)) for word in command)
        assert desk.folder is not None
        with (desk.folder / "output.log").open("ab") as output:
            try:
                process = await _spawn(filled, desk.environment, output=output.fileno(), keep=(writing,))
            except WebDriverError as error:
                raise WebDriverError(error.code, f"{error.message}; install {package}") from error
        desk.started.append(process)
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(reading, "rb", buffering=0)
    )
    try:
        async with asyncio.timeout(timeout_s):
            answer = (await reader.readline()).decode().strip()
    except TimeoutError:
        answer = ""
    finally:
        transport.close()
    if not answer:
        raise WebDriverError(
            "session not created", f"{command[0]} did not become ready: {desk.output() or 'no message'}"
        )
    return answer


async def _spawn(
    command: tuple[str, ...],
    environment: Mapping[str, str],
    *,
    folder: str | None = None,
    output: int,
    keep: tuple[int, ...] = (),
) -> asyncio.subprocess.Process:
    setpriv = shutil.which("setpriv")
    path = environment.get("PATH", os.defpath)
    program = shutil.which(command[0], path=path)
    if program is None:
        raise WebDriverError("session not created", f"no program {command[0]} to start (PATH is {path})")
    # A driver that is killed takes its desktops with it.
    words = ([setpriv, "--pdeathsig", "TERM", "--"] if setpriv else []) + [program, *command[1:]]
    try:
        return await asyncio.create_subprocess_exec(
            *words,
            env=dict(environment),
            cwd=folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=keep,
            start_new_session=True,
        )
    except OSError as error:
        raise WebDriverError("session not created", f"{shlex.join(command)} did not start: {error}") from error


async def _end(process: asyncio.subprocess.Process) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGCONT)  # one that is stopped cannot end
            os.killpg(process.pid, number)
        try:
            async with asyncio.timeout(END_GRACE_S if number == signal.SIGTERM else None):
                await process.wait()
            return
        except TimeoutError:
            continue


def marked(mark: str) -> list[int]:
    """The processes whose environment carries a session's mark."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with suppress(OSError):
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found


def end_marked(mark: str) -> None:
    """End all processes of a session: asked first, killed after a while. Blocking."""
    for number, wait_s in ((signal.SIGTERM, 1.0), (signal.SIGKILL, END_GRACE_S)):
        left = marked(mark)
        if not left:
            return
        descriptors = []
        for pid in left:
            with suppress(ProcessLookupError):
                descriptors.append((os.pidfd_open(pid), pid))
        for descriptor, _ in descriptors:
            with suppress(ProcessLookupError, PermissionError):
                signal.pidfd_send_signal(descriptor, number)
        deadline = time.monotonic() + wait_s
        for descriptor, _ in descriptors:
            _await_end(descriptor, deadline)
            os.close(descriptor)


def _await_end(descriptor: int, deadline: float) -> None:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
