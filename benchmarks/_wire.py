"""A wire to an sshd that can be cut without a word: virtual interfaces where root allows, else a silent relay."""

from __future__ import annotations

import contextlib
import os
import secrets
import select
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from _sshd import Sshd, prepare, sshd

from drivers.ssh import SshSettings

_CARRIED_WITHIN_S = 60.0


@dataclass(frozen=True)
class Wire:
    """`cut` drops every packet from now on and tells nobody; `mend` lets them pass again.

    `beside`: an address of this machine that programs on the host reach also while the wire is cut, for what stands for
    a device that hangs there.
    """

    server: Sshd
    settings: SshSettings
    cut: Callable[[], None]
    mend: Callable[[], None]
    beside: str = "127.0.0.1"


def namespaces_work() -> bool:
    """Whether network namespaces can be made here."""
    if os.getuid() != 0 or shutil.which("ip") is None:
        return False
    name = f"probe{secrets.randbelow(16384)}"
    # A container may let them be made and yet not be used: everything that `_namespace` needs is tried.
    tries = (
        ["ip", "netns", "add", name],
        ["ip", "link", "add", f"{name}a", "type", "veth", "peer", "name", f"{name}b", "netns", name],
        ["ip", "-n", name, "link", "set", f"{name}b", "up"],
        ["ip", "netns", "exec", name, "true"],
    )
    made = [subprocess.run(each, capture_output=True, check=False).returncode == 0 for each in tries]
    if made[0]:
        subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)
    return all(made)


@contextlib.contextmanager
def wire(folder: Path, silence_s: float = 15.0) -> Iterator[Wire]:
    """A wire to an sshd of its own."""
    with _namespace(folder) if namespaces_work() else _relay(folder) as made:
        yield replace(made, settings=replace(made.settings, silence_s=silence_s))


@contextlib.contextmanager
def _namespace(folder: Path) -> Iterator[Wire]:
    # 198.18.0.0/15 is for tests of network devices (RFC 2544) and leads nowhere. A name of its own for each: the kernel
    # takes its time to let go of the interfaces of a namespace that was deleted.
    number = secrets.randbelow(16384)
    name = f"lab{number}"
    _ip("netns", "add", name)
    try:
        _ip("-n", name, "link", "set", "lo", "up")
        theirs = _cable(name, "ab", f"198.18.{number // 64}", number % 64 * 4)[1]
        beside = _cable(name, "cd", f"198.19.{number // 64}", number % 64 * 4)[0]
        server = prepare(folder, address=theirs)
        server.start(["ip", "netns", "exec", name])
        # It waits for the word, so that a cut comes at the moment it is asked for, however busy the machine is.
        knife = subprocess.Popen(["ip", "-n", name, "-batch", "-"], stdin=subprocess.PIPE)
        try:
            yield Wire(
                server,
                server.settings,
                lambda: _cut(knife, name),
                lambda: _mend(name, server),
                beside,
            )
        finally:
            knife.communicate()
            carrying = server.sessions()
            server.stop()
            for pid in carrying:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, 15)
    finally:
        _ip("netns", "delete", name)


def _cable(name: str, ends: str, network: str, first: int) -> tuple[str, str]:
    """Two interfaces that belong together, ours and one in the namespace; their addresses."""
    ours, theirs = f"{network}.{first + 1}", f"{network}.{first + 2}"
    here, there = f"{name}{ends[0]}", f"{name}{ends[1]}"
    _ip("link", "add", here, "type", "veth", "peer", "name", there, "netns", name)
    _ip("addr", "add", f"{ours}/30", "dev", here)
    _ip("link", "set", here, "up")
    _ip("-n", name, "addr", "add", f"{theirs}/30", "dev", there)
    _ip("-n", name, "link", "set", there, "up")
    return ours, theirs


def _cut(knife: subprocess.Popen[bytes], name: str) -> None:
    assert knife.stdin is not None
    knife.stdin.write(f"link set {name}b down\n".encode())
    knife.stdin.flush()
    deadline = time.monotonic() + _CARRIED_WITHIN_S
    while Path(f"/sys/class/net/{name}a/carrier").read_text() != "0\n":
        assert time.monotonic() < deadline
        time.sleep(0.001)


def _mend(name: str, server: Sshd) -> None:
    _ip("-n", name, "link", "set", f"{name}b", "up")
    deadline = time.monotonic() + _CARRIED_WITHIN_S
    while True:  # the neighbours have to find each other again
        try:
            socket.create_connection((server.settings.address, server.port), timeout=1).close()
            return
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@contextlib.contextmanager
def relay(server: Sshd, silence_s: float = 15.0) -> Iterator[Wire]:
    """A relay to a running sshd of this machine; cut, it carries nothing more, and nobody hears of it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        flowing = threading.Event()
        flowing.set()
        over = threading.Event()
        carrying: list[socket.socket] = []

        def carry() -> None:
            pairs: dict[socket.socket, socket.socket] = {}
            while not over.is_set():
                flowing.wait(0.1)
                if not flowing.is_set():
                    continue
                ready = select.select([listener, *pairs], [], [], 0.05)[0]
                for stream in ready if flowing.is_set() else ():
                    if stream is listener:
                        near = listener.accept()[0]
                        far = socket.create_connection(("127.0.0.1", server.port))
                        pairs[near], pairs[far] = far, near
                        carrying.extend((near, far))
                    elif stream in pairs:
                        other = pairs[stream]
                        with contextlib.suppress(OSError):
                            if data := stream.recv(65_536):
                                other.sendall(data)
                                continue
                        for end in (stream, other):
                            pairs.pop(end, None)
                            end.close()

        thread = threading.Thread(target=carry, daemon=True)
        thread.start()
        known = (server.folder / "known_hosts").read_text().split(maxsplit=1)[1]
        port = listener.getsockname()[1]
        (server.folder / "known_hosts_relay").write_text(f"[127.0.0.1]:{port} {known}")
        settings = replace(
            server.settings, port=port, known_hosts=server.folder / "known_hosts_relay", silence_s=silence_s
        )
        try:
            yield Wire(server, settings, flowing.clear, flowing.set)
        finally:
            over.set()
            flowing.set()
            thread.join()
            for stream in carrying:
                stream.close()


@contextlib.contextmanager
def _relay(folder: Path) -> Iterator[Wire]:
    with sshd(folder) as server, relay(server) as made:
        yield made
