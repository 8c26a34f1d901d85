"""A daemon with more than 1024 open descriptors: it starts guards and talks to them as any other does."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from drivers.clock_mapping import machine_clock
from drivers.guard import GuardClient, wire
from drivers.guard.spawn import _ready_line
from drivers.types import Pose


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2048:
        pytest.skip("this machine lets a process have no such number of descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
    held = [os.open(os.devnull, os.O_RDONLY)]
    try:
        while held[-1] < 1100:
            held.append(os.open(os.devnull, os.O_RDONLY))
        yield
    finally:
        for each in held:
            os.close(each)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def answer_one(listener: socket.socket) -> None:
    """As much of a guard as tells who it is."""
    about = {
        "name": "guarded", "clock": machine_clock(), "mount": wire.pack_pose(Pose(0.0, 0.0, 0.0)),
        "geometry": [0.0004, 0.0004, 0.235],
    }  # fmt: skip
    connection, _ = listener.accept()
    frames = wire.FrameReader()
    with connection:
        while data := connection.recv(65_536):
            for _, payload in frames.feed(data):
                connection.sendall(wire.message({"id": wire.parse_message(payload)["id"], **about}))


@pytest.mark.usefixtures("many_descriptors")
def test_a_guard_is_talked_to() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        guard = threading.Thread(target=answer_one, args=(listener,), daemon=True)
        guard.start()
        with GuardClient.connect(f"tcp://127.0.0.1:{listener.getsockname()[1]}") as client:
            assert client.name == "guarded"
        guard.join(5.0)
    assert not guard.is_alive()


@pytest.mark.usefixtures("many_descriptors")
def test_a_guard_is_heard_to_be_ready() -> None:
    script = """print('{"ready": true, "listen": ["unix:///run/guard.sock"]}', flush=True)"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        assert _ready_line(process, 20.0) == ["unix:///run/guard.sock"]
