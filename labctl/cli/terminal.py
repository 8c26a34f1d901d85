"""`labctl hosts shell`, `console` and `forward`: this terminal, or local ports, joined with a host's."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from typing import Any

from labctl.cli.connecting import connected
from labctl.cli.exits import ERRORED, USAGE, ExpectedError
from labctl.cli.output import note
from labctl.client import Lab, LabClientError
from labctl.host_client import HostSession

_ESCAPE = b"\x1d"  # Ctrl-], as telnet and virsh have it
_BLOCK = 65_536


def open_shell(url: str | None, name: str, *, despite_lease: bool) -> int:
    """A login shell on the host in this terminal; its exit status is ours."""
    if not sys.stdin.isatty():
        raise ExpectedError("a shell needs a terminal; for a script use: labctl hosts exec HOST -- COMMAND", USAGE)
    size = shutil.get_terminal_size()
    terminal = {"kind": os.environ.get("TERM", "xterm"), "width": size.columns, "height": size.lines}
    with connected(url) as lab:
        session = lab.host(name).session({"terminal": terminal, "despite_lease": despite_lease})
        ended = _join(session, escape=False)
    if "exit_status" not in ended:
        raise ExpectedError(ended["error"], ERRORED)
    return int(ended["exit_status"])


def attach_console(url: str | None, name: str, console: str | None, *, despite_lease: bool) -> int:
    """A serial console of the host in this terminal, until Ctrl-]."""
    with connected(url) as lab:
        host = lab.host(name)
        known = list(host.status()["consoles"])
        if console is None and len(known) != 1:
            raise ExpectedError(f"which console of {name}? it has: {', '.join(known) or 'none'}", USAGE)
        session = host.session({"console": console or known[0], "despite_lease": despite_lease})
        if sys.stdin.isatty():
            note(f"attached to {console or known[0]} of {name}; Ctrl-] ends it\r")
        ended = _join(session, escape=True)
    if error := ended.get("error"):
        raise ExpectedError(error, ERRORED)
    return 0


def print_console_log(url: str | None, name: str, console: str, last_bytes: int) -> int:
    """The end of what a console said."""
    with connected(url) as lab:
        sys.stdout.buffer.write(lab.host(name).console_log(console, last_bytes))
    return 0


def forward(url: str | None, name: str, remote: str, local_port: int, *, despite_lease: bool) -> int:
    """A local port that leads to a port of the host, or beyond it, until Ctrl-C."""
    with connected(url) as lab:
        try:
            listener = socket.create_server(("127.0.0.1", local_port))
        except (OSError, OverflowError) as exc:
            raise ExpectedError(f"cannot listen on port {local_port}: {exc}; choose another --local", USAGE) from None
        with listener:
            wanted = {"dial": remote, "despite_lease": despite_lease}
            probe = lab.host(name).session(wanted)  # an error now is better than one at the first connection
            probe.cancel()
            print(f"127.0.0.1:{listener.getsockname()[1]}", flush=True)
            while True:
                stream, _ = listener.accept()
                stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=_carry, args=(lab, name, wanted, stream), daemon=True).start()


def _carry(lab: Lab, name: str, wanted: dict[str, Any], stream: socket.socket) -> None:
    with stream:
        try:
            session = lab.host(name).session(wanted)
        except LabClientError as exc:
            note(str(exc))
            return

        def send() -> None:
            with contextlib.suppress(LabClientError, OSError):
                while data := stream.recv(_BLOCK):
                    session.write(data)
                session.write(b"", end=True)

        threading.Thread(target=send, daemon=True).start()
        with contextlib.suppress(OSError, LabClientError):
            for _, data in session.output():
                stream.sendall(data)
        if error := session.ended.get("error"):
            note(error)
        with contextlib.suppress(OSError):
            stream.shutdown(socket.SHUT_RDWR)


def _join(session: HostSession, *, escape: bool) -> dict[str, Any]:
    """Join standard input and output with a session until it ends."""
    over_reading, over_writing = os.pipe()

    def type_in() -> None:
        with contextlib.suppress(LabClientError):
            while True:
                ready = select.select([sys.stdin, over_reading], [], [])[0]
                if over_reading in ready:
                    return
                data = os.read(sys.stdin.fileno(), _BLOCK)
                if not data or (escape and _ESCAPE in data):
                    session.write(data.partition(_ESCAPE)[0], end=True)
                    if escape:
                        session.cancel("detached")
                    return
                session.write(data)

    def resized(_signal: int, _frame: object) -> None:
        size = shutil.get_terminal_size()
        threading.Thread(target=session.resize, args=(size.columns, size.lines), daemon=True).start()

    with _raw():
        before = signal.signal(signal.SIGWINCH, resized)
        typing = threading.Thread(target=type_in, daemon=True)
        typing.start()
        try:
            for _, data in session.output():
                sys.stdout.buffer.write(data)
                sys.stdout.buffer.flush()
        finally:
            signal.signal(signal.SIGWINCH, before)
            os.write(over_writing, b"x")
            typing.join()
            os.close(over_reading)
            os.close(over_writing)
    return session.ended


@contextlib.contextmanager
def _raw() -> Iterator[None]:
    """Every key goes to the host, Ctrl-C too."""
    if not sys.stdin.isatty():
        yield
        return
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setraw(sys.stdin, termios.TCSADRAIN)  # what was typed ahead is not lost
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
