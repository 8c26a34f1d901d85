"""Ways to stop a robot that something else drives: what counts as stopped, and what is said when it is not."""

from __future__ import annotations

import socketserver
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from drivers.errors import DeviceError, DeviceUnreachableError
from drivers.guard.foreign import ChannelState, ChannelThread
from drivers.power import Dialect
from drivers.sim.power_outlet import PowerOutlet
from drivers.stop_channel import NoChannel, Outlet, PowerStop, Request, StopSettings, VendorStop


def test_a_command_is_a_stop_when_it_ends_well() -> None:
    VendorStop(stop_command=(sys.executable, "-c", "")).stop()
    stop = VendorStop(stop_command=(sys.executable, "-c", "import sys; sys.exit('no such robot')"), timeout_s=10.0)
    with pytest.raises(DeviceError, match="ended with 1: no such robot"):
        stop.stop()
    stop.release()  # there is nothing to undo


@pytest.mark.parametrize(
    ("command", "message"),
    [(("/nowhere/stop",), "cannot be run"), ((sys.executable, "-c", "import time; time.sleep(9)"), "0.2 s")],
)
def test_a_command_that_does_not_run_or_end_is_told(command: tuple[str, ...], message: str) -> None:
    with pytest.raises(DeviceError, match=message):
        VendorStop(stop_command=command, timeout_s=0.2).stop()


def test_a_request_is_a_stop_when_the_answer_is_as_expected() -> None:
    with PowerOutlet() as outlet:
        told = f"{outlet.url}/relay/0?turn=off"
        VendorStop(stop_request=Request(told, "GET", expect='"ison": false')).stop()
        with pytest.raises(DeviceError, match="without 'halted'"):
            VendorStop(stop_request=Request(told, "GET", expect="halted")).stop()
        with pytest.raises(DeviceError, match="was refused: 404"):
            VendorStop(stop_request=Request(f"{outlet.url}/relay/9", "GET")).stop()
    with pytest.raises(DeviceUnreachableError, match="got no answer"):
        VendorStop(stop_request=Request(told, "GET")).stop()


@contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """A server on the loopback that answers whatever it is asked with these bytes; its address."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(65_536)
            self.request.sendall(answer)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield "http://{}:{}".format(*server.server_address)
        finally:
            server.shutdown()


@pytest.mark.parametrize(
    "answer", [b"no HTTP at all\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\ncut"]
)
def test_an_answer_that_is_no_http_confirms_nothing_and_the_stop_is_tried_on(answer: bytes) -> None:
    with answering(answer) as url:
        vendors = VendorStop(stop_request=Request(f"{url}/halt"))
        with pytest.raises(DeviceUnreachableError, match="got no answer"):
            vendors.stop()
        with pytest.raises(DeviceUnreachableError, match="does not answer"):
            PowerStop(Outlet(url, Dialect.TASMOTA)).stop()


class Faulty:
    """A channel whose first use ends in a fault of its program, and whose others work."""

    name = "a faulty channel"

    def __init__(self) -> None:
        self.stops = 0

    def stop(self) -> None:
        self.stops += 1
        if self.stops == 1:
            raise RuntimeError("can't start new thread")

    def release(self) -> None:
        """Nothing holds."""


def test_the_thread_that_uses_the_channel_outlives_its_faults() -> None:
    channel = ChannelThread(Faulty(), lambda: None)
    channel.want(ChannelState.STOPPED)
    assert channel.confirmed(ChannelState.STOPPED, 5.0)
    channel.close(1.0)


def test_a_relay_with_a_password(tmp_path: Path) -> None:
    file = tmp_path / "key"
    with PowerOutlet(password="s3cret") as outlet:
        channel = StopSettings(power=PowerStop(Outlet(outlet.url, Dialect.SHELLY_2, password_file=str(file)))).channel
        with pytest.raises(DeviceError, match="cannot be read from"):
            channel.stop()
        file.write_text("s3cret\n", encoding="utf-8")
        channel.stop()
        assert outlet.sockets == [False]
        channel.release()
        assert outlet.sockets == [True]


def test_without_a_channel_nothing_is_claimed() -> None:
    channel = StopSettings().channel
    assert isinstance(channel, NoChannel)
    with pytest.raises(DeviceError, match="the lab file names no stop channel for this robot"):
        channel.stop()


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="either stop_request or stop_command"):
        VendorStop()
    with pytest.raises(ValueError, match="either outlet or hub_port"):
        PowerStop()
    with pytest.raises(ValueError, match="must start with http"):
        Request("robot/halt")
    with pytest.raises(ValueError, match="must be an absolute path"):
        Outlet("http://127.0.0.1", Dialect.TASMOTA, password_file="key")
