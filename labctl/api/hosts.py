"""Hosts over HTTP: how they are, commands, sessions, power, restarts, trust."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import AfterValidator, Field, model_validator

from drivers.power import cycle
from drivers.ssh import Terminal
from drivers.ssh.host import destination
from labctl.api.common import Asker, Body, Page, TheDaemon, iso
from labctl.api.elsewhere import everywhere
from labctl.api.waiting import wait_for, waits
from labctl.auth import Principal, Resource, authorise, authorise_list, may
from labctl.auth.tokens import without_tokens
from labctl.daemon import Daemon
from labctl.errors import ConflictError, DeviceTakenError, InvalidInputError, NotFoundError
from labctl.hosts import LabHost, Session
from labctl.hosts.sessions import END, STDOUT, CommandSource, ConsoleSource, Source, StreamSource, frame
from labctl.store.tables import lease_devices, leases

router = APIRouter(prefix="/api/v1/hosts", tags=["hosts"])
Text = Annotated[str, Field(min_length=1, max_length=100_000)]


def _decoded(text: str) -> str:
    return os.fsdecode(base64.b64decode(text, validate=True))


Encoded = Annotated[str, Field(min_length=1, max_length=140_000), AfterValidator(_decoded)]
_FRAMES_AHEAD = 16
_LOOK_EVERY_S = 1.0
# Threads of their own: a host that takes no input must not keep other requests waiting.
_feeding = ThreadPoolExecutor(max_workers=64, thread_name_prefix="host-input")


class CommandBody(Body):
    """A command: a line for the account's shell, or words that no shell looks at.

    `despite_lease`: also while somebody else holds the host.
    """

    command: Text | Annotated[list[Text], Field(min_length=1)]
    cwd: str | None = None
    env: dict[str, str] = Field(default_factory=dict)
    timeout_s: Annotated[float, Field(gt=0, le=7 * 86400)] | None = None
    despite_lease: bool = False


class ExecBody(CommandBody):
    """A command with its whole input."""

    stdin: str = ""


class TerminalBody(Body):
    """A pseudo terminal."""

    kind: Annotated[str, Field(pattern=r"^[A-Za-z0-9._+-]{1,50}$")] = "xterm-256color"
    width: Annotated[int, Field(ge=1, le=10_000)] = 80
    height: Annotated[int, Field(ge=1, le=10_000)] = 24


class SessionBody(Body):
    """One of: a command (with a terminal or without), a shell (a terminal without a command), a console, a `dial`
    to a port of the host or an address:port as it sees it.

    `command_base64`: the command as bytes, where it is no text; names of files may be any bytes."""

    command: Text | Annotated[list[Text], Field(min_length=1)] | None = None
    command_base64: Encoded | Annotated[list[Encoded], Field(min_length=1)] | None = None
    cwd: str | None = None
    env: dict[str, str] = Field(default_factory=dict)
    timeout_s: Annotated[float, Field(gt=0, le=7 * 86400)] | None = None
    terminal: TerminalBody | None = None
    console: str | None = None
    dial: str | int | None = None
    despite_lease: bool = False

    @model_validator(mode="after")
    def _is_one(self) -> SessionBody:
        wanted = [
            self.console is not None,
            self.dial is not None,
            self.line is not None or self.terminal is not None,
        ]
        if sum(wanted) != 1 or None not in (self.command, self.command_base64):
            raise ValueError("give a command, a terminal, a console or a dial, one of them")
        return self

    @property
    def line(self) -> str | list[str] | None:
        """The command, what is no text in it as `os.fsdecode` tells it."""
        return self.command if self.command_base64 is None else self.command_base64


class Size(Body):
    """Of a terminal, in characters."""

    width: Annotated[int, Field(ge=1, le=10_000)]
    height: Annotated[int, Field(ge=1, le=10_000)]


class TrustBody(Body):
    """The fingerprint that was compared at the host, as GET shows it. `replace`: another key was trusted before."""

    fingerprint: Annotated[str, Field(pattern=r"^SHA256:[A-Za-z0-9+/]{43}$")]
    replace: bool = False


_SILENT: dict[str, Any] = {
    **dict.fromkeys(("name", "address", "port", "user", "jump", "power")),
    "up": False,
    "reason": "",
    **{"labels": {}, "forwards": {}, "consoles": {}},
}


@router.get("")
@waits
def list_hosts(daemon: TheDaemon, asker: Asker, request: Request) -> Page:
    """All hosts of the lab, by name; those of a daemon that does not answer are not up."""
    authorise_list(asker, "read", "host")
    visible = [host for name, host in daemon.hosts.hosts.items() if may(asker, "read", Resource("host", name))]
    own = [_show(host) for host in visible]
    return Page(items=everywhere(daemon, request, own, kind="host", silent=_SILENT), next=None)


@router.get("/{name}")
def show_host(name: str, daemon: TheDaemon, asker: Asker) -> dict[str, Any]:
    """One host: its connection, forwards, consoles."""
    authorise(asker, "read", Resource("host", name))
    return _show(daemon.hosts.get(name))


@router.get("/{name}/health")
@waits
def show_health(name: str, daemon: TheDaemon, asker: Asker) -> dict[str, Any]:
    """Asks the host now: disk, load, memory, temperature, clock, packages, units; with what is not well."""
    authorise(asker, "read", Resource("host", name))
    health, complaints = daemon.hosts.get(name).examine()
    return {"name": name, "well": not complaints, "complaints": complaints, **health.document()}


@router.post(
    "/{name}/exec",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/x-ndjson": {}}}},
)
async def execute(name: str, body: ExecBody, daemon: TheDaemon, asker: Asker) -> StreamingResponse:
    """Run a command; its output comes as it is said, a JSON object a line: `{"stdout": "..."}` or `{"stderr": "..."}`,
    `stdout_base64` where it is no text; at last `{"exit_status": 0}`, or `{"error": ..., "kind": ...}`.

    Who hangs up ends the command.
    """
    wanted = SessionBody(**body.model_dump(exclude={"stdin"}))
    session = await wait_for(_open, daemon, asker, name, wanted)

    def feed() -> None:
        with contextlib.suppress(OSError):
            session.source.write(body.stdin.encode())
        session.source.end_input()

    _feeding.submit(feed)
    output = _streamed(session, _line, partial(daemon.authority.stands, asker))
    return StreamingResponse(output, media_type="application/x-ndjson")


@router.post("/{name}/sessions", status_code=201)
@waits
def open_session(name: str, body: SessionBody, daemon: TheDaemon, asker: Asker) -> dict[str, Any]:
    """Begin a command, a terminal, a console or a connection; listen to it within 30 s."""
    return {"id": _open(daemon, asker, name, body).id}


@router.get(
    "/{name}/sessions/{session}/output",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/octet-stream": {}}}},
)
async def session_output(name: str, session: str, daemon: TheDaemon, asker: Asker) -> StreamingResponse:
    """What it says, to its end, in frames: a byte (1 stdout, 2 stderr, 3 the end as JSON), four bytes of length (big
    endian), the data. Who hangs up ends the session."""
    found = daemon.host_sessions.get(name, session, asker.name)
    output = _streamed(found, frame, partial(daemon.authority.stands, asker))
    return StreamingResponse(output, media_type="application/octet-stream")


@router.post("/{name}/sessions/{session}/input", status_code=204)
async def session_input(
    name: str,
    session: str,
    *,
    request: Request,
    daemon: TheDaemon,
    asker: Asker,
    end: Annotated[bool, Query(description="no more comes after this")] = False,
) -> Response:
    """What is typed or sent, as the body; answered once the host has taken it."""
    source = daemon.host_sessions.get(name, session, asker.name).source
    loop = asyncio.get_running_loop()
    with contextlib.suppress(BrokenPipeError):  # it ended meanwhile, which its output tells
        async for chunk in request.stream():
            if chunk:
                await loop.run_in_executor(_feeding, source.write, chunk)
    if end:
        await loop.run_in_executor(_feeding, source.end_input)
    return Response(status_code=204)


@router.post("/{name}/sessions/{session}/resize", status_code=204)
@waits
def session_resize(name: str, session: str, size: Size, daemon: TheDaemon, asker: Asker) -> Response:
    """The terminal has another size now."""
    daemon.host_sessions.get(name, session, asker.name).source.resize(size.width, size.height)
    return Response(status_code=204)


@router.delete("/{name}/sessions/{session}", status_code=204)
@waits
def end_session(
    name: str, session: str, daemon: TheDaemon, asker: Asker, reason: Annotated[str, Query(max_length=500)] = ""
) -> Response:
    """End it, with all that it started."""
    daemon.host_sessions.get(name, session, asker.name).cancel(reason or f"ended by {asker.name}")
    return Response(status_code=204)


@router.get("/{name}/key")
@waits
def show_key(name: str, daemon: TheDaemon, asker: Asker) -> dict[str, Any]:
    """The host key that the host shows now, to be compared at the host itself before it is trusted."""
    authorise(asker, "hosts.trust", Resource("host", name))
    key = daemon.hosts.get(name).ssh.shown_key()
    return {"name": name, "type": key.get_name(), "fingerprint": key.fingerprint}


@router.post("/{name}/key")
@waits
def trust_key(name: str, body: TrustBody, daemon: TheDaemon, asker: Asker) -> dict[str, Any]:
    """Trust the host's key from now on."""
    authorise(asker, "hosts.trust", Resource("host", name))
    host = daemon.hosts.get(name)
    key = host.ssh.shown_key()
    if key.fingerprint != body.fingerprint:
        raise ConflictError(f"{name} shows {key.fingerprint} now, not {body.fingerprint}; compare again")
    changed = host.ssh.trust(key, replace=body.replace)
    host.wake.set()
    about: dict[str, Any] = {"fingerprint": key.fingerprint, "replaced": body.replace, "principal": asker.name}
    daemon.store.write(lambda transaction: transaction.emit("host.trusted", device=name, **about))
    return {"name": name, "fingerprint": key.fingerprint, "changed": changed}


@router.post("/{name}/reboot")
@waits
def restart(
    name: str,
    daemon: TheDaemon,
    asker: Asker,
    timeout_s: Annotated[float, Query(gt=0, le=3600)] = 300,
    despite_lease: bool = False,
) -> dict[str, Any]:
    """Restart the host; answers once another boot of it does."""
    host = _allowed(daemon, asker, name, "hosts.reboot", despite_lease)
    daemon.store.write(lambda transaction: transaction.emit("host.reboot", device=name, principal=asker.name))
    return {"name": name, "took_s": round(host.reboot(timeout_s), 1)}


@router.get("/{name}/power")
@waits
def show_power(name: str, daemon: TheDaemon, asker: Asker) -> dict[str, Any]:
    """Whether the host's power switch is on; null where nobody can know."""
    authorise(asker, "read", Resource("host", name))
    switch = daemon.hosts.get(name).power
    if switch is None:
        raise NotFoundError(f"the lab file names no power switch for {name}")
    return {"name": name, "switch": switch.name, "on": switch.state()}


@router.post("/{name}/power/{what}")
@waits
def switch_power(
    name: str,
    what: Literal["on", "off", "cycle"],
    *,
    daemon: TheDaemon,
    asker: Asker,
    pause_s: Annotated[float, Query(ge=0, le=600)] = 3.0,
    despite_lease: bool = False,
) -> dict[str, Any]:
    """Switch the host's power. What was not written to its disks is lost."""
    switch = _allowed(daemon, asker, name, "hosts.power", despite_lease).power
    if switch is None:
        raise NotFoundError(f"the lab file names no power switch for {name}")
    daemon.store.write(lambda transaction: transaction.emit("host.power", device=name, what=what, principal=asker.name))
    if what == "cycle":
        cycle(switch, pause_s)
    elif what == "on":
        switch.on()
    else:
        switch.off()
    return {"name": name, "switch": switch.name, "on": switch.state()}


@router.get("/{name}/consoles/{console}/log")
def console_log(
    name: str,
    console: str,
    daemon: TheDaemon,
    asker: Asker,
    last_bytes: Annotated[int, Query(ge=1, le=1 << 24)] = 1 << 16,
) -> Response:
    """The end of what a console said, each line with its time."""
    authorise(asker, "hosts.console", Resource("host", name))
    log = _console(daemon.hosts.get(name), console).log
    data = log.read_bytes()[-last_bytes:] if log.exists() else b""
    return Response(data, media_type="text/plain", headers={"X-Content-Type-Options": "nosniff"})


def _show(host: LabHost) -> dict[str, Any]:
    config = host.config
    return {
        "name": host.name,
        "address": config.address,
        "port": config.port,
        "user": config.user,
        "jump": config.jump,
        "up": not host.reason,
        "reason": host.reason,
        "labels": config.labels,
        "power": None if host.power is None else host.power.name,
        "forwards": {
            each: {"to": str(config.forwards[each].to), "local": forward.address, "broken_by": forward.broken_by}
            for each, forward in host.forwards.items()
        },
        "consoles": {
            each: {"open": console.open, "reason": console.broken_by} for each, console in host.consoles.items()
        },
    }


def _allowed(daemon: Daemon, asker: Principal, name: str, action: str, despite_lease: bool) -> LabHost:
    """The host, where the asker may do that to it and nobody else holds it."""
    authorise(asker, action, Resource("host", name))
    host = daemon.hosts.get(name)
    with daemon.store.read() as connection:
        held = sa.select(leases.c.holder, leases.c.expires_at, leases.c.id)
        held = held.join_from(lease_devices, leases, leases.c.id == lease_devices.c.lease_id)
        row = connection.execute(held.where(lease_devices.c.device == name, lease_devices.c.held)).first()
    if row is not None and row.holder != asker.name and not despite_lease:
        raise DeviceTakenError(
            f"{name} is held by {row.holder} until {iso(row.expires_at)}; wait, or say despite_lease (--despite-lease)",
            holder=row.holder,
            expires_at=iso(row.expires_at),
        )
    return host


def _console(host: LabHost, name: str) -> Any:
    if name not in host.consoles:
        raise NotFoundError(f"{host.name} has no console {name!r}; consoles are: {', '.join(host.consoles) or 'none'}")
    return host.consoles[name]


def _open(daemon: Daemon, asker: Principal, name: str, body: SessionBody) -> Session:
    action = "hosts.console" if body.console is not None else "hosts.forward" if body.dial is not None else "hosts.exec"
    host = _allowed(daemon, asker, name, action, body.despite_lease)
    source: Source
    try:
        if body.console is not None:
            source = ConsoleSource(_console(host, body.console))
        elif body.dial is not None:
            source = StreamSource(host.ssh.dial(*destination(body.dial)), host.ssh.title)
        else:
            terminal = None if body.terminal is None else Terminal(**body.terminal.model_dump())
            command = 'exec "$SHELL" -l' if body.line is None else body.line
            process = host.ssh.start(command, cwd=body.cwd, env=body.env, terminal=terminal)
            source = CommandSource(process, body.timeout_s)
    except ValueError as exc:
        raise InvalidInputError(str(exc)) from None
    said = body.line if isinstance(body.line, str | None) else " ".join(body.line)
    told = (said or body.console or str(body.dial or "shell"))[:500]  # enough to know it by
    about = {
        "what": action,
        "command": without_tokens(os.fsencode(told).decode(errors="replace")),
        "principal": asker.name,
    }
    daemon.store.submit(lambda transaction: transaction.emit("host.session", device=name, **about))
    return daemon.host_sessions.add(name, asker.name, source)


def _line(kind: int, data: bytes) -> bytes:
    """A piece of output as a line of JSON."""
    if kind == END:
        return data + b"\n"
    name = "stdout" if kind == STDOUT else "stderr"
    try:
        return json.dumps({name: data.decode()}).encode() + b"\n"
    except UnicodeDecodeError:
        return json.dumps({f"{name}_base64": base64.b64encode(data).decode()}).encode() + b"\n"


async def _streamed(
    session: Session, encode: Callable[[int, bytes], bytes], stands: Callable[[], bool]
) -> AsyncIterator[bytes]:
    """The output of a session, read by a thread of its own; a slow client slows the command down. `stands`: whether who
    asked would still be let in; once that is not so the session is ended.
    """
    loop = asyncio.get_running_loop()
    ahead: asyncio.Queue[bytes | None] = asyncio.Queue(_FRAMES_AHEAD)
    gone = threading.Event()

    def read() -> None:
        for kind, data in session.output():
            if gone.is_set():
                return
            asyncio.run_coroutine_threadsafe(ahead.put(encode(kind, data)), loop).result()
        asyncio.run_coroutine_threadsafe(ahead.put(None), loop).result()

    reader = threading.Thread(target=read, name=f"host session {session.id}", daemon=True)
    reader.start()
    finished = False
    try:
        while stands():
            try:
                piece = await asyncio.wait_for(ahead.get(), _LOOK_EVERY_S)
            except TimeoutError:
                continue
            if piece is None:
                finished = True
                break
            yield piece
    finally:
        gone.set()
        while not ahead.empty():  # lets the reader go
            ahead.get_nowait()
        if not finished:
            threading.Thread(target=session.cancel, args=("nobody may listen to it any more",), daemon=True).start()
