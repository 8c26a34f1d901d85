"""The driver over RFC 2217 (a serial port behind a Telnet server), served by pyserial's own server side."""

import contextlib
import select
import socket
import threading
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import serial.rfc2217

from drivers.clock import SystemClock
from drivers.create2 import Create2
from drivers.types import BaseMode


class QuietPort(SimpleNamespace):
    """What pyserial's server side asks of the serial port behind it."""

    def __init__(self) -> None:
        super().__init__(baudrate=9600, bytesize=8, parity="N", stopbits=1, xonxoff=False, rtscts=False)
        self.dtr = self.rts = self.cts = self.dsr = self.cd = True
        self.ri = self.break_condition = False

    def reset_input_buffer(self) -> None:
        """Nothing waits here."""

    def reset_output_buffer(self) -> None:
        """Nothing waits here."""


@pytest.fixture
def telnet(make_board) -> Iterator[tuple[str, object, object, QuietPort]]:
    board, body, _ = make_board(SystemClock())
    listener = socket.create_server(("127.0.0.1", 0))
    port = QuietPort()
    done = threading.Event()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            manager = serial.rfc2217.PortManager(port, SimpleNamespace(write=connection.sendall))
            while not done.is_set():
                data = b""
                if select.select([connection], [], [], 0.005)[0]:
                    data = connection.recv(4096)
                    if not data:
                        return
                answer = board.feed(b"".join(manager.filter(data)))
                answer += board.tick(SystemClock().now())
                connection.sendall(b"".join(manager.escape(answer)))

    thread = threading.Thread(target=serve)
    thread.start()
    yield f"rfc2217://127.0.0.1:{listener.getsockname()[1]}", board, body, port
    done.set()
    thread.join(10)
    listener.close()


# pyserial 3.5 still calls setDaemon and setName.
@pytest.mark.filterwarnings("ignore:set(Daemon|Name):DeprecationWarning")
def test_drives_a_base_behind_a_telnet_server(telnet):
    url, board, body, port = telnet
    clock = SystemClock()
    with Create2.open(url, clock) as base:
        assert port.baudrate == 115200
        base.enter_safe_mode()
        base.drive(0.255, 0.0)  # 255 is the byte that Telnet escapes
        deadline = clock.now() + 10
        while base.state().left_ticks < 50 and clock.now() < deadline:
            clock.sleep(0.01)
        base.stop()
        assert base.state().mode is BaseMode.SAFE
        assert body.left_m > 50 * 0.4e-3
        assert bytes([145, 0, 255, 0, 255]) in b"".join(each.data for each in board.received)
        assert base.damaged_frames == 0
