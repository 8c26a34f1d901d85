"""Serial lines opened exclusively, and errors that say who is in the way."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing

import pytest
import serial

from drivers.errors import DeviceUnreachableError
from drivers.serial_line import holder_of, open_serial_line

HOLD = "import os, sys; os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY); print('held', flush=True); sys.stdin.read()"


@pytest.fixture
def pty() -> Iterator[str]:
    master, slave = os.openpty()
    path = os.ttyname(slave)
    os.close(slave)
    yield path
    os.close(master)


def test_a_port_that_another_program_holds_is_refused_with_its_name(pty):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, pty], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        assert holder_of(pty) is not None
        with pytest.raises(DeviceUnreachableError, match=rf"held by \S+ \(pid {other.pid}\).*stop that program"):
            open_serial_line(pty, 115200, 0.1, 0.1)
        other.communicate()
    assert holder_of(pty) is None
    open_serial_line(pty, 115200, 0.1, 0.1).close()


def test_a_second_opening_in_the_same_program_is_refused(pty):
    first = open_serial_line(f"serial://{pty}", 115200, 0.1, 0.1)
    with pytest.raises(DeviceUnreachableError, match="is in use"):
        open_serial_line(pty, 115200, 0.1, 0.1)
    first.close()
    open_serial_line(pty, 115200, 0.1, 0.1).close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open anything")
def test_a_forbidden_port_names_the_group_to_join(tmp_path):
    port = tmp_path / "ttyS9"
    port.touch(mode=0o000)
    with pytest.raises(DeviceUnreachableError, match="usermod -aG dialout"):
        open_serial_line(str(port), 115200, 0.1, 0.1)


def test_an_absent_port_points_to_where_ports_are_listed():
    with pytest.raises(DeviceUnreachableError, match=r"no serial port /dev/ttyUSB97.*/dev/serial/by-id"):
        open_serial_line("serial:///dev/ttyUSB97", 115200, 0.1, 0.1)


def test_what_is_no_serial_line_is_told_plainly(tmp_path):
    (tmp_path / "letter").write_text("dear robot")
    for url in (str(tmp_path / "letter"), "nonsense://x", "socket://no-port-given"):
        with pytest.raises(DeviceUnreachableError, match="cannot"):
            open_serial_line(url, 115200, 0.1, 0.1)


def test_bytes_that_the_line_took_are_written_however_late_this_process_runs(pty):
    """pyserial's own write fails here: the time is over before it looks whether there is room for more."""
    with closing(open_serial_line(pty, 115200, 0.1, 1e-9)) as line:
        assert [line.write(b"stop") for _ in range(20)] == [4] * 20
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"socket://127.0.0.1:{server.getsockname()[1]}"
        with closing(open_serial_line(url, 115200, 0.1, 1e-9)) as line, server.accept()[0] as far:
            assert line.write(b"stop") == 4
            assert far.recv(4) == b"stop"


def test_a_line_that_takes_no_bytes_fails_a_write_and_one_that_is_closed_too(pty):
    line = open_serial_line(pty, 115200, 0.1, 0.05)
    with pytest.raises(serial.SerialTimeoutException):
        line.write(bytes(1 << 20))
    line.close()
    with pytest.raises(serial.PortNotOpenError):
        line.write(b"stop")
