"""How each kind of WebDriver server is started on a port of this machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Program:
    """A WebDriver server as a program.

    `argv` makes its command line for a port of the loopback interface; `base`: what goes before /session.
    `at_start` is asked before each start for more of its environment; it may raise DeviceError. `nice`: below 0 for
    what runs in real time, where the user may give it.
    """

    name: str
    argv: Callable[[int], Sequence[str]]
    base: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    at_start: Callable[[], Mapping[str, str]] = dict
    nice: int = 0


def chromedriver(program: str = "chromedriver", arguments: Sequence[str] = ()) -> Program:
    """Chromium's driver. It speaks to this machine alone unless told otherwise."""
    return Program("chromedriver", lambda port: [program, f"--port={port}", *arguments])


def geckodriver(program: str = "geckodriver", arguments: Sequence[str] = ()) -> Program:
    """Firefox's driver. Its websocket and Marionette take ports that are free, so that several run side by side."""

    def argv(port: int) -> list[str]:
        return [program, "--host=127.0.0.1", f"--port={port}", "--websocket-port=0", *arguments]

    return Program("geckodriver", argv)


def appium(program: Sequence[str] = ("appium",), home: Path | None = None, arguments: Sequence[str] = ()) -> Program:
    """Appium with the drivers installed in `home` (its APPIUM_HOME; its own default unless given)."""

    def argv(port: int) -> list[str]:
        quiet = ["--log-no-colors", "--log-timestamp"]
        return [*program, "server", "--address", "127.0.0.1", "--port", str(port), *quiet, *arguments]

    return Program("appium", argv, environment={"APPIUM_HOME": str(home)} if home else {})


def command(argv: Sequence[str], base: str = "", environment: Mapping[str, str] | None = None) -> Program:
    """Any other server; "{port}" in its arguments stands for the port that it shall listen on."""

    def filled(port: int) -> list[str]:
        return [each.replace("{port}", str(port)) for each in argv]

    return Program(Path(argv[0]).name, filled, base, environment or {})
