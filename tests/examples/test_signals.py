"""The examples that join a run from Python, JavaScript and a shell, started as their users start them."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from labctl.cli.daemon_child import daemon_child
from labctl.client import Lab, LabClientError

EXAMPLES = Path(__file__).parents[2] / "examples" / "signals"
LAB = "lab: calls\ndevices:\n  phone: {kind: endpoint, simulated: true}\n"
PROGRAMS = {"join.py": sys.executable, "join.mjs": "node", "join.sh": "sh"}


def start(program: str, run: str, url: str) -> subprocess.Popen[bytes]:
    interpreter = shutil.which(PROGRAMS[program]) or pytest.fail(f"{PROGRAMS[program]} is not installed")
    environment = {**os.environ, "LABCTL_URL": url, "RUN": run}
    return subprocess.Popen([interpreter, str(EXAMPLES / program)], env=environment, stderr=subprocess.PIPE)


def ended(program: subprocess.Popen[bytes]) -> tuple[int, bytes]:
    _, errors = program.communicate(timeout=60)
    return program.returncode, errors


def running(lab: Lab, job: str) -> str:
    for event in lab.follow(job):
        if event["kind"] == "run.started":
            return str(event["run"])
    raise AssertionError("the job never began")


def test_programs_of_three_languages_take_part_in_a_run(tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text(LAB, encoding="utf-8")
    with daemon_child(tmp_path / "lab.yaml", tmp_path / "data", tmp_path / "log") as child, Lab(child.url) as lab:
        job = lab.submit(EXAMPLES / "job.yaml")["id"]
        run = running(lab, job)
        programs = [start(each, run, child.url) for each in PROGRAMS]
        assert [ended(each) for each in programs] == [(0, b"")] * 3
        for _ in lab.follow(job):
            pass
        assert lab.job(job)["verdict"] == "passed"
        assert lab.run_result(run)["outputs"] == {"python": "phone", "node": "phone", "shell": "phone"}


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_that_waits_survives_that_nobody_answers_for_a_while(program: str, tmp_path: Path) -> None:
    """No answer to the end, then one that is starting, then nothing yet, then the word."""
    said: list[bytes] = []
    answers = iter(
        [
            b"",
            b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n",
            _json(200, b'{"name": "go", "payload": {"device": "phone"}}'),
            b"",
            _json(201, b"{}"),
        ]
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(60)

        def serve() -> None:
            for answer in answers:
                connection, _ = listener.accept()
                with connection:
                    said.append(_request(connection))
                    connection.sendall(answer)

        server = threading.Thread(target=serve)
        server.start()
        child = start(program, "r1", f"http://127.0.0.1:{listener.getsockname()[1]}")
        assert ended(child) == (0, b"")
        server.join(60)
    lines = [each.split(b"\r\n", 1)[0].decode() for each in said]
    assert lines[:4] == ["GET /api/v1/runs/r1/signals/go?wait=30s HTTP/1.1"] * 4
    assert [each.startswith("POST /api/v1/runs/r1/signals/") for each in lines] == [False] * 4 + [True] * 2
    assert b'"phone"' in said[-1]


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_that_waits_in_vain_ends_with_the_reason(program: str, tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text(LAB, encoding="utf-8")
    with daemon_child(tmp_path / "lab.yaml", tmp_path / "data", tmp_path / "log") as child, Lab(child.url) as lab:
        document: dict[str, Any] = {
            "name": "no go",
            "roles": {"device": {"kind": "endpoint"}},
            "signals": ["never"],
            "lanes": {"device": {"steps": [{"wait": "never"}, {"notify": "go"}]}},
        }
        job = lab.submit(json.dumps(document))["id"]
        waiting = start(program, running(lab, job), child.url)
        lab.cancel(job, "enough")
        code, errors = ended(waiting)
        assert code != 0
        assert b"nobody will say" in errors
        with pytest.raises(LabClientError, match="cancelled"):
            lab.notify(lab.job(job)["runs"][0], "never")


def _json(status: int, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status} OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"Connection: close\r\n\r\n" + body


def _request(connection: socket.socket) -> bytes:
    """A request with its body."""
    connection.settimeout(30)
    got = b""
    while b"\r\n\r\n" not in got:
        got += connection.recv(65536)
    head, _, body = got.partition(b"\r\n\r\n")
    length = next((int(x.split(b":")[1]) for x in head.split(b"\r\n") if x.lower().startswith(b"content-length")), 0)
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body
