"""Phones over adb, against a simulated server that speaks the real protocol."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.adb import AdbServer, Battery, ConnectedPhone, Phone
from drivers.adb.server import parse_phones
from drivers.adb.wire import AdbRefusedError
from drivers.errors import DeviceError, DeviceSilentError, DeviceUnreachableError, ProtocolError
from drivers.sim.adb_server import SimulatedAdbServer, SimulatedPhone


@pytest.fixture
def simulated() -> SimulatedPhone:
    return SimulatedPhone("A1", packages={"org.game": "score", "org.mail": "letters"})


@pytest.fixture
def running(simulated: SimulatedPhone) -> Iterator[SimulatedAdbServer]:
    with SimulatedAdbServer(simulated, SimulatedPhone("B2", state="unauthorized")) as made:
        yield made


@pytest.fixture
def server(running: SimulatedAdbServer) -> AdbServer:
    return AdbServer.at(running.address)


@pytest.fixture
def phone(server: AdbServer) -> Phone:
    return server.phone("A1")


def test_the_server_lists_its_phones(server):
    assert server.version() == 41
    properties = {"product": "sim", "model": "Sim", "device": "sim"}
    assert server.phones() == [
        ConnectedPhone("A1", "device", {**properties, "transport_id": "1"}),
        ConnectedPhone("B2", "unauthorized", {**properties, "transport_id": "2"}),
    ]


def test_phones_that_come_and_go_are_heard_of(server, running):
    with server.watching() as watch:
        heard = iter(watch)
        assert [each.serial for each in next(heard)] == ["A1", "B2"]
        running.unplug("A1")
        assert [each.serial for each in next(heard)] == ["B2"]
        running.plug(SimulatedPhone("B2"))
        assert [each.state for each in next(heard)] == ["device"]
        threading.Timer(0.05, watch.stop).start()
        with pytest.raises(DeviceSilentError):
            next(heard)


def test_the_battery(phone, simulated):
    simulated.battery_percent, simulated.temperature_tenths = 15, 402
    assert phone.battery() == Battery(ratio=0.15, temperature_c=40.2, powered=True)


def test_a_command_s_words_reach_it_as_they_are(phone, running):
    assert phone.shell("rm", "-rf", "/a b", "$(x)'y").exit_code == 0
    assert running.asked[-1] == "shell,v2,raw:rm -rf '/a b' '$(x)'\"'\"'y'"


def test_a_command_that_fails_says_why(phone):
    result = phone.shell("frobnicate")
    assert (result.exit_code, result.output) == (127, "")
    with pytest.raises(DeviceError, match=r"A1: frobnicate ended with 127: .*not found"):
        phone.ask("frobnicate")


def test_apps_are_installed_listed_cleared_and_removed(phone, simulated, tmp_path):
    apk = tmp_path / "new.apk"
    apk.write_text("org.new", encoding="utf-8")
    phone.install(apk)
    assert phone.packages() == {"org.game", "org.mail", "org.new"}
    phone.clear("org.game")
    assert simulated.packages["org.game"] == ""
    phone.uninstall("org.mail")
    assert phone.packages() == {"org.game", "org.new"}


def test_an_app_that_is_refused_says_why(phone, tmp_path):
    apk = tmp_path / "bad.apk"
    apk.write_text("bad", encoding="utf-8")
    with pytest.raises(AdbRefusedError, match=r"A1: bad.apk was not installed: Failure \[INSTALL_PARSE_FAILED_NOT_APK"):
        phone.install(apk)
    with pytest.raises(AdbRefusedError, match=r"pm uninstall org\.none: Failure"):
        phone.uninstall("org.none")


@pytest.mark.parametrize("size", [0, 1, 65536, 65537, 300_000])
def test_files_go_there_and_back(phone, simulated, tmp_path, size):
    source, back = tmp_path / "there", tmp_path / "back"
    source.write_bytes(bytes(range(256)) * (size // 256) + b"x" * (size % 256))
    phone.push(source, "/sdcard/file")
    assert simulated.files["/sdcard/file"] == source.read_bytes()
    assert phone.size("/sdcard/file") == size
    phone.pull("/sdcard/file", back)
    assert back.read_bytes() == source.read_bytes()


def test_a_full_phone_and_a_missing_file(phone, simulated, tmp_path):
    source = tmp_path / "large"
    source.write_bytes(b"x" * 1000)
    simulated.free_bytes = 100
    with pytest.raises(AdbRefusedError, match="No space left on device"):
        phone.push(source, "/sdcard/large")
    with pytest.raises(AdbRefusedError, match="No such file"):
        phone.pull("/sdcard/none", tmp_path / "none")
    assert not (tmp_path / "none").exists()
    assert phone.size("/sdcard/none") is None


def test_the_log_from_a_moment_on(phone, simulated):
    simulated.log = [(100.0, "old"), (200.5, "new"), (300.0, "newer")]
    assert phone.log_since(200.5) == "200.500 new\n300.000 newer\n"


def test_phones_that_cannot_be_used_say_so(server):
    with pytest.raises(AdbRefusedError, match="adb refused 'host:transport:B2': device unauthorized"):
        server.phone("B2").battery()
    with pytest.raises(AdbRefusedError, match="device 'C3' not found"):
        server.phone("C3").battery()


def test_a_phone_that_is_unplugged_in_the_middle(running, simulated):
    simulated.silent = True
    phone = Phone(("127.0.0.1", int(running.address.rpartition(":")[2])), "A1", 30.0)
    threading.Timer(0.1, running.unplug, ("A1",)).start()
    with pytest.raises(DeviceSilentError, match="A1: the connection"):
        phone.battery()


def test_a_phone_that_says_nothing(running, simulated):
    simulated.silent = True
    phone = Phone(("127.0.0.1", int(running.address.rpartition(":")[2])), "A1", 0.2)
    with pytest.raises(DeviceSilentError, match=r"A1: nothing came for 0.2 s"):
        phone.battery()


def test_no_server_and_something_else_at_its_port():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        def greet() -> None:
            stream, _ = other.accept()
            with stream:
                stream.recv(100)
                stream.sendall(b"SSH-2.0-OpenSSH\r\n")

        thread = threading.Thread(target=greet)
        thread.start()
        with pytest.raises(ProtocolError, match="answers OKAY or FAIL"):
            AdbServer(port=port).version()
        thread.join()
    with pytest.raises(DeviceUnreachableError, match="adb start-server"):
        AdbServer(port=port).version()


def test_an_address_may_leave_things_out():
    assert (AdbServer.at("nuc").port, AdbServer.at(":99").host, AdbServer.at("a:1").port) == (5037, "127.0.0.1", 1)


@given(st.text())
def test_no_listing_makes_it_stumble(text):
    for each in parse_phones(text):
        assert each.serial


def test_the_phone_s_clock(phone):
    assert phone.now() > 1e9
