"""Hosts of a lab, through the daemon: commands, sessions, consoles, power, trust, and the actions of jobs."""

from __future__ import annotations

import asyncio
import base64
import getpass
import json
import os
import socket
import threading
import time
import tty
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
import uvicorn
from _sshd import Sshd, sshd
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from drivers.documents import DocumentError
from drivers.sim.power_outlet import PowerOutlet
from drivers.ssh import LinkLostError, RemoteProcess, SshHost, SshSettings
from drivers.ssh.console import Console, ConsoleLine
from labctl.actions.host import Exec, ExecParameters
from labctl.api import create_app
from labctl.api.hosts import _streamed
from labctl.auth.tokens import Token
from labctl.client import Lab as Client
from labctl.client import LabClientError
from labctl.config import Lab, load_lab
from labctl.daemon import Daemon, run_daemon
from labctl.host_client import STDOUT, HostCommandError
from labctl.hosts import Hosts
from labctl.hosts.sessions import CommandSource, ConsoleSource, frame
from labctl.matching import Requirement
from labctl.steps import Cancellation, StepContext
from labctl.store import Store
from labctl.store.tables import events

WITHIN_S = 60.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with sshd(tmp_path_factory.mktemp("sshd")) as running:
        yield running


@pytest.fixture(scope="module")
def outlet() -> Iterator[PowerOutlet]:
    with PowerOutlet(count=2) as running:
        yield running


@pytest.fixture(scope="module")
def serial() -> Iterator[tuple[int, str]]:
    device, host_end = os.openpty()
    tty.setraw(device)
    tty.setraw(host_end)
    yield device, os.ttyname(host_end)
    os.close(host_end)
    os.close(device)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lab")


@pytest.fixture(scope="module")
def lab(folder: Path, server: Sshd, outlet: PowerOutlet, serial: tuple[int, str]) -> Lab:
    path = folder / "lab.yaml"
    known = folder / "known_hosts"
    known.write_bytes((server.folder / "known_hosts").read_bytes())
    reached = f"kind: host, address: 127.0.0.1, port: {server.port}, user: {getpass.getuser()}, agent: false"
    path.write_text(
        f"""
lab: test
devices:
  nuc:
    {{{reached}, key: {server.folder}/user, known_hosts: known_hosts, silence_s: 5,
     power: {{driver: http, dialect: tasmota, url: "{outlet.url}", socket: 1}},
     consoles: {{board: {{tty: {serial[1]}}}}},
     forwards: {{ssh: {{to: {server.port}}}}},
     health: {{packages: [sh], limits: {{disk_free_bytes: 1, disk_free_ratio: 0, memory_free_ratio: 0,
                                         load_per_processor: 1000, temperature_c: 1000}}}}}}
  far: {{{reached}, key: {server.folder}/user, known_hosts: known_hosts, jump: nuc}}
  stranger: {{{reached}, key: {server.folder}/user}}
""",
        encoding="utf-8",
    )
    return load_lab(path)


@pytest.fixture(scope="module")
def daemon(lab: Lab, folder: Path) -> Iterator[Daemon]:
    """One for all tests here; on one kind of database: hosts keep nothing in it but their state."""
    with run_daemon(lab, folder / "data") as running:
        yield running


@pytest.fixture(scope="module")
def url(daemon: Daemon) -> Iterator[str]:
    config = uvicorn.Config(create_app(daemon), log_config=None, lifespan="off", ws="none", timeout_graceful_shutdown=1)
    web = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0), backlog=200) as listener:
        thread = threading.Thread(target=web.run, kwargs={"sockets": [listener]})
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        web.should_exit = True
        thread.join(10)


@pytest.fixture(scope="module")
def client(url: str, daemon: Daemon) -> Iterator[Client]:
    with Client(url) as opened:
        eventually(lambda: opened.host("nuc").status()["up"] and opened.host("far").status()["up"])
        yield opened


def eventually(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_hosts_are_devices_that_come_and_go(client: Client) -> None:
    states = {each["name"]: each["state"] for each in client.devices("host")}
    eventually(lambda: "not trusted yet" in client.host("stranger").status()["reason"])
    states = {each["name"]: each["state"] for each in client.devices("host")}
    assert states == {"nuc": "good", "far": "good", "stranger": "offline"}
    assert [each["name"] for each in client.hosts()] == ["far", "nuc", "stranger"]


def test_a_command_with_input_output_and_status(client: Client) -> None:
    done = client.host("nuc").exec("cat; echo err >&2; exit 3", stdin=b"in\x00\xff", env={"A": "1"}, cwd="/")
    assert (done.stdout, done.stderr, done.exit_status) == (b"in\x00\xff", b"err\n", 3)
    assert client.host("far").exec(["printf", "%s", "a b"]).text == "a b"


@pytest.mark.parametrize(
    "wanted",
    [
        {"command": "true", "command_base64": "dHJ1ZQ=="},
        {"command_base64": "dHJ1ZQ==", "dial": 22},
        {"command_base64": "no base64!"},
        {"command_base64": "AA=="},
        {"command": ""},
        {"command": []},
        {"command": "a\0b"},
        {"command": "true", "env": {"A=B": "1"}},
        {"command": "true", "timeout_s": 0},
        {"dial": "host:99999"},
        {"terminal": {"kind": "x;y"}},
        {},
    ],
)
def test_a_session_that_makes_no_sense_is_refused(http: httpx.Client, client: Client, wanted: dict[str, Any]) -> None:
    told = http.post("/api/v1/hosts/nuc/sessions", json=wanted)
    assert told.status_code == 422, told.text


def test_a_hundred_megabytes_pass_through_the_daemon(client: Client) -> None:
    size = 0

    def count(kind: int, data: bytes) -> None:
        nonlocal size
        size += len(data)

    assert client.host("nuc").exec("head -c 100000000 /dev/zero", on_output=count).exit_status == 0
    assert size == 100_000_000


def test_a_token_in_a_command_is_not_written_down(client: Client, daemon: Daemon) -> None:
    token = Token.new()
    assert client.host("nuc").exec(["echo", token.text]).text == token.text
    about = select(events.c.data).where(events.c.kind == "host.session").order_by(events.c.sequence.desc())

    def told() -> str:
        with daemon.store.read() as connection:
            return str(connection.execute(about.limit(1)).scalar_one()["command"])

    eventually(lambda: told().startswith("echo "))  # nobody waits for that to be written
    assert told() == f"echo labctl_{token.id}_..."


def test_a_session_ends_with_the_token_that_it_was_opened_with(
    client: Client, daemon: Daemon, http: httpx.Client
) -> None:
    """The loop behind an answer, with a token that is in force until something was heard."""
    mark = f"{os.getpid()}781"
    look = f"pgrep -f '^sleep {mark}'"
    process = daemon.hosts.get("nuc").ssh.start(f"echo up; sleep {mark}")
    session = daemon.host_sessions.add("nuc", "anna", CommandSource(process, None))
    heard: list[bytes] = []

    async def listen() -> None:
        async for piece in _streamed(session, frame, lambda: not heard):
            heard.append(piece)

    asyncio.run(listen())
    assert heard == [frame(STDOUT, b"up\n")]
    eventually(lambda: client.host("nuc").exec(look).exit_status == 1)
    assert http.get(f"/api/v1/hosts/nuc/sessions/{session.id}/output").status_code == 404


def test_a_deadline_and_an_unknown_host(client: Client) -> None:
    with pytest.raises(HostCommandError, match=r"still running after 0\.5 s and was killed") as caught:
        client.host("nuc").exec("sleep 600", timeout_s=0.5)
    assert caught.value.kind == "timeout"
    with pytest.raises(LabClientError, match="hosts are: nuc, far, stranger") as missing:
        client.host("no").exec("true")
    assert missing.value.status == 404
    with pytest.raises(LabClientError, match="not trusted yet"):
        client.host("stranger").exec("true")


def test_curl_needs_no_client_of_ours(http: httpx.Client, client: Client) -> None:
    body = {"command": "cat; printf '\\377'; exit 5", "stdin": "hello"}
    with http.stream("POST", "/api/v1/hosts/nuc/exec", json=body) as response:
        lines = [json.loads(line) for line in response.iter_lines()]
    assert lines[-1] == {"exit_status": 5}
    said = b"".join(
        each["stdout"].encode() if "stdout" in each else base64.b64decode(each["stdout_base64"]) for each in lines[:-1]
    )
    assert said == b"hello\xff"


def test_who_hangs_up_ends_the_command(http: httpx.Client, client: Client) -> None:
    mark = f"{os.getpid()}778"
    with http.stream("POST", "/api/v1/hosts/nuc/exec", json={"command": f"echo up; sleep {mark}"}) as response:
        lines = response.iter_lines()  # kept: a connection whose reader is gone is closed
        assert json.loads(next(lines)) == {"stdout": "up\n"}
        eventually(lambda: client.host("nuc").exec(f"pgrep -f '^sleep {mark}'").exit_status == 0)
    eventually(lambda: client.host("nuc").exec(f"pgrep -f '^sleep {mark}'").exit_status == 1)


def test_a_terminal_that_is_typed_into(client: Client) -> None:
    session = client.host("nuc").session({"command": "stty size; head -n 1; stty size", "terminal": {"width": 90}})
    output = session.output()
    said = b""
    while b"24 90" not in said:
        said += next(output)[1]
    session.resize(50, 20)
    session.write(b"typed\n")
    said += b"".join(data for _, data in output)
    assert b"typed" in said
    assert b"20 50" in said
    assert session.ended == {"exit_status": 0}


def test_input_after_its_end_and_to_who_is_gone_is_let_go(client: Client) -> None:
    """It kept a thread of the daemon busy for as long as the command ran, or was an internal error."""
    nuc = client.host("nuc")
    with socket.create_server(("127.0.0.1", 0)) as far:
        for wanted in ({"command": "sleep 30"}, {"dial": far.getsockname()[1]}):
            session = nuc.session(wanted)
            session.write(b"", end=True)
            answer = client.raw("POST", f"{session._path}/input", content=b"more", timeout=10)
            assert answer.status_code == 204
            session.cancel()


def test_a_console_is_shared_and_logged(client: Client, serial: tuple[int, str]) -> None:
    nuc = client.host("nuc")
    eventually(lambda: nuc.status()["consoles"]["board"]["open"])
    session = nuc.session({"console": "board"})
    output = session.output()
    os.write(serial[0], b"boot 7\r\n")
    said = b""
    while not said.endswith(b"boot 7\r\n"):
        said += next(output)[1]
    session.write(b"reset\n")
    assert os.read(serial[0], 100) == b"reset\n"
    session.cancel()
    assert list(output) == []
    assert nuc.console_log("board").endswith(b"Z boot 7\r\n")
    with pytest.raises(LabClientError, match="consoles are: board"):
        nuc.session({"console": "none"})


def test_who_reads_a_console_too_slowly_is_told_so_and_not_left_waiting(tmp_path: Path) -> None:
    """Nothing more came to it, and no end: it looked like a console that says nothing."""
    console = Console(SshHost(SshSettings("127.0.0.1", "nobody")), ConsoleLine(tcp="1"), tmp_path / "board.log")
    source = ConsoleSource(console)
    ended: list[str] = []

    def read() -> None:
        try:
            for _ in source.pieces():
                pass
        except LinkLostError as exc:
            ended.append(str(exc))

    for _ in range(2000):
        console._heard(b"booting\n")
    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(10)
    assert ended == ["the console said more than was read of it; attach again"]


def test_a_host_is_looked_after_though_its_state_could_not_be_noted(tmp_path: Path) -> None:
    """As when the database was away, or its disk full, while the host came up or went down."""
    (tmp_path / "lab.yaml").write_text(
        "lab: test\ndevices: {nuc: {kind: host, address: 127.0.0.1, port: 1, user: nobody, agent: false}}\n",
        encoding="utf-8",
    )
    noted: list[object] = []

    class AwayAtFirst:
        def write(self, work: object) -> None:
            noted.append(work)
            if len(noted) == 1:
                raise OperationalError("UPDATE", {}, Exception("database or disk is full"))
            told.set()

    told = threading.Event()
    hosts = Hosts(load_lab(tmp_path / "lab.yaml"), tmp_path / "data", cast(Store, AwayAtFirst()))
    hosts.start()
    try:
        assert told.wait(30)
        assert "nuc" in hosts.get("nuc").reason
    finally:
        hosts.close()
    assert len(noted) == 2


def test_a_connection_through_the_host_and_a_kept_forward(client: Client, server: Sshd) -> None:
    nuc = client.host("nuc")
    session = nuc.session({"dial": server.port})
    kind, data = next(session.output())
    assert (kind, data[:4]) == (STDOUT, b"SSH-")
    session.cancel()
    forward = nuc.status()["forwards"]["ssh"]
    host, port = forward["local"].split(":")
    with socket.create_connection((host, int(port)), timeout=60) as stream:
        assert stream.recv(4) == b"SSH-"


def test_an_address_as_the_host_sees_it_is_reached(daemon: Daemon, client: Client, server: Sshd) -> None:
    host = daemon.hosts.get("far")
    url = host.reach(f"tcp://127.0.0.1:{server.port}")
    assert url.startswith("tcp://127.0.0.1:")
    assert url != f"tcp://127.0.0.1:{server.port}"
    assert host.reach(f"tcp://127.0.0.1:{server.port}") == url
    with pytest.raises(ValueError, match="names no host and port"):
        host.reach("serial:///dev/ttyUSB0")


def test_somebody_elses_lease_is_respected_unless_it_is_said(client: Client, daemon: Daemon) -> None:
    lease = daemon.leases.request("somebody", [Requirement(device="far")], 60)
    with pytest.raises(LabClientError, match="far is held by somebody until") as caught:
        client.host("far").exec("true")
    assert caught.value.status == 409
    assert client.host("far").exec("true", despite_lease=True).exit_status == 0
    daemon.leases.release(lease, "done")
    assert client.host("far").exec("true").exit_status == 0


def test_health(client: Client) -> None:
    health = client.host("nuc").health()
    assert health["well"], health["complaints"]
    assert health["hostname"] == os.uname().nodename
    assert abs(health["clock"]["offset_s"]) <= health["clock"]["error_s"]


def test_trust_needs_the_fingerprint_that_was_compared(client: Client) -> None:
    stranger = client.host("stranger")
    with pytest.raises(LabClientError, match="compare again"):
        stranger.trust("SHA256:" + "A" * 43)
    fingerprint = stranger.key()["fingerprint"]
    assert stranger.trust(fingerprint)["changed"] is True
    eventually(lambda: stranger.status()["up"])
    assert stranger.exec("echo in").text == "in"


def test_power(client: Client, outlet: PowerOutlet) -> None:
    nuc = client.host("nuc")
    before = len(outlet.switched)
    assert nuc.power()["on"] is True
    assert nuc.power("cycle", pause_s=0)["on"] is True
    assert outlet.switched[before:] == [(1, False), (1, True)]
    with pytest.raises(LabClientError, match="names no power switch for far"):
        client.host("far").power("off")


def run(client: Client, *steps: str) -> dict[str, object]:
    text = "name: hosts\nroles:\n  box: {device: nuc}\nlanes:\n  box:\n    steps:\n"
    text += "".join(f"      - {step}\n" for step in steps)
    job = client.run(text)
    return {"job": job, "run": client.run_result(job["runs"][-1])}


def test_job_actions(client: Client, tmp_path: Path, outlet: PowerOutlet) -> None:
    project, there = tmp_path / "project", tmp_path / "there"
    (project / "sub").mkdir(parents=True)
    (project / "test.sh").write_text("echo measured; mkdir -p out/x; echo 1 >out/a.csv; echo 2 >out/x/b.csv; exit 0\n")
    (project / "sub" / "skip.tmp").write_text("x")
    before = len(outlet.switched)
    result = run(
        client,
        f"{{uses: host.sync, with: {{source: {project}, to: {there}, ignore: ['*.tmp']}}}}",
        f"{{uses: host.exec, with: {{command: [sh, test.sh], cwd: {there}}}}}",
        f"{{uses: host.fetch, with: {{path: {there}/out}}}}",
        f"{{uses: host.fetch, with: {{path: {there}/out/a.csv, name: one.csv}}}}",
        "{uses: power.cycle, with: {pause_s: 0}}",
    )
    assert result["job"]["verdict"] == "passed", result["job"]
    kept = {each["name"]: each["size"] for each in result["run"]["artifacts"]}
    assert kept == {"output.log": 9, "a.csv": 2, "x/b.csv": 2, "one.csv": 2}
    assert not (there / "sub" / "skip.tmp").exists()
    assert outlet.switched[before:] == [(1, False), (1, True)]


def test_a_command_that_fails_fails_the_job_and_one_that_hangs_is_killed(client: Client) -> None:
    failed = run(client, "{uses: host.exec, with: {command: 'echo broken >&2; exit 2'}}")["job"]
    assert (failed["verdict"], "exit status 2: broken" in failed["reason"]) == ("failed", True)
    slow = run(client, "{uses: host.exec, with: {command: sleep 600, timeout_s: 0.5}}")["job"]
    assert (slow["verdict"], "was killed" in slow["reason"]) == ("failed", True)
    nothing = run(client, "{uses: host.fetch, with: {path: /no/such/file}}")["job"]
    assert nothing["verdict"] == "failed"


def test_a_command_whose_log_cannot_be_opened_does_not_go_on(client: Client, daemon: Daemon, tmp_path: Path) -> None:
    """As on a full disk."""
    host = daemon.hosts.get("nuc").ssh
    started: list[RemoteProcess] = []

    def start(*wanted: Any, **how: Any) -> RemoteProcess:
        started.append(host.start(*wanted, **how))
        return started[0]

    lab_host = SimpleNamespace(ssh=SimpleNamespace(start=start))
    context = SimpleNamespace(
        hosts=SimpleNamespace(get=lambda _name: lab_host),
        device="nuc",
        folder=tmp_path / "gone",
        cancellation=Cancellation(),
    )
    with pytest.raises(FileNotFoundError):
        Exec().run(cast(StepContext, context), ExecParameters(command="sleep 60"))
    assert started[0].wait(10) == 143


def test_a_job_cannot_carry_off_what_the_daemon_keeps_to_itself(
    client: Client, folder: Path, server: Sshd, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(server.folder)  # the hosts' key lies there
    for source in (folder / "data", folder / "data" / "hosts", folder, tmp_path / "link", Path("/")):
        refused = run(client, f"{{uses: host.sync, with: {{source: {source}, to: {tmp_path}/there}}}}")["job"]
        assert (refused["verdict"], "is the daemon's own" in refused["reason"]) == ("failed", True)
    assert not (tmp_path / "there").exists()


def test_cancelling_a_job_kills_its_command(client: Client) -> None:
    mark = f"{os.getpid()}779"
    job = client.submit(
        "name: long\nroles:\n  box: {device: nuc}\nlanes:\n  box:\n    steps:\n"
        f"      - {{uses: host.exec, with: {{command: sleep {mark}}}}}\n"
    )
    look = f"pgrep -f '^sleep {mark}'"
    eventually(lambda: client.host("nuc").exec(look, despite_lease=True).exit_status == 0)
    client.cancel(job["id"])
    for _ in client.follow(job["id"]):
        pass
    assert client.job(job["id"])["verdict"] == "cancelled"
    assert client.host("nuc").exec(look).exit_status == 1


def test_many_listeners_do_not_keep_other_requests_waiting(client: Client) -> None:
    sessions = [client.host("nuc").session({"command": "read x; echo $x"}) for _ in range(45)]
    outputs = [session.output() for session in sessions]
    first: list[bytes] = []
    threads = [threading.Thread(target=lambda each=each: first.append(next(each)[1])) for each in outputs]
    for thread in threads:
        thread.start()
    assert client.host("nuc").status()["up"]
    for number, session in enumerate(sessions):
        session.write(f"{number}\n".encode())
    for thread in threads:
        thread.join()
    assert sorted(int(data) for data in first) == list(range(45))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("jump: nowhere", "no host is called 'nowhere'; hosts are: a, b"),
        ("jump: a", "the jump hosts lead back"),
        ("key: none.pem", "there is no file"),
        ("forwards: {x: {to: 'a:b'}}", "no destination"),
        ("consoles: {x: {tty: /dev/a, tcp: 1}}", "either a tty or a tcp port"),
        ("power: {driver: wake-on-lan, hardware_address: 'x'}", "no hardware address"),
        ("power: {driver: usb, location: '1', port: 1, host: c}", "no host is called 'c'"),
        ("power: {driver: http, dialect: shelly1, url: 'http://x', password_file: p}", "there is no file"),
    ],
)
def test_a_lab_file_is_refused_with_the_place(tmp_path: Path, wrong: str, message: str) -> None:
    path = tmp_path / "lab.yaml"
    path.write_text(
        f"lab: x\ndevices:\n  a: {{kind: host, address: h, user: u, {wrong}}}\n"
        "  b: {kind: host, address: h, user: u}\n"
    )
    with pytest.raises(DocumentError, match=message) as caught:
        load_lab(path)
    assert "lab.yaml:3:" in str(caught.value)
