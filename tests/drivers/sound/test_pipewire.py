"""Virtual pairs on PipeWire's pulse server: the same driver, the same promises."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from drivers.sound import DropOutKind, PulseServer
from drivers.sound.pulse import control
from drivers.sound.types import Samples

pytestmark = pytest.mark.alone

TRIES = 4


class PipeWire:
    """PipeWire, its session manager and its pulse server, in a folder and a D-Bus session of their own."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "pulse" / "native"
        logs = shlex.quote(str(folder / "log"))
        # Each waits for the socket of the one before.
        script = (
            f"exec >{logs} 2>&1; pipewire & until [ -S pipewire-0 ]; do sleep 0.05; done;"
            " wireplumber & pipewire-pulse & wait"
        )
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("PULSE_", "DBUS_", "PIPEWIRE_"))
        }
        self.process = subprocess.Popen(
            ["dbus-run-session", "--", "sh", "-c", script],
            cwd=folder,
            env={
                **kept,
                "XDG_RUNTIME_DIR": str(folder),
                "HOME": str(folder),
                "XDG_CONFIG_HOME": str(folder / "config"),
            },
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + 30
        while not self.socket.exists():
            assert self.process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.05)

    def signal(self, number: int) -> None:
        os.killpg(self.process.pid, number)

    def close(self) -> None:
        self.signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=10)
        finally:
            if self.process.poll() is None:
                self.signal(signal.SIGKILL)


@pytest.fixture(scope="module")
def pipewire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PipeWire]:
    folder = tmp_path_factory.mktemp("pw")
    folder.chmod(0o700)
    running = PipeWire(folder)
    yield running
    running.close()


@pytest.fixture
def on_pipewire(pipewire: PipeWire) -> Iterator[PulseServer]:
    with PulseServer(f"unix:{pipewire.socket}") as server:
        yield server


def test_it_is_pipewire(on_pipewire: PulseServer) -> None:
    assert "PipeWire" in control(on_pipewire.address, "info")


def test_loops_are_bit_identical_and_pairs_apart(on_pipewire: PulseServer, make_noise: Callable[..., Samples]) -> None:
    with on_pipewire.pair("alice") as alice, on_pipewire.pair("bob") as bob:
        for _ in range(TRIES):
            checks = alice.check()
            if all(check.intact for check in checks):
                break
        for check in checks:
            check.require_intact()
            assert (check.bit_identical, check.gain_db) == (True, 0.0)
        with bob.speaker.record() as tape:
            alice.microphone.play(make_noise(1.0))
        assert not tape.stop().samples.any()
    assert "alice" not in control(on_pipewire.address, "list", "short", "sinks")


def test_a_server_that_stops_is_found(
    pipewire: PipeWire, on_pipewire: PulseServer, make_noise: Callable[..., Samples]
) -> None:
    with on_pipewire.pair("alice") as alice:
        with alice.speaker.record() as tape:
            time.sleep(0.5)
            pipewire.signal(signal.SIGSTOP)
            time.sleep(0.3)
            pipewire.signal(signal.SIGCONT)
            time.sleep(0.7)
        found = {drop.kind for drop in tape.stop().drop_outs}
    assert found & {DropOutKind.STALLED, DropOutKind.LOST}
    assert np.isfinite(tape.stop().start_time)
