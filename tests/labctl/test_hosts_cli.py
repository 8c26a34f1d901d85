"""`labctl hosts ...`, as typed: what is printed, and the exit status."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import pty
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import uvicorn
from _sshd import Sshd, sshd

from drivers.sim.power_outlet import PowerOutlet
from labctl.api import create_app
from labctl.cli.app import run_cli
from labctl.client import Lab as Client
from labctl.config import load_lab
from labctl.daemon import run_daemon

WITHIN_S = 60.0
Labctl = Callable[..., "Ended"]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A daemon with two hosts that are up and one that nobody trusts yet."""
    folder = tmp_path_factory.mktemp("lab")
    with contextlib.ExitStack() as stack:
        server, outlet = stack.enter_context(sshd(folder / "sshd")), stack.enter_context(PowerOutlet())
        lab = load_lab(_lab_file(folder, server, outlet))
        with run_daemon(lab, folder / "data") as daemon:
            config = uvicorn.Config(create_app(daemon), log_config=None, lifespan="off", ws="none")
            web = uvicorn.Server(config)
            with socket.create_server(("127.0.0.1", 0), backlog=200) as listener:
                thread = threading.Thread(target=web.run, kwargs={"sockets": [listener]})
                thread.start()
                address = f"http://127.0.0.1:{listener.getsockname()[1]}"
                deadline = time.monotonic() + WITHIN_S
                with Client(address) as client:
                    while not all(client.host(name).status()["up"] for name in ("a", "b")):
                        assert time.monotonic() < deadline
                        time.sleep(0.05)
                yield address
                web.should_exit = True
                thread.join(10)


def _lab_file(folder: Path, server: Sshd, outlet: PowerOutlet) -> Path:
    reached = (
        f"kind: host, address: 127.0.0.1, port: {server.port}, user: {getpass.getuser()}, agent: false, "
        f"key: {server.folder}/user, known_hosts: {server.folder}/known_hosts"
    )
    easy = "disk_free_bytes: 1, disk_free_ratio: 0, memory_free_ratio: 0, load_per_processor: 1000, temperature_c: 1000"
    well = f"limits: {{{easy}}}"
    path = folder / "lab.yaml"
    path.write_text(
        f"lab: test\ndevices:\n  a: {{{reached}, health: {{{well}}},"
        f' power: {{driver: http, dialect: shelly2, url: "{outlet.url}"}}}}\n'
        f"  b: {{{reached}, health: {{packages: [no-such-package], {well}}}}}\n"
        f"  new: {{{reached.replace('/known_hosts', '/none')}}}\n"
    )
    return path


class Ended(NamedTuple):
    """What a command left."""

    stdout: str
    stderr: str
    returncode: int


@pytest.fixture
def labctl(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Labctl:
    """Runs `labctl hosts` with those words, in this process."""
    monkeypatch.setenv("LABCTL_URL", url)
    monkeypatch.chdir(tmp_path)

    def run(*words: str, text: str = "") -> Ended:
        typed = tmp_path / ".typed"
        typed.write_text(text)
        capfd.readouterr()
        with typed.open() as stdin, monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["labctl", "hosts", *words])
            patch.setattr(sys, "stdin", stdin)
            code = run_cli()
        typed.unlink()
        return Ended(*capfd.readouterr(), code)

    return run


def test_lists_and_status(labctl: Labctl) -> None:
    assert [(each["name"], each["up"]) for each in json.loads(labctl("--json").stdout)] == [
        ("a", True),
        ("b", True),
        ("new", False),
    ]
    shown = labctl("list").stdout
    assert "not trusted yet" in shown
    assert labctl("status", "a").returncode == 0
    assert labctl("status", "new").returncode == 1
    missing = labctl("status", "none")
    assert (missing.returncode, missing.stderr) == (2, "labctl: there is no host 'none'; hosts are: a, b, new\n")


def test_exec_is_the_command_itself(labctl: Labctl) -> None:
    done = labctl("exec", "a", "--", "cat; echo err >&2; exit 7", text="typed\n")
    assert (done.stdout, done.stderr, done.returncode) == ("typed\n", "err\n", 7)
    assert labctl("exec", "a", "--", "printf", "%s|", "$HOME", "a b").stdout == "$HOME|a b|"
    late = labctl("exec", "a", "--timeout", "0.3", "--", "sleep 600")
    assert (late.returncode, "was killed" in late.stderr) == (1, True)


def test_exec_on_several_at_once(labctl: Labctl) -> None:
    done = labctl("exec", "a,b", "--", "echo one; echo two")
    assert sorted(done.stdout.splitlines()) == ["a: one", "a: two", "b: one", "b: two"]
    everywhere = labctl("exec", "all", "--", "true")
    assert everywhere.returncode == 3
    assert "new: " in everywhere.stderr


def test_files_go_both_ways(labctl: Labctl, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(os.urandom(200_000))
    put = labctl("put", "a", "file", f"{tmp_path}/there")
    assert (put.returncode, put.stderr) == (0, f"{tmp_path}/there: 200000 bytes\n")
    assert labctl("get", "b", f"{tmp_path}/there", "back").returncode == 0
    assert (tmp_path / "back").read_bytes() == (tmp_path / "file").read_bytes()
    failed = labctl("get", "a", "/no/such", ".")
    assert (failed.returncode, failed.stderr) == (1, "labctl: there is no file /no/such on a\n")


def test_a_name_that_is_no_text_goes_through_the_daemon_too(labctl: Labctl, tmp_path: Path) -> None:
    name = os.fsdecode(b"odd\xff\nname $(touch hacked)")
    (tmp_path / name).write_bytes(b"content")
    (tmp_path / "far").mkdir()
    assert labctl("put", "a", name, f"{tmp_path}/far").returncode == 0
    assert labctl("get", "a", f"{tmp_path}/far/{name}", "back").returncode == 0
    assert ([path.name for path in (tmp_path / "far").iterdir()], (tmp_path / "back").read_bytes()) == (
        [name],
        b"content",
    )
    assert labctl("exec", "a", "--", "cat", f"{tmp_path}/far/{name}").stdout == "content"
    assert labctl("exec", "a", "--", f"cd {tmp_path}/far && cat *").stdout == "content"
    assert not list(tmp_path.rglob("hacked"))


def test_folders_are_kept_in_step(labctl: Labctl, tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "one").write_text("1")
    (tmp_path / "s" / "skip.log").write_text("1")
    first = labctl("sync", "a", "s", f"{tmp_path}/t", "--ignore", "*.log")
    assert first.stderr == "1 copied (1 bytes), 0 removed, 0 unchanged\n"
    (tmp_path / "s" / "one").unlink()
    assert (
        labctl("sync", "a", "s", f"{tmp_path}/t", "--delete").stderr == "1 copied (1 bytes), 1 removed, 0 unchanged\n"
    )
    assert (
        labctl("sync", "a", f"{tmp_path}/t", "u", "--from-host").stderr
        == "1 copied (1 bytes), 0 removed, 0 unchanged\n"
    )
    assert [path.name for path in (tmp_path / "u").iterdir()] == ["skip.log"]


def test_a_project_runs_there(labctl: Labctl, tmp_path: Path) -> None:
    (tmp_path / "test.py").write_text(
        "import pathlib, sys; pathlib.Path('results').mkdir(exist_ok=True); print('ran', sys.argv[1]); "
        "pathlib.Path('results/r.txt').write_text('42'); sys.exit(5)"
    )
    done = labctl("run", "a", "--folder", f"{tmp_path}/there", "--", "python3", "test.py", "x y")
    assert (done.stdout, done.returncode) == ("ran x y\n", 5)
    assert done.stderr == "1 results are in results\n"
    assert (tmp_path / "results" / "r.txt").read_text() == "42"


def test_health_of_all_as_a_table(labctl: Labctl) -> None:
    found = labctl("health", "a", "b", "new", "--json")
    assert found.returncode == 1
    documents = {each["name"]: each for each in json.loads(found.stdout)}
    assert documents["a"]["well"] is True
    assert documents["b"]["complaints"] == ["missing: sudo apt-get install no-such-package"]
    assert "not trusted yet" in documents["new"]["complaints"][0]
    table = labctl("health", "a")
    assert table.returncode == 0
    assert "±" in table.stdout


def test_power(labctl: Labctl) -> None:
    assert labctl("power", "a", "off").stdout.endswith(": off\n")
    assert json.loads(labctl("power", "a", "--json").stdout)["on"] is False
    assert labctl("power", "a", "cycle", "--pause", "0").stdout.endswith(": on\n")
    assert labctl("power", "a", "explode").returncode == 2
    assert labctl("power", "b", "on").returncode == 2


def test_a_forward(labctl: Labctl, url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as target:
        command = [sys.executable, "-m", "labctl", "hosts", "forward", "a", str(target.getsockname()[1]), "--url", url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
            try:
                assert running.stdout is not None
                host, port = running.stdout.readline().strip().split(":")
                target.accept()[0].close()  # it looked whether somebody listens
                with socket.create_connection((host, int(port)), timeout=60) as near:
                    far, _ = target.accept()
                    with far:
                        near.sendall(b"ping")
                        assert far.recv(10) == b"ping"
                        far.sendall(b"pong")
                        assert near.recv(10) == b"pong"
            finally:
                running.terminate()


def test_a_shell_in_a_terminal(url: str) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["LABCTL_URL"] = url
        os.execv(sys.executable, [sys.executable, "-m", "labctl", "hosts", "shell", "a"])
    said = b""

    def until(wanted: bytes) -> None:
        nonlocal said
        while wanted not in said:
            said += os.read(terminal, 65_536)

    os.write(terminal, b"echo $((40 + 2)) done; exit 9\r")
    until(b"42 done")
    try:
        while os.read(terminal, 65_536):
            pass
    except OSError:  # the terminal is gone with its program
        pass
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    os.close(terminal)


def test_a_shell_without_a_terminal_says_what_to_use(labctl: Labctl) -> None:
    refused = labctl("shell", "a")
    assert (refused.returncode, "labctl hosts exec" in refused.stderr) == (2, True)


def test_trust_asks_for_the_fingerprint(labctl: Labctl) -> None:
    asked = labctl("trust", "new")
    assert asked.returncode == 2
    fingerprint = asked.stderr.split("--fingerprint ")[1].strip()
    assert labctl("trust", "new", "--fingerprint", "SHA256:" + "A" * 43).returncode == 3
    assert labctl("trust", "new", "--fingerprint", fingerprint).stderr == "new is trusted\n"
    assert labctl("trust", "new", "--fingerprint", fingerprint).stderr == "new is trusted, as before\n"
