"""Requests that wait for a device that says nothing; everybody else is served meanwhile."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx

from labctl.cli.daemon_child import daemon_child

LAB = """
lab: waiting
devices:
  hall: {kind: room}
  nuc: {kind: host, address: 127.0.0.1, port: PORT, user: lab}
"""
WAITING = 100


def test_hosts_that_say_nothing_keep_nobody_else_waiting(tmp_path: Path) -> None:
    lab = tmp_path / "lab.yaml"
    with socket.create_server(("127.0.0.1", 0), backlog=2 * WAITING) as silent, ExitStack() as kept:
        lab.write_text(LAB.replace("PORT", str(silent.getsockname()[1])))
        with (
            daemon_child(lab, tmp_path / "data", tmp_path / "log.txt") as daemon,
            httpx.Client(base_url=daemon.url, timeout=60, limits=httpx.Limits(max_connections=None)) as http,
            ThreadPoolExecutor(WAITING) as threads,
        ):
            asked = [threads.submit(http.get, "/api/v1/hosts/nuc/key") for _ in range(WAITING)]
            for _ in range(60):  # more than there are threads for requests; each waits 10 s for a host's answer
                kept.callback(silent.accept()[0].close)
            assert len(http.get("/api/v1/devices").json()["items"]) == 2
            assert not any(each.done() for each in asked)
            answers = [each.result() for each in asked]
        assert {each.status_code for each in answers} == {503}
        assert all("nuc" in each.json()["detail"] for each in answers)
