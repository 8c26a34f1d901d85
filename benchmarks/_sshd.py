"""OpenSSH's sshd on a loopback port with keys of its own, for tests and benchmarks."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from drivers.ssh import SshSettings

_STARTED_WITHIN_S = 30.0


@dataclass
class Sshd:
    """A running sshd. `settings`: how to reach it; `folder`: its keys, configuration and log."""

    folder: Path
    port: int
    settings: SshSettings
    words: tuple[str, ...]
    process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def start(self, prefix: Sequence[str] = ()) -> None:
        """Start it (again); back when it answers. `prefix`: words to run it under, such as another namespace."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen([*prefix, *self.words], stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + _STARTED_WITHIN_S
        while True:
            try:
                with socket.create_connection((self.settings.address, self.port), timeout=1) as probe:
                    probe.settimeout(5)
                    if probe.recv(4) == b"SSH-":
                        return
            except OSError:
                pass
            assert self.process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.05)

    def stop(self) -> None:
        """End the listening process; connections go on."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait()
            self.process = None

    def sessions(self) -> list[int]:
        """Process ids of the sshd processes that carry connections."""
        children = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                after = stat.read_text(errors="replace").rpartition(") ")[2].split()
                if self.process is not None and int(after[1]) == self.process.pid:
                    children.append(int(stat.parent.name))
        return children


def make_key(path: Path, *, kind: str = "ed25519", comment: str = "test") -> Path:
    """A new private key at `path`, its public half beside it."""
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", comment, "-f", str(path)], check=True)
    return path


def free_port(address: str = "127.0.0.1") -> int:
    """A port that nobody listens on now."""
    with socket.create_server((address, 0)) as probe:
        return int(probe.getsockname()[1])


def prepare(folder: Path, *, address: str = "127.0.0.1", name: str = "nuc", options: str = "") -> Sshd:
    """Keys and configuration of an sshd, not started yet. `options`: further lines of its sshd_config."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    (folder / "home").mkdir(exist_ok=True)
    make_key(folder / "host")
    make_key(folder / "user")
    shutil.copy(folder / "user.pub", folder / "authorized_keys")
    port = free_port()
    (folder / "config").write_text(
        f"{options}\nListenAddress {address}:{port}\nHostKey {folder}/host\n"
        f"AuthorizedKeysFile {folder}/authorized_keys\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n"
        "KbdInteractiveAuthentication no\nPidFile none\nPermitRootLogin prohibit-password\n"
        "Subsystem sftp internal-sftp\nMaxStartups 500\n"
        f"SetEnv HOME={folder}/home\n"  # and not the ~/.bashrc of whoever runs this
    )
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # its privilege separation insists on that folder
    known = f"[{address}]:{port} " + " ".join((folder / "host.pub").read_text().split()[:2]) + "\n"
    (folder / "known_hosts").write_text(known)
    settings = SshSettings(
        address,
        getpass.getuser(),
        port,
        name,
        keys=(folder / "user",),
        agent=False,
        known_hosts=folder / "known_hosts",
    )
    program = shutil.which("sshd") or "/usr/sbin/sshd"
    return Sshd(folder, port, settings, (program, "-D", "-e", "-f", str(folder / "config")))


@contextlib.contextmanager
def sshd(folder: Path, *, name: str = "nuc", options: str = "") -> Iterator[Sshd]:
    """A running sshd, ended with all its connections."""
    made = prepare(folder, name=name, options=options)
    made.start()
    try:
        yield made
    finally:
        carrying = made.sessions()
        made.stop()
        for pid in carrying:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 15)


def trusting(server: Sshd, *others: Sshd) -> SshSettings:
    """Settings of `server` whose known hosts are its own and those of `others` together."""
    joined = "".join((each.folder / "known_hosts").read_text() for each in (server, *others))
    path = server.folder / "known_hosts_joined"
    path.write_text(joined)
    return replace(server.settings, known_hosts=path)
