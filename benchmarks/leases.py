"""Grants over HTTP, durable on SQLite and on PostgreSQL, beside labgrid's coordinator, in turn on the same machine.

The peer is looked for in .venv-labgrid (made by `make bench`) or named by --peer. It keeps its state in memory and
writes a file later; ours is on the disk before it answers. Each grant is a lease taken and given back.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import _lease_load as load
from _postgresql import Cluster

DEVICES = 500
HERE = Path(__file__).parent


@contextmanager
def daemon(folder: Path, devices: int = DEVICES, database: str | None = None) -> Iterator[tuple[int, int]]:
    """A daemon with so many devices: its port and process id."""
    folder.mkdir(parents=True, exist_ok=True)
    lab = folder / "lab.yaml"
    lines = [f"  d{number:04}: {{kind: lidar, url: 'tcp://127.0.0.1:1'}}\n" for number in range(devices)]
    lab.write_text("lab: bench\ndevices:\n" + "".join(lines), encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "labctl",
        "serve",
        "--lab",
        str(lab),
        "--data",
        str(folder / "data"),
        "--port",
        "0",
    ]
    command += ["--database", database] if database else []
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise SystemExit((folder / "log").read_text(encoding="utf-8")[-2000:])
        yield int(json.loads(line)["url"].rsplit(":", 1)[1]), process.pid
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def coordinator(peer: Path, folder: Path) -> Iterator[tuple[str, int]]:
    """labgrid's coordinator: its address and process id."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    folder.mkdir(parents=True, exist_ok=True)
    command = [str(peer / "labgrid-coordinator"), "-l", f"127.0.0.1:{port}"]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield f"127.0.0.1:{port}", process.pid
    finally:
        process.terminate()
        process.wait(30)


def of_labgrid(peer: Path, address: str, clients: int, seconds: float) -> dict[str, Any]:
    """What labgrid's clients saw."""
    command = [str(peer / "python"), str(HERE / "_labgrid_load.py"), address, str(DEVICES), str(clients), str(seconds)]
    return dict(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))


def own_device(client: int, _turn: int) -> dict[str, Any]:
    return {"devices": [f"d{client:04}"], "duration_s": 60}


def shared_device(client: int, _turn: int) -> dict[str, Any]:
    return {"devices": [f"d{client % 50:04}"], "duration_s": 60, "wait_s": 120}


def quantile(values: list[float], share: float) -> float:
    """In milliseconds."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1e3 if ordered else float("nan")


def resident_mib(pid: int) -> float:
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(text.split("VmRSS:")[1].split()[0]) / 1024


def cpu_seconds(pid: int) -> float:
    """User plus system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def measure(name: str, port: int, pid: int, seconds: float, leases: int) -> tuple[list[str], dict[str, float]]:
    """The rows of one database, and its grants a second."""
    rows, rates = [], {}
    asyncio.run(load.churn(port, 4, 5, own_device, 20))  # the caches are warm afterwards
    before = cpu_seconds(pid)
    one = asyncio.run(load.churn(port, 1, seconds, own_device))
    cost = (cpu_seconds(pid) - before) / len(one.grant) * 1e3
    rates["1"] = len(one.grant) / one.elapsed
    rows.append(
        f"| {name}, 1 client | {rates['1']:.0f} | {quantile(one.grant, 0.5):.1f} | {quantile(one.grant, 0.99):.1f} "
        f"| {cost:.1f} | {len(one.errors)} errors |"
    )
    for clients, wanted, what in ((16, own_device, ""), (200, own_device, ""), (200, shared_device, " for 50 devices")):
        before = cpu_seconds(pid)
        many = asyncio.run(load.churn(port, clients, seconds, wanted))
        cost = (cpu_seconds(pid) - before) / len(many.grant) * 1e3
        rates[f"{clients}{what}"] = len(many.grant) / many.elapsed
        starved = sum(count == 0 for count in many.each)
        rows.append(
            f"| {name}, {clients} clients{what} | {rates[f'{clients}{what}']:.0f} | {quantile(many.grant, 0.5):.1f} "
            f"| {quantile(many.grant, 0.99):.1f} | {cost:.1f} | {len(many.errors)} errors, {starved} clients starved, "
            f"fewest {min(many.each)}, most {max(many.each)} |"
        )
    passed_on = asyncio.run(load.handovers(port, "d0001", 50))
    median, longest = quantile(passed_on, 0.5), max(passed_on) * 1e3
    rows.append(f"| {name}, release to the next waiter's grant | | {median:.1f} | {longest:.1f} (max) | | |")
    if leases:
        sizes, done = [resident_mib(pid)], 0
        for _ in range(5):
            done += len(asyncio.run(load.churn(port, 16, 3600, own_device, leases // 80)).grant)
            sizes.append(resident_mib(pid))
        grown = ", ".join(f"{size:.0f}" for size in sizes)
        rows.append(f"| {name}, memory over {done} leases, MiB | {grown} | | | | |")
    return rows, rates


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="2 s of each load, 2,000 leases for the memory")
    parser.add_argument("--peer", default=".venv-labgrid", help="the environment that labgrid is installed in")
    options = parser.parse_args()
    seconds, leases = (2.0, 2_000) if options.quick else (8.0, 100_000)
    peer = Path(options.peer).resolve() / "bin"

    print(f"load average at the start: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; {DEVICES} devices\n")
    print("| what | grants/s | median ms | p99 ms | CPU ms a grant, server | notes |")
    print("|---|---|---|---|---|---|")
    rates: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="labctl-bench-") as name:
        folder = Path(name)
        if (peer / "labgrid-coordinator").exists():
            with coordinator(peer, folder / "labgrid") as (address, server):
                rates["labgrid"] = {}
                for clients in (1, 16, 200):
                    before = cpu_seconds(server)
                    seen = of_labgrid(peer, address, clients, seconds)
                    cost = (cpu_seconds(server) - before) / len(seen["acquire"]) * 1e3
                    rate = rates["labgrid"][str(clients)] = len(seen["acquire"]) / seen["elapsed"]
                    print(
                        f"| labgrid 26, {clients} clients | {rate:.0f} | {quantile(seen['acquire'], 0.5):.1f} "
                        f"| {quantile(seen['acquire'], 0.99):.1f} | {cost:.1f} | {'; '.join(seen['errors'])} |",
                        flush=True,
                    )
        else:
            print(f"no labgrid at {peer}: `make bench` installs it", file=sys.stderr)
        with daemon(folder / "sqlite") as (port, pid):
            rows, rates["SQLite"] = measure("SQLite", port, pid, seconds, leases)
            print("\n".join(rows), flush=True)
        cluster = Cluster(durable=True)
        try:
            with daemon(folder / "postgresql", database=cluster.create()) as (port, pid):
                rows, rates["PostgreSQL"] = measure("PostgreSQL", port, pid, seconds, 0)
                print("\n".join(rows), flush=True)
        finally:
            cluster.remove()
    if "labgrid" in rates:
        print("\n| grants/s as a multiple of labgrid's | 1 client | 16 clients | 200 clients |\n|---|---|---|---|")
        for kind in ("SQLite", "PostgreSQL"):
            shares = [f"{rates[kind][clients] / rates['labgrid'][clients]:.1f}" for clients in ("1", "16", "200")]
            print(f"| {kind} | {' | '.join(shares)} |")
    print(f"\nload average at the end: {os.getloadavg()[0]:.1f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
