"""Hosts as a client sees them: what a host is asked for, and sessions on it."""

from __future__ import annotations

import base64
import json
import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from labctl.connection import Connection, LabClientError

STDOUT, STDERR, END = 1, 2, 3
_HEAD = struct.Struct(">BI")


class HostSession:
    """A command, terminal, console or connection under way. Listen to `output` from one thread, write from any."""

    def __init__(self, lab: Connection, host: str, wanted: dict[str, Any]) -> None:
        """Begin it. Raises LabClientError."""
        self._lab = lab
        opened = lab.request("POST", f"/api/v1/hosts/{host}/sessions", json=wanted, timeout=60)
        self._path = f"/api/v1/hosts/{host}/sessions/{opened['id']}"
        self.ended: dict[str, Any] = {}

    def output(self) -> Iterator[tuple[int, bytes]]:
        """STDOUT and STDERR as they come; afterwards `ended` has `exit_status`, or `error` and `kind`."""
        rest = b""
        with self._lab.stream("GET", f"{self._path}/output") as pieces:
            for piece in pieces:
                rest += piece
                while len(rest) >= _HEAD.size:
                    kind, length = _HEAD.unpack_from(rest)
                    if len(rest) < _HEAD.size + length:
                        break
                    data, rest = rest[_HEAD.size : _HEAD.size + length], rest[_HEAD.size + length :]
                    if kind == END:
                        self.ended = json.loads(data)
                        return
                    yield kind, data
        self.ended = {"error": "the daemon ended the session", "kind": "lost"}

    def write(self, data: bytes | Iterable[bytes], *, end: bool = False) -> None:
        """Send input; with `end` it is the last."""
        self._lab.send("POST", f"{self._path}/input", content=data, params={"end": end}, timeout=None)

    def resize(self, width: int, height: int) -> None:
        """The terminal has another size now."""
        self._lab.send("POST", f"{self._path}/resize", json={"width": width, "height": height})

    def cancel(self, reason: str = "") -> None:
        """End it, with all that it started; may be repeated."""
        try:
            self._lab.send("DELETE", self._path, params={"reason": reason})
        except LabClientError as exc:
            if exc.status != 404:  # it has ended
                raise


@dataclass(frozen=True, slots=True)
class HostResult:
    """A command that ended: its exit status, or 128 plus the number of the signal that ended it, and what it said."""

    exit_status: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        """stdout as text without the last line end."""
        return self.stdout.decode(errors="replace").rstrip("\n")


class HostCommandError(Exception):
    """A command did not come to its end. `kind`: "timeout" or "cancelled" (it was killed), "lost" (the link was)."""

    def __init__(self, detail: str, kind: str) -> None:
        super().__init__(detail)
        self.kind = kind


def _command(command: str | Sequence[str]) -> dict[str, Any]:
    """A line or words as JSON takes them: as base64 where a name in them is no text (see `os.fsdecode`)."""
    words = [command] if isinstance(command, str) else list(command)
    try:
        for each in words:
            each.encode()
    except UnicodeEncodeError:
        coded = [base64.b64encode(each.encode(errors="surrogateescape")).decode() for each in words]
        return {"command_base64": coded[0] if isinstance(command, str) else coded}
    return {"command": command if isinstance(command, str) else words}


class Host:
    """A host of the lab."""

    def __init__(self, lab: Connection, name: str) -> None:
        self._lab = lab
        self.name = name

    def status(self) -> dict[str, Any]:
        """Its connection, forwards and consoles."""
        return self._ask("GET")

    def health(self) -> dict[str, Any]:
        """How it is now: disk, load, memory, temperature, clock, packages, units; with `complaints`."""
        return self._ask("GET", "/health", timeout=180)

    def exec(
        self,
        command: str | Sequence[str],
        *,
        stdin: bytes | Iterable[bytes] = b"",
        timeout_s: float | None = None,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        on_output: Callable[[int, bytes], None] | None = None,
        despite_lease: bool = False,
    ) -> HostResult:
        """Run a command to its end: a line for its shell, or words that no shell looks at.

        With `on_output`, which gets STDOUT or STDERR and the bytes, nothing is kept. Raises HostCommandError when it
        was killed or its link was lost, LabClientError when it may not be run.
        """
        wanted = {
            **_command(command),
            "timeout_s": timeout_s,
            "cwd": cwd,
            "env": dict(env or {}),
            "despite_lease": despite_lease,
        }
        session = self.session(wanted)
        feeder = threading.Thread(target=self._feed, args=(session, stdin), daemon=True)
        feeder.start()
        kept: dict[int, list[bytes]] = {STDOUT: [], STDERR: []}
        take = on_output or (lambda kind, data: kept[kind].append(data))
        for kind, data in session.output():
            take(kind, data)
        if "exit_status" not in session.ended:
            raise HostCommandError(session.ended["error"], session.ended["kind"])
        return HostResult(session.ended["exit_status"], b"".join(kept[STDOUT]), b"".join(kept[STDERR]))

    def session(self, wanted: Mapping[str, Any]) -> HostSession:
        """A command, terminal, console or connection; `wanted` as for POST /api/v1/hosts/NAME/sessions."""
        return HostSession(self._lab, self.name, dict(wanted))

    def key(self) -> dict[str, Any]:
        """The host key that it shows now: compare `fingerprint` at the host itself."""
        return self._ask("GET", "/key")

    def trust(self, fingerprint: str, *, replace: bool = False) -> dict[str, Any]:
        """Trust the key with that fingerprint from now on."""
        return self._ask("POST", "/key", json={"fingerprint": fingerprint, "replace": replace})

    def reboot(self, timeout_s: float = 300, *, despite_lease: bool = False) -> dict[str, Any]:
        """Restart it; back when another boot of it answers."""
        params = {"timeout_s": timeout_s, "despite_lease": despite_lease}
        return self._ask("POST", "/reboot", params=params, timeout=timeout_s + 120)

    def power(self, what: str = "", *, pause_s: float = 3, despite_lease: bool = False) -> dict[str, Any]:
        """Switch it "on", "off" or "cycle"; without a word: whether it is on."""
        if not what:
            return self._ask("GET", "/power")
        params = {"pause_s": pause_s, "despite_lease": despite_lease}
        return self._ask("POST", f"/power/{what}", params=params, timeout=pause_s + 120)

    def console_log(self, console: str, last_bytes: int = 65_536) -> bytes:
        """The end of what a console said."""
        path = f"/api/v1/hosts/{self.name}/consoles/{console}/log"
        with self._lab.stream("GET", path, params={"last_bytes": last_bytes}) as pieces:
            return b"".join(pieces)

    def _ask(self, method: str, path: str = "", **options: Any) -> dict[str, Any]:
        return self._lab.request(method, f"/api/v1/hosts/{self.name}{path}", **options)

    def _feed(self, session: HostSession, stdin: bytes | Iterable[bytes]) -> None:
        try:
            session.write(stdin, end=True)
        except LabClientError:
            return  # it ended before its input did
