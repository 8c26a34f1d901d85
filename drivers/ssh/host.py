"""A host over SSH: commands on warm connections, byte streams and forwards through it."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import IO, Self

import paramiko

from drivers.ssh.errors import HostUnreachableError, LinkLostError, SshError
from drivers.ssh.forward import Forward
from drivers.ssh.host_keys import KnownHosts
from drivers.ssh.link import Link, shown_key
from drivers.ssh.process import Completed, OnOutput, RemoteProcess, Terminal, required
from drivers.ssh.settings import SshSettings
from drivers.ssh.warden import Warden

_MOST_LINKS = 16
# A failed attempt to connect stands for so long: many who ask at once share one attempt.
_REFUSAL_S = 0.5
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
Command = str | Sequence[str]
"""A line for the account's shell, or words that no shell looks at."""


class SshHost:
    """A host. Connections are opened when needed, kept, watched, and opened again after they were lost. Thread-safe.

    with SshHost.open(SshSettings("192.0.2.20", "lab", keys=(Path("key"),))) as host:
        print(host.exec("uname -a").text)
        with host.forward(10940) as lidar:              # port 10940 of the host, on a free local port
            HokuyoLidar.open(f"tcp://127.0.0.1:{lidar.port}")
    """

    def __init__(self, settings: SshSettings, via: SshHost | None = None) -> None:
        """`via`: the jump host. Nothing is connected yet; see `open`."""
        self.settings = settings
        self.via = via
        self._lock = threading.Lock()  # of the lists; never held while anything is waited for
        self._connecting = threading.Lock()
        self._links: list[Link] = []
        self._forwards: list[Forward] = []
        self._refusal: tuple[float, SshError] | None = None
        self._closed = False

    @classmethod
    def open(cls, settings: SshSettings, via: SshHost | None = None) -> Self:
        """A host that answers. Raises SshError: HostUnreachableError, HostKeyUnknownError, HostKeyChangedError,
        LoginRefusedError."""
        host = cls(settings, via)
        host.connect()
        return host

    @property
    def title(self) -> str:
        return self.settings.title

    @property
    def connected(self) -> bool:
        """Whether a connection is up, as far as is known."""
        with self._lock:
            return any(link.alive for link in self._links)

    def connect(self) -> None:
        """Make sure that a warm connection is there. Raises as `open` does."""
        self._give_back(self._borrow())

    def close(self) -> None:
        """Hang up, close the forwards; what still runs over the connections is killed by the host. May be repeated."""
        with self._lock:
            self._closed = True
            forwards, self._forwards = self._forwards, []
            links, self._links = self._links, []
        for forward in forwards:
            forward.close()
        for link in links:
            link.close()

    def hang_up(self) -> None:
        """Drop the connections; the next use opens new ones. For a host that was restarted."""
        with self._lock:
            links, self._links = self._links, []
        for link in links:
            link.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    # Trust

    def shown_key(self) -> paramiko.PKey:
        """The key that the host shows now, trusted or not; its `fingerprint` is what to compare."""
        return shown_key(self.settings, None if self.via is None else self.via.dial)

    def trust(self, key: paramiko.PKey, *, replace: bool = False) -> bool:
        """Trust that key; False when it was trusted already. Raises HostKeyChangedError unless `replace`."""
        return KnownHosts(self.settings.known_hosts).trust(self.settings, key, replace=replace)

    # Commands

    def exec(
        self,
        command: Command,
        *,
        stdin: bytes | IO[bytes] | None = None,
        timeout_s: float | None = None,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        on_output: OnOutput | None = None,
        keep_bytes: int = 8 << 20,
        check: str = "",
    ) -> Completed:
        """Run a command to its end.

        `on_output` gets its output as it comes; otherwise the last `keep_bytes` of each stream are in the answer.
        `check`: what it does ("reading the disks"), for the error when it must succeed and does not.
        Raises CommandTimeoutError (it was killed), LinkLostError (the host kills it), CommandFailedError with `check`.
        """
        process = self.start(command, cwd=cwd, env=env)
        completed = process.communicate(stdin=stdin, timeout_s=timeout_s, on_output=on_output, keep_bytes=keep_bytes)
        return required(completed, self.title, check) if check else completed

    def start(
        self,
        command: Command,
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        terminal: Terminal | None = None,
    ) -> RemoteProcess:
        """Start a command and let the caller read, feed and end it. Raises SshError."""
        prefix, body = _prefix(cwd, env or {}), _body(command)
        if "\0" in prefix + body:
            raise ValueError(f"a command line cannot contain NUL: {body[:100]!r}")
        for last in (False, True):
            link = self._borrow()
            try:
                warden, channel = _session(link)
            except LinkLostError:
                # Nothing was started yet, so a connection that turns out to be dead is simply replaced, once.
                self._give_back(link)
                self._retire(link)
                if last:
                    raise
                continue
            except BaseException:
                self._give_back(link)
                raise
            if warden is None or channel is None:  # sshd allows fewer sessions than usual
                self._give_back(link, full=True)
                continue
            process = RemoteProcess(link, warden, channel, partial(self._give_back, link), shown(command))
            try:
                process.begin(prefix, body, terminal)
            except BaseException:
                process.close()
                raise
            return process
        raise SshError(f"{self.title} allows no further session; raise MaxSessions in its sshd_config, or run fewer")

    # Byte streams

    @contextlib.contextmanager
    def sftp(self) -> Iterator[paramiko.SFTPClient]:
        """An SFTP session. Raises SshError when sshd offers none."""
        link = self._borrow()
        try:
            channel = link.session()
            channel.invoke_subsystem("sftp")
            client = paramiko.SFTPClient(channel)
        except (paramiko.SSHException, EOFError, OSError) as exc:
            self._give_back(link)
            raise SshError(f"{self.title} offers no SFTP: {exc}; see Subsystem sftp in its sshd_config") from exc
        try:
            yield client
        finally:
            client.close()
            self._give_back(link)

    def dial(self, address: str, port: int, timeout_s: float | None = None) -> paramiko.Channel:
        """A TCP connection from the host to `address` as it sees it. Raises HostUnreachableError, LinkLostError."""
        within = self.settings.connect_timeout_s if timeout_s is None else timeout_s
        link = self._borrow(session=False)
        try:
            return link.dial(address, port, within)
        except LinkLostError:
            self._retire(link)
            return self._borrow(session=False).dial(address, port, within)

    def forward(self, remote: int | str, local_port: int = 0) -> Forward:
        """A local port (loopback, a free one unless given) that leads to `remote`: a port of the host, or
        "address:port" as the host sees it.

        It stays open until it is closed, whatever happens to the link: each connection to it takes the warm link, or
        opens a new one after a cut. Connections that were open at a cut are closed, so what uses them connects again.
        Raises DeviceUnreachableError when the local port is taken.
        """
        address, port = destination(remote)
        made = Forward(lambda: self.dial(address, port), f"{address}:{port} on {self.title}", local_port, self._forget)
        with self._lock:
            closed = self._closed
            self._forwards.append(made)
        if closed:
            made.close()
            raise SshError(f"{self.title} was closed")
        return made

    # Links

    def _forget(self, forward: Forward) -> None:
        with self._lock, contextlib.suppress(ValueError):
            self._forwards.remove(forward)

    def _borrow(self, *, session: bool = True) -> Link:
        """A live link, with a free session if one is wanted."""
        if (link := self._free(session)) is not None:
            return link
        with self._connecting:
            if (link := self._free(session)) is not None:
                return link
            if self._refusal is not None and time.monotonic() - self._refusal[0] < _REFUSAL_S:
                raise self._refusal[1]
            with self._lock:
                if self._closed:
                    raise SshError(f"{self.title} was closed")
                if len(self._links) >= _MOST_LINKS:
                    raise SshError(f"{self.title} is busy: {_MOST_LINKS} connections carry all they can; run fewer")
            try:
                link = Link(self.settings, None if self.via is None else self.via.dial)
            except SshError as exc:
                self._refusal = (time.monotonic(), exc)
                raise
            self._refusal = None
            with self._lock:
                closed = self._closed
                self._links.append(link)
                link.sessions += session
            if closed:
                link.close()
                raise SshError(f"{self.title} was closed")
            return link

    def _free(self, session: bool) -> Link | None:
        with self._lock:
            dead = [link for link in self._links if not link.alive]
            self._links = [link for link in self._links if link.alive]
            found = next((link for link in self._links if not session or link.sessions < link.most_sessions), None)
            if found is not None:
                found.sessions += session
        for link in dead:
            link.close()
        return found

    def _give_back(self, link: Link, *, full: bool = False) -> None:
        with self._lock:
            link.sessions -= 1
            if full:
                link.most_sessions = max(1, link.sessions)

    def _retire(self, link: Link) -> None:
        with self._lock, contextlib.suppress(ValueError):
            self._links.remove(link)
        link.close()


def _session(link: Link) -> tuple[Warden | None, paramiko.Channel | None]:
    """A warden and a session on the link; Nones when sshd allows no more sessions on it."""
    try:
        return link.warden(), link.session()
    except paramiko.ChannelException as exc:
        if link.sessions > 1:
            return None, None
        raise HostUnreachableError(
            f"{link.settings.title} allows no session: {exc.text or exc}; see MaxSessions in its sshd_config"
        ) from exc


def shown(command: Command) -> str:
    """A command as one line for people."""
    return command if isinstance(command, str) else shlex.join(command)


def _body(command: Command) -> str:
    if isinstance(command, str):
        if not command.strip():
            raise ValueError("the command is empty")
        return command
    if not command:
        raise ValueError("the command is empty")
    return f"exec {shlex.join(command)}"


def _prefix(cwd: str | None, env: Mapping[str, str]) -> str:
    parts = []
    for name, value in env.items():
        if not _VARIABLE.fullmatch(name):
            raise ValueError(f"{name!r} is no name of an environment variable")
        parts.append(f"export {name}={shlex.quote(value)}; ")
    if cwd is not None:
        parts.append(f"cd -- {quoted_path(cwd)} || exit 127; ")
    return "".join(parts)


def quoted_path(path: str | bytes) -> str:
    """A path on the host for its shell; a leading ~/ is the account's home folder, a leading - is no option."""
    text = os.fsdecode(path)
    if text.startswith("-"):
        return shlex.quote(f"./{text}")
    if text == "~":
        return '"$HOME"'
    if text.startswith("~/"):
        return '"$HOME"/' + shlex.quote(text[2:]) if text[2:] else '"$HOME"'
    return shlex.quote(text)


def destination(remote: int | str) -> tuple[str, int]:
    """Address and port of 10940, "10940", "192.0.2.9:80" or "[::1]:80". Raises ValueError."""
    text = str(remote)
    address, colon, port = text.rpartition(":")
    address = address.removeprefix("[").removesuffix("]") if colon else "127.0.0.1"
    if not port.isdecimal() or not 1 <= int(port) <= 65535 or not address:
        raise ValueError(f"{text!r} is no destination: give a port of the host, or address:port as the host sees it")
    return address, int(port)
