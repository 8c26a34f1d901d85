"""Hosts over SSH beside bare paramiko and rsync, against a real sshd on loopback.

python benchmarks/ssh_hosts.py [--quick]
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import paramiko
from _sshd import Sshd, sshd
from _wire import wire

from drivers.ssh import SshHost
from drivers.ssh.copying import put
from drivers.ssh.syncing import sync_to


def bare(server: Sshd, *, nodelay: bool) -> paramiko.Transport:
    """paramiko alone, as its own documentation uses it."""
    stream = socket.create_connection(("127.0.0.1", server.port))
    if nodelay:
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    transport = paramiko.Transport(stream)
    key = paramiko.PKey.from_path(server.settings.keys[0])
    transport.connect(username=server.settings.user, pkey=key)
    return transport


def run_bare(transport: paramiko.Transport) -> None:
    """One command with its output and exit status."""
    channel = transport.open_session()
    channel.exec_command("true")
    while channel.recv(65_536):
        pass
    assert channel.recv_exit_status() == 0
    channel.close()


def times(work: Callable[[], object], count: int) -> list[float]:
    """How long it took each time, in seconds."""
    taken = []
    for _ in range(count):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return taken


def interleaved(works: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """The same in turns, so that a machine's other load is shared fairly."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            taken[name] += times(work, 1)
    return taken


def warm_exec(server: Sshd, rounds: int) -> None:
    """The time of one command on a connection that is there."""
    with SshHost.open(server.settings) as host:
        fast, slow = bare(server, nodelay=True), bare(server, nodelay=False)
        host.exec("true")
        run_bare(fast)
        taken = interleaved({"ours": lambda: host.exec("true"), "bare": lambda: run_bare(fast)}, rounds)
        delayed = times(lambda: run_bare(slow), max(5, rounds // 10))
        fast.close()
        slow.close()
    base = statistics.median(taken["bare"])
    print("\n| warm exec of `true` | median ms | 95 % ms | ratio |\n|---|---|---|---|")
    rows = (
        ("drivers.ssh (watched, killable)", taken["ours"]),
        ("bare paramiko, TCP_NODELAY", taken["bare"]),
        ("bare paramiko as it comes", delayed),
    )
    for name, values in rows:
        median = statistics.median(values)
        high = sorted(values)[int(len(values) * 0.95)]
        print(f"| {name} | {median * 1e3:.2f} | {high * 1e3:.2f} | {median / base:.2f} |")


def many_at_once(server: Sshd, count: int) -> None:
    """`sleep 1` on many hosts at once, on connections that are there."""
    hosts = [SshHost.open(server.settings) for _ in range(count)]
    for host in hosts:
        host.exec("true")
    threads = [threading.Thread(target=host.exec, args=("sleep 1",)) for host in hosts]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    taken = time.perf_counter() - began
    closing = [threading.Thread(target=host.close) for host in hosts]
    for thread in (*closing,):
        thread.start()
    for thread in closing:
        thread.join()
    print(f"\n| at once | seconds in all |\n|---|---|\n| `sleep 1` on {count} hosts | {taken:.2f} |")


def folders(server: Sshd, folder: Path, files: int, rounds: int) -> None:
    """A folder of many files: unchanged, with one change, and from nothing."""
    source = folder / "source"
    for number in range(files):
        path = source / f"d{number % 50}" / f"file {number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(number % 3000))
    (folder / "config").write_text(
        f"Host nuc\n HostName 127.0.0.1\n Port {server.port}\n User {server.settings.user}\n"
        f" IdentityFile {server.settings.keys[0]}\n UserKnownHostsFile {server.settings.known_hosts}\n"
        f" ControlMaster auto\n ControlPath {folder}/control\n ControlPersist 60\n"
    )
    command = ["rsync", "-a", "--delete", "-e", f"ssh -F {folder}/config", f"{source}/", f"nuc:{folder}/theirs/"]

    def by_rsync() -> None:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    with SshHost.open(server.settings) as host:

        def by_us() -> int:
            return sync_to(host, source, f"{folder}/ours", delete=True).bytes

        first = {"ours": times(by_us, 1), "rsync": times(by_rsync, 1)}
        unchanged = interleaved({"ours": by_us, "rsync": by_rsync}, rounds)
        one, rsync_one, moved = [], [], 0
        for number in range(rounds):
            (source / "d7" / "file 7").write_bytes(b"changed %d" % number)
            began = time.perf_counter()
            moved = by_us()
            one.append(time.perf_counter() - began)
            rsync_one += times(by_rsync, 1)
    subprocess.run(["ssh", "-F", f"{folder}/config", "-O", "exit", "nuc"], capture_output=True, check=False)
    print(f"\n| folder of {files} files, both on a warm connection | ours s | rsync s | ratio |\n|---|---|---|---|")
    for name, mine, peer in (
        ("first copy", first["ours"][0], first["rsync"][0]),
        (
            f"unchanged (median of {rounds})",
            statistics.median(unchanged["ours"]),
            statistics.median(unchanged["rsync"]),
        ),
        (f"one file changed ({moved} bytes of files moved)", statistics.median(one), statistics.median(rsync_one)),
    ):
        print(f"| {name} | {mine:.3f} | {peer:.3f} | {mine / peer:.2f} |")


def resumed(folder: Path, megabytes: int) -> None:
    """A large file whose link is cut half-way, without a word, and mended once that was noticed."""
    source, target = folder / "large", folder / "arrived"
    with source.open("wb") as file:
        for _ in range(megabytes):
            file.write(os.urandom(1 << 20))
    size = megabytes << 20
    with wire(folder / "wire", silence_s=3.0) as line, SshHost.open(line.settings) as host:
        cut = threading.Event()

        def mend() -> None:
            while host.connected:
                time.sleep(0.05)
            line.mend()

        def follow(done: int, _all: int) -> None:
            if done > size // 2 and not cut.is_set():
                cut.set()
                line.cut()
                threading.Thread(target=mend).start()

        began = time.perf_counter()
        copied = put(host, source, str(target), on_progress=follow)
        taken = time.perf_counter() - began
    same = source.stat().st_size == target.stat().st_size
    same = same and subprocess.run(["cmp", str(source), str(target)], check=False).returncode == 0
    print(
        f"\n| a file of {megabytes} MiB, cut half-way | |\n|---|---|\n| cuts | {copied.cuts} |\n"
        f"| sent in all | {copied.sent / (1 << 20):.0f} MiB |\n| seconds, with 3 s to notice the cut | {taken:.1f} |\n"
        f"| arrived unharmed | {'yes' if same else 'NO'} |"
    )


def main() -> None:
    """Measure everything once."""
    parser = argparse.ArgumentParser(description="Hosts over SSH, side by side with bare paramiko and rsync.")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, a smaller file")
    quick = parser.parse_args().quick
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with sshd(folder / "sshd") as server:
            warm_exec(server, 50 if quick else 300)
            many_at_once(server, 50)
            (folder / "sync").mkdir()
            folders(server, folder / "sync", 5000, 3 if quick else 11)
        resumed(folder, 64 if quick else 1024)


if __name__ == "__main__":
    main()
