"""Power switches: what they say is what they did, and what they did not do is an error."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from drivers.errors import DeviceError, DeviceUnreachableError, ProtocolError
from drivers.power import Dialect, HttpOutlet, UsbPort, WakeOnLan, cycle
from drivers.power.usb_hub import here
from drivers.power.wake_on_lan import magic_packet
from drivers.protocols import PowerSwitch
from drivers.sim.power_outlet import PowerOutlet


@pytest.fixture
def outlet() -> Iterator[PowerOutlet]:
    with PowerOutlet(count=3) as running:
        yield running


@pytest.mark.parametrize("dialect", Dialect)
def test_an_outlet_switches_the_socket_it_was_told(outlet: PowerOutlet, dialect: Dialect) -> None:
    switch = HttpOutlet(outlet.url, dialect, socket=1)
    assert isinstance(switch, PowerSwitch)
    assert switch.state() is True
    switch.off()
    assert (switch.state(), outlet.sockets) == (False, [True, False, True])
    switch.on()
    assert outlet.sockets == [True, True, True]


@pytest.mark.parametrize("dialect", Dialect)
def test_a_cycle_is_off_a_pause_and_on(outlet: PowerOutlet, dialect: Dialect) -> None:
    pauses: list[float] = []
    cycle(HttpOutlet(outlet.url, dialect, socket=2), 4.5, pauses.append)
    assert (outlet.switched, pauses) == ([(2, False), (2, True)], [4.5])


def test_an_interrupted_pause_does_not_leave_the_device_off(outlet: PowerOutlet) -> None:
    def interrupt(_seconds: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cycle(HttpOutlet(outlet.url, Dialect.SHELLY_2), 3, interrupt)
    assert outlet.sockets[0] is True


def test_a_tasmota_with_one_relay_calls_it_power() -> None:
    with PowerOutlet(count=1) as single:
        HttpOutlet(single.url, Dialect.TASMOTA).off()
        assert single.sockets == [False]


@pytest.mark.parametrize("dialect", Dialect)
def test_a_password(dialect: Dialect) -> None:
    with PowerOutlet(password="a b&c") as locked:
        HttpOutlet(locked.url, dialect, password="a b&c").off()
        assert locked.sockets == [False]
        with pytest.raises(DeviceError, match="check user and password"):
            HttpOutlet(locked.url, dialect, password="wrong").on()


@pytest.mark.parametrize("dialect", Dialect)
def test_faults_are_told(outlet: PowerOutlet, dialect: Dialect) -> None:
    switch = HttpOutlet(outlet.url, dialect, timeout_s=0.3)
    outlet.faults.stuck = True
    with pytest.raises(DeviceError, match="told to switch off and says that it is on"):
        switch.off()
    outlet.faults.failing = True
    with pytest.raises(DeviceError, match="500"):
        switch.off()
    outlet.faults.silent = True
    with pytest.raises(DeviceUnreachableError, match="does not answer"):
        switch.state()
    outlet.faults.silent = outlet.faults.failing = False
    with pytest.raises(DeviceError, match=r"socket 7"):
        HttpOutlet(outlet.url, dialect, socket=7).state()


def test_nobody_there_and_nonsense() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(DeviceUnreachableError, match="check the address"):
        HttpOutlet(f"http://127.0.0.1:{port}", Dialect.TASMOTA).state()
    with socket.create_server(("127.0.0.1", 0)) as liar:
        answer = b"HTTP/1.0 200 OK\r\n\r\n<html>"
        thread = threading.Thread(target=lambda: _answer(liar, answer))
        thread.start()
        with pytest.raises(ProtocolError, match="no JSON object"):
            HttpOutlet(f"http://127.0.0.1:{liar.getsockname()[1]}", Dialect.SHELLY_1).state()
        thread.join()


def _answer(listener: socket.socket, data: bytes) -> None:
    stream, _ = listener.accept()
    with stream:
        stream.recv(65_536)
        stream.sendall(data)


HUB = """Current status for hub 1-1 [0bda:5411 Generic USB2.1 Hub, USB 2.10, 4 ports, ppps]
  Port 2: {before}
{sent}New status for hub 1-1 [0bda:5411 Generic USB2.1 Hub, USB 2.10, 4 ports, ppps]
  Port 2: {after}
"""


def test_a_usb_port_believes_what_the_hub_says_last() -> None:
    asked: list[Sequence[str]] = []
    states = {"on": "0100 power", "off": "0000 off"}

    def run(words: Sequence[str]) -> tuple[int, str]:
        asked.append(words)
        if "-a" not in words:
            return 0, "Current status for hub 1-1\n  Port 2: 0503 power highspeed enable connect [18d1:4ee7]\n"
        return 0, HUB.format(before="0503 power highspeed enable connect", sent="", after=states[words[-1]])

    port = UsbPort("1-1", 2, run)
    assert isinstance(port, PowerSwitch)
    assert port.state() is True
    port.off()
    port.on()
    assert asked[1] == ["uhubctl", "-l", "1-1", "-p", "2", "-a", "off"]
    states["off"] = "0503 power highspeed enable connect"
    with pytest.raises(DeviceError, match="only claim that they can"):
        port.off()


def test_the_real_uhubctl_without_such_a_hub() -> None:
    if shutil.which("uhubctl") is None:
        pytest.fail("uhubctl is missing: tools/install-test-parts.sh installs it")
    with pytest.raises(DeviceError, match=r"port 9 of the USB hub 99-9.*No compatible devices"):
        UsbPort("99-9", 9).state()


def test_uhubctl_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert here(["uhubctl"])[0] == 127
    with pytest.raises(DeviceUnreachableError, match="install the package uhubctl"):
        UsbPort("1-1", 1).on()


def test_the_magic_packet() -> None:
    packet = magic_packet("00:1f-16AABBcc".replace("-", ":").replace("AABBcc", ":aa:bb:cc"))
    assert packet == b"\xff" * 6 + b"\x00\x1f\x16\xaa\xbb\xcc" * 16
    for wrong in ("", "00:1f:16:aa:bb", "00:1f:16:aa:bb:gg", "00:1f:16:aa:bb:cc:dd"):
        with pytest.raises(ValueError, match="no hardware address"):
            WakeOnLan(wrong)


def test_wake_on_lan_goes_over_the_wire() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as card:
        card.bind(("127.0.0.1", 0))
        card.settimeout(30)
        switch = WakeOnLan("00:1f:16:aa:bb:cc", "127.0.0.1", card.getsockname()[1])
        assert isinstance(switch, PowerSwitch)
        switch.on()
        assert card.recv(1000) == magic_packet("00:1f:16:aa:bb:cc")
    assert switch.state() is None
    with pytest.raises(DeviceError, match="not switched off"):
        switch.off()
    stopped: list[bool] = []
    WakeOnLan("00:1f:16:aa:bb:cc", shut_down=lambda: stopped.append(True)).off()
    assert stopped == [True]
