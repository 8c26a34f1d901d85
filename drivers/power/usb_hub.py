"""A port of a USB hub that can switch its power, by the program uhubctl, here or on a host."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from drivers.errors import DeviceError, DeviceUnreachableError
from drivers.protocols import Shell

Run = Callable[[Sequence[str]], tuple[int, str]]
"""Runs words as a command; gives exit status and all it said."""

# "  Port 2: 0507 power highspeed enable connect [...]", "  Port 2: 0000 off"
_PORT = re.compile(r"^\s*Port (\d+): [0-9a-f]{4}\s+(.*)$")
_TIMEOUT_S = 60.0


def here(words: Sequence[str]) -> tuple[int, str]:
    """On this machine."""
    try:
        ended = subprocess.run(
            words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=_TIMEOUT_S, check=False
        )
    except FileNotFoundError:
        return 127, f"{words[0]} is not installed"
    except subprocess.TimeoutExpired:
        return 124, f"no end within {_TIMEOUT_S:g} s"
    return ended.returncode, ended.stdout


def on(shell: Shell) -> Run:
    """On a host."""

    def run(words: Sequence[str]) -> tuple[int, str]:
        ended = shell.exec(f"{shlex.join(words)} 2>&1", timeout_s=_TIMEOUT_S)
        return ended.exit_status, ended.stdout.decode(errors="replace")

    return run


@dataclass(frozen=True, slots=True)
class UsbPort:
    """One port. `location`: of the hub, as `uhubctl` lists it ("1-1.4"); `port` counts from 1."""

    location: str
    port: int
    run: Run = here

    @property
    def name(self) -> str:
        return f"port {self.port} of the USB hub {self.location}"

    def on(self) -> None:
        """Switch on. Raises DeviceError unless the hub says that it is on."""
        self._switch(True)

    def off(self) -> None:
        """Switch off. Raises DeviceError unless the hub says that it is off."""
        self._switch(False)

    def state(self) -> bool | None:
        """Whether the hub says that the port has power."""
        return self._last(self._uhubctl())

    def _switch(self, wanted: bool) -> None:
        said = self._uhubctl("-a", "on" if wanted else "off")
        if self._last(said) is not wanted:
            raise DeviceError(
                f"{self.name} did not switch {'on' if wanted else 'off'}: many hubs only claim that they can; "
                "see the list of those that do at https://github.com/mvp/uhubctl"
            )

    def _uhubctl(self, *action: str) -> str:
        words = ["uhubctl", "-l", self.location, "-p", str(self.port), *action]
        status, said = self.run(words)
        if status == 127:
            raise DeviceUnreachableError(f"{self.name}: {said.strip()}; install the package uhubctl")
        if status != 0:
            advice = "" if "ermission" not in said else "; install uhubctl's udev rules, or run it as root"
            raise DeviceError(f"{self.name}: `{shlex.join(words)}` says {said.strip()[-300:] or 'nothing'}{advice}")
        return said

    def _last(self, said: str) -> bool:
        """Of before and after, which uhubctl both prints, the last."""
        states = [found[2] for line in said.splitlines() if (found := _PORT.match(line)) and int(found[1]) == self.port]
        if not states:
            raise DeviceError(f"{self.name}: uhubctl does not list it: {said.strip()[-300:] or 'it says nothing'}")
        return "power" in states[-1].split()
