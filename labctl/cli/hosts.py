"""`labctl hosts`: the lab's computers, their files, power and health."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from labctl.cli.connecting import connected
from labctl.cli.exits import ERRORED, FAILED, USAGE, ExpectedError
from labctl.cli.output import note, print_json, print_table
from labctl.client import LabClientError
from labctl.host_client import STDOUT, HostCommandError

_AT_ONCE = 64


def list_hosts(url: str | None, *, as_json: bool) -> int:
    """All hosts with their connections."""
    with connected(url) as lab:
        items = lab.hosts()
    if as_json:
        print_json(items)
        return 0
    rows = [
        (
            each["name"],
            "up" if each["up"] else f"down: {each['reason']}",
            f"{each['user']}@{each['address']}:{each['port']}",
            each["jump"],
            ", ".join(f"{name} {forward['local']}→{forward['to']}" for name, forward in each["forwards"].items()),
            ", ".join(each["consoles"]),
        )
        for each in items
    ]
    print_table(("host", "state", "address", "through", "forwards", "consoles"), rows, "the lab has no hosts")
    return 0


def show_status(url: str | None, name: str, *, as_json: bool) -> int:
    """One host."""
    with connected(url) as lab:
        found = lab.host(name).status()
    if as_json:
        print_json(found)
    else:
        print_table(("what", "value"), [(key, _plain(value)) for key, value in found.items()], "")
    return 0 if found["up"] else FAILED


def show_health(url: str | None, names: Sequence[str], *, as_json: bool) -> int:
    """Ask all hosts, or some, at once how they are; exit 1 when one is not well."""
    with connected(url) as lab:
        wanted = list(names) or [each["name"] for each in lab.hosts()]
        found = _on_all(wanted, "asking how they are", lambda name: lab.host(name).health())
    documents = [found[name] if isinstance(found[name], dict) else _silent(name, found[name]) for name in wanted]
    if as_json:
        print_json(documents)
    else:
        columns = ("host", "well", "load", "free disk", "free memory", "hottest", "clock", "up for", "what to do")
        print_table(columns, [_health_row(each) for each in documents], "the lab has no hosts")
    return 0 if all(each["well"] for each in documents) else FAILED


def execute(
    url: str | None, names: Sequence[str], command: str | list[str], timeout_s: float | None, *, despite_lease: bool
) -> int:
    """Run a command on one host, or on several at once with the host's name before each line.

    The exit status is the command's own; of several the largest.
    """
    with connected(url) as lab:
        wanted = [each["name"] for each in lab.hosts()] if list(names) == ["all"] else list(names)
        stdin = b"" if len(wanted) > 1 or sys.stdin.isatty() else _standard_input()
        lock = threading.Lock()

        def run(name: str) -> int:
            take = _to_terminal if len(wanted) == 1 else _Prefixed(name, lock)
            done = lab.host(name).exec(
                command, stdin=stdin, timeout_s=timeout_s, on_output=take, despite_lease=despite_lease
            )
            if isinstance(take, _Prefixed):
                take.finish()
            return done.exit_status

        if len(wanted) == 1:
            try:
                return run(wanted[0])
            except HostCommandError as exc:
                raise ExpectedError(str(exc), FAILED if exc.kind == "timeout" else ERRORED) from None
        statuses = _on_all(wanted, "", run)
    for name, status in statuses.items():
        if status != 0:
            note(f"{name}: {status if isinstance(status, BaseException) else f'exit status {status}'}")
    return max(status if isinstance(status, int) else ERRORED for status in statuses.values())


def run_project(
    url: str | None,
    name: str,
    command: list[str],
    project: Path,
    *,
    folder: str,
    results: str,
    timeout_s: float | None,
    despite_lease: bool,
) -> int:
    """Upload a project, run a command in it, bring its results back; the exit status is the command's."""
    from drivers.ssh import project as projects
    from labctl.cli.daemon_shell import DaemonShell

    with connected(url) as lab, _ssh_errors(), _progress() as step:
        run = projects.run_project(
            DaemonShell(lab, name, despite_lease=despite_lease),
            project,
            command[0] if len(command) == 1 else command,
            folder=folder,
            results=results,
            timeout_s=timeout_s,
            on_output=lambda stream, data: _to_terminal(STDOUT if stream.value == "stdout" else 2, data),
            on_step=step,
        )
    if run.fetched is not None and run.fetched.copied:
        note(f"{run.fetched.copied} results are in {project / results}")
    return run.completed.exit_status


def copy_file(url: str | None, name: str, source: str, target: str, *, outward: bool, despite_lease: bool) -> int:
    """Copy one file; a copy that was cut goes on where it was."""
    from drivers.ssh.copying import get, put
    from labctl.cli.daemon_shell import DaemonShell

    with connected(url) as lab, _ssh_errors(), _progress() as step:
        shell = DaemonShell(lab, name, despite_lease=despite_lease)

        def follow(done: int, size: int) -> None:
            step(source, done, size)

        if outward:
            copied = put(shell, Path(source), target, on_progress=follow)
        else:
            copied = get(shell, source, Path(target), on_progress=follow)
    resumed = f", {copied.size - copied.sent} were there already" if copied.sent < copied.size else ""
    note(f"{copied.target}: {copied.size} bytes{resumed}")
    return 0


def sync_folder(
    url: str | None,
    name: str,
    source: str,
    target: str,
    *,
    outward: bool,
    delete: bool,
    ignore: Sequence[str],
    despite_lease: bool,
) -> int:
    """Bring a folder in step; only what changed moves."""
    from drivers.ssh.ignoring import Ignore
    from drivers.ssh.syncing import sync_from, sync_to
    from labctl.cli.daemon_shell import DaemonShell

    try:
        rules = Ignore.of(list(ignore))
    except ValueError as exc:
        raise ExpectedError(str(exc), USAGE) from None
    with connected(url) as lab, _ssh_errors(), _progress() as step:
        shell = DaemonShell(lab, name, despite_lease=despite_lease)
        if outward:
            done = sync_to(shell, Path(source), target, delete=delete, ignore=rules, on_step=step)
        else:
            done = sync_from(shell, source, Path(target), delete=delete, ignore=rules, on_step=step)
    note(f"{done.copied} copied ({done.bytes} bytes), {done.removed} removed, {done.unchanged} unchanged")
    return 0


def trust(url: str | None, name: str, fingerprint: str | None, *, replace: bool) -> int:
    """Trust a host's key, once a person or a script says which it must be."""
    with connected(url) as lab:
        host = lab.host(name)
        shown = host.key()
        if fingerprint is None:
            note(f"{name} shows the {shown['type']} key {shown['fingerprint']}")
            note("compare it at the host itself: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub")
            if not sys.stdin.isatty():
                raise ExpectedError(f"nobody to ask: give --fingerprint {shown['fingerprint']}", USAGE)
            if input("trust it? [y/N] ").strip().lower() not in ("y", "yes"):
                return FAILED
            fingerprint = shown["fingerprint"]
        changed = host.trust(fingerprint, replace=replace)["changed"]
    note(f"{name} is trusted" + ("" if changed else ", as before"))
    return 0


def restart(url: str | None, name: str, timeout_s: float, *, despite_lease: bool) -> int:
    """Restart a host and wait for it."""
    note(f"restarting {name}")
    with connected(url) as lab:
        took = lab.host(name).reboot(timeout_s, despite_lease=despite_lease)["took_s"]
    note(f"{name} is back after {took:.0f} s")
    return 0


def switch_power(url: str | None, name: str, what: str, pause_s: float, *, as_json: bool, despite_lease: bool) -> int:
    """Switch a host's power, or show it."""
    with connected(url) as lab:
        wanted = "" if what == "show" else what
        found = lab.host(name).power(wanted, pause_s=pause_s, despite_lease=despite_lease)
    if as_json:
        print_json(found)
    else:
        print(f"{found['switch']}: {({True: 'on', False: 'off', None: 'unknown'})[found['on']]}")
    return 0


@contextmanager
def _ssh_errors() -> Iterator[None]:
    from drivers.ssh import CommandTimeoutError, CopyError, SshError

    try:
        yield
    except (CommandTimeoutError, CopyError) as exc:
        raise ExpectedError(str(exc), FAILED) from None
    except SshError as exc:
        raise ExpectedError(str(exc), ERRORED) from None


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """A bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda _what, _done, _all: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=None)
        yield lambda what, done, size: progress.update(task, description=what, completed=done, total=size or None)


def _on_all(names: Sequence[str], what: str, ask: Callable[[str], Any]) -> dict[str, Any]:
    """Ask all hosts at once, with progress; an error stands for its host's answer."""
    found: dict[str, Any] = {}
    with ThreadPoolExecutor(min(_AT_ONCE, max(1, len(names)))) as pool:
        asked = {pool.submit(ask, name): name for name in names}
        with _progress() as step:
            for done in as_completed(asked):
                error = done.exception()
                if error is not None and not isinstance(error, LabClientError | HostCommandError):
                    raise error
                found[asked[done]] = done.result() if error is None else error
                if what:
                    step(f"{what}: {asked[done]}", len(found), len(names))
    return found


def _standard_input() -> Iterator[bytes]:
    while data := os.read(sys.stdin.fileno(), 65_536):
        yield data


class _Prefixed:
    """Whole lines of one host among those of others."""

    def __init__(self, name: str, lock: threading.Lock) -> None:
        self._name, self._lock = name.encode(), lock
        self._rest = {STDOUT: b"", 2: b""}

    def __call__(self, kind: int, data: bytes) -> None:
        *lines, self._rest[kind] = (self._rest[kind] + data).split(b"\n")
        for line in lines:
            self._print(kind, line)

    def finish(self) -> None:
        for kind, rest in self._rest.items():
            if rest:
                self._print(kind, rest)

    def _print(self, kind: int, line: bytes) -> None:
        with self._lock:
            _to_terminal(kind, self._name + b": " + line + b"\n")


def _to_terminal(kind: int, data: bytes) -> None:
    target = sys.stdout if kind == STDOUT else sys.stderr
    target.buffer.write(data)
    target.buffer.flush()


def _silent(name: str, error: BaseException) -> dict[str, Any]:
    return {"name": name, "well": False, "complaints": [str(error)]}


def _health_row(health: dict[str, Any]) -> tuple[object, ...]:
    well, advice = "yes" if health["well"] else "NO", "; ".join(health["complaints"])
    if "load" not in health:
        return (health["name"], well, *[None] * 6, advice)
    disks = ", ".join(f"{each['path']} {each['free_bytes'] / 1e9:.1f} GB" for each in health["disks"])
    memory = health["memory_free_bytes"]
    clock = health["clock"]
    return (
        health["name"],
        well,
        _format("{:.1f}", health["load"]),
        disks,
        None if memory is None else f"{memory / 1e9:.1f} GB",
        _format("{:.0f} °C", health["temperature_c"]),
        None if clock is None else f"{clock['offset_s'] * 1e3:+.1f} ± {clock['error_s'] * 1e3:.1f} ms",
        _duration(health["uptime_s"]),
        advice,
    )


def _format(pattern: str, value: float | None) -> str | None:
    return None if value is None else pattern.format(value)


def _duration(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return f"{seconds / 86_400:.1f} days" if seconds >= 86_400 else f"{seconds / 3600:.1f} h"


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_plain(each)}" for key, each in value.items())
    return value
