"""Serial consoles behind a host: over a terminal of the host, over ser2net, captured, shared, and re-opened."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tty
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from _sshd import free_port

from drivers.ssh import SshError, SshHost
from drivers.ssh.console import Console, ConsoleLine

Eventually = Callable[[Callable[[], object]], None]


@pytest.fixture
def line() -> Iterator[tuple[int, str]]:
    """A serial line: the device's end, and the path of the host's."""
    device, host_end = os.openpty()
    tty.setraw(device)
    tty.setraw(host_end)
    yield device, os.ttyname(host_end)
    os.close(host_end)
    os.close(device)


def read(device: int, size: int) -> bytes:
    heard = b""
    while len(heard) < size:
        heard += os.read(device, size - len(heard))
    return heard


def test_what_the_device_says_is_logged_with_its_time_and_shown(
    host: SshHost, line: tuple[int, str], tmp_path: Path, eventually: Eventually
) -> None:
    device, path = line
    heard: list[bytes] = []
    with Console(host, ConsoleLine(tty=path), tmp_path / "logs" / "board.log") as console:
        eventually(lambda: console.open)
        assert console.attach(heard.append) == b""
        os.write(device, b"boot 1\r\nlogin: ")
        eventually(lambda: b"".join(heard) == b"boot 1\r\nlogin: ")
        console.write(b"root\x03\x00\xff")
        assert read(device, 7) == b"root\x03\x00\xff"
        console.detach(heard.append)
        assert console.attach(heard.append) == b"boot 1\r\nlogin: "
    log = (tmp_path / "logs" / "board.log").read_bytes()
    assert re.fullmatch(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ boot 1\r\n\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ login: ", log)


def test_without_socat_it_goes_as_well(
    host: SshHost, line: tuple[int, str], tmp_path: Path, eventually: Eventually
) -> None:
    device, path = line
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("stty", "cat", "sh"):
        (tools / name).symlink_to(shutil.which(name) or name)
    started = host.start
    host.start = lambda command, **options: started(f"PATH={tools}; {command}", **options)  # type: ignore[method-assign]
    with Console(host, ConsoleLine(tty=path), tmp_path / "log") as console:
        eventually(lambda: console.open)
        console.write(b"typed")
        assert read(device, 5) == b"typed"
        os.write(device, b"said\n")
        eventually(lambda: b"said" in (tmp_path / "log").read_bytes() if (tmp_path / "log").exists() else False)


def test_ser2net_on_the_host(host: SshHost, line: tuple[int, str], tmp_path: Path, eventually: Eventually) -> None:
    device, path = line
    port = free_port()
    (tmp_path / "ser2net.yaml").write_text(
        f"connection: &board\n  accepter: tcp,127.0.0.1,{port}\n  connector: serialdev,{path},115200n81,local\n"
    )
    command = [shutil.which("ser2net") or "/usr/sbin/ser2net", "-n", "-c", str(tmp_path / "ser2net.yaml")]
    with (
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running,
        Console(host, ConsoleLine(tcp=str(port)), tmp_path / "log") as console,
    ):
        eventually(lambda: console.open)
        console.write(b"version\n")
        assert read(device, 8) == b"version\n"
        os.write(device, b"1.2\n")
        eventually(lambda: b"1.2\n" in (tmp_path / "log").read_bytes() if (tmp_path / "log").exists() else False)
        running.terminate()
        eventually(lambda: not console.open)
        assert console.broken_by


def test_a_console_is_open_again_after_its_link_was_lost(
    host: SshHost, line: tuple[int, str], tmp_path: Path, eventually: Eventually
) -> None:
    device, path = line
    with Console(host, ConsoleLine(tty=path), tmp_path / "log") as console:
        eventually(lambda: console.open)
        host.hang_up()
        eventually(lambda: not console.open)
        eventually(lambda: console.open)
        console.write(b"back")
        assert read(device, 4) == b"back"


def test_a_line_that_is_not_there(host: SshHost, tmp_path: Path, eventually: Eventually) -> None:
    with Console(host, ConsoleLine(tty="/dev/no-such-tty"), tmp_path / "log") as console:
        eventually(lambda: "there is no /dev/no-such-tty; check the cable" in console.broken_by)
        eventually(lambda: not console.open)
        with pytest.raises(SshError, match="is not open"):
            console.write(b"x")
    with pytest.raises(ValueError, match="either a tty or a tcp port"):
        ConsoleLine()
