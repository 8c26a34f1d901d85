"""Ports that lead through a host: bytes both ways, ends in good order, and life after a cut."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import paramiko
import pytest
from _sshd import Sshd, sshd, trusting
from _wire import Wire

from drivers.errors import DeviceUnreachableError
from drivers.ssh import HostUnreachableError, SshHost
from drivers.ssh.forward import Forward
from drivers.ssh.host import destination

Eventually = Callable[[Callable[[], object]], None]


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that sends back what it gets, until the sender says it is done."""

    def serve() -> None:
        while True:
            try:
                stream, _ = listener.accept()
            except OSError:
                return
            with stream:
                while data := stream.recv(65_536):
                    stream.sendall(data)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def exchange(port: int, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as stream:
        sender = threading.Thread(target=lambda: (stream.sendall(data), stream.shutdown(socket.SHUT_WR)))
        sender.start()
        heard = b""
        while piece := stream.recv(65_536):
            heard += piece
        sender.join()
        return heard


def drain(stream: socket.socket) -> None:
    while stream.recv(4096):
        pass


@pytest.mark.parametrize("size", [0, 1, 3_000_000])
def test_bytes_pass_both_ways_and_ends_too(host: SshHost, echo: int, size: int) -> None:
    data = os.urandom(size)
    with host.forward(echo) as forward:
        assert exchange(forward.port, data) == data


def test_many_at_once(host: SshHost, echo: int) -> None:
    with host.forward(f"127.0.0.1:{echo}") as forward:
        streams = [socket.create_connection(("127.0.0.1", forward.port), timeout=60) for _ in range(20)]
        streams[0].sendall(b"held open")
        assert streams[0].recv(100) == b"held open"
        for stream in streams:
            stream.close()


def test_nobody_there_closes_the_connection_and_says_why(host: SshHost, eventually: Eventually) -> None:
    with host.forward(1) as forward:
        with socket.create_connection(("127.0.0.1", forward.port), timeout=60) as stream:
            assert stream.recv(1) == b""
        eventually(lambda: forward.broken_by)
        assert "cannot connect to 127.0.0.1 port 1" in forward.broken_by
    with pytest.raises(HostUnreachableError, match="see that something listens there"):
        host.dial("127.0.0.1", 1)


def test_a_taken_local_port_is_refused(host: SshHost, echo: int) -> None:
    with pytest.raises(DeviceUnreachableError, match="choose another, or 0"):
        host.forward(9, local_port=echo)


def test_closing_the_host_closes_its_forwards(server: Sshd, echo: int) -> None:
    with SshHost.open(server.settings) as host:
        port = host.forward(echo).port
    with pytest.raises(OSError):  # noqa: PT011 - refused
        socket.create_connection(("127.0.0.1", port), timeout=5)


def test_a_forward_is_open_again_after_its_host_came_back(
    tmp_path_factory: pytest.TempPathFactory, echo: int, eventually: Eventually
) -> None:
    with (
        sshd(tmp_path_factory.mktemp("restarted")) as server,
        SshHost.open(server.settings) as host,
        host.forward(echo) as forward,
    ):
        with socket.create_connection(("127.0.0.1", forward.port), timeout=60) as stream:
            stream.sendall(b"x")
            assert stream.recv(1) == b"x"
            sessions = server.sessions()
            server.stop()
            for pid in sessions:
                os.kill(pid, 9)
            with pytest.raises(ConnectionResetError):  # a cut is no end in good order
                stream.recv(1)
        server.start()
        eventually(lambda: exchange(forward.port, b"again") == b"again")
        assert forward.broken_by == ""


def test_a_silent_cut_is_noticed_and_the_forward_works_again_when_mended(line: Wire, eventually: Eventually) -> None:
    with SshHost.open(line.settings) as host, host.forward(f"{line.settings.address}:{line.server.port}") as forward:
        with socket.create_connection(("127.0.0.1", forward.port), timeout=60) as stream:
            assert stream.recv(4) == b"SSH-"
            line.cut()
            with pytest.raises(ConnectionResetError):
                drain(stream)
        assert not host.connected
        line.mend()

        def answers() -> bool:
            with socket.create_connection(("127.0.0.1", forward.port), timeout=60) as again:
                return again.recv(4) == b"SSH-"

        eventually(answers)


def test_through_a_jump_host(server: Sshd, tmp_path_factory: pytest.TempPathFactory, echo: int) -> None:
    with (
        sshd(tmp_path_factory.mktemp("inner"), name="inner", options="AllowTcpForwarding yes") as inner,
        SshHost.open(server.settings) as gateway,
        SshHost.open(trusting(inner, server), via=gateway) as host,
        host.forward(echo) as forward,
    ):
        # What the inner host sees as its client is the jump host's connection, not ours.
        port = int(host.exec("echo $SSH_CLIENT").text.split()[1])
        assert port != 0
        assert exchange(forward.port, b"through two") == b"through two"
        assert host.exec("echo $SSH_CONNECTION").text.endswith(str(inner.port))


def test_a_jump_host_that_may_not_forward_is_named(tmp_path_factory: pytest.TempPathFactory, server: Sshd) -> None:
    with (
        sshd(tmp_path_factory.mktemp("closed"), name="gateway", options="AllowTcpForwarding no") as closed,
        SshHost.open(closed.settings) as gateway,
        pytest.raises(HostUnreachableError, match="AllowTcpForwarding is not off in the sshd_config of gateway"),
    ):
        SshHost.open(replace(server.settings), via=gateway)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        (80, ("127.0.0.1", 80)),
        ("80", ("127.0.0.1", 80)),
        ("192.0.2.9:10940", ("192.0.2.9", 10940)),
        ("lidar:10940", ("lidar", 10940)),
        ("[::1]:22", ("::1", 22)),
    ],
)
def test_destinations(text: str | int, meant: tuple[str, int]) -> None:
    assert destination(text) == meant


@pytest.mark.parametrize("text", ["", "x", "0", "65536", ":80", "a:b"])
def test_no_destinations(text: str) -> None:
    with pytest.raises(ValueError, match="no destination"):
        destination(text)


def test_a_port_outlives_a_moment_without_free_files(monkeypatch: pytest.MonkeyPatch) -> None:
    accept, turns = socket.socket.accept, iter([errno.EMFILE])

    def short_of_files(listener: socket.socket) -> object:
        for number in turns:
            raise OSError(number, "Too many open files")
        return accept(listener)

    dialled = threading.Event()

    def dial() -> paramiko.Channel:
        dialled.set()
        raise HostUnreachableError("nobody is there")

    monkeypatch.setattr(socket.socket, "accept", short_of_files)
    with Forward(dial, "nowhere") as forward, socket.create_connection(("127.0.0.1", forward.port)):
        assert dialled.wait(10)
